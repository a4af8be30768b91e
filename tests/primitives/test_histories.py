"""What concurrent processes, killed at random, were told of every primitive can have been one thing after the other.

    PRONG_SOAK_S=600 .venv/bin/python -m pytest -s tests/primitives/test_histories.py -k soak

records and checks for ten minutes, and prints what was done.  tests/workload.py does it, and tests/linearizability.py
checks it.
"""

import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from .. import workload  # noqa: TID252  tests are no package that has a name
from ..linearizability import (  # noqa: TID252  as above
    CONFIGURATIONS,
    NEVER,
    UNKNOWN,
    AccountsModel,
    AtomicModel,
    KeyModel,
    ListModel,
    LockModel,
    MapModel,
    Operation,
    QueueModel,
    Undecided,
    Verdict,
    by_object,
    check,
)

MODELS = {
    "lock": LockModel(),
    "atomic": AtomicModel(),
    "accounts": AccountsModel(),
    "key": KeyModel(),
    "map": MapModel(),
    "list": ListModel(),
    "queue/fifo": QueueModel(),
    "queue/bound": QueueModel(maxsize=3),
    "queue/lifo": QueueModel(lifo=True),
}

SOAK_S = float(os.environ.get("PRONG_SOAK_S", "0"))

ROUND_S = 8
"""How long a soak records before it checks, in seconds."""

BURIAL_NS = 1_000_000_000
"""How long the transaction may take in which a member is buried."""

WAITING = {"acquire", "put", "get", "take"}
"""What others may do for a process in its wait, also after its death, as long as nobody has seen that it is dead."""

HOLDING = {"acquire", "get", "take"}


def model_of(name):
    return MODELS.get(name) or MODELS[name.partition("/")[0]]


def frozen(value):
    return tuple(map(frozen, value)) if isinstance(value, list) else value


def entries(path):
    """The lines of a journal; one that a kill has cut short says nothing."""
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def operations_of(member, lines, died_at, buried_at):
    """(object, operation) pairs of one process; what it was not told of is uncertain.

    What waits for nobody has happened before the process was seen dead, or not at all; what waits can be granted by
    others until they bury it.
    """
    asked = {}
    for what, at, number, *rest in (line for line in lines if line[0] != "left"):
        if what == "ask":
            name, kind, arguments = rest
            waits = kind in WAITING and name.startswith(("lock", "queue"))
            until = NEVER if died_at is None else buried_at if waits else died_at
            asked[number] = (
                name, Operation(member, kind, frozen(arguments), invoked=at, returned=until, certain=False)
            )  # fmt: skip
        else:
            name, begun = asked[number]
            result = UNKNOWN if what == "raised" else frozen(rest[0])
            asked[number] = (
                name, Operation(member, begun.kind, begun.arguments, result, begun.invoked, at)
            )  # fmt: skip
    return list(asked.values())


def deaths_of(member, operations, killed_at, buried_at):
    """Where the process may have held something when it died: all of it comes back with its burial."""
    held = Counter()
    for name, operation in operations:
        if operation.kind in HOLDING and operation.result is not None and name.startswith(("lock", "queue")):
            held[name] += 1
        elif operation.kind in {"release", "done", "fail"} and operation.result is not UNKNOWN:
            held[name] -= 1
    return [
        (name, Operation(member, "died", invoked=killed_at, returned=buried_at, certain=buried_at != NEVER))
        for name, count in held.items()
        if count > 0
    ]


class Record:
    """What a run of the workload left behind."""

    def __init__(self, logs):
        journals = {path.stem: entries(path) for path in sorted(Path(logs).glob("*.log"))}
        crew = journals.pop("crew")
        buried = {member: at + BURIAL_NS for _, at, member in journals.pop("buried")}
        self.killed = {member: at for what, at, member, *_ in crew if what == "kill"}
        dead = {member: at for what, at, member, *_ in crew if what == "dead"}
        self.wrong = [line for line in crew if line[0] in {"stuck", "failed"}]
        self.pairs = []
        for member, lines in journals.items():
            self.wrong += [(member, *line) for line in lines if line[0] == "raised"]
            operations = operations_of(member, lines, dead.get(member), buried.get(member, NEVER))
            self.pairs += operations
            if member in self.killed:
                self.pairs += deaths_of(member, operations, self.killed[member], buried.get(member, NEVER))

    def counted(self):
        return Counter((name.partition("/")[0], one.kind) for name, one in self.pairs if one.kind != "died")

    def verdicts(self):
        """(object, verdict) of each history."""
        for name, history in by_object(self.pairs).items():
            try:
                yield name, check(history, model_of(name))
            except Undecided as given_up:
                yield name, Verdict(linearizable=False, searched=CONFIGURATIONS, story=f"given up: {given_up}")


