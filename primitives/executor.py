"""Calls that other processes run, and that survive them: `concurrent.futures.Executor` over a durable queue.

    submit --> queued --a worker takes it--> running --> its future is set
                 ^                             +-- the worker is killed
                 +-----------------------------+   (after `attempts` workers, the future breaks)

Workers are processes that the executor starts, and any others that call `work()` on an executor of the same name.

**Whoever can write to the database can have code run** by every process that submits or works: a call is the name of a
function, or a pickle.  Executors therefore refuse a database that another user could write to.  The tools and messages
of other primitives cannot reach the place where calls stand (primitives/worker.py).
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any, Literal

from prong.primitives import artifacts, remote
from prong.primitives.calls import Call, Calls
from prong.primitives.errors import BrokenPool
from prong.primitives.pool import Pool
from prong.primitives.values import checked_name, checked_number
from prong.primitives.worker import UNGUARDED, Job, Worker, queue_of
from prong.state import Invalid, Membership
from prong.state.transaction import compact

NAME_CHARACTERS = 150
"""The longest name of an executor, in characters: those of its calls begin with it."""

ATTEMPTS = 3
"""How many workers may die of one call before its future breaks, unless the executor says otherwise."""

_SUBMIT = """
insert into future (name, state, call, caller, error, set_at)
values (:name, :state, :call, :agent, :error, case when :error is not null then :now end)
"""


@dataclass(frozen=True, slots=True)
class ExecutorStatistics:
    """How many calls wait for a worker, how many run, and how many workers wait for calls."""

    name: str
    queued: int
    running: int
    idle: int


class Executor(futures.Executor):
    """An executor by name, as `concurrent.futures.ProcessPoolExecutor`, whose calls outlive a worker that is killed.

    `workers="elsewhere"` starts no process: calls wait until somebody calls `work()`.  `mp_context` is "spawn" unless
    it says otherwise: this process has threads, and a fork of it may be stuck from the beginning.  So a program that
    makes an executor needs `if __name__ == "__main__":` as it does for multiprocessing.

    Arguments and results are JSON where that is exact, and pickles otherwise.

    >>> pool = swarm.Executor("pool", workers="elsewhere")
    >>> power = pool.submit(pow, 2, 3)
    >>> swarm.Executor("pool").work(calls=1)
    1
    >>> power.result()
    8
    """

    def __init__(  # noqa: PLR0917  the standard library's own signature
        self,
        member: Membership,
        name: str,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
        attempts: int = ATTEMPTS,
        workers: Literal["own", "elsewhere"] = "own",
    ) -> None:
        self.name = checked_name("executor name", name)
        if len(name) > NAME_CHARACTERS:
            raise Invalid(f"an executor's name of {len(name)} characters", f"at most {NAME_CHARACTERS}")
        _check(max_workers, initializer, max_tasks_per_child, workers)
        self._attempts = checked_number("attempts", attempts, least=1)
        self._calls = Calls(member, name)
        self._member = member
        self._options = (max_workers, mp_context, initializer, tuple(initargs), max_tasks_per_child, attempts, workers)
        self._queue = queue_of(member, name)
        self._shut = False
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        if workers == "own":
            job = Job(
                str(member.store.place.absolute()), name, attempts, initializer, tuple(initargs), max_tasks_per_child
            )
            self._pool = Pool(
                member, job, size=max_workers or os.cpu_count() or 1, calls=self._calls,
                context=mp_context or multiprocessing.get_context("spawn"),
            )  # fmt: skip
            weakref.finalize(self, self._pool.abandon).atexit = False

    def __repr__(self) -> str:
        state = "broken" if self._calls.broken else "shut down" if self._shut else "open"
        return f"<Executor {self.name!r} {state}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Executor) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self._member, self.name, self._options)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Call:
        """Have `fn(*args, **kwargs)` called by a worker; its future.

        Raises RuntimeError after `shutdown`, `BrokenPool` (a `BrokenExecutor`) where no worker can run.

        >>> swarm.Executor("pool", workers="elsewhere").submit(pow, 2, 3).done()
        False
        """
        if self._pool is not None and getattr(multiprocessing.current_process(), "_inheriting", False):
            # This worker imports the program that made it, which tells what is wrong.  What the program would clean up
            # at its end is in use there.
            os._exit(UNGUARDED)
        call = Call(self._member, f"{self.name}/{uuid.uuid4().hex}")
        with self._lock:
            if self._calls.broken:
                raise BrokenPool(self.name, self._calls.broken)
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._calls.add(call)
        try:
            grow = self._pool is not None and not self._somebody_is_idle()
            self._put(call, fn, args, kwargs)
            if grow and self._pool is not None:
                self._pool.grow()
        except BaseException:
            self._calls.drop(call)
            raise
        call.submitted = True
        self._calls.forget()
        return call

    def map(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Any]:
        """As `map`, but by workers, `chunksize` calls at a time; raises TimeoutError as the standard library's does.

        >>> list(swarm.Executor("pool", workers="elsewhere").map(abs, []))
        []
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        chunks = _chunks(zip(*iterables, strict=False), chunksize)
        return itertools.chain.from_iterable(super().map(_run_chunk, itertools.repeat(fn), chunks, timeout=timeout))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  as there
        """Take no more calls, and let the processes leave when all are run; `wait` for that.

        Calls that nobody has begun are run all the same, unless `cancel_futures`.  Workers elsewhere stay.

        >>> pool = swarm.Executor("pool")
        >>> pool.shutdown()
        >>> pool.submit(pow, 2, 3)
        Traceback (most recent call last):
        RuntimeError: cannot schedule new futures after shutdown
        """
        with self._lock:
            self._shut = True
        if cancel_futures:
            self._calls.cancel()
        if wait:
            for call in self._calls.open():
                call.join()
        if self._pool is not None:
            self._pool.stop() if wait else self._pool.abandon()
            if wait:
                self._pool.join()
        self._calls.forget(least=1)

    def work(self, *, calls: int | None = None, timeout: float | None = None) -> int:
        """Run this executor's calls here, until so many are run or none came for `timeout` seconds; how many were.

        >>> swarm.Executor("pool").work(timeout=0)
        0
        """
        return Worker(self._member, self.name, attempts=self._attempts).run(calls=calls, timeout=timeout)

    def future(self, name: str) -> Call:
        """The future of a call by its name, wherever it was submitted.

        >>> pool = swarm.Executor("pool", workers="elsewhere")
        >>> call = pool.submit(pow, 2, 3)
        >>> pool.future(call.name) == call
        True
        """
        return Call(self._member, name)

    def statistics(self) -> ExecutorStatistics:
        """What is so now.

        >>> swarm.Executor("pool").statistics().queued
        0
        """
        found = self._queue.statistics()
        return ExecutorStatistics(self.name, found.queued, found.delivered, found.waiting)

    @property
    def _identity(self) -> tuple[str, str]:
        return str(self._member.store.path), self.name

    def _somebody_is_idle(self) -> bool:
        row = self._member.store.row(
            "select 1 from waiter where kind = 'queue' and object = :queue and state = 'waiting' limit 1",
            queue=self._queue.name,
        )
        return row is not None

    def _put(self, call: Call, fn: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> None:
        error = None
        try:
            told = remote.call_of(fn, args, named)
            text = artifacts.stored(self._member, f"a call of {fn!r}", told)
        except Exception as failure:  # noqa: BLE001  whatever pickling raises is what the call comes to
            text, error = "{}", compact(remote.described(failure))
        remote.refuse_foreign(self._member.store.path)
        with self._member.atomic() as tx:
            tx.execute(
                _SUBMIT, name=call.name, state="failed" if error else "pending", call=text, error=error,
                agent=self._member.me.agent, now=tx.now,
            )  # fmt: skip
            tx.event("future.submitted", object=call.name, function=remote.reference_of(fn))
            if error is None:
                self._queue.put(call.name)


def _check(
    max_workers: int | None, initializer: Callable[..., object] | None, max_tasks: int | None, workers: str
) -> None:
    """Refuse what the standard library refuses, in its words."""
    if max_workers is not None and max_workers <= 0:
        raise ValueError("max_workers must be greater than 0")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    if max_tasks is not None and not isinstance(max_tasks, int):
        raise TypeError("max_tasks_per_child must be an integer")
    if max_tasks is not None and max_tasks <= 0:
        raise ValueError("max_tasks_per_child must be >= 1")
    if workers not in ("own", "elsewhere"):
        raise Invalid(f"workers={workers!r}", "'own' or 'elsewhere'")


def _again(kind: type[Executor], member: Membership, name: str, options: tuple[Any, ...]) -> Executor:
    """An executor in the process that it was pickled to; it begins with no process of its own."""
    size, context, initializer, initargs, max_tasks, attempts, workers = options
    return kind(
        member, name, size, context, initializer, initargs, max_tasks_per_child=max_tasks, attempts=attempts,
        workers=workers,
    )  # fmt: skip


def _chunks(arguments: Iterable[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    arguments = iter(arguments)
    while chunk := list(itertools.islice(arguments, size)):
        yield chunk


def _run_chunk(fn: Callable[..., Any], chunk: list[tuple[Any, ...]]) -> list[Any]:
    return [fn(*arguments) for arguments in chunk]
