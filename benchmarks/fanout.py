"""How long sixteen forks take beside one agent that does the same alone.

    python benchmarks/fanout.py [--quick] [--json]

Every call of the model takes a second (a quarter with --quick) on the emulator.  Sixteen children on sixteen slots
should need what the slowest child needs, and the root's own turns; all that Prong adds (forks, clones, waking, merging)
has to fit in 30 % of the child's time.  Both kinds of run are real: `prong run` in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from claims import Claim, at_least, at_most, main, median

from prong.harness.repository.repository import Repository
from prong.harness.swarms import find

AGENTS = 16
TURNS = 5
ROOT_TURNS = 3
SCRIPTS = Path(__file__).with_name("fanout_scripts.py")


def measure(quick: bool) -> tuple[list[Claim], list[dict[str, Any]]]:  # noqa: FBT001  the command line's flag
    """One agent's run beside sixteen agents' runs."""
    latency_s = 0.25 if quick else 1.0
    fanned = [_run(f"fan out {AGENTS} agents of {TURNS} turns", latency_s) for _ in range(1 if quick else 3)]
    forked_s = median([one["seconds"] for one in fanned])
    overhead = median([(one["seconds"] - ROOT_TURNS * latency_s) / one["slowest_s"] for one in fanned])
    ideal_s = (TURNS + ROOT_TURNS) * latency_s
    lone = _run(f"alone {AGENTS * TURNS} turns", latency_s)
    rows = [
        {"what": f"{AGENTS} forks, {TURNS} calls each", "seconds": round(forked_s, 2), "ideal": ideal_s},
        {"what": f"one agent, {AGENTS * TURNS} calls", "seconds": round(lone["seconds"], 2)},
    ]
    least = min(one["least_prefix_read"] for one in fanned)
    return [
        at_most("(run of 16 forks - the root's own turns) / slowest child", overhead, 1.3, "ratio"),
        at_least("one agent alone / 16 forks", lone["seconds"] / forked_s, 5, "times faster"),
        at_least("least share of its prefix that a fork's first request read from the cache", least, 0.95, "share"),
    ], rows


def _run(goal: str, latency_s: float) -> dict[str, float]:
    """A whole swarm; seconds from the root's first request to the last task's end."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        identity = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
        (root / "file.txt").write_text("one\n")
        for arguments in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "first"]):
            subprocess.run(["git", *arguments], cwd=root, check=True)
        command = [sys.executable, "-m", "prong.harness", "run", "--offline", "--script", str(SCRIPTS)]
        command += ["--latency", str(latency_s), "--agents", str(AGENTS), "--json", goal]
        done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
        store = find(Repository.open(root), None).store()
        [row] = store.rows(
            "select (select max(ended_at) from task) - (select min(started_at) from model_call) as seconds,"
            " (select max(ended_at - started_at) from task where id > 1) as slowest_s"
        )
        store.close()
        least = json.loads(done.stdout)["cache"]["least_prefix_read"]
        return {"seconds": row["seconds"], "slowest_s": row["slowest_s"] or 0.0, "least_prefix_read": least or 0.0}


if __name__ == "__main__":
    main("fanout", measure)
