"""The queue against a bare `sqlite3` loop, redis-py's BLPOP, huey, litequeue and persist-queue.

Throughput is all messages divided by the time from the first put to the return of the last get, while producers put
as fast as they can.  Wake-up is the time from the call of put to the return of the get that was waiting for it, while
they pause between puts.  Each message tells its producer and number, so that none can be lost or doubled unseen.
Prong's consumers say `task_done` for each message, as a queue that survives its readers needs.  What BLPOP does, which
loses a message with its reader, is `acknowledge="at_get"`; both are measured.  The others are compared with what does
the same.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from claims import Claim, at_most
from family import redis_server
from family.contest import (
    BARE,
    OURS,
    Judge,
    Scale,
    beside_bare,
    beside_peer,
    middle,
    percentile,
    ratio_at_least,
    ratio_at_most,
    take_turns,
)  # fmt: skip
from family.crew import Crew, Make, Work
from family.queue_sides import BARE_AT_GET, OURS_AT_GET, End, sides

LIKE = {"huey": OURS_AT_GET, "persist-queue": OURS_AT_GET, "litequeue": OURS}
"""Which of ours does what each embedded queue does: of these, only litequeue has readers say when they are done."""

_COUNT = struct.Struct("q")
_LOOK_S = 0.1
"""How long a consumer waits before it looks whether all messages have come, in seconds."""
_LIMIT_S = 4.0
"""After how many seconds a round ends although messages are missing: lost, late, or not put yet."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What one round showed."""

    per_s: float
    wake_p50_us: float
    wake_p99_us: float
    missing: int
    doubled: int


@dataclass(frozen=True, slots=True)
class Order:
    """How many messages each producer puts, how many seconds it pauses before each, and which round it is.

    What a stuck round has left in the queue is known by its number in the next.
    """

    each: int
    pause_s: float
    round: int = 0


def measure(scale: Scale) -> tuple[list[Claim], list[dict[str, Any]]]:
    """One producer and one consumer, and four of each."""
    claims: list[Claim] = []
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        contestants = sides(stack)
        for pairs in (1, 4):
            flows, wakes = _rounds(scale, contestants, pairs)
            rows += [_row(name, pairs, found, wakes.get(name, [])) for name, found in flows.items() if found]
            _compare(f"queue {pairs}/{pairs}", flows, wakes, claims, rows)
    return claims, rows


