"""A graph of tasks on real processes, by Prong and by what else can be installed, all in one run.

    python benchmarks/scheduler.py [--quick] [--json] [--only ENGINE]

Each engine runs the same three things on eight workers: 1,000 tasks of 50 ms that need each other, 200 single tasks
while it is idle, and 5,000 tasks that do nothing.  Engines take turns in every round, each in a fresh process tree of
which nothing is left when the next one begins; figures are medians of three rounds.  What every task did is checked:
that it ran once, after what it needs, and on no more than eight workers.  The peers come with the extra `bench`;
claims of a peer that is missing say so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from typing import Any

from claims import Claim, Measured, at_least, at_most, main_of_contestants, median
from engines import tree
from engines.field import FIELD, FLOOR, FULL, OURS, QUICK, WORKERS, Scale
from engines.graph import in_order_s, layered, lower_bound_s
from family.contest import missing, percentile
from machine import Load

MAKESPAN = 1.04
START_MS = 1.0
NOTHING = 1.2
"""What is claimed: makespan / lower bound, submission to start, and tasks per second beside every peer."""

NOT_DURABLE = (FLOOR, "huey, tuned, fsync=False")
"""What nothing is claimed beside: one forgets all with its process, the other's file may not survive a power cut."""

Figures = dict[str, float]
"""Of one round, by name."""


def measure(quick: bool, names: Collection[str]) -> Measured:  # noqa: FBT001  the command line's flag
    """The claims and the rows of those contestants."""
    tree.adopt_orphans()
    scale = QUICK if quick else FULL
    lacks = {name: FIELD[name].lacks() for name in names}
    rounds = _rounds(scale, [name for name in names if not lacks[name]])
    found = {
        name: {key: median([one[key] for one in ones]) for key in ones[0]} for name, ones in rounds.items() if ones
    }
    rows = [_graph_row(scale)]
    rows += [{"engine": name} | {key: round(value, 3) for key, value in one.items()} for name, one in found.items()]
    return (_claims(found, lacks) if OURS in names else []), rows


def _rounds(scale: Scale, names: Collection[str]) -> dict[str, list[Figures]]:
    """What each engine showed in each round; one that fails is left out from then on."""
    found: dict[str, list[Figures]] = {name: [] for name in names}
    failed: set[str] = set()
    for _ in range(scale.rounds):
        for name in names:
            if name in failed:
                continue
            began = time.monotonic()
            try:
                found[name].append(_round(name, scale))
                print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
            except tree.Failed as error:
                failed.add(name)
                found[name].clear()
                print(f"{name}: {error}", file=sys.stderr)
    return found


def _round(name: str, scale: Scale) -> Figures:
    load = Load()
    told = tree.run("engines.field", name, "quick" if scale is QUICK else "full")
    bound_s = lower_bound_s(layered(scale.graph, scale.sleep_s), WORKERS)
    return {
        "makespan / lower bound": told["makespan_s"] / bound_s,
        "no-op tasks per second": told["nothing_per_s"],
        "submission to start, p50 ms": percentile(told["starts_ms"], 0.5),
        "p99 ms": percentile(told["starts_ms"], 0.99),
        "start-up s": told["start_s"],
        "percent of the machine that others used": load.of_others_percent(),
    }


def _graph_row(scale: Scale) -> dict[str, Any]:
    """What the graph itself allows."""
    graph = layered(scale.graph, scale.sleep_s)
    bound_s = lower_bound_s(graph, WORKERS)
    return {
        "graph": f"{scale.graph} tasks of {scale.sleep_s * 1000:g} ms on {WORKERS} workers",
        "lower bound s": round(bound_s, 3),
        "in the order of becoming ready, without any loss / lower bound": round(
            in_order_s(graph, WORKERS) / bound_s, 4
        ),
    }


def _claims(found: dict[str, Figures], lacks: dict[str, str]) -> list[Claim]:
    ours = found.get(OURS)
    if ours is None:
        return [Claim("prong can be measured", None, "", "no error", holds=False)]
    claims = [
        at_most("makespan / lower bound", ours["makespan / lower bound"], MAKESPAN, "ratio"),
        at_most("submission to start, p50", ours["submission to start, p50 ms"], START_MS, "ms"),
    ]
    for name, lacking in lacks.items():
        if name in NOT_DURABLE or name == OURS:
            continue
        claim = f"no-op tasks per second / {name}"
        if name in found:
            beside = ours["no-op tasks per second"] / found[name]["no-op tasks per second"]
            claims.append(at_least(claim, beside, NOTHING, "ratio"))
        else:
            claims.append(missing(claim, f">= {NOTHING:g}", "ratio", lacking or "it failed"))
    return claims


if __name__ == "__main__":
    main_of_contestants("scheduler", measure, list(FIELD))
