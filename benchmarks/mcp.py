"""64 MCP clients at once: how long an uncontended lock or map call takes, and whether half of them take anything along.

    python benchmarks/mcp.py [--quick] [--json] [--only stdio|http]

Each client is a process of its own.  Over stdio each has a server of its own, so 128 processes run; over HTTP all share
one.  `calm` is one round of four calls in two seconds by each; `flat out` is as fast as they can.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from claims import Claim, Measured, at_most, main_of_parts
from machine import Load

from prong.primitives import Plan, create_task
from prong.state import Store

CALLER = Path(__file__).parent / "mcp_clients" / "caller.py"
CLIENTS = 64
TASKS = 400
CALM_P99_MS = 100
"""What a call may take where the machine has time for it."""


def measure(how: str, quick: bool) -> Measured:  # noqa: FBT001  what a benchmark is told
    """One transport: the times calm and flat out, and the killing of half the clients."""
    seconds, clients = (5.0, 16) if quick else (20.0, CLIENTS)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "shared"
        rows += _times(how, place, clients, seconds)
        lost = _killing(how, Path(folder) / "tasks", clients, 100 if quick else TASKS)
        rows.append({"what": f"{how}, half of the clients killed", **lost})
    claims: list[Claim] = [
        at_most(f"{row['what']}, p99", row["p99_ms"], CALM_P99_MS, "ms") for row in rows if ", calm, " in row["what"]
    ]
    claims.append(at_most(f"{how}: tasks lost or done twice with half of {clients} clients", lost["lost"], 0, ""))
    return claims, rows


def _times(how: str, place: Path, clients: int, seconds: float) -> list[dict[str, Any]]:
    rows = []
    paces = {"calm": 2.0, "flat out": 0.0}
    with _connected(how, place, clients, "calls", str(seconds), *map(str, paces.values())) as (callers, server_mb):
        for pace in paces:
            load = Load()
            _go(callers)
            told = [json.loads(_line(caller)) for caller in callers]
            others = load.of_others_percent()
            for kind in ("lock", "map"):
                took = sorted(one for each in told for one in each[kind])
                rows.append({
                    "what": f"{how}, {pace}, {kind}", "clients": clients, "calls/s": round(len(took) / seconds),
                    "p50_ms": _share(took, 0.5), "p99_ms": _share(took, 0.99), "server_mb": server_mb,
                    "others_%": others,
                })  # fmt: skip
    return rows


def _killing(how: str, place: Path, clients: int, count: int) -> dict[str, Any]:
    """Let clients do tasks, kill half of them while they do, and see whether each task was done once."""
    store = Store(place)
    with store.transaction(None) as tx:
        for n in range(count):
            create_task(tx, Plan(title=f"task {n}", prompt="p"))
    with _connected(how, place, clients, "work") as (callers, _):
        began = time.monotonic()
        _go(callers)
        while _done(store) < count // 4:
            time.sleep(0.05)
        for caller in callers[::2]:
            caller.kill()
        while _done(store) < count and time.monotonic() < began + 300:
            time.sleep(0.05)
        took = time.monotonic() - began
    rows = store.rows("select count(*) as n from event where kind = 'task.done' group by task")
    return {"tasks": count, "seconds": round(took, 1), "lost": count - len(rows) + sum(row["n"] > 1 for row in rows)}


def _done(store: Store) -> int:
    number: int = store.rows("select count(*) as n from task where state = 'done'")[0]["n"]
    return number


@contextlib.contextmanager
def _connected(
    how: str, place: Path, clients: int, *mode: str
) -> Iterator[tuple[list[subprocess.Popen[str]], int]]:  # fmt: skip
    """The clients, each ready, and how much memory a server of theirs has, in MB (PSS)."""
    with contextlib.ExitStack() as stack:
        target = [str(place)]
        servers: list[psutil.Process] = []
        if how == "http":
            server = _start(["-P", "-m", "prong.harness", "mcp", "--file", str(place), "--http"])
            stack.callback(_end, server)
            target = [_line(server).strip(), _line(server).strip().rpartition(" ")[2]]
            servers = [psutil.Process(server.pid)]
        callers = []
        for first in range(0, clients, 8):  # a few at a time, or none would be ready for long
            some = [_start([str(CALLER), how, *target, f"client-{first + n}", *mode]) for n in range(8)]
            for caller in some:
                stack.callback(_end, caller)
            for caller in some:
                assert _line(caller) == "ready\n"
            callers += some
        servers = servers or [child for caller in callers for child in psutil.Process(caller.pid).children()]
        memory = sum(server.memory_full_info().pss for server in servers) / len(servers) / 1e6
        yield callers, round(memory)


def _start(words: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def _go(callers: Sequence[subprocess.Popen[str]]) -> None:
    for caller in callers:
        assert caller.stdin is not None
        caller.stdin.write("go\n")
        caller.stdin.flush()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _share(ordered: Sequence[float], share: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1)


if __name__ == "__main__":
    main_of_parts("mcp", {"stdio": lambda quick: measure("stdio", quick), "http": lambda quick: measure("http", quick)})
