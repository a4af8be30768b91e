"""The side of an executor that runs calls: in a process of its pool, or in any other one that calls `work()`.

    take a message --> begin its call --> run it --> set its future, and the message is done
                          |                 +-- the process is killed: the message goes to another worker,
                          |                     at most `attempts` times, then the future breaks
                          +-- it was cancelled, or is set: the message is done

The message holds a name only.  What is run stands in the future's own row, where no other primitive can write: whoever
may put messages into queues can have a call run a second time at most.
"""

from __future__ import annotations

import functools
import json
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from prong.primitives import artifacts, remote
from prong.primitives.errors import NotDelivered
from prong.primitives.future import tell
from prong.primitives.letters import Message
from prong.primitives.message_queue import EXECUTORS, MessageQueue
from prong.state import Membership, Row, Transaction, process
from prong.state.transaction import compact

INITIALIZER_FAILED = 73
"""The exit status of a worker whose initializer raised."""

UNGUARDED = 74
"""The exit status of a worker that ran the program which started it, and came to a call of its executor there."""

REDELIVERIES = 1_000_000
"""After how many failed deliveries the queue itself gives up: never, since the workers count."""

_LOGGER = logging.getLogger("concurrent.futures")

_BEGIN = """
update future
   set state = case state when 'cancelled' then 'notified' else 'running' end,
       owner = case state when 'cancelled' then null else :agent end,
       attempt = attempt + (state <> 'cancelled')
 where name = :name and call is not null and state in ('pending', 'running', 'cancelled')
returning state, call, attempt, error                          -- no row: it is over, or not a call
"""

_END = """
update future set state = :state, result = :result, error = :error, pickled = :pickled, set_at = :now, owner = null
 where name = :name and state = 'running' and owner = :agent
returning state                                                -- no row: this worker was too slow, and another has it
"""

_BREAK = """
update future set state = 'broken', error = :why, set_at = :now, owner = null
 where name = :name and call is not null and state in ('pending', 'running') and (owner is null or owner = :agent)
returning state
"""


class Ended(NamedTuple):
    """How a call ended, as its row tells it."""

    state: str
    result: str | None
    error: str | None
    pickled: str | None


class Worker:
    """One thread that runs the calls of an executor."""

    def __init__(self, member: Membership, name: str, *, attempts: int) -> None:
        self._attempts = attempts
        self._member = member
        self._queue = queue_of(member, name)
        self.idle = False
        self.leaving = False

    def run(self, *, calls: int | None = None, timeout: float | None = None) -> int:
        """Run calls until so many are run, or none came for `timeout` seconds; how many were run."""
        ran = 0
        while (calls is None or ran < calls) and (messages := self._take(timeout)):
            for message in messages:
                ran += self._serve(message)
        return ran

    def _take(self, timeout: float | None) -> Sequence[Message]:
        try:
            self.idle = True
            return () if self.leaving else self._queue.take(timeout=timeout)
        finally:
            self.idle = False

    def _serve(self, message: Message) -> bool:
        """Run the call that a message names; False where there is nothing to run."""
        name = message.value
        with self._member.atomic() as tx:
            row = self._begin(tx, name) if isinstance(name, str) else None
            if row is None:
                self._done(message)
                return False
        ended, interrupt = self._ran(row, name)
        with self._member.atomic() as tx:
            if tx.row(_END, name=name, agent=self._member.me.agent, now=tx.now, **ended._asdict()) is not None:
                tx.event(f"future.{ended.state}", object=name)
                tell(tx, name)
            self._done(message)
        if interrupt is not None:
            raise interrupt
        return True

    def _begin(self, tx: Transaction, name: str) -> Row | None:
        """The call, if it is to be run: not where it was cancelled, nor where it has killed too many workers."""
        row = tx.row(_BEGIN, name=name, agent=self._member.me.agent)
        if row is None:
            return None
        if row["state"] == "notified":
            tx.event("future.notified", object=name)
            tell(tx, name)
            return None
        if row["attempt"] > self._attempts:
            last = f", the last: {json.loads(row['error'])}" if row["error"] else ""
            break_call(tx, name, f"{row['attempt'] - 1} workers died while they ran it{last}")
            return None
        tx.event("future.running", object=name, attempt=row["attempt"])
        return row

    def _ran(self, row: Row, name: str) -> tuple[Ended, KeyboardInterrupt | None]:
        try:
            call = artifacts.loaded(self._member, row["call"])
            function, arguments, named = remote.resolved(call, self._member.store.path)
            return self._returned(name, function(*arguments, **named)), None
        except BaseException as error:  # noqa: BLE001  whatever it raises is the caller's
            return _raised(error), error if isinstance(error, KeyboardInterrupt) else None

    def _returned(self, name: str, result: Any) -> Ended:
        what = f"the result of call {name!r}"
        if remote.is_exact(result):
            return Ended("done", artifacts.stored(self._member, what, result), None, None)
        return Ended("done", None, None, artifacts.stored(self._member, what, remote.packed(result)))

    def _done(self, message: Message) -> None:
        with suppress(NotDelivered):  # we were too slow, and it was delivered anew
            self._queue.done(message)


