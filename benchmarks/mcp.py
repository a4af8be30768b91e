"""64 MCP clients at once: how long an uncontended lock or map call takes, and whether half of them take anything along.

    python benchmarks/mcp.py [--quick] [--json] [--only stdio|http]

Each client is a process of its own.  Over stdio each has a server of its own, so 128 processes run; over HTTP all share
one.  `calm` is one round of four calls in two seconds by each; `flat out` is as fast as they can.  The CPU of a call is
the servers', which other work on the machine changes little.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
STARTED_AT_ONCE = 4
"""So many clients, and over stdio as many servers, start at the same time: more would only wait for each other."""

PACES = {"calm": 2.0, "flat out": 0.0}
CALM_P99_MS = 100
"""What a call may take where the machine has time for it."""

PATIENCE_S = 300.0
"""How long any one thing may take, in seconds, however slow the machine is."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Clients that are connected, and their servers."""

    how: str
    callers: Sequence[subprocess.Popen[str]]
    servers: Sequence[psutil.Process]

    def server_mb(self) -> float:
        """What one server takes of the memory, with its share of what it has in common with others (PSS)."""
        return sum(server.memory_full_info().pss for server in self.servers) / len(self.servers) / 1e6

    def servers_s(self) -> float:
        """Seconds of CPU that the servers have used."""
        return sum(_cpu_s(server) for server in self.servers)

    def all_s(self) -> float:
        """The same with the clients."""
        return self.servers_s() + sum(_cpu_s(psutil.Process(caller.pid)) for caller in self.callers)


def measure(how: str, quick: bool) -> Measured:  # noqa: FBT001  what a benchmark is told
    """One transport: the times calm and flat out, and the killing of half the clients."""
    seconds, clients = (5.0, 16) if quick else (15.0, CLIENTS)
    phases = [*(f"calls:{seconds}:{pause_s}" for pause_s in PACES.values()), "work"]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "shared"
        began = time.monotonic()
        with _connected(how, place, clients, phases) as crowd:
            ready_s = time.monotonic() - began
            rows = [row for pace in PACES for row in _times(crowd, pace, seconds)]
            lost = _killing(crowd, place, 100 if quick else TASKS)
    rows.append({"what": f"{how}, half of the clients killed", "all ready after_s": round(ready_s, 1), **lost})
    claims: list[Claim] = [
        at_most(f"{row['what']}, p99", row["p99_ms"], CALM_P99_MS, "ms") for row in rows if ", calm, " in row["what"]
    ]
    claims.append(at_most(f"{how}: tasks lost or done twice with half of {clients} clients", lost["lost"], 0, ""))
    return claims, rows


def _times(crowd: Crowd, pace: str, seconds: float) -> Iterator[dict[str, Any]]:
    load, servers_s, all_s = Load(), crowd.servers_s(), crowd.all_s()
    began = time.monotonic()
    _go(crowd.callers)
    told = [json.loads(_line(caller, PATIENCE_S)) for caller in crowd.callers]
    calls = sum(len(each[kind]) for each in told for kind in each)
    ours = (crowd.all_s() - all_s) / (time.monotonic() - began) / psutil.cpu_count() * 100
    measured = {
        "server_cpu_ms": round((crowd.servers_s() - servers_s) / calls * 1000, 2),
        "server_mb": round(crowd.server_mb()),
        "others_%": max(0, round(load.of_others_percent() - ours)),
    }
    for kind in ("lock", "map"):
        took = sorted(one for each in told for one in each[kind])
        yield {
            "what": f"{crowd.how}, {pace}, {kind}", "clients": len(told), "calls/s": round(len(took) / seconds),
            "p50_ms": _share(took, 0.5), "p99_ms": _share(took, 0.99), **measured,
        }  # fmt: skip


def _killing(crowd: Crowd, place: Path, count: int) -> dict[str, Any]:
    """Let clients do tasks, kill half of them while they do, and see whether each task was done once."""
    store = Store(place)
    with store.transaction(None) as tx:
        for n in range(count):
            create_task(tx, Plan(title=f"task {n}", prompt="p"))
    began = time.monotonic()
    _go(crowd.callers)
    _until_done(store, count // 4)
    for caller in crowd.callers[::2]:
        caller.kill()
    held = store.rows("select count(*) as n from task where state = 'running'")[0]["n"]
    _until_done(store, count)
    took = time.monotonic() - began
    rows = store.rows("select count(*) as n from event where kind = 'task.done' group by task")
    lost = count - len(rows) + sum(row["n"] > 1 for row in rows)
    killed = len(crowd.callers[::2])
    return {"tasks": count, "killed": killed, "claimed then": held, "seconds": round(took, 1), "lost": lost}


def _until_done(store: Store, count: int) -> None:
    """Wait until so many tasks are done, or nobody does any more."""
    ends = time.monotonic() + PATIENCE_S
    while store.rows("select count(*) as n from task where state = 'done'")[0]["n"] < count:
        if time.monotonic() > ends:
            return
        time.sleep(0.05)


@contextlib.contextmanager
def _connected(how: str, place: Path, clients: int, phases: Sequence[str]) -> Iterator[Crowd]:
    """The clients, each ready."""
    with contextlib.ExitStack() as stack:
        target = [str(place)]
        servers: list[psutil.Process] = []
        stack.callback(psutil.wait_procs, servers, PATIENCE_S)  # they give back what their clients held
        if how == "http":
            server = _start(["-P", "-m", "prong.harness", "mcp", "--file", str(place), "--http"])
            stack.callback(_end, server)
            assert server.stdout is not None
            url, header = _line(server, PATIENCE_S), server.stdout.readline()  # which come together
            target = [url.strip(), header.strip().rpartition(" ")[2]]
            servers.append(psutil.Process(server.pid))
        callers: list[subprocess.Popen[str]] = []
        while len(callers) < clients:
            names = [f"client-{len(callers) + n}" for n in range(STARTED_AT_ONCE)]
            some = [_start([str(CALLER), how, *target, name, *phases]) for name in names]
            for caller in some:
                stack.callback(_end, caller)
            for caller in some:
                assert _line(caller, PATIENCE_S) == "ready\n", "a client could not connect"
            callers += some
        if how == "stdio":
            servers += [child for caller in callers for child in psutil.Process(caller.pid).children()]
        yield Crowd(how, callers, servers)


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


def _line(process: subprocess.Popen[str], within_s: float) -> str:
    """The next line; a process that says nothing for so long ends the benchmark."""
    assert process.stdout is not None
    said, _, _ = select.select([process.stdout], [], [], within_s)
    if not said:
        raise TimeoutError(f"{process.args} has said nothing for {within_s:g} s")
    return process.stdout.readline()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _share(ordered: Sequence[float], share: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1)


if __name__ == "__main__":
    main_of_parts("mcp", {"stdio": lambda quick: measure("stdio", quick), "http": lambda quick: measure("http", quick)})
