"""Merging finished work: one delta, a long line of them beside `git merge` by hand, and a queue with a check."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from claims import Measured, at_least, at_most, median

from prong.harness.merger import merge_queue_of
from prong.harness.repository import merge_queue
from prong.harness.repository.git import AGENT
from prong.harness.repository.merge_rules import MergeRules
from prong.harness.repository.merging import Integration, Merged
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Jail, Options, create
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state import Store, member

FILES = 1_000
BRANCHES = 512
QUICK_BRANCHES = 64

NO_SLOWER = 1.0
"""What is claimed of one merge: our time / the time of git by hand."""

TIMES_FASTER = 5.0
"""What is claimed of a long line: the time of git by hand / our time."""

CHECK_S, QUICK_CHECK_S = 2.0, 0.2
"""How long the check of the queue sleeps, in seconds."""

BATCH = 8


def line(quick: bool) -> Measured:  # noqa: FBT001  the command line's flag
    """As many branches as an evening's work makes, merged one after another."""
    branches = QUICK_BRANCHES if quick else BRANCHES
    with tempfile.TemporaryDirectory(prefix="prong-bench-") as name:
        ours, theirs = Path(name) / "ours", Path(name) / "theirs"
        commits = _make(ours, branches)
        _git(Path(name), "clone", "-q", "ours", "theirs")
        _settle_in(theirs)
        _git(theirs, "fetch", "-q", "origin", "+refs/heads/b*:refs/heads/b*")
        hand, queue = _in_turns(ours, theirs, commits)
        same = _git(theirs, "rev-parse", "HEAD^{tree}") == _git(ours, "rev-parse", "prong/bench^{tree}")
    one = median([mine / hers for mine, hers in zip(queue, hand, strict=True)])
    claims = [
        at_most("merge of one delta / git merge by hand", one, NO_SLOWER, "ratio"),
        at_least(f"git merge of {branches} branches by hand / ours", sum(hand) / sum(queue), TIMES_FASTER, "ratio"),
        at_least("branches on which ours makes the tree that git's merge makes", branches * same, branches, "branches"),
    ]
    rows = [
        {"what": f"{branches} branches", "ours ms each": _ms(sum(queue) / branches), "git ms each":
         _ms(sum(hand) / branches), "our median ms": _ms(median(queue)), "git median ms": _ms(median(hand))},
    ]  # fmt: skip
    return claims, rows


def queue(quick: bool) -> Measured:  # noqa: FBT001  as above
    """How many tasks a minute get through the queue with a check, each checked itself and several by one run."""
    check_s, count = (QUICK_CHECK_S, 8) if quick else (CHECK_S, 16)
    rows = []
    for batch in (1, BATCH):
        with tempfile.TemporaryDirectory(prefix="prong-bench-") as name:
            root = Path(name) / "ours"
            rules = MergeRules(check=f"sleep {check_s}", batch=batch)
            took = _drain(root, _make(root, count), rules)
        how = f"batches of {batch}" if batch > 1 else f"each commit, {rules.at_once} at once"
        rows.append({"what": f"a check of {check_s:g} s, {how}", "tasks a minute": round(60 * count / took, 1)})
    return [], rows


def _drain(root: Path, commits: Sequence[str], rules: MergeRules) -> float:
    """How long the queue takes for tasks whose work all lies ready, in seconds."""
    repository = Repository.open(root)
    swarm = create(repository, Options("Measure", "emulator", 2, merging=rules, jail=Jail(sandbox="off")))
    store = swarm.store()
    for commit in commits:
        _hand_in(store, swarm.base_commit, commit)
    waiting = merge_queue_of(swarm, store)
    began = time.perf_counter()
    while waiting.merge_next():
        pass
    took = time.perf_counter() - began
    merged = store.row("select count(*) from merge where state = 'merged'")
    waiting.close()
    store.close()
    assert merged is not None
    assert merged[0] == len(commits)
    return took


def _hand_in(store: Store, base: str, commit: str) -> None:
    with store.transaction(None) as tx:
        made, _ = create_task(tx, Plan("work", "Do it.", base_commit=base))
        agent = member.enlist(tx, f"task {made.id}", pid=None, task=made.id, state="running", lease_s=3_600)
        assert tasks.claim(tx, made.id, agent) is not None
        fence = tx.value("select fence from task where id = :task", task=made.id)
        merge_queue.enter(tx, made.id, fence, commit=commit, result="done")


def _in_turns(ours: Path, theirs: Path, commits: Sequence[str]) -> tuple[list[float], list[float]]:
    """How long each merge takes by hand, and by what the merge queue does for each, in seconds.

    They take turns, so that what else the machine does spoils both alike.
    """
    repository = Repository.open(ours)
    base = repository.head()
    repository.create_integration("prong/bench", base)
    integration = Integration(repository, "prong/bench", base)
    hand, mine = [], []
    for number, commit in enumerate(commits):
        began = time.perf_counter()
        _git(theirs, "merge", "-q", "--no-ff", "-m", "merge", commit)
        between = time.perf_counter()
        trailers = {"Prong-Task": str(number)}
        merged = integration.merge(base=base, commit=commit, message="work", author=AGENT, trailers=trailers)
        mine.append(time.perf_counter() - between)
        hand.append(between - began)
        assert isinstance(merged, Merged)
    integration.close()
    return hand, mine


def _make(root: Path, branches: int) -> list[str]:
    """A repository of `FILES` files, and as many branches that each change one file and add one; their commits."""
    root.mkdir()
    _git(root, "init", "-q", "-b", "main")
    _settle_in(root)
    for number in range(FILES):
        file = root / f"d{number % 25}/e{number % 5}/f{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("line\n" * 50)
    _git(root, "add", "-A")
    _git(root, "commit", "-qm", "The first commit")
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
    return _git(root, "for-each-ref", "--format=%(objectname)", "refs/heads/b*").split()


def _settle_in(root: Path) -> None:
    for name, value in (("user.name", "bench"), ("user.email", "bench@localhost"), ("gc.auto", "0")):
        _git(root, "config", name, value)


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