class Job(NamedTuple):
    """What a process of a pool is told."""

    place: str
    name: str
    attempts: int
    initializer: Callable[..., object] | None
    initargs: Sequence[Any]
    max_tasks: int | None


class _Leave(BaseException):
    """Raised in the middle of a wait for calls."""


def serve(job: Job, ready: Connection) -> None:
    """The life of a process of a pool: until it is told to leave (SIGTERM), or its parent is gone."""
    from prong.primitives.joined import join  # noqa: PLC0415  which makes executors, too

    with suppress(_Leave), join(job.place, f"{job.name} worker") as swarm:
        worker = Worker(swarm, job.name, attempts=job.attempts)
        signal.signal(signal.SIGTERM, functools.partial(_leave, worker))
        signal.signal(signal.SIGINT, functools.partial(_interrupt, worker))
        threading.Thread(target=_leave_with_parent, name="prong-parent", daemon=True).start()
        _initialize(job)
        ready.send(swarm.me.agent)
        left = job.max_tasks
        while not worker.leaving and (left is None or left > 0):
            with suppress(KeyboardInterrupt):  # it was the call's, which has told its caller
                worker.run(calls=left and 1)
            left = left and left - 1


def _initialize(job: Job) -> None:
    if job.initializer is not None:
        try:
            job.initializer(*job.initargs)
        except BaseException:
            _LOGGER.critical("Exception in initializer:", exc_info=True)
            sys.exit(INITIALIZER_FAILED)


def _leave(worker: Worker, *_: Any) -> None:
    """Finish the call that runs; leave at once where none does."""
    worker.leaving = True
    if worker.idle:
        raise _Leave


def _interrupt(worker: Worker, *_: Any) -> None:
    """Ctrl-C in a terminal goes to every process; here it concerns the call alone."""
    if not worker.idle:
        raise KeyboardInterrupt


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        with process.helping():
            parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


class _CallQueue(MessageQueue):
    """The queue through which an executor's calls go; no other code has a queue of such a name."""

    _is_executors = True


def queue_of(member: Membership, name: str) -> MessageQueue:
    """The queue of the executor of this name."""
    return _CallQueue(member, f"{EXECUTORS}{name}", attempts=REDELIVERIES)


def break_call(tx: Transaction, name: str, why: str) -> bool:
    """Let a call end without a result; False where it is over, or runs at another worker."""
    agent = tx.member.agent if tx.member is not None else None
    if tx.row(_BREAK, name=name, why=compact(why), agent=agent, now=tx.now) is None:
        return False
    tx.event("future.broken", object=name, reason=why)
    tell(tx, name)
    return True


def _raised(error: BaseException) -> Ended:
    # The first frame is ours and tells the caller nothing.
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
    pickled = None
    if not _told_by_json(error):
        with suppress(Exception):  # what cannot be pickled, or not be made again, is described all the same
            pickled = compact(remote.packed(error))
            pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    return Ended("failed", None, compact(remote.described(error)), pickled)


def _told_by_json(error: BaseException) -> bool:
    return type(error).__module__ == "builtins" and remote.is_exact([list(error.args), error.__dict__])
