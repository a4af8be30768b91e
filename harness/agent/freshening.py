r"""Brings a fork that has waited for others up to what they have merged, before it begins.

    since ---> snapshot    the parent's files when it forked: what the conversation knows
      \
       ..---> tip          what was merged meanwhile
                  \---> the files that the fork begins with: both

A task that says what it will write is kept back while others write there, and that would be for nothing if it then
began from the files of before.  Its agent is told what has changed.  Where both do not fit together it begins from the
snapshot, as every other fork does.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from prong.harness.messages import notify
from prong.harness.repository.cloning import Places
from prong.harness.repository.git import AGENT, PRONG
from prong.harness.repository.merging import Conflict, merged_tree
from prong.harness.repository.objects import Objects
from prong.harness.repository.repository import Repository
from prong.primitives import task as tasks
from prong.state import Membership

NAMED = 20
"""So many files that have changed are named."""


def base_of_fork(
    repository: Repository, member: Membership, *, task: int, fence: int, branch: str, directory: Path
) -> None:
    """Let a fork that says what it writes, and has no files yet, begin with what was merged since, where that fits.

    Raises `TaskLost`, `RepositoryError`.
    """
    row = member.store.row("select base_commit, writes from task where id = :task", task=task)
    places = Places(directory)
    if row is None or row["base_commit"] is None or row["writes"] is None or places.is_complete():
        return
    snapshot = row["base_commit"]
    tip = repository.resolve(f"refs/heads/{branch}")
    since = repository.git("merge-base", snapshot, tip)
    if since == tip or places.ignored(snapshot).exists():  # the ignored files are copied by the snapshot's name
        return
    with closing(Objects(repository)) as objects:
        tree = merged_tree(repository, objects, base=since, commit=snapshot, onto=tip)
        if isinstance(tree, Conflict):
            return
        text = "A snapshot with what was merged since\n"
        made = objects.write_commit(tree, (tip,), text, author=AGENT, committer=PRONG)
    changed = repository.git("diff-tree", "-r", "-z", "--name-only", "--no-renames", snapshot, made).split("\0")
    with member.transaction() as tx:
        tasks.hold(tx, task, fence)
        tx.execute("update task set base_commit = :base where id = :task", base=made, task=task)
        tx.event("fork.freshened", object=str(task), base=made, files=len(changed))
        notify(
            tx, task,
            "This task has waited until others were merged who change the same files. Your clone holds what they did:"
            f" {_named(changed)} differ from what you have read before. Read again what you are going to change.",
        )  # fmt: skip


def _named(paths: list[str]) -> str:
    shown = [path for path in paths if path]
    more = len(shown) - NAMED
    return ", ".join(shown[:NAMED]) + (f" and {more} more" if more > 0 else "")
