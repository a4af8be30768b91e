"""The queue against redis-py's BLPOP, huey, litequeue and persist-queue.

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
from family.contest import Scale, middle, percentile, ratio_at_least, ratio_at_most, take_turns
from family.crew import Crew, Make, Work
from family.queue_sides import End, sides

LIKE = {"huey": "prong, at_get", "persist-queue": "prong, at_get", "litequeue": "prong"}
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
            claims += _claims(pairs, flows, wakes)
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
            if name in ("prong", "prong, at_get", "redis-py")
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


def _claims(pairs: int, flows: dict[str, list[Flow]], wakes: dict[str, list[Flow]]) -> list[Claim]:
    def rate(name: str) -> float | None:
        return middle(flows.get(name, []), lambda flow: flow.per_s)

    def wake(name: str, figure: Callable[[Flow], float]) -> float | None:
        return middle(wakes.get(name, []), figure)

    what, lacks = f"queue {pairs}/{pairs}", redis_server.lacks()
    ours = [*flows["prong"], *flows["prong, at_get"], *wakes["prong"]]
    claims = [
        ratio_at_least(f"{what}: put, get, task_done / redis-py", rate("prong"), rate("redis-py"), 1.2, lacks=lacks),
        ratio_at_least(
            f"{what}: put, get with acknowledge='at_get' / redis-py",
            rate("prong, at_get"),
            rate("redis-py"),
            1.2,
            lacks=lacks,
        ),
    ]
    for percent, bound in ((50, 1.0), (99, 2.0)):
        figures = [wake(name, lambda flow: getattr(flow, f"wake_p{percent}_us")) for name in ("prong", "redis-py")]  # noqa: B023  called at once
        claims.append(ratio_at_most(f"{what}: wake-up p{percent} / redis-py", *figures, bound, lacks=lacks))
    claims.append(
        at_most(f"{what}: messages lost or doubled", sum(flow.missing + flow.doubled for flow in ours), 0, "messages")
    )
    for peer, like in LIKE.items():
        how = "put, get, task_done" if like == "prong" else "put, get with acknowledge='at_get'"
        claims.append(ratio_at_least(f"{what}: {how} / {peer}", rate(like), rate(peer), 3, lacks=f"pip install {peer}"))
    return claims


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
