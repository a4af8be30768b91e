"""The lock against a bare `sqlite3` loop, diskcache, redis-py and `multiprocessing.Manager().Lock`.

A hand-off is the time from a holder's call of release until the next holder's acquire has returned, in another
process; whoever has the lock writes both moments into a page that all share.  Fairness is the fewest acquisitions of a
process divided by the most.
"""

from __future__ import annotations

import importlib.util
import mmap
import multiprocessing
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from claims import Claim, at_least
from family import redis_server
from family.bare_loops import BareLock
from family.contest import (
    BARE,
    OURS,
    Judge,
    Scale,
    beside_bare,
    beside_peer,
    middle,
    missing,
    percentile,
    ratio_at_least,
    ratio_at_most,
    take_turns,
)  # fmt: skip
from family.crew import Crew, Make, Work, counting, per_second
from family.ours import joined, swarm_directory

_LAST = struct.Struct("qq")  # who released last, and when, in nanoseconds
_NOBODY = -1


@dataclass(frozen=True, slots=True)
class Contention:
    """What one round of contention showed."""

    per_s: float
    p50_us: float
    p99_us: float
    fairness: float


_BOUNDS: tuple[tuple[str, Judge, str, str, float], ...] = (
    ("operations", ratio_at_least, "per_s", "redis-py", 1),
    ("hand-off p50", ratio_at_most, "p50_us", "Manager", 1),
    ("hand-off p99", ratio_at_most, "p99_us", "Manager", 1.5),
)
"""Of contention: what is compared and how, whose figure it is, the peer, and the bound."""


def measure(scale: Scale) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Uncontended and contended locks."""
    claims: list[Claim] = []
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        sides = _sides(stack)
        _alone(scale, sides, claims, rows)
        for size in (2, 8) if scale.quick else (2, 8, 32):
            _contended(scale, sides, size, claims, rows)
    return claims, rows


def _sides(stack: ExitStack) -> dict[str, Callable[[int], Any]]:
    """How each contestant makes its lock in a process of its own: a context manager that yields it."""
    directory, bare = (stack.enter_context(swarm_directory()) for _ in range(2))
    manager = stack.enter_context(multiprocessing.get_context("fork").Manager())
    shared = manager.Lock()
    sides: dict[str, Callable[[int], Any]] = {
        OURS: lambda _index: of_prong(directory),
        BARE: lambda _index: BareLock(bare),
        "Manager": lambda _index: _as_it_is(shared),
    }
    socket = stack.enter_context(redis_server.server())
    if socket is not None:
        sides["redis-py"] = lambda _index: _of_redis(socket)
    if importlib.util.find_spec("diskcache") is not None:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="prong-diskcache-"))
        sides["diskcache"] = lambda _index: _of_diskcache(folder)
    return sides


@contextmanager
def of_prong(directory: Any) -> Iterator[Any]:
    """A process's hold of the lock that all contend for."""
    with joined(directory) as swarm:
        yield swarm.Lock("contended")


@contextmanager
def _as_it_is(lock: Any) -> Iterator[Any]:
    yield lock


@contextmanager
def _of_redis(socket: str) -> Iterator[Any]:
    with redis_server.client(socket) as client:
        # The default looks again every 100 ms; a short sleep is the best that redis-py can be made to do.
        yield client.lock("contended", timeout=60, sleep=0.001)


@contextmanager
def _of_diskcache(folder: str) -> Iterator[Any]:
    import diskcache  # noqa: PLC0415  the peer may be missing

    with diskcache.Cache(folder) as cache:
        yield diskcache.Lock(cache, "contended", expire=60)


def _alone(
    scale: Scale, sides: dict[str, Callable[[int], Any]], claims: list[Claim], rows: list[dict[str, Any]]
) -> None:
    with ExitStack() as stack:
        turns = {}
        for name, side in sides.items():
            crew = stack.enter_context(Crew(1, _pairs(side)))
            crew.run(scale.window_s / 4)
            turns[name] = lambda crew=crew: per_second(crew.run(scale.window_s))
        results = take_turns(scale.rounds, turns)
    rate = {name: middle(found, float) for name, found in results.items()}
    rows += [{"lock": name, "processes": 1, "per s": round(found)} for name, found in rate.items() if found]
    ours = rate[OURS]
    claims += [
        ratio_at_least(
            "lock, uncontended / diskcache", ours, rate.get("diskcache"), 1.3, lacks="pip install diskcache"
        ),
        ratio_at_least(
            "lock, uncontended / redis-py", ours, rate.get("redis-py"), 2.5, lacks=redis_server.lacks()
        ),
    ]  # fmt: skip


