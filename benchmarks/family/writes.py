"""Every write operation against the floor: each process has an object of its own, all in one file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from claims import Claim
from family.contest import SHARE_OF_FLOOR, Scale, middle, ratio_at_least, take_turns
from family.crew import Crew, Make, Work, counting, cpu_us, per_second
from family.floor import OPERATIONS, Floor
from family.ours import joined, swarm_directory
from family.rows import differing_rows, prepared


def measure(scale: Scale) -> tuple[list[Claim], list[dict[str, Any]]]:
    """All operations, by one process and by many."""
    claims: list[Claim] = []
    rows: list[dict[str, Any]] = []
    for operation in OPERATIONS:
        differences = differing_rows(operation)
        for size in scale.crews:
            claim = f"{operation}, by {size} / floor"
            counts = _counts(scale, operation, size)
            row: dict[str, Any] = {"write": operation, "processes": size}
            for name, prefix in (("prong", ""), ("floor", "floor ")):
                row[f"{prefix}per s"] = round(middle(counts[name], per_second) or 0)
                row[f"{prefix}CPU us"] = round(middle(counts[name], cpu_us) or 0, 1)
            rows.append(row)
            ours, floor = (middle(counts[name], per_second) for name in ("prong", "floor"))
            compared = ratio_at_least(claim, ours, floor, SHARE_OF_FLOOR)
            if differences:
                compared = replace(compared, claim=f"{claim} (not comparable: {differences})", holds=None)
            claims.append(compared)
    return claims, rows


def _counts(scale: Scale, operation: str, size: int) -> dict[str, list[Any]]:
    with ExitStack() as stack:
        turns = {}
        for name, side in (("prong", _of_prong), ("floor", _of_floor)):
            directory = stack.enter_context(swarm_directory())
            crew = stack.enter_context(Crew(size, side(directory, operation)))
            crew.run(scale.window_s / 4)
            turns[name] = lambda crew=crew: crew.run(scale.window_s)
        return take_turns(scale.rounds, turns)


def _of_prong(directory: Path, operation: str) -> Make:
    @contextmanager
    def make(index: int) -> Iterator[Work]:
        with joined(directory) as swarm:
            yield counting(prepared(swarm, operation, f"own {index}"))

    return make


def _of_floor(directory: Path, operation: str) -> Make:
    @contextmanager
    def make(index: int) -> Iterator[Work]:
        with Floor(directory, index) as floor:
            once = OPERATIONS[operation]
            yield counting(lambda: once(floor))

    return make
