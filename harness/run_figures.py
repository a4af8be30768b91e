"""The figures of a run that advice is made of, read from its log and its calls of the model.

agents' time    the spans of the log; of each moment of a task one kind: what it waited for, else model, else tool
longest path    back from each task through what it needed and what it waited for below itself
one agent       the same turns in one conversation, priced as `economics` does
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prong.agents.economics import Work
from prong.agents.models import Model, Source, known
from prong.harness.advice import KINDS, SHORT_S, Figures
from prong.harness.inspector import spans as log
from prong.harness.inspector.spans import Span, Spans
from prong.harness.plans.estimate import SHARED_TOKENS, alone
from prong.harness.roles import NONE, read_roles
from prong.state import Row, Store

_READY = """
select at, kind, object, data from event
 where kind in ('task.created', 'task.ready', 'task.returned', 'task.claimed', 'swarm.running',
                'swarm.done', 'swarm.failed', 'swarm.stopped', 'swarm.budget', 'swarm.approval', 'swarm.cache')
 order by seq
"""

# What `Spans.take` is told of.
_SPANS = """
select seq, at, agent, task, kind, object, data from event
 where seq <= :until and kind in (
    'task.claimed', 'task.done', 'task.failed', 'task.cancelled', 'task.returned', 'task.backs_off', 'task.parked',
    'task.unparked', 'model.answered', 'tool.began', 'tool.ended', 'agent.dead', 'agent.ended', 'swarm.stopped')
 order by seq
"""

_CALLS = """
select model, input_tokens as input, cache_read_tokens as read, cache_write_tokens as written, output_tokens as output,
       usd, task, message is not null as own from model_call order by task, id
