"""What a workspace costs, a snapshot of one and merging what was made in it, beside git doing the same by hand.

    python benchmarks/workspace.py [--quick] [--json] [--only PART]

By hand is what a person types: `git worktree add` for a workspace; for a snapshot of uncommitted work, which a fork
starts from, `git add -A` and `git stash create`.  Both take turns in every round on the same repository, and the
figure is the median of the rounds' ratios.  Making a workspace and snapshots of it should be no slower than git.
The parts `line` and `queue` merge finished work, see merges/by_hand.py.  A disk that others use spoils all of it; with
TMPDIR=/dev/shm it is done in memory.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from claims import Claim, Measured, at_most, main_of_parts, median
from machine import Load
from merges import by_hand

from prong.harness.repository.repository import Repository
from prong.harness.repository.workspaces import Workspace

SMALL, LARGE = 1_000, 100_000
QUICK_LARGE = 10_000
"""How many files the two repositories have; the large one with --quick."""

CHANGED = 20
"""How many files are edited, and as many made, before a snapshot."""

SECOND_OF_INDEX_S = 1.1
"""How long after a workspace or a snapshot its files are edited, in seconds."""

NO_SLOWER = 1.0
"""What is claimed: our time / the time of git by hand."""

_IDENTITY = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost")


def small(quick: bool) -> Measured:  # noqa: FBT001  the command line's flag
    """A repository of 1,000 files."""
    return _measure(SMALL, rounds=5 if quick else 21)


def large(quick: bool) -> Measured:  # noqa: FBT001  as above
    """A repository of 100,000 files."""
    return _measure(QUICK_LARGE, rounds=3) if quick else _measure(LARGE, rounds=5)


def _measure(files: int, *, rounds: int) -> Measured:
    load = Load()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "repository"
        _repository(root, files)
        taken = [_round(root, Path(folder) / f"round-{number}", swapped=number % 2 == 1) for number in range(rounds)]
    others = load.of_others_percent()
    claims: list[Claim] = []
    rows: list[dict[str, Any]] = []
    for what in ("workspace", "first snapshot", "next snapshot"):
        pairs = [(one[f"our {what}"], one[f"git's {what}"]) for one in taken]
        ours, theirs = (median([pair[side] for pair in pairs]) for side in (0, 1))
        ratio = median([mine / hers for mine, hers in pairs])
        claims.append(at_most(f"{what} of {files:,} files / git by hand", ratio, NO_SLOWER, "ratio"))
        rows.append(
            {"what": what, "files": files, "ours ms": round(ours * 1000, 1), "git ms": round(theirs * 1000, 1)}
            | {"ratio": round(ratio, 3), "percent of the machine that others used": others}
        )
    return claims, rows


def _round(root: Path, folder: Path, *, swapped: bool) -> dict[str, float]:
    """Both, one after the other; who begins alternates, because the second finds warm caches."""
    folder.mkdir()
    took: dict[str, float] = {}
    order = (_theirs, _ours) if swapped else (_ours, _theirs)
    for contestant in order:
        took.update(contestant(root, folder))
    subprocess.run(["git", "worktree", "prune"], cwd=root, check=True)
    shutil.rmtree(folder)
    return took


def _ours(root: Path, folder: Path) -> Iterator[tuple[str, float]]:
    repository = Repository.open(root)
    head = repository.head()  # which an agent is told with its task
    made: list[Workspace] = []
    yield "our workspace", _timed(lambda: made.append(Workspace.create(repository, folder / "ours", head)))
    _edit(made[0].directory, "first")
    yield "our first snapshot", _timed(made[0].snapshot)
    _edit(made[0].directory, "next")
    yield "our next snapshot", _timed(made[0].snapshot)


def _theirs(root: Path, folder: Path) -> Iterator[tuple[str, float]]:
    place = folder / "theirs"
    yield "git's workspace", _timed(lambda: _git(root, "worktree", "add", "-q", "--detach", str(place)))
    for which in ("first", "next"):
        _edit(place, which)
        yield f"git's {which} snapshot", _timed(lambda: _stash(place))


def _stash(place: Path) -> None:
    _git(place, "add", "-A")
    _git(place, "stash", "create")


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _edit(place: Path, text: str) -> None:
    # Git trusts no file that is as young as its index, and reads it again at each turn: nobody edits so soon.
    time.sleep(SECOND_OF_INDEX_S)
    for number in range(CHANGED):
        (place / f"{number:02}" / f"{number}.py").write_text(f"# {text}\n" * 20)
        (place / f"{text}-{number}.py").write_text(f"# {text}\n")


def _repository(root: Path, files: int) -> None:
    for number in range(files):
        folder = root / f"{number % 100:02}" / (f"{number // 100 % 50:02}" if number >= SMALL else "")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.py").write_text(f"# file {number}\n" * 20)
    _git(root, "init", "-q")
    _git(root, "config", "gc.auto", "0")
    _git(root, "add", "-A")
    _git(root, "commit", "-qm", "first")
    _git(root, "repack", "-adq")


def _git(place: Path, *arguments: str) -> None:
    subprocess.run(["git", *_IDENTITY, *arguments], cwd=place, check=True, stdout=subprocess.DEVNULL)


PARTS = {"small": small, "large": large, "line": by_hand.line, "queue": by_hand.queue}

if __name__ == "__main__":
    main_of_parts("workspace", PARTS)
