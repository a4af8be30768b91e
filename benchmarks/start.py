"""What an agent costs to start, in time and memory, beside a fresh Python process that imports the SDK.

    python benchmarks/start.py [--quick] [--json]

An agent is ready when it is registered in the database and has its store open and its client made.  Time is from the
first request for a fork to the last agent ready, divided by their number; memory is the proportional set size (PSS).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from claims import Claim, at_most, main, median

from prong.agents.conversation import insert, load
from prong.agents.nursery import Nursery
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Options, create
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state import Store, member

FRESH = "import anthropic, sys; sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.read()"


def measure(quick: bool) -> tuple[list[Claim], list[dict[str, Any]]]:  # noqa: FBT001  the command line's flag
    """All rows, and what they claim."""
    rounds = 1 if quick else 3
    fresh = [_fresh() for _ in range(3 if quick else 7)]
    fresh_ms, fresh_mb = median([one[0] for one in fresh]), median([one[1] for one in fresh])
    rows: list[dict[str, Any]] = [
        {"what": "fresh process with the SDK", "ms": round(fresh_ms, 1), "mb": round(fresh_mb, 1)}
    ]
    claims = []
    for count in (50, 200):
        forked = [_forked(count) for _ in range(rounds)]
        ms, mb = median([one[0] for one in forked]), median([one[1] for one in forked])
        rows.append({"what": f"agent, {count} at once", "ms": round(ms, 2), "mb": round(mb, 2)})
        claims.append(
            at_most(f"time of an agent ready, {count} at once / fresh process", ms / fresh_ms, 1 / 50, "ratio")
        )
        claims.append(
            at_most(f"memory of an agent ready, {count} at once / fresh process", mb / fresh_mb, 1 / 10, "ratio")
        )
    load_ms, parse_ms = _conversation()
    rows.append(
        {"what": "conversation of 1 MB, 200 messages", "ms": round(load_ms, 2), "of which JSON": round(parse_ms, 2)}
    )
    claims.append(at_most("loading a conversation of 1 MB / parsing its JSON", load_ms / parse_ms, 10, "ratio"))
    return claims, rows


def _conversation() -> tuple[float, float]:
    """Milliseconds to load a conversation of 1 MB, and to parse as much JSON."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        content = [{"type": "text", "text": "some words " * 460}]
        head = None
        with store.transaction(None) as tx:
            task, _ = create_task(tx, Plan(title="long", prompt="talk"))
            for _ in range(200):
                head = insert(tx, parent=head, role="user", content=content, task=task.id)
        text = json.dumps(content)
        loads, parses = [], []
        for _ in range(9):
            began = time.perf_counter()
            load(store, head)
            loads.append((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            for _ in range(200):
                json.loads(text)
            parses.append((time.perf_counter() - began) * 1000)
        store.close()
        return median(loads), median(parses)


def _fresh() -> tuple[float, float]:
    """Milliseconds until a new process has imported the SDK, and its PSS in MB."""
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", FRESH], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return (time.perf_counter() - began) * 1000, _pss_mb(process.pid)


def _forked(count: int) -> tuple[float, float]:
    """Milliseconds and MB of each of `count` agents that are started at once in a new swarm."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "repository")
        _make_repository(root)
        swarm = create(Repository.open(root), Options(goal="start", model="prong-emulator", slots=count))
        store = swarm.store()
        orders = _claim(store, count)
        nursery = _nursery(swarm.settings("none", "http://127.0.0.1:9"), root)
        try:
            _wait_until(store, 1, nursery, [orders[0]])  # the first waits for the imports of the nursery itself
            began = time.perf_counter()
            _wait_until(store, count + 1, nursery, orders[1:])
            spent_s = time.perf_counter() - began
            pids = [row["pid"] for row in store.rows("select pid from agent where pid is not null")]
            return spent_s * 1000 / count, median([_pss_mb(pid) for pid in pids])
        finally:
            nursery.close()
            store.close()


def _nursery(settings: Any, root: Path) -> Nursery:
    os.chdir(Path(__file__).parent)
    nursery = Nursery("registered_agent", log=root / "nursery.log", environment=os.environ)
    nursery.configure(settings)
    return nursery


def _claim(store: Store, count: int) -> list[dict[str, Any]]:
    """One more task and agent than are measured."""
    orders = []
    with store.transaction(None) as tx:
        for number in range(count + 1):
            task, _ = create_task(tx, Plan(title=f"task {number}", prompt="wait"))
            agent = member.enlist(tx, f"task {task.id}", pid=None, task=task.id, state="starting", lease_s=600)
            orders.append({"agent": agent, "task": task.id, "fence": tasks.claim(tx, task.id, agent)})
    return orders


def _wait_until(store: Store, ready: int, nursery: Nursery, orders: list[dict[str, Any]]) -> None:
    for order in orders:
        nursery.fork(order["agent"], order)
    while store.rows("select count(*) as n from event where kind = 'benchmark.ready'")[0]["n"] < ready:
        heard = nursery.hear()
        assert heard is not None, "the nursery died"
        with store.transaction(None) as tx:
            for one in heard:
                tx.execute("update agent set pid = :pid where id = :agent", pid=one.pid, agent=one.agent)
        time.sleep(0.001)


def _pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"no PSS for process {pid}")


def _make_repository(root: Path) -> None:
    root.mkdir()
    identity = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
    (root / "file.txt").write_text("one\n")
    for arguments in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)


if __name__ == "__main__":
    main("start", measure)
