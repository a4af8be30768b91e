"""What a report tells: read once from the swarm's database and the repository, as plain records.

Times are seconds since the swarm began.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prong.harness.advice import Figures, advise
from prong.harness.cleaning import is_contained
from prong.harness.costs import Sum, TaskCost, read_costs
from prong.harness.repository.git import GitFailed
from prong.harness.run_figures import read_figures
from prong.harness.status import Status, TaskStatus, read_status
from prong.harness.swarms import Swarm
from prong.state import Row, Store

TROUBLE: Mapping[str, str] = {
    "deadlock.found": "deadlocks were found and broken",
    "cache.lost": "forks found their prompt cache lost",
    "budget.warned": "budgets were nearly spent",
    "merge.flaky": "checks passed only when they were run again",
    "barrier.broken": "barriers broke",
    "merge.unresolved": "conflicts got no resolver, because there were too many tasks",
}
"""Kinds of events that a report counts, in words that follow their number."""


@dataclass(frozen=True, slots=True)
class Check:
    """The last check that a task's work went through."""

    passed: bool
    how: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Return:
    """A delivery that was sent back: why, and what its check printed."""

    attempt: int
    verdict: str
    detail: str
    output: str | None
    at_s: float


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which an agent worked on a task, and how that ended."""

    began_s: float
    ended_s: float
    reason: str | None


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """One task; `size` is how many files, added and deleted lines its commit on the branch has."""

    status: TaskStatus
    prompt: str
    cost: Sum
    began_with: str
    check: Check | None
    returns: Sequence[Return]
    spans: Sequence[Span]
    queued_s: tuple[float, float] | None
    resolves: int | None
    size: tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a report tells.  `merged_into` are branches of the person's that have all of the result."""

    status: Status
    began: str
    base: str
    tip: str | None
    check: str | None
    size: tuple[int, int, int]
    merged: bool
    total: Sum
    saved_usd: float | None
    tasks: Sequence[TaskFacts]
    foreseen: Sequence[Mapping[str, Any]]
    trouble: Sequence[tuple[int, str]]
    left: Sequence[str]
    directory: str
    figures: Figures
    advice: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """What `prong report --json` prints."""
        return {**asdict(self), "status": self.status.as_json()}


def gather(swarm: Swarm) -> Facts:
    """Read all that a report of the swarm tells; a swarm that still runs is told as it is just now."""
    store = swarm.store()
    status, costs = read_status(store), read_costs(store)
    tip = swarm.repository.read_ref(f"refs/heads/{swarm.branch}")
    sizes = _sizes(swarm, tip)
    row = store.row("select started_at from swarm")
    assert row is not None, "it is written when the swarm is made"
    reader = _Reader(store, row["started_at"], status.seconds, {one.task: one for one in costs.tasks}, sizes)
    tasks = [reader.task(one) for one in status.tasks]
    figures = read_figures(store)
    merged = tip is not None and is_contained(swarm.repository, tip)
    return Facts(
        status=status,
        began=_began(store),
        base=swarm.base_commit,
        tip=tip,
        check=swarm.options.merging.check,
        size=_size_of(swarm, tip),
        merged=merged,
        total=costs.total,
        saved_usd=costs.saved_usd,
        tasks=tasks,
        foreseen=reader.foreseen(),
        trouble=reader.trouble(),
        left=_left(swarm, status, tip, merged=merged),
        directory=str(swarm.directory),
        figures=figures,
        advice=advise(figures),
    )


