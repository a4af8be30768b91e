"""The side of a future that is in this process: a `concurrent.futures.Future` that mirrors a row.

    done(), result(), wait(), as_completed() --enter the condition--> look at the row --> be as it says
    the mirror's thread --the row has changed--> look --> tell wait() and as_completed(), call the callbacks

All methods of the standard library's future, and the functions that take several, enter the future's condition before
they look at its state.  So the condition looks at the row first, and what follows is the standard library's own code.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import _base
from typing import Any, NamedTuple

from prong.primitives import mirror
from prong.state import Membership

STATES = {
    "pending": _base.PENDING, "running": _base.RUNNING, "done": _base.FINISHED, "failed": _base.FINISHED,
    "broken": _base.FINISHED, "cancelled": _base.CANCELLED, "notified": _base.CANCELLED_AND_NOTIFIED,
}  # fmt: skip
"""What each state of a row is in the standard library's words."""

LAST = (_base.FINISHED, _base.CANCELLED_AND_NOTIFIED)
_DONE = (*LAST, _base.CANCELLED)

_LOGGER = logging.getLogger("concurrent.futures")


class Told(NamedTuple):
    """What the row says."""

    state: str
    result: str | None = None
    error: str | None = None
    pickled: str | None = None


class _Looking(threading.Condition):
    """A future's condition, which lets nobody in with an old picture of it."""

    def __init__(self, future: Mirrored) -> None:
        self.lock = threading.RLock()
        super().__init__(self.lock)
        del self.acquire  # the lock's, which Condition puts before the method below
        self._future = weakref.ref(future)  # a future that nobody has any more is gone at once, without a circle

    def acquire(self, *arguments: Any, **options: Any) -> bool:
        """Look at the row, and enter."""
        # Whoever is inside already relies on the picture that it saw as it entered.
        if not self._is_owned():  # type: ignore[attr-defined]  # Condition's own
            future = self._future()
            if future is not None:
                future.look()
        return self.lock.acquire(*arguments, **options)

    def __enter__(self) -> bool:
        return self.acquire()


class _Waiters(list[Any]):
    """Those whom `wait` and `as_completed` have put there: they are told by the mirror."""

    def __init__(self, future: Mirrored) -> None:
        super().__init__()
        self._future = weakref.ref(future)

    def append(self, waiter: Any) -> None:
        super().append(waiter)
        future = self._future()
        if future is not None and future.is_watched:
            mirror.mirror_of(future.member).watch(future)


class Mirrored(futures.Future[Any]):
    """What every future of ours has in common, whatever row it mirrors."""

    _done_callbacks: list[Callable[[futures.Future[Any]], object]]

    def __init__(self, member: Membership, name: str) -> None:
        super().__init__()
        self.name = name
        self.member = member
        looking = _Looking(self)
        self._condition = looking
        self._inside = looking.lock
        self._waiters = _Waiters(self)
        self._uncommitted = False

    def __repr__(self) -> str:
        try:
            text = super().__repr__()
        except Exception:  # noqa: BLE001  a repr never raises, not even where the database is gone
            text = f"<{type(self).__name__} at {id(self):#x} state=unknown>"
        return text.replace(" at ", f" {self.name!r} at ", 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mirrored) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def result(self, timeout: float | None = None) -> Any:
        """What it came to, once it is set; raises what it failed with, `CancelledError`, or TimeoutError.

        >>> swarm.Future("nobody's").result(timeout=0)
        Traceback (most recent call last):
        TimeoutError
        """
        self.join(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What it failed with, or None, once it is set; raises `CancelledError` or TimeoutError.

        >>> done = swarm.Future("done")
        >>> done.set_result(1)
        >>> done.exception() is None
        True
        """
        self.join(timeout)
        return super().exception(0)

    def join(self, timeout: float | None = None) -> None:
        """Wait for at most `timeout` seconds until it is set or cancelled."""
        raise NotImplementedError

    def add_done_callback(self, fn: Callable[[futures.Future[Any]], object]) -> None:
        """Call `fn` with this object once it is set or cancelled, at once where it is.

        >>> due = swarm.Future("due")
        >>> due.add_done_callback(lambda future: print(future.result()))
        >>> due.set_result("done")
        done
        """
        if self.done():
            self._call_back()
        super().add_done_callback(fn)
        if self._done_callbacks:
            mirror.mirror_of(self.member).watch(self)

    @property
    def is_watched(self) -> bool:
        """Whether the mirror has somebody to tell of a change that may still come."""
        undone = self._state not in LAST or self._uncommitted
        return bool(self._done_callbacks or (undone and self._waiters))

    @property
    def has_callbacks(self) -> bool:
        """Whether somebody is to be called once it is done."""
        return bool(self._done_callbacks)

    @property
    def is_silent(self) -> bool:
        """Whether nothing rings when it changes."""
        return False

    @property
    def watched_as(self) -> str:
        """By which name its changes are told."""
        return self.name

    def carry_over(self) -> None:
        """See what has become of it, and tell those who wait in this process."""
        self.look()
        self._call_back()

    def look(self) -> None:
        """Be as the row says now, unless it says nothing new any more."""
        if self._state not in LAST or self._uncommitted:
            self._carry(self._read())

    @property
    def _identity(self) -> tuple[str, str, str]:
        return str(self.member.store.path), type(self).__name__, self.name

    def _read(self) -> Told:
        """What the row says now."""
        raise NotImplementedError

    def _outcome(self, told: Told) -> tuple[Any, BaseException | None]:
        """The result and the exception of what is finished."""
        raise NotImplementedError

    def _carry(self, told: Told, exception: BaseException | None = None) -> None:
        """Be as the row says, and tell those who wait in this process, but for callbacks.

        Inside an atomic block this may still be undone, so nobody is told before the block is over.
        """
        state = STATES[told.state]
        result, error = self._outcome(told) if state == _base.FINISHED else (None, None)
        with self._inside:
            if self._state in LAST and not self._uncommitted:
                return
            changed = state != self._state or self._uncommitted
            self._uncommitted = self.member.store.inside_atomic
            self._state, self._result, self._exception = state, result, error if exception is None else exception
            if not changed or self._uncommitted or state not in _DONE:
                return
            for waiter in self._waiters if state in LAST else ():
                self._tell(waiter)
            self._condition.notify_all()

    def _tell(self, waiter: Any) -> None:
        if self._state == _base.CANCELLED_AND_NOTIFIED:
            waiter.add_cancelled(self)
        elif self._exception is not None:
            waiter.add_exception(self)
        else:
            waiter.add_result(self)

    def _call_back(self) -> None:
        with self._inside:
            if self._uncommitted or self._state in (_base.PENDING, _base.RUNNING):
                return
            callbacks, self._done_callbacks = self._done_callbacks, []
        for callback in callbacks:
            try:
                callback(self)
            except Exception:
                _LOGGER.exception("exception calling callback for %r", self)
