"""How well the scheduler uses its slots, in virtual time, beside what no scheduler can beat.

    python benchmarks/simulator.py [--quick] [--json] [--only PART]
    python benchmarks/simulator.py --graph KIND --tasks N --slots M [--seed S] [--learnt] [--priorities] [--failures P]
    python benchmarks/simulator.py --recorded FILE --slots M

The second runs one generated graph, the third one that was recorded: JSON lines of tasks, or the database of a swarm.
The harness's own functions decide; see simulation/engine.py for what is simulated, and simulation/bounds.py for the
bounds.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from claims import Claim, Measured, at_most, main_of_parts, median
from simulation.bounds import bounds
from simulation.engine import Simulation
from simulation.graphs import KINDS, Graph, generate, read_lines, read_swarm
from simulation.line import Line
from simulation.records import PROVIDER, Outcome, World

from prong.harness.scheduler import Candidate, Snapshot, decide, wanted
from prong.primitives import ranking

OPEN = 100_000


def report(graph: Graph, world: World) -> dict[str, Any]:
    """What one run of a graph shows."""
    outcome = Simulation(graph, world).run()
    ran = {task: work for task, work in graph.items() if outcome.runs[task].started_at >= 0}
    least = bounds(ran, world.slots, world.backoff_s)
    ended = [run.state for run in outcome.runs.values()]
    return {
        "tasks": len(graph),
        "slots": world.slots,
        "makespan s": round(outcome.makespan_s, 1),
        "/ plain bound": round(outcome.makespan_s / (least.plain or 1), 4),
        "/ best bound": round(outcome.makespan_s / (least.best or 1), 4),
        "done": ended.count("done"),
        "failed": ended.count("failed"),
        "rounds": outcome.rounds,
        "tokens": outcome.tokens,
        "of a budget of": world.tokens,
        "wasted by failed attempts": outcome.wasted_tokens,
        "waited s (median, most) by priority": _waits(outcome),
        "fairness": _fairness(outcome),
    }


def _waits(outcome: Outcome) -> dict[int, tuple[float, float]]:
    """Seconds from ready to started, by priority: (median, most)."""
    waits = _by_priority(outcome)
    return {priority: (round(median(found), 1), round(max(found), 1)) for priority, found in sorted(waits.items())}


def _fairness(outcome: Outcome) -> float:
    """Jain's index of the waiting of tasks of one priority, the least of all priorities; 1: all waited equally long."""
    indices = []
    for waits in _by_priority(outcome).values():
        squares = len(waits) * sum(wait**2 for wait in waits)
        indices.append(sum(waits) ** 2 / squares if squares else 1.0)
    return round(min(indices, default=1.0), 3)


def _by_priority(outcome: Outcome) -> dict[int, list[float]]:
    waits: dict[int, list[float]] = defaultdict(list)
    for run in outcome.runs.values():
        if run.started_at >= 0:
            waits[run.work.priority].append(run.started_at - run.ready_at)
    return waits


def _graphs(quick: bool) -> Measured:  # noqa: FBT001  the command line's flag
    """Makespans of random graphs of every kind on random numbers of slots, beside the bounds."""
    each, most = (12, 3.3) if quick else (15, 5.0)
    plain: list[float] = []
    best: list[float] = []
    rows = []
    for kind in KINDS:
        found = [_ratios(kind, seed, most) for seed in range(each)]
        plain += [one[0] for one in found]
        best += [one[1] for one in found]
        row: dict[str, Any] = {"graph": kind, "runs": each}
        for name, ratios in zip(
            ("plain", "best", "learnt / best", "ageing of 300 s / best"), zip(*found, strict=True), strict=True
        ):
            row[name] = f"{median(ratios):.3f} to {max(ratios):.3f}"
        rows.append(row)
    return [
        at_most("makespan / max(critical path, work / slots), median", median(plain), 1.03, "ratio"),
        at_most("makespan / best proven bound, median", median(best), 1.03, "ratio"),
        at_most("makespan / best proven bound, worst", max(best), 1.15, "ratio"),
    ], rows


def _ratios(kind: str, seed: int, most: float) -> tuple[float, float, float, float]:
    """Makespan / plain bound and / best, the same where durations are learnt, and where waiting counts after 300 s."""
    chance = random.Random(f"{kind} {seed} {most}")
    tasks, slots = int(10 ** chance.uniform(1, most)), int(2 * 10 ** chance.uniform(0, 2))
    graph = generate(kind, tasks, seed)
    world = World(slots)
    least = bounds(graph, slots, world.backoff_s)
    spent = Simulation(graph, world).run().makespan_s
    learnt = Simulation(graph, World(slots, known=False)).run().makespan_s
    hasty = Simulation(graph, World(slots, ageing_s=300)).run().makespan_s
    return spent / least.plain, spent / least.best, learnt / least.best, hasty / least.best


