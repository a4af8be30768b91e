"""The barrier against a bare `sqlite3` loop and `multiprocessing.Manager().Barrier`.

Each party writes down when it calls wait and when its wait returned; a passage lasts from the latest call to the
latest return.  Before each arrival a party does something else for a random while, as parties do.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from claims import Claim
from family.bare_loops import BareBarrier
from family.contest import BARE, OURS, Scale, beside_bare, beside_peer, middle, percentile, ratio_at_most, take_turns
from family.crew import Crew, Make, Work
from family.ours import joined, swarm_directory

_APART_S = 0.005
"""How far apart parties arrive at most, in seconds."""


def measure(scale: Scale) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Eight and thirty-two parties."""
    claims: list[Claim] = []
    rows: list[dict[str, Any]] = []
    for parties in (8,) if scale.quick else (8, 32):
        found = _passages(scale, parties)
        for name, rounds in found.items():
            row: dict[str, Any] = {"barrier": name, "parties": parties}
            for share in (0.5, 0.99):
                row[f"p{share * 100:.0f} us"] = round(middle(rounds, lambda one: percentile(one, share)) or 0)  # noqa: B023  called at once
            rows.append(row)
        p50 = {name: middle(rounds, lambda one: percentile(one, 0.5)) for name, rounds in found.items()}
        what = f"barrier of {parties}: last arrival to all released, p50"
        claim, row = beside_peer(what, ratio_at_most, p50, "Manager", 1)
        claims += [claim, beside_bare(what, ratio_at_most, p50)]
        rows.append(row)
    return claims, rows


def _passages(scale: Scale, parties: int) -> dict[str, list[list[float]]]:
    """The microseconds of each passage, by contestant and round."""
    times = 20 if scale.quick else 100
    with ExitStack() as stack:
        directory, bare = (stack.enter_context(swarm_directory()) for _ in range(2))
        manager = stack.enter_context(multiprocessing.get_context("fork").Manager())
        shared = manager.Barrier(parties)
        sides = {
            OURS: _with(lambda: of_prong(directory, parties)),
            BARE: _with(lambda: BareBarrier(bare, parties)),
            "Manager": _with(lambda: nullcontext(shared)),
        }
        turns = {}
        for name, side in sides.items():
            crew = stack.enter_context(Crew(parties, side))
            crew.run(3)
            turns[name] = lambda crew=crew: _round(crew, times)
        return take_turns(scale.rounds, turns)


def _round(crew: Crew, times: int) -> list[float]:
    parties = crew.run(times)
    return [
        (max(left for _, left in passage) - max(came for came, _ in passage)) / 1000
        for passage in zip(*parties, strict=True)
    ]


@contextmanager
def of_prong(directory: Path, parties: int) -> Iterator[Any]:
    """A process's hold of the barrier where all meet."""
    with joined(directory) as swarm:
        yield swarm.Barrier("meeting", parties)


def _with(side: Callable[[], AbstractContextManager[Any]]) -> Make:
    @contextmanager
    def make(_index: int) -> Iterator[Work]:
        with side() as barrier:
            yield _work(barrier.wait)

    return make


def _work(wait: Callable[[], Any]) -> Work:
    def work(times: int) -> list[tuple[int, int]]:
        passages = []
        for _ in range(times):
            time.sleep(random.random() * _APART_S)
            came = time.monotonic_ns()
            wait()
            passages.append((came, time.monotonic_ns()))
        return passages

    return work
