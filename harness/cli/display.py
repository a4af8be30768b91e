"""What a person sees while a swarm runs: a live table in a terminal, one line an event elsewhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from prong.harness.approvals import Asked
from prong.harness.status import Status, TaskStatus, read_picture
from prong.harness.status_rows import ORDER
from prong.harness.swarms import Swarm
from prong.state import Row, Store
from prong.state.secrets import masked

REFRESH_S = 0.2
WIDE = 110
"""From how many columns on a terminal shows the whole table."""

ASKED = 5
"""The most calls waiting for an answer that the live table shows."""

ROWS = 30
"""The most tasks that the live table shows; the rest is counted."""

COLOURS = {
    "blocked": "dim", "ready": "cyan", "running": "bold yellow", "parked": "blue", "done": "green",
    "failed": "bold red", "cancelled": "magenta",
}  # fmt: skip
"""The colour of each state of a task."""
MARKS = {
    "blocked": "·", "ready": "○", "running": "●", "parked": "◐", "done": "✔", "failed": "✖", "cancelled": "⊘",
}  # fmt: skip
"""The mark of each state of a task."""
TOLD = (
    "task.", "merge.", "swarm.", "command.", "scheduler.", "cache.", "fork.stopped", "fork.for_an_hour", "model.waits",
    "barrier.broken",
    "lock.inherited", "budget.warned", "budget.raised", "deadlock.found",
    "rules.", "conflict.", "approval.", "permission.", "message.heard", "sandbox.missing", "plan.", "hedge.",
)  # fmt: skip
"""How the kinds of events begin that a person is told of; what agents call and share is in the log."""


def live(swarm: Swarm, over: threading.Event) -> None:
    """Redraw the swarm until it is over, and leave its last picture standing."""
    store = swarm.store()
    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=False) as screen:
        while not over.wait(REFRESH_S):
            screen.update(_picture_for(console, store), refresh=True)
        screen.update(_picture_for(console, store), refresh=True)
    store.close()


def _picture_for(console: Console, store: Store) -> Group:
    return picture(read_picture(store, ROWS), width=console.width, height=console.height)


def plain(swarm: Swarm, over: threading.Event) -> None:
    """Print a line for each thing that happens to a task, until it is over."""
    store = swarm.store()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    last = _first_to_show(store)
    done = False
    while not done:
        done = over.wait(REFRESH_S)
        for row in events_after(store, last):
            last = row["seq"]
            if row["kind"].startswith(TOLD):
                console.print(line(row), markup=False)
    store.close()


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table: its head, its cell for a task at a depth, and whether a narrow terminal does without."""

    head: str
    cell: Callable[[TaskStatus, int], str | Text]
    justify: Literal["left", "right"] = "right"
    ratio: int | None = None
    only_wide: bool = False


_COLUMNS = (
    _Column("task", lambda task, _: str(task.id)),
    _Column("", lambda task, _: Text(f"{MARKS[task.state]} {task.state}", style=COLOURS[task.state]), "left"),
    _Column("title", lambda task, depth: Text("  " * min(depth, 8) + printable(task.title)), "left", ratio=1),
    _Column("agent", lambda task, _: str(task.agent or ""), only_wide=True),
    _Column("what", lambda task, _: Text(_what(task), style="dim"), "left", ratio=1),
    _Column("in", lambda task, _: _short(task.usage.prompt), only_wide=True),
    _Column("cached", lambda task, _: f"{task.usage.cache_read / task.usage.prompt:.0%}" if task.usage.prompt else ""),
    _Column("out", lambda task, _: _short(task.usage.output), only_wide=True),
    _Column("time", lambda task, _: f"{task.seconds:.1f}" if task.seconds else ""),
)


def _first_to_show(store: Store) -> int:
    """Who goes on with a swarm is not told again what happened before."""
    row = store.row("select max(seq) as seq from event where exists (select 1 from event where kind = 'swarm.running')")
    return (row["seq"] if row else None) or 0


def picture(status: Status, *, width: int, height: int) -> Group:
    """The swarm as it is now: a headline, the tasks with what they wait for, and what it cost."""
    table = Table(box=None, padding=(0, 1), expand=True, show_edge=False)
    columns = [column for column in _COLUMNS if width >= WIDE or not column.only_wide]
    for column in columns:
        table.add_column(
            column.head, justify=column.justify, ratio=column.ratio, no_wrap=True, overflow="ellipsis",
            header_style="dim",
        )  # fmt: skip
    shown = min(ROWS, max(3, height - 8))
    ordered = sorted(status.tasks, key=lambda task: (ORDER[task.state], task.id))[:shown]
    for task, depth in _tree(ordered):
        table.add_row(*(column.cell(task, depth) for column in columns))
    parts: list[Any] = [headline(status), table]
    if status.refused:
        parts.append(Text(f"  none starts: {printable(status.refused)}", style="yellow"))
    parts += [Text(f"  {_asked(one)}", style="bold yellow", no_wrap=True) for one in status.approvals[:ASKED]]
    if len(status.approvals) > ASKED:
        parts.append(Text(f"  and {len(status.approvals) - ASKED} more calls wait for you: prong approve", style="dim"))
    rest = sum(status.counts().values()) - len(ordered)
    if rest:
        parts.append(Text(f"  and {rest} more: prong tasks", style="dim"))
    return Group(*parts, bill(status))