def recorded(folder, **options):
    """Run the workload, in a clean process of its own; the record."""
    logs = folder / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir()
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    ran = subprocess.run(
        [sys.executable, workload.__file__, folder / "work.db", logs, *arguments],
        capture_output=True, text=True, timeout=options["seconds"] + 3 * workload.PATIENCE_S, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    return Record(logs)


def sound(file):
    with sqlite3.connect(file) as database:
        return database.execute("pragma integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    ("start", "threads", "kill_every", "seconds"),
    [("fork", 1, 0.12, 5), ("fork", 2, 0.25, 3), ("spawn", 1, 0.4, 4), ("forkserver", 1, 0.25, 3)],
)
def test_what_processes_were_told_while_some_were_killed_is_one_history(tmp_path, start, threads, kill_every, seconds):
    """Goal: every answer is right.  Method: record eight processes, kill them at random, and search for an order."""
    record = recorded(
        tmp_path, start=start, threads=threads, kill_every=kill_every, seconds=seconds, seed=time.time_ns()
    )
    assert record.wrong == []
    for name, verdict in record.verdicts():
        assert verdict, f"{name}: {verdict.story}"
    seen = {name if name in MODELS else name.partition("/")[0] for name, _ in record.pairs}
    assert seen <= set(MODELS)
    assert len(seen) > len(MODELS) // 2  # on a slow machine the rarest may not have had its turn
    assert len(record.pairs) > 500
    assert len(record.killed) >= 2
    assert sound(tmp_path / "work.db")


class Soak:
    """The figures of many rounds on one file."""

    def __init__(self):
        self.counted, self.kills, self.histories, self.rounds, self.violations = Counter(), 0, 0, 0, []

    def add(self, start, record):
        self.rounds += 1
        self.counted += record.counted()
        self.kills += len(record.killed)
        self.violations += record.wrong
        for name, verdict in record.verdicts():
            self.histories += 1
            if not verdict:
                self.violations.append(f"round {self.rounds} ({start}), {name}: {verdict.story}")

    def __str__(self):
        return (
            f"{self.rounds} rounds, {self.counted.total():,} operations, {self.kills:,} processes killed, "
            f"{self.histories:,} histories checked, {len(self.violations)} violations"
        )

    def table(self):
        """As benchmarks/README.md has it."""
        lines = ["| object | operations | of these |", "|---|---:|---|"]
        for name in sorted({name for name, _ in self.counted}):
            kinds = Counter({kind: count for (of, kind), count in self.counted.items() if of == name})
            told = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common())
            lines.append(f"| {name} | {kinds.total():,} | {told} |")
        return "\n".join([*lines, f"\n{SOAK_S:g} s: {self}"])


@pytest.mark.skipif(not SOAK_S, reason="a soak takes as many seconds as PRONG_SOAK_S says")
@pytest.mark.timeout(SOAK_S * 3 + 120)
def test_soak(tmp_path):
    until, soak = time.monotonic() + SOAK_S, Soak()
    ways = itertools.cycle([("fork", 1, 0.12), ("fork", 2, 0.12), ("forkserver", 1, 0.25), ("spawn", 1, 0.5)])
    while time.monotonic() < until:
        start, threads, kill_every = next(ways)
        before = len(soak.violations)
        soak.add(
            start,
            recorded(
                tmp_path, start=start, threads=threads, kill_every=kill_every, seconds=ROUND_S,
                seed=time.time_ns(), objects=f"round{soak.rounds}-",
            ),
        )  # fmt: skip
        if len(soak.violations) > before:
            shutil.copytree(tmp_path / "logs", tmp_path / f"violation in round {soak.rounds}")
        print(soak, flush=True)  # noqa: T201  somebody waits for it
    print(soak.table())  # noqa: T201  as above
    assert soak.violations == []
    assert sound(tmp_path / "work.db")
