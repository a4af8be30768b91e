"""By what name an outside agent goes on with its conversation, or forks another's, and the files that hold that."""

from __future__ import annotations

import shutil
from pathlib import Path

from prong.harness.workers import files
from prong.harness.workers.kinds import Kind
from prong.state import Membership

FOLDER = "workers"
"""The folder in a swarm's directory that holds, for each turn with forks, the session up to it."""


def to_resume(member: Membership, task: int, kind: str) -> tuple[str | None, bool]:
    """The session that the next run goes on with, and whether it forks that; None: it begins one."""
    own = member.store.row(
        "select session from worker_session where task = :task and kind = :kind", task=task, kind=kind
    )
    if own is not None:
        return str(own["session"]), False
    parents = member.store.row(
        "select session from worker_fork join task on task.fork_point = worker_fork.message"
        " where task.id = :task and worker_fork.kind = :kind",
        task=task, kind=kind,
    )  # fmt: skip
    return (str(parents["session"]), True) if parents is not None else (None, False)


def forget(member: Membership, task: int) -> None:
    """The next attempt begins anew."""
    with member.transaction() as tx:
        tx.execute("delete from worker_session where task = :task", task=task)


def keep(directory: Path, message: int, home: Path, kind: Kind, session: str) -> bool:
    """Keep the files of a session as they are now, for the forks of a turn; False where there are none."""
    kept = directory / FOLDER / str(message)
    found = home.glob(kind.session.format(session=session)) if kind.session else ()
    copied = [files.copy(file, home, kept / file.relative_to(home)) for file in found]
    return any(copied)


def restore(directory: Path, message: int, home: Path) -> None:
    """Put what `keep` kept where a fork of it looks for it, in a folder with nothing else in it."""
    files.empty_folder(home)
    shutil.copytree(directory / FOLDER / str(message), home, dirs_exist_ok=True)
