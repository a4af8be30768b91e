"""A lock that the thread which holds it can acquire again.

    free --acquire--> held, depth 1 --acquire--> held, depth 2 ...
      <-----release----+      <-----release-------+

It is held by one thread of one member, and free again when that thread has released it as often as it acquired it.  An
`RLock` and a `Lock` by the same name keep each other out: they are one lock, taken in two ways.
"""

from __future__ import annotations

import threading
from types import TracebackType

from prong.primitives import lock_line as line
from prong.primitives.any_lock import LEASE_S, AnyLock, patience
from prong.primitives.lock_line import Wanted
from prong.primitives.values import checked_lease
from prong.state import Transaction

_OWNED = """
select depth from lock
 where name = :name and holder = :agent and thread = :thread and depth > 0 and expires_at > :now
"""


class RLock(AnyLock):
    """A re-entrant lock by name, as `threading.RLock`, between processes and their threads.

    >>> index = swarm.RLock("index")
    >>> with index as outer, index as inner:
    ...     outer.fence, inner.fence
    (1, 1)
    """

    def acquire(
        self,
        blocking: bool = True,  # noqa: FBT001, FBT002  the standard library's own signature
        timeout: float = -1,
        *,
        lease_s: float = LEASE_S,
    ) -> bool:
        """Take the lock, waiting for at most `timeout` seconds (-1: for ever); False where it did not come.

        The thread that holds it goes one deeper at once.  It is granted for `lease_s` seconds from the last acquire on,
        which heartbeats renew.  Raises ValueError for a negative timeout or one with `blocking=False`.

        >>> index = swarm.RLock("index")
        >>> index.acquire(), index.acquire(blocking=False), index.acquire(timeout=0)
        (True, True, True)
        """
        return self._acquire(patience(blocking, timeout), self._wanted(lease_s)) is not None

    def release(self) -> None:
        """Undo one acquire of this thread; the last one frees the lock and hands it to the first in line.

        Raises `NotHeld`, a RuntimeError, where this thread does not hold it.

        >>> swarm.RLock("index").release()
        Traceback (most recent call last):
        prong.primitives.errors.NotHeld: you do not hold lock 'index': nobody holds it. ...
        """
        with self._member.transaction() as tx:
            line.leave(tx, self.name, thread=threading.get_ident())

    def let_go(self, tx: Transaction) -> Wanted:
        """Free the lock inside the caller's transaction, however deep, and what to wait for to have it as it was."""
        depth = self._recursion_count()
        line.leave(tx, self.name, thread=threading.get_ident(), by=max(depth, 1))
        return self._wanted(depth=depth)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _wanted(self, lease_s: float = LEASE_S, *, depth: int = 1) -> Wanted:
        return Wanted(shared=False, lease_s=checked_lease(lease_s), thread=threading.get_ident(), depth=depth)

    def _give_back(self, tx: Transaction, fence: int, wanted: Wanted) -> None:  # noqa: ARG002  the thread's is the same
        if self._recursion_count():
            reason = "its holder was interrupted while it waited"
            line.leave(tx, self.name, thread=wanted.thread, by=wanted.depth, reason=reason)

    # The four names by which `threading.Condition` handles a lock that knows its owner.

    def _is_owned(self) -> bool:
        return self._recursion_count() > 0

    def _recursion_count(self) -> int:
        store = self._member.store
        row = store.row(
            _OWNED,
            name=self.name,
            agent=self._member.me.agent,
            thread=threading.get_ident(),
            now=store.clock.now(),
        )
        return row["depth"] if row is not None else 0

    def _release_save(self) -> Wanted:
        with self._member.transaction() as tx:
            return self.let_go(tx)

    def _acquire_restore(self, wanted: Wanted) -> None:
        self._acquire(None, wanted)
