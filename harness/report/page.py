"""The report as one page for a browser: without scripts, and nothing of what agents wrote is markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from prong.harness.report import timeline, words
from prong.harness.report.facts import Facts, TaskFacts

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser lets the page do: be styled, and nothing else."""

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --dim: #777; --done: #2e8b57; --failed: #c0392b; --running: #c98a00;
  --other: #5b7db1; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; } th { text-align: left; font-weight: 600; }
th, td { padding: .15rem .8rem .15rem 0; vertical-align: top; overflow-wrap: anywhere; }
th { white-space: nowrap; } td.number { text-align: right; white-space: nowrap; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #8881; padding: .6rem; border-radius: .3rem;
  max-height: 30rem; overflow: auto; margin: .3rem 0; }
details { border-top: 1px solid var(--line); padding: .4rem 0; } summary { cursor: pointer; }
.state { font-weight: 600; } .dim { color: var(--dim); }
.done { color: var(--done); fill: var(--done); } .failed, .cancelled { color: var(--failed); fill: var(--failed); }
.running, .parked { color: var(--running); fill: var(--running); }
.ready, .blocked { color: var(--other); fill: var(--other); }
svg { width: 100%; height: auto; } .tick { stroke: var(--line); } .queued { fill: #8886; }
.axis, .label { font: 11px system-ui, sans-serif; fill: currentColor; } .axis { text-anchor: middle; fill: var(--dim); }
.back { fill: var(--failed); stroke: Canvas; stroke-width: 1.5; }
@media print { details > * { display: block; } pre { max-height: none; } }
"""


def render(facts: Facts) -> str:
    """The whole page."""
    return "\n".join(_parts(facts)) + "\n"


def _parts(facts: Facts) -> Iterator[str]:
    name = escape(words.one_line(facts.status.swarm))
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Report of swarm {name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>"
    yield f"<h1>Report of swarm {name}</h1>"
    yield f"<h2>What was asked</h2>\n{_text(facts.status.goal)}"
    yield _pairs(words.summary(facts))
    yield f"<h2>What is left</h2>\n{_list(facts.left) or '<p>Nothing: all that was made is in a branch of yours.</p>'}"
    yield f"<h2>When</h2>\n{timeline.draw(facts)}"
    if len(facts.tasks) > timeline.ROWS:
        yield f"<p class=dim>The first {timeline.ROWS} of {len(facts.tasks)} tasks.</p>"
    yield f"<h2>What was done</h2>\n{''.join(map(_task, facts.tasks))}"
    yield f"<h2>Conflicts</h2>\n{_conflicts(facts)}"
    yield f"<h2>Whether it paid</h2>\n{_pairs(words.paid(facts.figures))}\n{_list(facts.advice)}"
    if facts.trouble:
        yield f"<h2>On the way</h2>\n{_list(f'{count} {what}' for count, what in facts.trouble)}"
    yield "</body>\n</html>"


def _text(text: str, *, most: int = words.TEXT_CHARACTERS) -> str:
    return f"<pre>{escape(words.safe(text, most=most))}</pre>"


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>\n" for name, value in rows)
    return f"<table>\n{cells}</table>"


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(words.one_line(line))}</li>\n" for line in lines)
    return f"<ul>\n{items}</ul>" if items else ""


def _task(task: TaskFacts) -> str:
    status = task.status
    head = (
        f'task {status.id} <span class="state {escape(status.state)}">{escape(status.state)}</span>'
        f" {escape(words.one_line(status.title))}"
        f' <span class="dim">{words.duration(status.seconds)}, {words.money(task.cost.usd)}</span>'
    )
    parts = [f"<details><summary>{head}</summary>", _pairs(words.of_task(task))]
    for name, text in (("Asked", task.prompt), ("Said at its end", status.result), ("Error", status.error)):
        if text and text.strip():
            parts.append(f"<p class=dim>{name}</p>{_text(text)}")
    return "\n".join((*parts, "</details>\n"))


def _conflicts(facts: Facts) -> str:
    parts = [_list(words.foreseen(facts))]
    for task in facts.tasks:
        for head, detail, output in words.returned(task):
            shown = escape("\n".join(filter(None, (detail, output))))
            parts.append(f"<p><b>Task {task.status.id}.</b> {escape(head)}</p><pre>{shown}</pre>")
    return "\n".join(filter(None, parts)) or "<p>None: all work fitted at once.</p>"
