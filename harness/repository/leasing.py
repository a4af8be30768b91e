"""Leases on paths: a lock named `path:src/**` keeps the work of others out of these files while somebody holds it.

    an agent acquires path:src/**  -->  the editor of every other agent refuses to write there, and says who holds it
                                        work of others that changes files there is not merged, and comes back

A lock is advice to whoever asks for it; this is what makes it hold.  A command of an agent's can still write into its
own clone, so it is asked again when that is to be merged, and once more in the transaction that moves the branch: it is
the lock's holder of that moment, the one of the newest fence, who decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prong.harness.repository.patterns import compiled
from prong.harness.repository.repository import Repository
from prong.state import Row, Store, Transaction

PREFIX = "path:"

SHOWN = 20
"""How many files a refusal names."""

# A kept lock whose agent is gone is its task's, until another agent goes on with that.
_OTHERS = """
select name, holder, task, fence, expires_at from lock
 where name like 'path:%' and (holder is not null or kept = 1) and (task is null or task not in (:task, :acting))
   and (expires_at is null or expires_at > :now)
union all
select lock, holder, task, fence, expires_at from lock_share
 where lock like 'path:%' and (task is null or task not in (:task, :acting))
   and (expires_at is null or expires_at > :now)
 order by 1, 4
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds the files of a pattern: a task, or a program that works on none; `left_s` None: as long as it likes."""

    pattern: str
    task: int | None
    agent: int | None
    fence: int
    left_s: float | None

    def __str__(self) -> str:
        who = f"task {self.task}" if self.task is not None else f"agent {self.agent}"
        until = "" if self.left_s is None else f", for {self.left_s:.0f} s more unless it is renewed"
        return f"{who} holds the lock {PREFIX + self.pattern!r} (fence {self.fence}{until})"


def of_others(source: Store | Transaction, task: int, *, acts_for: int | None = None) -> list[Lease]:
    """The leases on paths that somebody else holds than the task, or the one for which it acts."""
    now = source.now if isinstance(source, Transaction) else source.clock.now()
    return [
        Lease(
            row["name"].removeprefix(PREFIX), row["task"], row["holder"], row["fence"],
            None if row["expires_at"] is None else row["expires_at"] - now,
        )
        for row in source.rows(_OTHERS, task=task, acting=acts_for or task, now=now)
    ]  # fmt: skip


def in_the_way(leases: Iterable[Lease], paths: Iterable[str]) -> dict[str, Lease]:
    """The paths that a lease covers, each with the first that does."""
    patterns = [(compiled(lease.pattern), lease) for lease in leases]
    named = (path for path in paths if path)
    found = ((path, next((lease for pattern, lease in patterns if pattern.fullmatch(path)), None)) for path in named)
    return {path: lease for path, lease in found if lease is not None}


def leased(source: Store | Transaction, repository: Repository, delivery: Row) -> str:
    """Which files of a delivery are held by others, and by whom; "" for none."""
    leases = of_others(source, delivery["task"], acts_for=delivery["resolves"])
    if not leases:
        return ""
    names = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", delivery["base"], delivery["commit_id"])
    held = in_the_way(leases, repository.git(*names).split("\0"))
    return "\n".join(f"{path}: {lease}" for path, lease in list(held.items())[:SHOWN])


def covers(pattern: str, path: str) -> bool:
    """Whether a pattern covers a path relative to the repository's root; a folder's name covers all below it.

    >>> [covers("src/**", path) for path in ("src/a.py", "src/deep/b.py", "srcs/a.py")]
    [True, True, False]
    >>> [covers("src", "src/a.py"), covers("*.py", "a.py"), covers("*.py", "src/a.py"), covers("**/*.py", "src/a.py")]
    [True, True, False, True]
    """
    return bool(compiled(pattern).fullmatch(path))
