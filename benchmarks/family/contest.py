"""Rounds in which contestants take turns, so that a slow minute of the machine falls upon all of them alike."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from claims import Claim, at_least, at_most, median
from family.crew import Stuck


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: rounds, seconds of each window, and the numbers of processes."""

    rounds: int
    window_s: float
    crews: tuple[int, ...]
    quick: bool


FULL = Scale(rounds=5, window_s=0.2, crews=(1, 8, 32), quick=False)
OURS = "prong"

BARE = "bare loop"
"""The contestant that does the same by `sqlite3` alone (bare_loops.py)."""

SHARE_OF_FLOOR = 0.6
"""Of what bare `sqlite3` reaches, ours reaches so much at least."""

QUICK = Scale(rounds=1, window_s=0.08, crews=(1, 8), quick=True)


def take_turns(rounds: int, contestants: Mapping[str, Callable[[], Any]]) -> dict[str, list[Any]]:
    """What each contestant's rounds returned; one that gets stuck is left out from then on, and the rest go on."""
    results: dict[str, list[Any]] = {name: [] for name in contestants}
    stuck: set[str] = set()
    for _ in range(rounds):
        for name, one in contestants.items():
            if name in stuck:
                continue
            try:
                results[name].append(one())
            except Stuck as error:
                stuck.add(name)
                print(f"{name}: {error}", file=sys.stderr)
    return results


def middle(results: list[Any], figure: Callable[[Any], float]) -> float | None:
    """The median of a figure over the rounds, or None where there was none."""
    return median([figure(result) for result in results]) if results else None


def missing(claim: str, bound: str, unit: str, what: str) -> Claim:
    """A claim that cannot be measured here, and why."""
    return Claim(f"{claim} ({what})", None, unit, bound, None)


def ratio_at_least(claim: str, ours: float | None, theirs: float | None, bound: float, *, lacks: str = "") -> Claim:
    """Ours divided by theirs, which must reach the bound."""
    if ours is None or not theirs:
        return missing(claim, f">= {bound:g}", "ratio", lacks or "not measured")
    return at_least(claim, ours / theirs, bound, "ratio")


def ratio_at_most(claim: str, ours: float | None, theirs: float | None, bound: float, *, lacks: str = "") -> Claim:
    """Ours divided by theirs, which must not exceed the bound."""
    if ours is None or not theirs:
        return missing(claim, f"<= {bound:g}", "ratio", lacks or "not measured")
    return at_most(claim, ours / theirs, bound, "ratio")


Judge = Callable[..., Claim]
"""`ratio_at_least` or `ratio_at_most`."""


def beside_peer(
    what: str,
    judge: Judge,
    figures: Mapping[str, float | None],
    peer: str,
    bound: float,
    *,
    ours: str = OURS,
    bare: str = BARE,
    lacks: str = "",
) -> tuple[Claim, dict[str, Any]]:
    """The claim that ours keeps a bound beside a peer, and a row that tells whether the bare loop keeps it."""
    claim = judge(f"{what} / {peer}", figures.get(ours), figures.get(peer), bound, lacks=lacks)
    loop = judge(f"{what} / {peer}", figures.get(bare), figures.get(peer), bound, lacks=lacks)
    kept = {True: "yes", False: "no", None: "not measured"}[loop.holds]
    row = {"bound": f"{what} / {peer} {claim.bound}", ours: claim.value, bare: loop.value, f"{bare} keeps it": kept}
    return claim, row


def beside_bare(
    what: str, judge: Judge, figures: Mapping[str, float | None], *, ours: str = OURS, bare: str = BARE
) -> Claim:
    """The claim that ours reaches its share of the bare loop: of its rate, or of its speed where a figure is a time."""
    bound = SHARE_OF_FLOOR if judge is ratio_at_least else round(1 / SHARE_OF_FLOOR, 2)
    return judge(f"{what} / {bare}", figures.get(ours), figures.get(bare), bound)


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of all lie; infinity where there are none."""
    if not values:
        return float("inf")
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]