class _Reader:
    """Reads what belongs to single tasks."""

    def __init__(
        self, store: Store, start: float, seconds: float, costs: Mapping[int, TaskCost],
        sizes: Mapping[str, tuple[int, int, int]],
    ) -> None:  # fmt: skip
        self._start, self._seconds, self._costs, self._sizes = start, seconds, costs, sizes
        self._store = store
        self._prompts = {row["id"]: row["prompt"] for row in store.rows("select id, prompt from task")}
        self._deliveries = {row["task"]: row for row in store.rows("select * from merge")}
        self._checks = {row["task"]: row for row in store.rows("select * from event where kind = 'merge.checked'")}
        self._returns = _by_task(store.rows("select * from merge_attempt order by task, attempt"))
        self._agents = _by_task(store.rows("select * from agent where task is not null order by id"))

    def task(self, status: TaskStatus) -> TaskFacts:
        number = status.id
        cost = self._costs[number]
        delivery, checked = self._deliveries.get(number), self._checks.get(number)
        told = None if checked is None else json.loads(checked["data"])
        return TaskFacts(
            status=status,
            prompt=self._prompts[number],
            cost=cost.spent,
            began_with=cost.context,
            check=None if told is None else Check(told["passed"], told["how"], told["seconds"]),
            returns=[self._return(row) for row in self._returns.get(number, ())],
            spans=[self._span(row) for row in self._agents.get(number, ())],
            queued_s=None if delivery is None else self._queued(number, delivery),
            resolves=None if delivery is None else delivery["resolves"],
            size=self._sizes.get(status.merged_commit or ""),
        )

    def _queued(self, task: int, delivery: Row) -> tuple[float, float] | None:
        """When its work was in the merge queue; None where it was not.  A resolver has the age of what it resolves."""
        if not delivery["attempt"]:
            return None
        began = self._at(delivery["queued_at"])
        own = [self._at(row["started_at"]) for row in self._agents.get(task, ())]
        return max([began, *own[:1]]), self._at(delivery["ended_at"])

    def foreseen(self) -> list[Mapping[str, Any]]:
        """The conflicts that were seen before they were made."""
        return [
            json.loads(row["data"])
            for row in self._store.rows("select data from event where kind = 'conflict.foreseen' order by seq")
        ]

    def trouble(self) -> list[tuple[int, str]]:
        """What went wrong on the way, counted."""
        counts = {
            row["kind"]: row["count"]
            for row in self._store.rows("select kind, count(*) as count from event group by kind")
        }
        found = [(counts[kind], words) for kind, words in TROUBLE.items() if counts.get(kind)]
        dead = self._store.row("select count(*) as count from agent where state = 'dead' and task is not null")
        if dead is not None and dead["count"]:
            found.insert(0, (dead["count"], "agents died, and others went on in their place"))
        return found

    def _return(self, row: Row) -> Return:
        return Return(row["attempt"], row["verdict"], row["detail"], row["output"], self._at(row["at"]))

    def _span(self, row: Row) -> Span:
        return Span(self._at(row["started_at"]), self._at(row["ended_at"]), row["reason"])

    def _at(self, at: float | None) -> float:
        """Seconds since the beginning; what has not ended goes on to the end."""
        return self._seconds if at is None else max(0.0, at - self._start)


def _by_task(rows: Sequence[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row["task"], []).append(row)
    return found


def _began(store: Store) -> str:
    row = store.row("select at from event order by seq limit 1")
    at = dt.datetime.fromtimestamp(row["at"] if row is not None else 0).astimezone()
    return at.strftime("%Y-%m-%d %H:%M:%S %z")


def _sizes(swarm: Swarm, tip: str | None) -> dict[str, tuple[int, int, int]]:
    """Of each commit on the branch: files, added and deleted lines."""
    if tip is None:
        return {}
    told = swarm.repository.git("log", "--format=%x00%H", "--numstat", "--no-renames", f"{swarm.base_commit}..{tip}")
    found = {}
    for one in told.split("\0")[1:]:
        commit, *lines = one.strip("\n").split("\n")
        found[commit] = _summed(lines)
    return found


def _size_of(swarm: Swarm, tip: str | None) -> tuple[int, int, int]:
    if tip is None:
        return 0, 0, 0
    return _summed(swarm.repository.git("diff-tree", "-r", "--numstat", swarm.base_commit, tip).split("\n"))


def _summed(lines: Sequence[str]) -> tuple[int, int, int]:
    counts = [line.split("\t")[:2] for line in lines if line]
    added, deleted = (sum(int(one[n]) for one in counts if one[n] != "-") for n in (0, 1))
    return len(counts), added, deleted


def _left(swarm: Swarm, status: Status, tip: str | None, *, merged: bool) -> list[str]:
    """What a person has still to do, or to know."""
    left = []
    if status.state in ("running", "interrupted", "stopped", "budget", "approval", "cache"):
        open_ = sum(task.state not in ("done", "failed", "cancelled") for task in status.tasks)
        left.append(f"{open_} tasks have not ended. See why with: prong why. Go on with: prong resume {swarm.id}")
    for task in status.tasks:
        if task.kept_branch:
            left.append(f"Task {task.id} was not merged; its work is branch {task.kept_branch}: {task.title}")
        elif task.state in ("failed", "cancelled"):
            left.append(f"Task {task.id} is {task.state}: {task.title}. Its work so far: prong diff --task {task.id}")
    if tip is None:
        left.append(f"The branch {swarm.branch} is gone.")
    elif tip == swarm.base_commit:
        left.append("Nothing was merged, so there is no result to take.")
    elif not merged and not _is_squashed(swarm, tip):
        left.append(f"The result is in no branch of yours yet. Take it with: prong merge {swarm.id}")
    return left


def _is_squashed(swarm: Swarm, tip: str) -> bool:
    rows = swarm.store().rows("select data from event where kind = 'command.merge'")
    told = [json.loads(row["data"]) for row in rows]
    try:
        return any(one["tip"] == tip and is_contained(swarm.repository, one["commit"]) for one in told)
    except GitFailed:
        return False
