"""Merging finished work: one delta, 512 one after another, and the throughput of the queue with a check.

    python benchmarks/workspace/merging.py [--quick] [--json]

Beside each stands `git merge` of the same branches by hand, in a clone of the same repository.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from prong.harness.repository.checking import Checker
from prong.harness.repository.git import AGENT
from prong.harness.repository.merge_rules import MergeRules
from prong.harness.repository.merging import Integration, Merged
from prong.harness.repository.repository import Repository

FILES = 1_000
BRANCHES = 512
QUICK_BRANCHES = 64
TIMES_FASTER = 5.0
"""How much faster than by hand a long line is merged, at least."""


def git(root: Path, *arguments: str) -> str:
    """What a person's git prints."""
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def make(root: Path, branches: int) -> list[str]:
    """A repository of `FILES` files, and as many branches that each change one file and add one; their commits."""
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    for name, value in (("user.name", "bench"), ("user.email", "bench@localhost"), ("gc.auto", "0")):
        git(root, "config", name, value)
    for number in range(FILES):
        file = root / f"d{number % 25}/e{number % 5}/f{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("line\n" * 50)
    git(root, "add", "-A")
    git(root, "commit", "-qm", "The first commit")
    # Without a checkout, by fast-import: making the branches is not what is measured.
    stream = []
    for number in range(branches):
        changed = "changed\n" + "line\n" * 49
        path = f"d{number % 25}/e{number % 5}/f{number}.txt"
        stream.append(
            f"commit refs/heads/b{number}\ncommitter bench <bench@localhost> 1700000000 +0000\ndata 4\nwork\n"
            f"from refs/heads/main^0\nM 100644 inline {path}\ndata {len(changed)}\n{changed}\n"
            f"M 100644 inline new/n{number}.txt\ndata 4\nnew\n\n"
        )
    subprocess.run(["git", "fast-import", "--quiet"], cwd=root, input="".join(stream), text=True, check=True)
    return git(root, "for-each-ref", "--format=%(objectname)", "refs/heads/b*").split()


def by_hand_s(root: Path, commits: Sequence[str]) -> float:
    """How long `git merge` takes for all of them, in seconds."""
    began = time.perf_counter()
    for commit in commits:
        git(root, "merge", "-q", "--no-ff", "-m", "merge", commit)
    return time.perf_counter() - began


def by_queue_s(root: Path, commits: Sequence[str]) -> float:
    """The same by what the merge queue does for each."""
    repository = Repository.open(root)
    base = repository.head()
    repository.create_integration("prong/bench", base)
    integration = Integration(repository, "prong/bench", base)
    began = time.perf_counter()
    for number, commit in enumerate(commits):
        merged = integration.merge(
            base=base, commit=commit, message="work", author=AGENT, trailers={"Prong-Task": str(number)}
        )
        assert isinstance(merged, Merged)
    took = time.perf_counter() - began
    integration.close()
    return took


def checks_per_minute(root: Path, folder: Path, *, batch: int, tasks: int, check_s: float) -> float:
    """How many tasks a minute pass a check of `check_s` seconds, `batch` of them by one run."""
    repository = Repository.open(root)
    rules = MergeRules(check=f"sleep {check_s}", batch=batch)
    checker = Checker(repository, folder / f"check-{batch}", rules, base=repository.head())
    checker.check(repository.head(), 0, threading.Event())  # the checkout is warm
    began = time.perf_counter()
    for _ in range(tasks // batch):
        checker.check(repository.head(), 0, threading.Event())
    return 60 * tasks / (time.perf_counter() - began)


def measure(*, quick: bool) -> dict[str, object]:
    """All figures, as DESIGN's benchmarks print them."""
    branches = QUICK_BRANCHES if quick else BRANCHES
    with tempfile.TemporaryDirectory(prefix="prong-bench-") as name:
        folder = Path(name)
        commits = make(folder / "ours", branches)
        git(folder, "clone", "-q", "ours", "theirs")
        for setting in (("user.name", "bench"), ("user.email", "bench@localhost"), ("gc.auto", "0")):
            git(folder / "theirs", "config", *setting)
        git(folder / "theirs", "fetch", "-q", "origin", "+refs/heads/b*:refs/heads/b*")
        hand, queue = by_hand_s(folder / "theirs", commits), by_queue_s(folder / "ours", commits)
        same = git(folder / "theirs", "rev-parse", "HEAD^{tree}") == git(
            folder / "ours", "rev-parse", "prong/bench^{tree}"
        )
        check_s, tasks = (0.2, 8) if quick else (2.0, 16)
        alone = checks_per_minute(folder / "ours", folder, batch=1, tasks=tasks, check_s=check_s)
        together = checks_per_minute(folder / "ours", folder, batch=8, tasks=tasks, check_s=check_s)
    times = hand / queue
    claims = [
        {"claim": f"{branches} branches merged one after another, beside git merge", "value": round(times, 1),
         "unit": "times faster", "bound": TIMES_FASTER, "holds": times >= TIMES_FASTER},
        {"claim": "the same tree as git merge makes", "value": int(same), "unit": "", "bound": 1, "holds": same},
    ]  # fmt: skip
    rows = [
        {"what": "git merge", "ms_each": round(hand / branches * 1e3, 2)},
        {"what": "merge queue", "ms_each": round(queue / branches * 1e3, 2)},
        {"what": f"a check of {check_s:g} s, each commit by itself", "tasks_per_minute": round(alone, 1)},
        {"what": f"a check of {check_s:g} s, batches of 8", "tasks_per_minute": round(together, 1)},
    ]
    return {"benchmark": "workspace/merging", "claims": claims, "rows": rows}


if __name__ == "__main__":
    found = measure(quick="--quick" in sys.argv)
    if "--json" in sys.argv:
        print(json.dumps(found))
    else:
        for one in (*found["claims"], *found["rows"]):  # type: ignore[misc]  two lists of records
            print(one)
