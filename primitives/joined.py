"""Joining: how a program takes part in a swarm, or shares a plain file with other programs.

    with join("work.db") as swarm:
        with swarm.Lock("index") as grant:
            swarm.SharedMap("findings")["src"] = {"files": 12}

The object that `join` returns makes every primitive by the name of its class, as `multiprocessing.Manager()` does.
What its process holds is renewed while it runs and given back when it ends, however it ends.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from prong.primitives import holdings
from prong.primitives.atomic import Atomic
from prong.primitives.barrier import Barrier
from prong.primitives.condition import Condition
from prong.primitives.event import Event
from prong.primitives.executor import Executor
from prong.primitives.future import Future
from prong.primitives.heartbeat import Heartbeat
from prong.primitives.lock import Lock
from prong.primitives.message_queue import MessageQueue
from prong.primitives.rlock import RLock
from prong.primitives.semaphore import BoundedSemaphore, Semaphore
from prong.primitives.shared_list import SharedList
from prong.primitives.shared_map import SharedMap
from prong.primitives.task import Plan, Task, create_task, wait_tasks
from prong.primitives.task_future import TaskFuture
from prong.primitives.topic import Topic
from prong.primitives.values import checked_name
from prong.primitives.watch import Round as _Round  # noqa: F401  waits import it late: a fork then must not meet that
from prong.state import Clock, Invalid, Member, Membership, ProngError, Store, process
from prong.state.member import LEASE_S, enlist, no_parking

AnyLock = Lock | RLock
"""What a condition can go with."""


def join(path: Path | str, name: str | None = None, *, clock: Clock | None = None) -> Swarm:
    """Take part in the swarm whose directory is `path`, or share the file `path` (a name with a suffix: `work.db`).

    What is not there yet is made.  `name` is what others read of this program; without one it is the program's own
    name.  Raises `StoreError` where the database cannot be used.

    >>> with join("work.db") as ada, join("work.db") as bob:       # two programs, as a rule
    ...     ada.SharedMap("findings")["src"] = 12
    ...     bob.SharedMap("findings")["src"]
    12
    """
    if not str(path):
        raise Invalid("an empty path to join", "a file's name with a suffix, or a directory")
    name = checked_name("name of a member", name) if name is not None else Path(sys.argv[0] or "python").stem[:150]
    return Swarm(Store(Path(path), clock=clock), name)


class Swarm(Membership):
    """This process's membership, and the maker of every primitive.

    A forked child that goes on with it, or a process that unpickles a primitive, becomes a member of its own; so does
    nobody else: what the parent holds stays the parent's.

    >>> with swarm.atomic():                       # all of it or, where an exception leaves the block, nothing
    ...     swarm.SharedMap("findings")["src"] = 12
    ...     swarm.Event("measured").set()
    """

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.parking = no_parking
        self.base = name
        self._lock = threading.Lock()
        self._me: Member | None = None
        self._left = False
        _everybody().add(self)
        self._become(name)

    @property
    def me(self) -> Member:
        """Who acts; a forked child is somebody else than its parent."""
        me = self._me
        return me if me is not None else self._become(f"{self.base}-{os.getpid()}")

    @property
    def name(self) -> str:
        """What others read of this member."""
        row = self.store.row("select name from agent where id = :agent", agent=self.me.agent)
        return str(row["name"]) if row is not None else self.base

    def __repr__(self) -> str:
        return f"<Swarm {str(self.store.place)!r}, member {self.base!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (str(self.store.place.absolute()), self.base)

    @property
    def left(self) -> bool:
        """Whether it is a member no more."""
        return self._left

    def leave(self, reason: str = "it left") -> None:
        """Give back all that this process holds and be a member no more; a second call does nothing."""
        if self.store.inside_atomic:
            raise RuntimeError("leave() inside an atomic block: leave the block first")
        me, self._left = self._me, True
        if me is not None:
            self._heart.stop()
            with self.store.transaction(None) as tx:
                holdings.bury(tx, me.agent, state="ended", reason=reason, task=None)
            self.store.close()

    def holding(self, lease_s: float) -> None:
        """It holds something now, so that its heart has to beat."""
        self._heart.needed(lease_s)

    def forked(self) -> None:
        """In a forked child: be somebody else from the next use on."""
        self._lock = threading.Lock()
        if not self._left:
            self._me = None

    def _become(self, name: str) -> Member:
        with self._lock:
            if self._me is None:
                identity = process.identity()
                lease_s = None if identity else LEASE_S
                with self.store.transaction(None) as tx:
                    agent = enlist(
                        tx, name, pid=os.getpid(), task=None, state="running", lease_s=lease_s, process=identity or "-"
                    )
                self._heart = Heartbeat(self)
                self._me = Member(agent, 1)
                if lease_s is not None:
                    self._heart.needed(lease_s)
            return self._me

    def Lock(self, name: str) -> Lock:
        """The lock of this name."""
        return Lock(self, name)

    def RLock(self, name: str) -> RLock:
        """The re-entrant lock of this name."""
        return RLock(self, name)

    def Semaphore(self, name: str, value: int | None = None) -> Semaphore:
        """The semaphore of this name, with `value` permits, or as it is."""
        return Semaphore(self, name, value)

    def BoundedSemaphore(self, name: str, value: int | None = None) -> BoundedSemaphore:
        """The bounded semaphore of this name, with `value` permits, or as it is."""
        return BoundedSemaphore(self, name, value)

    def Event(self, name: str) -> Event:
        """The event of this name."""
        return Event(self, name)

    def Condition(self, name: str, lock: AnyLock | None = None) -> Condition:
        """The condition of this name, with a lock of the same name where none is given."""
        return Condition(self, name, lock)

    def Barrier(self, name: str, parties: int | None = None, *more: Any, **options: Any) -> Barrier:
        """The barrier of this name, with what else the class takes, in the standard library's order."""
        return Barrier(self, name, parties, *more, **options)

    def Atomic(self, name: str, initial: Any = 0) -> Atomic:
        """The atomic value of this name."""
        return Atomic(self, name, initial)

    def SharedMap(self, name: str) -> SharedMap:
        """The map of this name."""
        return SharedMap(self, name)

    def SharedList(self, name: str) -> SharedList:
        """The list of this name."""
        return SharedList(self, name)

    def MessageQueue(self, name: str, maxsize: int = 0, **options: Any) -> MessageQueue:
        """The queue of this name."""
        return MessageQueue(self, name, maxsize, **options)

    def Topic(self, name: str) -> Topic:
        """The topic of this name."""
        return Topic(self, name)

    def Future(self, name: str) -> Future:
        """The future of this name."""
        return Future(self, name)

    def TaskFuture(self, task: int) -> TaskFuture:
        """Task number `task` as a future."""
        return TaskFuture(self, task)

    def create_task(
        self, title: str, prompt: str, *, needs: Sequence[int] = (), priority: int = 0, key: str | None = None
    ) -> Task:
        """Write a task down for whichever agent claims it; the same `key` a second time returns the first task.

        >>> swarm.create_task("Count", "Count the files.").state
        'ready'
        """
        with self.transaction() as tx:
            return create_task(tx, Plan(title, prompt, needs=needs, priority=priority, key=key))[0]

    def wait_tasks(
        self, tasks: Sequence[int], *, mode: Literal["all", "any"] = "all", timeout: float | None = None
    ) -> list[Task]:
        """Wait until all (or any) of the tasks are final, at most `timeout` seconds; returns all as they are then.

        >>> task = swarm.create_task("Count", "Count the files.")
        >>> [found.state for found in swarm.wait_tasks([task.id], timeout=0)]
        ['ready']
        """
        return wait_tasks(self, tasks, mode=mode, timeout=timeout)

    def Executor(self, name: str, max_workers: int | None = None, *more: Any, **options: Any) -> Executor:
        """The executor of this name, with what else the class takes, in the standard library's order."""
        return Executor(self, name, max_workers, *more, **options)


@functools.cache
def _everybody() -> weakref.WeakSet[Swarm]:
    """All memberships of this process, which end with it, and which a forked child does not share."""
    swarms: weakref.WeakSet[Swarm] = weakref.WeakSet()

    def forked() -> None:
        for swarm in list(swarms):
            swarm.forked()

    os.register_at_fork(after_in_child=forked)
    atexit.register(_leave_all)
    return swarms


def _leave_all() -> None:
    for swarm in list(_everybody()):
        with suppress(ProngError):
            swarm.leave("its program has ended")


@functools.cache
def _joined() -> dict[tuple[int, str, str], Swarm]:
    """For as long as the process lives: a pool's worker unpickles a primitive for each call, and is one member."""
    return {}


def _again(place: str, name: str) -> Swarm:
    """This process's membership of a swarm that something was unpickled from."""
    for there in list(_everybody()):
        if (str(there.store.place.absolute()), there.base) == (place, name) and not there.left:
            return there
    swarm = _joined().get((os.getpid(), place, name))
    if swarm is None or swarm.left:
        swarm = _joined()[os.getpid(), place, name] = join(place, f"{name}-{os.getpid()}")
    return swarm
