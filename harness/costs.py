"""What a swarm has cost, task by task, and what its forks have saved: one read of the database.

    inherited   the tokens that it began with and had not to read: its parent's conversation, in the prompt cache
    own         what it added to that, by the end of its last request
    cached      read from the cache, all requests together         written   everything else of its prompts
    fresh       about what it would have cost without its parent's conversation (see `economics`)

What a fresh agent would have cost nobody knows.  The estimate takes the task's own turns as they were, and adds the
turns in which it would have read a share of the prefix again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prong.agents import economics
from prong.agents.economics import Setting, Work
from prong.agents.models import Model, Usage, known
from prong.state import Row, Store

HIT = 0.95
"""A first request that reads this share of what it inherits has hit the cache."""


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum over calls of the model, in tokens and dollars (None: the price of some is unknown)."""

    calls: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0
    usd: float | None = 0.0

    def __add__(self, other: Sum) -> Sum:
        return Sum(
            self.calls + other.calls,
            self.cached + other.cached,
            self.written + other.written,
            self.output + other.output,
            _plus(self.usd, other.usd),
        )


@dataclass(frozen=True, slots=True)
class TaskCost:
    """One task.  `fresh_usd` and `saved_usd` are estimates, None where it began with nothing, or prices are unknown."""

    task: int
    title: str
    state: str
    role: str
    model: str
    context: str
    inherited: int
    own: int
    spent: Sum
    fresh_usd: float | None = None

    @property
    def saved_usd(self) -> float | None:
        """About what it saved by what it began with; below nothing where it would have been cheaper without."""
        return None if self.fresh_usd is None or self.spent.usd is None else self.fresh_usd - self.spent.usd


@dataclass(frozen=True, slots=True)
class ForkPointCost:
    """One fork point: its children, and whose first request found the prefix in the cache and whose did not."""

    message: int
    task: int
    children: int
    briefed: int
    prefix: int
    hits: int
    losses: int
    lost_tokens: int
    lost_usd: float | None
    held: int
    lifetime: str
    kept_calls: int
    kept_usd: float | None


@dataclass(frozen=True, slots=True)
class Costs:
    """All of a swarm; `by_role` and `by_model` have the name, the number of tasks and the sum."""

    swarm: str
    priced_as: str | None
    tasks: Sequence[TaskCost]
    fork_points: Sequence[ForkPointCost]
    by_role: Sequence[tuple[str, int, Sum]]
    by_model: Sequence[tuple[str, int, Sum]]
    total: Sum

    @property
    def saved_usd(self) -> float | None:
        """About what all together saved; None where nothing was inherited, or a price is unknown."""
        saved = [one.saved_usd for one in self.tasks if one.saved_usd is not None]
        return sum(saved) if saved else None

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "swarm": self.swarm,
            "priced_as": self.priced_as,
            "total": {**asdict(self.total), "saved_usd_estimate": self.saved_usd},
            "tasks": [_task_json(one) for one in self.tasks],
            "fork_points": [asdict(one) for one in self.fork_points],
            "roles": [{"role": name, "tasks": tasks, **asdict(sum_)} for name, tasks, sum_ in self.by_role],
            "models": [{"model": name, "tasks": tasks, **asdict(sum_)} for name, tasks, sum_ in self.by_model],
        }


_CALLS = "select * from model_call order by task, id"

_TASKS = """
select task.id, title, task.state, role, context, coalesce(fork_point, brief_of) as point, fork_point.prefix_tokens,
       fork_point.model as parents_model
  from task left join fork_point on fork_point.message = coalesce(task.fork_point, task.brief_of) order by task.id
"""

_POINTS = """
select fork_point.message, message.task, coalesce(prefix_tokens, 0) as prefix, lifetime,
       (select count(*) from task where task.fork_point = fork_point.message) as children,
       (select count(*) from task where task.brief_of = fork_point.message) as briefed,
       (select count(*) from task where task.fork_point = fork_point.message and held = 'cache') as held
  from fork_point join message on message.id = fork_point.message order by fork_point.message
"""


def read_costs(store: Store, *, priced_as: str | None = None) -> Costs:
    """Read all in one snapshot; with `priced_as` everything is priced as if this model had been asked."""
    with store.snapshot() as source:
        swarm = source.row("select id, model from swarm")
        assert swarm is not None, "a swarm's row is written when it is made"
        calls: dict[int, list[Row]] = {}
        for row in source.rows(_CALLS):
            calls.setdefault(row["task"], []).append(row)
        rows, points = source.rows(_TASKS), source.rows(_POINTS)
        prices = _Prices(source, priced_as)
    shared = min((_prompt(row) for all_ in calls.values() for row in all_), default=0)
    tasks = [_task(row, calls.get(row["id"], []), prices, shared, swarm["model"]) for row in rows]
    firsts = {row["id"]: (row["point"], calls.get(row["id"], [])) for row in rows}
    every = [row for all_ in calls.values() for row in all_]
    return Costs(
        swarm=swarm["id"],
        priced_as=priced_as,
        tasks=tasks,
        fork_points=[_point(row, firsts.values(), every, prices) for row in points],
        by_role=_grouped((one.role or "(none)", one.task, one.spent) for one in tasks),
        by_model=_grouped((row["model"], row["task"], _sum([row], prices)) for row in every),
        total=sum((one.spent for one in tasks), Sum()),
    )