def _rounds(
    scale: Scale, contestants: dict[str, Callable[[], Any]], pairs: int
) -> tuple[dict[str, list[Flow]], dict[str, list[Flow]]]:
    flood = Order((400 if scale.quick else 1_600) // pairs, 0.0)
    paced = Order((60 if scale.quick else 240) // pairs, 0.003 * pairs)
    page = mmap.mmap(-1, mmap.PAGESIZE)
    with ExitStack() as stack:
        crews = {}
        for name, side in contestants.items():
            crews[name] = stack.enter_context(Crew(2 * pairs, _end(side, pairs, page)))
            _round(crews[name], pairs, page, Order(20, 0.0))
        turns = {name: lambda crew=crew: _round(crew, pairs, page, flood) for name, crew in crews.items()}
        flows = take_turns(scale.rounds, turns)
        turns = {
            name: lambda crew=crew: _round(crew, pairs, page, paced)
            for name, crew in crews.items()
            if name in (OURS, OURS_AT_GET, BARE, BARE_AT_GET, "redis-py")
        }
        return flows, take_turns(scale.rounds, turns)


def _row(name: str, pairs: int, flows: list[Flow], wakes: list[Flow]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "queue": name,
        "producers/consumers": f"{pairs}/{pairs}",
        "per s": round(middle(flows, lambda flow: flow.per_s) or 0),
        "missing": sum(flow.missing for flow in flows),
        "doubled": sum(flow.doubled for flow in flows),
    }
    if wakes:
        row["wake-up p50 us"] = round(middle(wakes, lambda flow: flow.wake_p50_us) or 0)
        row["p99 us"] = round(middle(wakes, lambda flow: flow.wake_p99_us) or 0)
    return row


_BOUNDS: tuple[tuple[str, Judge, Callable[[Flow], float], float], ...] = (
    ("wake-up p50", ratio_at_most, lambda flow: flow.wake_p50_us, 1.0),
    ("wake-up p99", ratio_at_most, lambda flow: flow.wake_p99_us, 2.0),
)
"""Of waking: what is compared with redis-py and how, the figure, and the bound."""

_KINDS = (
    ("put, get, task_done", OURS, BARE),
    ("put, get with acknowledge='at_get'", OURS_AT_GET, BARE_AT_GET),
)
"""What is done with a message, by which of ours and by which bare loop."""


def _compare(
    what: str,
    flows: dict[str, list[Flow]],
    wakes: dict[str, list[Flow]],
    claims: list[Claim],
    rows: list[dict[str, Any]],
) -> None:
    rates = {name: middle(found, lambda flow: flow.per_s) for name, found in flows.items()}
    lacks = redis_server.lacks()

    def against(
        figure: str, judge: Judge, figures: dict[str, float | None], peer: str, bound: float,
        *, ours: str, bare: str, lacks: str,
    ) -> None:  # fmt: skip
        claim, row = beside_peer(
            f"{what}: {figure}", judge, figures, peer, bound, ours=ours, bare=bare, lacks=lacks
        )  # fmt: skip
        claims.append(claim)
        rows.append(row)

    for kind, ours, bare in _KINDS:
        against(kind, ratio_at_least, rates, "redis-py", 1.2, ours=ours, bare=bare, lacks=lacks)
        claims.append(beside_bare(f"{what}: {kind}", ratio_at_least, rates, ours=ours, bare=bare))
    for figure, judge, read, bound in _BOUNDS:
        times = {name: middle(found, read) for name, found in wakes.items()}
        against(figure, judge, times, "redis-py", bound, ours=OURS, bare=BARE, lacks=lacks)
        claims.append(beside_bare(f"{what}: {figure}", judge, times))
    of_ours = [*flows[OURS], *flows[OURS_AT_GET], *wakes[OURS]]
    claims.append(
        at_most(
            f"{what}: messages lost or doubled", sum(flow.missing + flow.doubled for flow in of_ours), 0, "messages"
        )
    )
    kinds = {ours: (kind, bare) for kind, ours, bare in _KINDS}
    for peer, like in LIKE.items():
        kind, bare = kinds[like]
        against(kind, ratio_at_least, rates, peer, 3, ours=like, bare=bare, lacks=f"pip install {peer}")


def _round(crew: Crew, pairs: int, page: mmap.mmap, order: Order) -> Flow:
    page[:] = bytes(len(page))
    order = replace(order, round=time.monotonic_ns())
    results = crew.run(order, expected_s=_LIMIT_S)
    began = min(first for first, _ in results[:pairs])
    last = max((last for last, _ in results[pairs:]), default=began)
    texts = [text for _, found in results[pairs:] for text in found]
    counts = Counter(text.rpartition(" ")[0] for text, _ in texts)
    wakes_us = [(got - int(text.rpartition(" ")[2])) / 1000 for text, got in texts]
    return Flow(
        per_s=len(counts) / max((last - began) / 1e9, 1e-9),
        wake_p50_us=percentile(wakes_us, 0.5),
        wake_p99_us=percentile(wakes_us, 0.99),
        missing=pairs * order.each - len(counts),
        doubled=sum(counts.values()) - len(counts),
    )


def _end(side: Callable[[], Any], pairs: int, page: mmap.mmap) -> Make:
    """A producer where the index is below `pairs`, otherwise a consumer."""

    @contextmanager
    def make(index: int) -> Iterator[Work]:
        with side() as end:
            if index < pairs:
                yield lambda order: _produce(end, index, order)
            else:
                yield lambda order: _consume(end, index - pairs, pairs, page, order)

    return make


def _produce(end: End, index: int, order: Order) -> tuple[int, list[Any]]:
    began = time.monotonic_ns()
    for number in range(order.each):
        if time.monotonic_ns() - began > _LIMIT_S * 1e9:
            break
        if order.pause_s:
            time.sleep(order.pause_s)
        end.put(f"{order.round} {index} {number} {time.monotonic_ns()}")
    return began, []


def _consume(end: End, index: int, pairs: int, page: mmap.mmap, order: Order) -> tuple[int, list[tuple[str, int]]]:
    found: list[tuple[str, int]] = []
    last = began = time.monotonic_ns()
    everything = pairs * order.each
    while True:
        text = end.get(_LOOK_S)
        now = time.monotonic_ns()
        if text is not None:
            end.done()
            if text.startswith(f"{order.round} "):
                last = now
                found.append((text, now))
                _COUNT.pack_into(page, index * _COUNT.size, len(found))
        come = sum(_COUNT.unpack_from(page, other * _COUNT.size)[0] for other in range(pairs))
        if come >= everything or now - began > _LIMIT_S * 1e9:
            return last, found