"""

_WEIGHTS = {"input": 1.0, "read": 0.1, "written": 1.25, "output": 5.0}
"""How the prices of most models stand to each other, as in `economics`."""

_LOCKS = frozenset({"lock", "semaphore"})

Stretch = tuple[float, float, str]
"""From when to when, in seconds of the wall clock, and what kind of time it is."""


def read_figures(store: Store) -> Figures:
    """The figures of a swarm, as it stands now where it still runs."""
    with store.snapshot() as source:
        fold = Spans()
        until = source.row("select coalesce(max(seq), 0) as seq, coalesce(max(at), 0) as at from event")
        assert until is not None
        for row in source.rows(_SPANS, until=until["seq"]):
            fold.take(tuple(row))
        rows = {row["id"]: row for row in source.rows("select id, title, parent from task")}
        needs = source.rows("select task, need from task_need")
        swarm = source.row("select slots from swarm")
        ready = source.rows(_READY)
        calls = source.rows(_CALLS)
    roles = read_roles(store)
    assert swarm is not None
    by_task = _by_task(fold.all, until["at"])
    kinds = {task: _times(stretches) for task, stretches in by_task.items()}
    work = {task: times["model"] + times["tool"] for task, times in kinds.items()}
    busy = {task: sum(times[kind] for kind in ("model", "tool", "other", "merge")) for task, times in kinds.items()}
    wall_s = _wall_s(ready, until["at"])
    path = longest(busy, _graph(rows, needs))
    waited, full = _queued_s(ready, by_task, swarm["slots"])
    total = {kind: sum(times[kind] for times in kinds.values()) for kind in KINDS}
    total["queue" if full else "other"] += waited
    cost, lone, unit = _costs(store, calls)
    return Figures(
        tasks=len(kinds), slots=swarm["slots"], wall_s=wall_s, work_s=sum(work.values()),
        critical_s=min(wall_s, sum(busy.get(task, 0.0) for task in path)),
        critical=[rows[task]["title"] for task in path if task in busy], kinds=total,
        short=sum(one < SHORT_S for one in work.values()), start_s=_start_s(fold.all), cost=cost, alone=lone,
        unit="usd" if unit else "tokens",
        busy={one.role: one.busy for one in roles if one.role != NONE and one.tasks and one.busy is not None},
    )  # fmt: skip


def longest(seconds: Mapping[int, float], before: Mapping[int, Sequence[int]]) -> list[int]:
    """The tasks of the longest path in seconds, the first first; `before` is what each had to wait for.

    >>> longest({1: 5, 2: 1, 3: 2}, {3: [1, 2]})
    [1, 3]
    """
    best: dict[int, float] = {}
    stack = list({*seconds, *before})
    open_: set[int] = set()
    while stack:
        task = stack[-1]
        missing = [one for one in before.get(task, ()) if one not in best and one not in open_]
        if task not in best and missing:
            open_.add(task)
            stack += missing
            continue
        stack.pop()
        open_.discard(task)
        best[task] = seconds.get(task, 0.0) + max((best.get(one, 0.0) for one in before.get(task, ())), default=0.0)
    walk: list[int] = []
    at = max(best, key=lambda task: best[task], default=None)
    while at is not None and at not in walk:
        walk.append(at)
        at = max(before.get(at, ()), key=lambda task: best.get(task, 0.0), default=None)
    return walk[::-1]


def _graph(rows: Mapping[int, Row], needs: Iterable[Row]) -> Mapping[int, list[int]]:
    """What each task waited for: its needs, and those that it made."""
    before: defaultdict[int, list[int]] = defaultdict(list)
    for row in needs:
        before[row["task"]].append(row["need"])
    for task, row in rows.items():
        if row["parent"] is not None and task not in before[row["parent"]]:
            before[row["parent"]].append(task)
    return before


def _by_task(spans: Iterable[Span], now: float) -> Mapping[int, list[Stretch]]:
    """What each task that ran did when; a stretch "other" is all of an attempt, which the others lie in."""
    found: defaultdict[int, list[Stretch]] = defaultdict(list)
    for span in spans:
        if span.task is not None:
            ended_at = now if span.ended_at is None else span.ended_at
            found[span.task].append((span.began_at, ended_at, _kind(span)))
    return {task: stretches for task, stretches in found.items() if any(one[2] == "other" for one in stretches)}


def _kind(span: Span) -> str:
    kind = log.KINDS[span.kind]
    if kind == "task":
        return "other"
    if kind != "wait":
        return kind
    what = span.name.partition(" ")[0]
    return "lock" if what in _LOCKS else "queue" if what == "slot" else "coordination"


_RANK = {kind: place for place, kind in enumerate(("merge", "lock", "queue", "coordination", "model", "tool", "other"))}


def _times(stretches: Sequence[Stretch]) -> Mapping[str, float]:
    """Seconds by kind; of what happens at the same time the kind that stands first in `_RANK` counts."""
    edges = sorted(
        edge for begin, end, kind in stretches for edge in ((begin, 1, kind), (max(begin, end), -1, kind))
    )  # fmt: skip
    inside = dict.fromkeys(KINDS, 0)
    times = dict.fromkeys(KINDS, 0.0)
    last = edges[0][0] if edges else 0.0
    for at, step, kind in edges:
        now = min((one for one, count in inside.items() if count > 0), key=_RANK.__getitem__, default=None)
        if now is not None:
            times[now] += at - last
        last = at
        inside[kind] += step
    return times


def _wall_s(events: Sequence[Row], end: float) -> float:
    """How long it was run, each time added up."""
    total, began = 0.0, None
    for row in events:
        if row["kind"].startswith("swarm."):
            total += max(0.0, row["at"] - began) if began is not None else 0.0
            began = row["at"] if row["kind"] == "swarm.running" else None
    return total + (max(0.0, end - began) if began is not None else 0.0)


def _queued_s(events: Sequence[Row], by_task: Mapping[int, list[Stretch]], slots: int) -> tuple[float, bool]:
    """How long ready tasks stood in line, added up, and whether all slots were ever taken."""
    since: dict[str, float] = {}
    began, waited = 0.0, 0.0
    for row in events:
        if row["kind"] == "swarm.running":
            began = row["at"]
            since = {task: max(at, began) for task, at in since.items()}
        elif row["kind"].startswith("swarm."):
            continue
        elif row["kind"] == "task.claimed":
            waited += max(0.0, row["at"] - since.pop(row["object"], row["at"]))
        elif row["kind"] != "task.created" or json.loads(row["data"])["state"] == "ready":
            since.setdefault(row["object"], max(row["at"], began))
    attempts = [stretch for stretches in by_task.values() for stretch in stretches if stretch[2] == "other"]
    edges = sorted(edge for begin, end, _ in attempts for edge in ((begin, 1), (end, -1)))
    most = running = 0
    for _, step in edges:
        running += step
        most = max(most, running)
    return waited, most >= slots


def _start_s(spans: Sequence[Span]) -> float:
    """From the claim of a task to its first call of the model, on average."""
    claimed: dict[int, float] = {}
    first: dict[int, float] = {}
    for span in spans:
        if span.task is not None and log.KINDS[span.kind] == "task":
            claimed.setdefault(span.task, span.began_at)
        elif span.task is not None and log.KINDS[span.kind] == "model":
            first[span.task] = min(first.get(span.task, span.began_at), span.began_at)
    found = [max(0.0, at - claimed[task]) for task, at in first.items() if task in claimed]
    return sum(found) / len(found) if found else 0.0


def _costs(source: Source, calls: Sequence[Row]) -> tuple[float | None, float | None, bool]:
    """What it cost, what one agent would have, and whether that is in dollars."""
    if not calls:
        return None, None, True
    paid = [row["usd"] for row in calls]
    models = {row["model"] for row in calls}
    model = known(source, next(iter(models))) if len(models) == 1 else None
    in_usd = None not in paid and sum(paid) > 0 and model is not None
    work, shared = _work(calls)
    priced: Model | None = model if in_usd else None
    lone = alone(priced, work, shared_tokens=shared, turns=len(calls))
    if in_usd:
        return sum(paid), lone, True
    weighed = sum(row[name] * weight for row in calls for name, weight in _WEIGHTS.items())
    return weighed, lone * 1_000_000, False


def _work(calls: Sequence[Row]) -> tuple[Work, int]:
    """What a turn added on average, and what every conversation began with."""
    lengths: defaultdict[int, list[int]] = defaultdict(list)
    for row in calls:
        if row["own"]:
            lengths[row["task"]].append(row["input"] + row["read"] + row["written"])
    grown: list[Any] = [(max(all_) - min(all_)) / (len(all_) - 1) for all_ in lengths.values() if len(all_) > 1]
    output = sum(row["output"] for row in calls) / len(calls)
    grows = sum(grown) / len(grown) if grown else output
    shared = min((min(all_) for all_ in lengths.values()), default=SHARED_TOKENS)
    return Work(len(calls), round(output), max(0, round(grows - output)), turn_s=0.0), shared