class _Prices:
    """What a call costs: as it was counted, or as another model would have."""

    def __init__(self, source: Store, priced_as: str | None) -> None:
        self._as = known(source, priced_as) if priced_as is not None else None
        names = {row["model"] for row in source.rows("select distinct model from model_call")}
        self._known = {name: known(source, name) for name in names}

    def model(self, name: str) -> Model | None:
        return self._as or self._known.get(name)

    def usd(self, row: Row) -> float | None:
        if self._as is not None:
            return self._as.cost_usd(_usage(row))
        usd: float | None = row["usd"]
        return usd


def _task(row: Row, calls: Sequence[Row], prices: _Prices, shared: int, models: str) -> TaskCost:
    # A summary is asked for with the parent's conversation, which is none of the task's own.
    own = [call for call in calls if call["message"] is not None]
    inherited = row["prefix_tokens"] or 0 if row["context"] == "fork" else 0
    cost = TaskCost(
        task=row["id"],
        title=row["title"],
        state=row["state"],
        role=row["role"],
        model=own[-1]["model"] if own else models,
        context=row["context"],
        inherited=inherited if own else 0,
        own=max((_prompt(call) + call["output_tokens"] for call in own), default=0) - (inherited if own else 0),
        spent=_sum(calls, prices),
    )
    model = prices.model(cost.model)
    if row["point"] is None or not own or model is None or not row["prefix_tokens"] or cost.spent.usd is None:
        return cost
    fresh = economics.price(_as_fresh(row["prefix_tokens"], own, model, shared), "fresh")
    priced = any(tier.input for tier in model.prices)
    known = {name: getattr(cost, name) for name in TaskCost.__slots__ if name != "fresh_usd"}
    return TaskCost(**known, fresh_usd=fresh.cost if priced else 0.0)


def _as_fresh(prefix: int, calls: Sequence[Row], model: Model, shared: int) -> Setting:
    """The task as it was, had it begun with nothing."""
    outputs = sum(call["output_tokens"] for call in calls)
    turns = len(calls)
    grown = max(map(_prompt, calls)) - _prompt(calls[0])
    output = round(outputs / turns)
    result = max(0, round(grown / max(1, turns - 1)) - output)
    return Setting(
        prefix_tokens=prefix, shared_tokens=min(shared, prefix), children=1, model=model,
        work=Work(turns, output, result, turn_s=0.0),
    )  # fmt: skip


def _point(
    row: Row, firsts: Iterable[tuple[int | None, Sequence[Row]]], every: Sequence[Row], prices: _Prices
) -> ForkPointCost:
    kept = [call for call in every if call["keeps"] == row["message"]]
    found = [
        call
        for point, calls in firsts
        if point == row["message"]
        for call in [next((one for one in calls if one["prefix_tokens"]), None)]
        if call is not None
    ]
    lost = [call for call in found if call["cache_read_tokens"] < HIT * call["prefix_tokens"]]
    dollars = [
        economics.loss_usd(
            prices.model(call["model"]), prefix=call["prefix_tokens"], read=call["cache_read_tokens"]
        )
        for call in lost
    ]  # fmt: skip
    return ForkPointCost(
        message=row["message"],
        task=row["task"],
        children=row["children"],
        briefed=row["briefed"],
        prefix=row["prefix"],
        hits=len(found) - len(lost),
        losses=len(lost),
        lost_tokens=sum(call["prefix_tokens"] - call["cache_read_tokens"] for call in lost),
        lost_usd=None if None in dollars else sum(one for one in dollars if one is not None),
        held=row["held"],
        lifetime=row["lifetime"],
        kept_calls=len(kept),
        kept_usd=_sum(kept, prices).usd,
    )


def _sum(calls: Iterable[Row], prices: _Prices) -> Sum:
    total = Sum()
    for call in calls:
        usage = _usage(call)
        total += Sum(1, usage.cache_read, usage.cache_write + usage.input, usage.output, prices.usd(call))
    return total


def _grouped(entries: Iterable[tuple[str, int, Sum]]) -> list[tuple[str, int, Sum]]:
    """By name, those that cost most first."""
    sums: dict[str, Sum] = {}
    tasks: dict[str, set[int]] = {}
    for name, task, one in entries:
        sums[name] = sums.get(name, Sum()) + one
        tasks.setdefault(name, set()).add(task)
    order = sorted(sums, key=lambda name: (-(sums[name].usd or 0.0), -sums[name].calls, name))
    return [(name, len(tasks[name]), sums[name]) for name in order]


def _usage(row: Row) -> Usage:
    return Usage(
        row["input_tokens"], row["cache_read_tokens"], row["cache_write_tokens"], row["output_tokens"],
        row["cache_write_1h_tokens"],
    )  # fmt: skip


def _prompt(row: Row) -> int:
    return _usage(row).prompt


def _plus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _task_json(one: TaskCost) -> dict[str, Any]:
    flat = {**asdict(one), **asdict(one.spent)}
    del flat["spent"], flat["fresh_usd"]
    return json.loads(  # type: ignore[no-any-return]  # a dictionary goes in
        json.dumps({**flat, "fresh_usd_estimate": one.fresh_usd, "saved_usd_estimate": one.saved_usd})
    )
