"""One picture of a swarm for `prong watch`: what is wrong, who does what, who waits for whom, what happened last."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prong.harness.blocking import lines, read_blocking
from prong.harness.cli.display import TOLD, bill, headline, line, printable
from prong.harness.inspector import problems, snapshot
from prong.harness.inspector.feed import connect
from prong.harness.inspector.problem import Moment
from prong.harness.inspector.snapshot import records
from prong.harness.status import Status, read_status
from prong.state import Store

PROBLEMS = 5
"""So many problems are told; the rest is counted."""

LOOKED_AT = 2_000
"""Among so many events those are looked for that are told: calls of tools would push them out."""

NEARLY = 0.8
"""From which share of a budget on its bar is red."""

_BAR = 40
_DOES = """
select agent.id, agent.task, task.title, task.state, waiter.kind as waits, waiter.object, waiter.since_at,
       last.kind, last.object as tool, last.at,
       (select sum(input_tokens + cache_read_tokens + cache_write_tokens) from model_call
         where model_call.agent = agent.id) as read
  from agent join task on task.id = agent.task left join waiter on waiter.agent = agent.id and waiter.state = 'waiting'
  left join event as last on last.seq = (select max(seq) from event where event.task = agent.task)
 where agent.ended_at is null group by agent.id order by waiter.since_at is null, waiter.since_at, agent.id
"""


@dataclass(frozen=True, slots=True)
class Doing:
    """What an agent that lives does: for how many seconds, with which task, and what it has read, in tokens."""

    agent: int
    task: int
    title: str
    does: str
    seconds: float
    read_tokens: int
    waits: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """All that one picture shows, read at one time."""

    status: Status
    doing: Sequence[Doing]
    problems: Sequence[dict[str, Any]]
    counted: int
    blocking: Sequence[str]
    events: Sequence[str]
    budget: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints: the status, with what agents do and what is wrong."""
        return {
            **self.status.as_json(), "doing": [asdict(one) for one in self.doing], "budget": self.budget,
            "wrong": [{name: one[name] for name in ("kind", "severity", "title", "detail")} for one in self.problems],
        }  # fmt: skip


def read_frame(store: Store, *, events: int) -> Frame:
    """All that a picture shows, with so many of the last events."""
    status = read_status(store, tasks=0)
    with closing(connect(store.path)) as connection:
        shift = snapshot.shift_s(connection)
        now = store.clock.wall() - shift
        told = problems.problems(Moment(connection, now, shift, status.state == "running"))
        doing = list(_doing(connection, now, shift)) if status.state == "running" else []
        budget = snapshot.budget(connection)
    blocking = list(lines(read_blocking(store))) if status.state == "running" else []
    return Frame(
        status, doing, told["problems"], sum(told["counted"].values()), blocking, list(_last(store, events)), budget
    )


def _doing(connection: sqlite3.Connection, now: float, shift: float) -> Iterator[Doing]:
    for row in records(connection, _DOES):
        if row["waits"] is not None:
            does, since = f"waits for {row['waits']} {row['object']}", now - row["since_at"]
        elif row["kind"] == "tool.began":
            does, since = f"runs {row['tool']}", now + shift - row["at"]
        else:
            does, since = "asks the model", now + shift - (row["at"] or now + shift)
        yield Doing(
            row["id"], row["task"], row["title"], does, max(0.0, since), row["read"] or 0, row["waits"] is not None
        )  # fmt: skip


def _last(store: Store, count: int) -> Iterator[str]:
    rows = store.rows("select * from event order by seq desc limit :looked", looked=LOOKED_AT)
    told = [row for row in rows if row["kind"].startswith(TOLD)][:count]
    yield from (line(row) for row in reversed(told))


def picture(frame: Frame, *, width: int, height: int) -> Group:
    """One frame for a terminal of that size: what is wrong comes first and is never pushed out."""
    parts: list[Any] = [headline(frame.status), _bars(frame, width), *_wrong(frame)]
    left = height - len(parts) - 6
    agents = list(frame.doing[: max(3, left // 2)])
    parts.append(_agents(frame, agents))
    left -= len(agents) + 2
    for title, texts in (("who blocks whom", frame.blocking[: max(2, left // 2)]), ("last", frame.events)):
        room = max(0, left - 1)
        kept = texts[-room:] if title == "last" and room else texts[:room]
        if kept:
            parts += [
                Text(title, style="dim"),
                *(Text(printable(one), no_wrap=True, overflow="ellipsis") for one in kept),
            ]
            left -= len(kept) + 1
    return Group(*parts, bill(frame.status))


def _bars(frame: Frame, width: int) -> Text:
    counts = frame.status.counts()
    total, ended = sum(counts.values()), counts["done"] + counts["failed"] + counts["cancelled"]
    text = Text("tasks  ") + _bar(ended / total if total else 0.0, min(_BAR, width // 3), "green")
    text.append(f" {ended} of {total}")
    for unit, words in (("tokens", "{:,.0f} tokens"), ("usd", "${:.2f}")):
        bound, spent = frame.budget[unit], frame.budget[f"settled_{unit}"]
        if bound:
            share = spent / bound
            colour = "red" if share > NEARLY else "cyan"
            text.append("   budget  ").append_text(_bar(share, min(_BAR, width // 5), colour))
            text.append(f" {share:.0%} of {words.format(bound)}")
    return text


def _bar(share: float, width: int, colour: str) -> Text:
    full = min(width, round(share * width))
    return Text.assemble(("█" * full, colour), ("░" * (width - full), "dim"))


def _wrong(frame: Frame) -> Iterator[Text]:
    for one in frame.problems[:PROBLEMS]:
        bad = one["severity"] == "bad"
        what = printable(f"{one['title']}: {' '.join(one['detail'].split())}" if one["detail"] else one["title"])
        yield Text(
            f"{'✖' if bad else '!'} {what}", style="bold red" if bad else "yellow", no_wrap=True, overflow="ellipsis"
        )
    rest = frame.counted - min(PROBLEMS, len(frame.problems))
    if rest > 0:
        yield Text(f"  and {rest} problems more: prong ui", style="dim")


def _agents(frame: Frame, shown: Sequence[Doing]) -> RenderableType:
    if not shown:
        return Text("nobody works just now" if frame.status.state == "running" else "it has ended", style="dim")
    table = Table(box=None, padding=(0, 1), expand=True, show_edge=False)
    for head, ratio, right in (
        ("agent", None, True),
        ("task", None, True),
        ("title", 2, False),
        ("does", 3, False),
        ("for", None, True),
        ("read", None, True),
    ):
        table.add_column(
            head,
            justify="right" if right else "left",
            ratio=ratio,
            no_wrap=True,
            overflow="ellipsis",
            header_style="dim",
        )
    for one in shown:
        style = "blue" if one.waits else ""
        table.add_row(
            str(one.agent), str(one.task), Text(printable(one.title)), Text(printable(one.does), style=style),
            f"{one.seconds:.1f}", f"{one.read_tokens / 1000:.1f}k",
        )  # fmt: skip
    hidden = len(frame.doing) - len(shown)
    if hidden:
        table.add_row("", "", Text(f"and {hidden} more", style="dim"), "", "", "")
    return table
