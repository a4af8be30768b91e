"""The timeline of a swarm as an SVG picture: a row for each task, a bar for each agent's work on it.

dark bar   an agent works      light bar  its work stands in the merge queue      diamond  it came back
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from prong.harness.report import words
from prong.harness.report.facts import Facts, TaskFacts

ROWS = 300
"""The most tasks that are drawn; the table has all."""

WIDTH, LABEL, ROW, TOP = 960, 240, 20, 24
"""Pixels: of the picture, of the titles in it, of a row's height, of the axis."""

TITLE_CHARACTERS = 34
_TICKS = 8
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


def draw(facts: Facts) -> str:
    """The picture, to be put into a page as it is; its colours are the page's, by class."""
    shown = facts.tasks[:ROWS]
    seconds = max(facts.status.seconds, 0.001)
    height = TOP + ROW * len(shown) + 6
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="timeline" class="timeline">',
        *_axis(seconds, height),
    ]
    for place, task in enumerate(shown):
        parts += _row(task, TOP + ROW * place, seconds)
    return "\n".join((*parts, "</svg>"))


def _x(at_s: float, seconds: float) -> float:
    return LABEL + (WIDTH - LABEL - 10) * min(1.0, max(0.0, at_s / seconds))


def _axis(seconds: float, height: int) -> Iterator[str]:
    step = next((one for one in _STEPS if seconds / one <= _TICKS), seconds / _TICKS)
    at = 0.0
    while at <= seconds:
        x = _x(at, seconds)
        yield f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{height}"/>'
        yield f'<text class="axis" x="{x:.1f}" y="12">{words.duration(at)}</text>'
        at += step


def _row(task: TaskFacts, y: int, seconds: float) -> Iterator[str]:
    status = task.status
    title = words.one_line(f"{status.id} {status.title}")
    short = title if len(title) <= TITLE_CHARACTERS else f"{title[: TITLE_CHARACTERS - 1]}…"
    yield f'<text class="label" x="4" y="{y + 14}">{escape(short)}<title>{escape(title)}</title></text>'

    def drawn(began_s: float, ended_s: float) -> tuple[float, float]:
        return _x(began_s, seconds), _x(ended_s, seconds)

    if task.queued_s is not None:
        yield _bar(drawn(*task.queued_s), (y + 7, 6), "queued", "in the merge queue")
    for span in task.spans:
        what = f"task {status.id}, {status.state}: {words.duration(span.ended_s - span.began_s)}"
        yield _bar(drawn(span.began_s, span.ended_s), (y + 4, 12), f"bar {status.state}", what)
    for one in task.returns:
        x, middle = _x(one.at_s, seconds), y + 10
        points = f"{x:.1f},{middle - 6} {x + 5:.1f},{middle} {x:.1f},{middle + 6} {x - 5:.1f},{middle}"
        why = words.STATES.get(one.verdict, one.verdict)
        yield f'<polygon class="back" points="{points}"><title>{escape(f"came back: {why}")}</title></polygon>'


def _bar(span: tuple[float, float], rows: tuple[int, int], kind: str, title: str) -> str:
    left, right = span
    y, height = rows
    shape = f'x="{left:.1f}" y="{y}" width="{max(1.5, right - left):.1f}" height="{height}"'
    return f'<rect class="{kind}" {shape}><title>{escape(title)}</title></rect>'