def _asked(one: Asked) -> str:
    what = printable(" ".join(one.text.split()))
    return f"{one.who} asks for {one.tool}: {_cut(what)}    prong approve {one.id}"


def headline(status: Status) -> Text:
    """The swarm, its state, and how many tasks are in each, in one line."""
    state = f"{status.state}, paused" if status.paused else status.state
    state += ", its supervisor is stopped" if status.supervisor.state == "stopped" else ""
    text = Text.assemble(("prong ", "bold"), (status.swarm, "bold cyan"), "  ", (state, "bold"), "  ")
    for state, count in status.counts().items():
        if count:
            text.append(f"{MARKS[state]} {count} {state}  ", style=COLOURS[state])
    return text.append(f"{status.seconds:.1f} s", style="dim")


def _tree(tasks: Sequence[TaskStatus]) -> list[tuple[TaskStatus, int]]:
    """Children below their parents, with how deep they stand; a task whose parent is not shown stands on top."""
    shown = {task.id for task in tasks}
    below: dict[int | None, list[TaskStatus]] = {}
    for task in sorted(tasks, key=lambda task: task.id):
        below.setdefault(task.parent if task.parent in shown else None, []).append(task)
    walk: list[tuple[TaskStatus, int]] = []
    stack = [(task, 0) for task in reversed(below.get(None, []))]
    while stack:
        task, depth = stack.pop()
        walk.append((task, depth))
        stack += [(child, depth + 1) for child in reversed(below.get(task.id, []))]
    return walk


def _what(task: TaskStatus) -> str:
    """Why it stands still, what it waits for, why it failed, or what came of it."""
    if task.state in ("ready", "parked") and task.paused:
        return "paused"
    if task.held in ("budget", "cache"):
        return printable(" ".join(f"held: {task.error or f'for its {task.held}'}".split()))
    if task.state == "ready" and task.again_in_s:
        again = f"again in {task.again_in_s:.0f} s, {task.failures} of {task.attempts} attempts failed"
        return printable(" ".join(f"{again}: {task.error or 'its agent died'}".split()))
    if task.waits_for:
        return printable(f"waits for {task.waits_for}")
    return printable(" ".join((task.error or task.result or "").split()))


def bill(status: Status) -> Text:
    """What it has read, written and cost, in one line."""
    usage = status.usage
    share = f"{usage.cache_read / usage.prompt:.0%} from the cache" if usage.prompt else "nothing asked yet"
    if status.least_prefix_read is not None:
        share += f"; of what forks inherit, {status.least_prefix_read:.0%}"
    usd = "cost unknown" if status.usd is None else f"${status.usd:.4f}"
    return Text(f"{_short(usage.prompt) or 0} tokens in ({share}), {_short(usage.output) or 0} out, {usd}", style="dim")


def events_after(store: Store, seq: int, *, limit: int = 10_000) -> Iterator[Row]:
    """The events behind number `seq`, oldest first."""
    yield from store.rows("select * from event where seq > :seq order by seq limit :limit", seq=seq, limit=limit)


def line(row: Row) -> str:
    """An event in one line: when, which task and agent, what, and the data that tells most."""
    data = json.loads(row["data"])
    told = " ".join(f"{key}={_told(value)}" for key, value in data.items() if value not in (None, "", []))
    task = f"task {row['task']}" if row["task"] is not None else ""
    about = row["object"] if row["object"] not in (None, str(row["task"])) else ""
    return printable(f"{_clock(row['at'])} {task:<9} {row['kind']:<16} {about} {told}".rstrip())


def printable(text: str) -> str:
    """Text that cannot steer a terminal and shows no key: control and direction characters become visible."""
    return "".join(
        one if one.isprintable() or one == " " else one.encode("unicode_escape").decode("ascii") for one in masked(text)
    )


def _told(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    text = _cut(text)
    return json.dumps(text, ensure_ascii=False) if " " in text else text


def _cut(text: str) -> str:
    return text if len(text) <= 100 else text[:99] + "…"  # noqa: PLR2004  what fits a line


def _clock(at: float) -> str:
    import datetime as dt  # noqa: PLC0415  only people's lines need it

    return dt.datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _short(tokens: int) -> str:
    """Tokens in thousands; always so, since a column of one unit is easier to compare."""
    return f"{tokens / 1000:.1f}k" if tokens else ""
