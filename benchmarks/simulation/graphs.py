"""Task graphs to simulate: generated ones of many shapes, and those that were recorded.

What a task takes comes from turns of a model: their number, their latency and their tokens are drawn, so a few tasks
are many times as long as most.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from prong.primitives.ranking import longest_paths


@dataclass(frozen=True, slots=True)
class Work:
    """A task as it will turn out.

    It runs `run_s`, creates its children and parks until they have ended, and runs `join_s`.  Before that it fails
    once for each of `failed_s`, having run so long; `given_up`: it has failed for good after these.  It holds `lock`
    from its start to its end, parks while another does, and is created at `created_at`, children when their parent
    parks.
    """

    task: int
    run_s: float
    needs: tuple[int, ...] = ()
    children: tuple[int, ...] = ()
    join_s: float = 0.0
    priority: int = 0
    role: str = "coder"
    tokens: int = 0
    failed_s: tuple[float, ...] = ()
    given_up: bool = False
    lock: str | None = None
    created_at: float = 0.0

    @property
    def spent_s(self) -> float:
        """What all its attempts take together."""
        return sum(self.failed_s) + (0.0 if self.given_up else self.run_s + self.join_s)


Graph = Mapping[int, Work]

# Turns of a task (median), seconds and tokens of a turn (medians), and how far they spread (sigma of the logarithm).
ROLES = {"explorer": (4, 4.0, 1500), "coder": (12, 8.0, 3000), "tester": (6, 15.0, 2000), "reviewer": (3, 10.0, 5000)}
SPREAD = 0.5
PRIORITIES = (0, 0, 0, 0, 1, 2, -1)


def generate(kind: str, tasks: int, seed: int, *, priorities: bool = False, failures: float = 0.0) -> dict[int, Work]:
    """A graph of about so many tasks; `failures` is how likely an attempt fails, of which a task has three."""
    chance = random.Random(f"{kind} {tasks} {seed}")
    graph = {work.task: work for work in KINDS[kind](tasks, chance)}
    if priorities:
        graph = {task: replace(work, priority=chance.choice(PRIORITIES)) for task, work in graph.items()}
    if failures:
        graph = {task: _failing(work, failures, chance) for task, work in graph.items()}
    return graph


def _work(task: int, chance: random.Random, **more: object) -> Work:
    """A task of a random role: so many turns, each of so many seconds and tokens."""
    role = chance.choice(list(ROLES))
    turns, latency_s, tokens = ROLES[role]
    count = max(1, round(turns * chance.lognormvariate(0, SPREAD)))
    run_s = sum(latency_s * chance.lognormvariate(0, SPREAD) for _ in range(count))
    used = sum(int(tokens * chance.lognormvariate(0, SPREAD)) for _ in range(count))
    return replace(Work(task, run_s, role=role, tokens=used), **more)  # type: ignore[arg-type]  # its own fields


def _failing(work: Work, likely: float, chance: random.Random) -> Work:
    failed: list[float] = []
    while len(failed) < 3 and chance.random() < likely:
        failed.append(work.run_s * chance.random())
    given_up = len(failed) == 3 and not work.children
    return replace(work, failed_s=tuple(failed), given_up=given_up)


def _wide(tasks: int, chance: random.Random) -> Iterable[Work]:
    """No needs at all."""
    return (_work(task, chance) for task in range(1, tasks + 1))


def _deep(tasks: int, chance: random.Random) -> Iterable[Work]:
    """Chains side by side, of different lengths."""
    chains = chance.randint(1, max(1, min(300, tasks // 5)))
    last: dict[int, int] = {}
    for task in range(1, tasks + 1):
        chain = min(chance.randrange(chains), chance.randrange(chains))
        yield _work(task, chance, needs=(last[chain],) if chain in last else ())
        last[chain] = task


def _diamond(tasks: int, chance: random.Random) -> Iterable[Work]:
    """One after the other: a task, many that need it, one that needs them all."""
    task, end = 1, 0
    while task <= tasks:
        width = min(chance.randint(2, 400), max(1, tasks - task - 1))
        yield _work(task, chance, needs=(end,) if end else ())
        middle = range(task + 1, task + 1 + width)
        yield from (_work(one, chance, needs=(task,)) for one in middle)
        end = middle.stop
        yield _work(end, chance, needs=tuple(middle))
        task = end + 1


def _layered(tasks: int, chance: random.Random) -> Iterable[Work]:
    """Random layers, each task needing one to three of the layer before."""
    before: range = range(0)
    task = 1
    while task <= tasks:
        layer = range(task, min(tasks, task + chance.randint(1, max(2, tasks // 10))) + 1)
        for one in layer:
            yield _work(one, chance, needs=tuple(chance.sample(before, min(len(before), chance.randint(1, 3)))))
        before, task = layer, layer.stop


def _long_tail(tasks: int, chance: random.Random) -> Iterable[Work]:
    """Each may need up to two of all before; one in a hundred takes ten times as long as most, or more (Pareto)."""
    for task in range(1, tasks + 1):
        count = chance.choice((0, 0, 1, 2))
        needs = {chance.randint(1, task - 1) for _ in range(count if task > 1 else 0)}
        work = _work(task, chance, needs=tuple(sorted(needs)))
        factor = min(50.0, chance.paretovariate(1.3))
        yield replace(work, run_s=work.run_s * factor, tokens=int(work.tokens * factor))


def _map_reduce(tasks: int, chance: random.Random) -> Iterable[Work]:
    """One splits, many map, and a tree of reducers ends in one."""
    yield _work(1, chance)
    maps = max(1, tasks * 9 // 10)
    level = list(range(2, maps + 2))
    yield from (_work(task, chance, needs=(1,)) for task in level)
    task = maps + 2
    while len(level) > 1:
        above = []
        for first in range(0, len(level), 10):
            yield _work(task, chance, needs=tuple(level[first : first + 10]))
            above.append(task)
            task += 1
        level = above


def _fork_join(tasks: int, chance: random.Random) -> Iterable[Work]:
    """A tree: whoever has children waits for them without a slot, and goes on when the last has ended."""
    children: dict[int, list[int]] = {1: []}
    for task in range(2, tasks + 1):
        parent = max(1, int((task - 1) * chance.random() ** 1.5 / 4) + 1)
        children[task] = []
        children[min(parent, task - 1)].append(task)
    for task, own in children.items():
        work = _work(task, chance, children=tuple(own))
        yield replace(work, join_s=work.run_s * chance.random()) if own else work


KINDS: dict[str, Callable[[int, random.Random], Iterable[Work]]] = {
    "wide": _wide,
    "deep": _deep,
    "diamond": _diamond,
    "layered": _layered,
    "long-tail": _long_tail,
    "map-reduce": _map_reduce,
    "fork-join": _fork_join,
}


def spans(graph: Graph) -> dict[int, float]:
    """How long each task takes if it never waits for a slot: all its attempts, and its longest line of children."""
    found: dict[int, float] = {}
    for task, work in reversed(graph.items()):
        own = {child: found[child] for child in work.children}
        found[task] = work.spent_s + max(longest_paths(own, {one: graph[one].needs for one in own}).values(), default=0)
    return found


def read_lines(path: Path) -> dict[int, Work]:
    """A graph of JSON lines: {"task": 1, "run_s": 12.5, "needs": […], and what else `Work` knows}."""
    graph = {}
    for line in path.read_text("utf-8").splitlines():
        if line.strip():
            fields = json.loads(line)
            lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
            work = Work(**(fields | lists))
            graph[work.task] = work
    return graph


def read_swarm(path: Path) -> dict[int, Work]:
    """What a swarm did, from its database: tasks that ran, what they needed, and how long they did not wait.

    A task that its parent created while it ran is created by it again; how long an attempt waited is told by events.
    """
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        rows = database.execute(
            "select task.*, (select coalesce(sum(input_tokens + output_tokens), 0) from model_call"
            " where task = task.id) as tokens from task where started_at is not null and ended_at is not null"
            " order by id"
        ).fetchall()
        needs: dict[int, list[int]] = {row["id"]: [] for row in rows}
        for row in database.execute("select task, need from task_need order by task, need"):
            if row["task"] in needs and row["need"] in needs:
                needs[row["task"]].append(row["need"])
        parked = _parked(database)
    began = min((row["created_at"] for row in rows), default=0.0)
    return {
        row["id"]: Work(
            row["id"],
            max(0.0, row["ended_at"] - row["started_at"] - parked.get(row["id"], 0.0)),
            needs=tuple(needs[row["id"]]),
            priority=row["priority"],
            role=dict(row).get("role") or "coder",
            tokens=row["tokens"],
            created_at=row["created_at"] - began,
        )
        for row in rows
    }


def _parked(database: sqlite3.Connection) -> dict[int, float]:
    """Seconds that each task stood parked."""
    since: dict[int, float] = {}
    total: dict[int, float] = {}
    for row in database.execute(
        "select kind, object, at from event where kind in ('task.parked', 'task.unparked') order by seq"
    ):
        task = int(row["object"])
        if row["kind"] == "task.parked":
            since.setdefault(task, row["at"])
        elif task in since:
            total[task] = total.get(task, 0.0) + row["at"] - since.pop(task)
    return total