def _rounds(quick: bool) -> Measured:  # noqa: FBT001  the command line's flag
    """One round of the scheduler while 100,000 tasks are open."""
    rows: list[dict[str, Any]] = []
    claims: list[Claim] = []
    for slots, taken in ((200, 199), (200, 0)):
        spent_ms = [one * 1000 for one in _steady(OPEN, slots, taken, 30 if quick else 300)]
        what = f"a round over {OPEN} open tasks, {slots - taken} of {slots} slots free"
        rows.append({"what": what, "ms": round(median(spent_ms), 4), "worst ms": round(max(spent_ms), 4)})
        claims.append(at_most(what, median(spent_ms), 10, "ms"))
    everybody = _candidates(OPEN)
    began = time.perf_counter()
    decide(Snapshot(slots=200, taken=0, candidates=everybody))
    rows.append({"what": "the same where all are handed in", "ms": round((time.perf_counter() - began) * 1000, 1)})
    return claims, rows


def _candidates(count: int) -> list[Candidate]:
    chance = random.Random(count)
    return [Candidate(task, chance.randint(-3, 3), float(task), path_s=chance.random() * 900) for task in range(count)]


def _steady(count: int, slots: int, taken: int, rounds: int) -> list[float]:
    """Seconds of each round with so many in the line: whoever goes is followed by another."""
    line = Line()
    line.put_all(_candidates(count))
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        snapshot = Snapshot(slots, taken)
        decisions = decide(Snapshot(slots, taken, line.head(wanted(snapshot))))
        for decision in decisions:
            one = line.wanting[decision.task]
            line.remove(one.task)
            line.put(Candidate(one.task, one.level, one.since + count, path_s=one.path_s))
        found.append(time.perf_counter() - began)
    return found


def _growth(quick: bool) -> Measured:  # noqa: FBT001  the command line's flag
    """What a task costs while few and while many are open: the fastest of some runs counts."""
    times, turns, many = (3, 2, OPEN // 10) if quick else (7, 3, OPEN)
    rows: list[dict[str, Any]] = []
    claims = []
    parts: dict[str, Callable[[int], float]] = {"deciding": _decided_us, "ranking": _ranked_us}
    for kind in ("layered",) if quick else tuple(KINDS):
        parts[f"simulating {kind}"] = partial(_simulated_us, kind)
    for what, cost_us in parts.items():
        few = min(cost_us(1_000) for _ in range(times))
        much = min(cost_us(many) for _ in range(turns))
        rows.append({"what": what, "us a task of 1,000": few, f"us a task of {many:,}": much})
        claims.append(at_most(f"{what}, a task of {many:,} / of 1,000", much / few, 1.5, "ratio"))
    return claims, rows


def _decided_us(count: int) -> float:
    return round(median(_steady(count, 200, 199, 2000)) * 1e6, 2)


def _ranked_us(count: int) -> float:
    graph = generate("layered", count, 1, priorities=True)
    estimates = {task: work.run_s for task, work in graph.items()}
    needs = {task: work.needs for task, work in graph.items()}
    priorities = {task: work.priority for task, work in graph.items()}
    times = OPEN // count
    with _uncollected():
        began = time.process_time()
        for _ in range(times):
            ranking.longest_paths(estimates, needs)
            ranking.raised(priorities, needs)
        return round((time.process_time() - began) / count / times * 1e6, 2)


def _simulated_us(kind: str, count: int) -> float:
    simulation = Simulation(generate(kind, count, 1), World(50))
    with _uncollected():
        began = time.process_time()
        simulation.run()
        return round((time.process_time() - began) / count * 1e6, 2)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's search for garbage, which looks at every object of a graph again and again, and finds none."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _importance(quick: bool) -> Measured:  # noqa: FBT001  the command line's flag
    """What priorities, failures and a closed provider do to a swarm."""
    graph = generate("long-tail", 1_000 if quick else 10_000, 1, priorities=True, failures=0.1)
    worlds = {"all well": World(20), f"{PROVIDER} closed for 600 s": World(20, closed=((1000.0, 1600.0),))}
    return [], [{"world": name} | report(graph, world) for name, world in worlds.items()]


PARTS = {"graphs": _graphs, "rounds": _rounds, "growth": _growth, "importance": _importance}


def _one(arguments: list[str]) -> None:
    """Run the one graph that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graph", choices=sorted(KINDS), default="long-tail")
    parser.add_argument("--recorded", type=Path, help="JSON lines of tasks, or the database of a swarm")
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ageing", type=float, default=ranking.AGEING_S, help="seconds that count as one of priority")
    parser.add_argument("--learnt", action="store_true", help="durations are learnt per role, not known beforehand")
    parser.add_argument("--priorities", action="store_true", help="tasks differ in priority")
    parser.add_argument("--failures", type=float, default=0.0, help="how likely an attempt fails")
    parser.add_argument("--tokens", type=int, help="the budget")
    options = parser.parse_args(arguments)
    if options.recorded is None:
        graph = generate(
            options.graph, options.tasks, options.seed, priorities=options.priorities, failures=options.failures
        )
    else:
        database = options.recorded.read_bytes()[:15] == b"SQLite format 3"
        graph = (read_swarm if database else read_lines)(options.recorded)
    world = World(options.slots, ageing_s=options.ageing, known=not options.learnt, tokens=options.tokens)
    for name, value in report(graph, world).items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    if any(argument.split("=")[0] in ("--graph", "--recorded", "--tasks", "--slots") for argument in sys.argv[1:]):
        _one(sys.argv[1:])
    else:
        main_of_parts("simulator", PARTS)