def _pairs(side: Callable[[int], Any]) -> Make:
    @contextmanager
    def make(index: int) -> Iterator[Work]:
        with side(index) as lock:

            def once() -> None:
                lock.acquire()
                lock.release()

            yield counting(once)

    return make


def _contended(
    scale: Scale, sides: dict[str, Callable[[int], Any]], size: int, claims: list[Claim], rows: list[dict[str, Any]]
) -> None:
    window_s = scale.window_s * (2 if scale.quick else 4)
    page = mmap.mmap(-1, mmap.PAGESIZE)
    with ExitStack() as stack:
        turns = {}
        for name, side in sides.items():
            crew = stack.enter_context(Crew(size, _contender(side, page)))
            turns[name] = lambda crew=crew: _round(crew, page, window_s)
            turns[name]()  # nobody is timed while he prepares his statements
        results = take_turns(scale.rounds, turns)
    found = {name: _middle(rounds) for name, rounds in results.items() if rounds}
    for name, one in found.items():
        rows.append(
            {
                "lock": name,
                "processes": size,
                "per s": round(one.per_s),
                "hand-off p50 us": round(one.p50_us),
                "p99 us": round(one.p99_us),
                "fairness": round(one.fairness, 3),
            }
        )
    _compare(f"lock, contended by {size}", found, claims, rows)


def _compare(what: str, found: dict[str, Contention], claims: list[Claim], rows: list[dict[str, Any]]) -> None:
    if OURS not in found:
        claims.append(missing(what, "", "", "ours got stuck"))
        return
    for figure, judge, field, peer, bound in _BOUNDS:
        figures = {name: getattr(one, field) for name, one in found.items()}
        lacks = redis_server.lacks() if peer == "redis-py" else ""
        claim, row = beside_peer(f"{what}: {figure}", judge, figures, peer, bound, lacks=lacks)
        claims += [claim, beside_bare(f"{what}: {figure}", judge, figures)]
        rows.append(row)
    claims.append(at_least(f"{what}: fairness", found[OURS].fairness, 0.9, "fewest/most"))


def _middle(rounds: list[Contention]) -> Contention:
    figures = [middle(rounds, lambda one, field=field: getattr(one, field)) for field in Contention.__slots__]
    return Contention(*[figure or 0.0 for figure in figures])


def _round(crew: Crew, page: mmap.mmap, window_s: float) -> Contention:
    _LAST.pack_into(page, 0, _NOBODY, 0)
    results = crew.run(window_s, expected_s=window_s)
    times = [times for times, _, _ in results]
    hand_offs_us = [hand_off / 1000 for _, _, hand_offs in results for hand_off in hand_offs]
    return Contention(
        per_s=sum(times / seconds for times, seconds, _ in results),
        p50_us=percentile(hand_offs_us, 0.5),
        p99_us=percentile(hand_offs_us, 0.99),
        fairness=min(times) / max(times) if max(times) else 0.0,
    )


def _contender(side: Callable[[int], Any], page: mmap.mmap) -> Make:
    @contextmanager
    def make(index: int) -> Iterator[Work]:
        with side(index) as lock:

            def work(window_s: float) -> tuple[int, float, list[int]]:
                began = time.monotonic_ns()
                end = began + int(window_s * 1e9)
                hand_offs: list[int] = []
                times = 0
                got = began
                while got < end:
                    lock.acquire()
                    got = time.monotonic_ns()
                    who, released = _LAST.unpack_from(page, 0)
                    if who not in (index, _NOBODY):
                        hand_offs.append(got - released)
                    times += 1
                    _LAST.pack_into(page, 0, index, time.monotonic_ns())
                    lock.release()
                return times, (time.monotonic_ns() - began) / 1e9, hand_offs

            yield work

    return make
