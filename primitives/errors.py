"""What a primitive refuses, each refusal saying who holds what and what to do instead."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from threading import BrokenBarrierError
from typing import Literal

from prong.state import ProngError

Limit = Literal["open", "tasks", "depth", "children"]
"""What there can be too much of: open tasks, tasks ever created, tasks below one another, tasks below one."""


class NotHeld(ProngError, RuntimeError):
    """A release, renewal or guarded change by somebody who does not hold the thing, or not any more.

    `yours` is the fence under which it was held, where the call named one.
    """

    def __init__(self, name: str, holder: str | None, fence: int, yours: int | None = None) -> None:
        self.name = name
        self.holder = holder
        self.fence = fence
        self.yours = yours

    def __str__(self) -> str:
        now = f"{self.holder} holds it now (fence {self.fence})" if self.holder else "nobody holds it"
        over = f" under fence {self.yours} any more" if self.yours is not None else ""
        return f"you do not hold lock {self.name!r}{over}: {now}. Acquire it again before you touch what it guards."


class BrokenBarrier(ProngError, BrokenBarrierError):
    """The parties of this round will never be complete."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"barrier {self.name!r} is broken: {self.reason}. Go on without it, or reset it and meet again."


class VersionConflict(ProngError):
    """A write that expected another version of the key than the one that is there."""

    def __init__(self, map_name: str, key: str, expected: int, found: int) -> None:
        self.map_name = map_name
        self.key = key
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        return (
            f"key {self.key!r} of map {self.map_name!r} is at version {self.found}, not {self.expected}. "
            "Read it again, decide again, and write with the new version."
        )


class Deadlock(ProngError):
    """A wait that could never have ended, given up so that others can go on.

    `who` waited for `waits_for`; `story` tells of all who hold one another, and `reason` why it was this wait.
    """

    def __init__(self, who: str, waits_for: str, story: str, reason: str, advice: str) -> None:
        self.who = who
        self.waits_for = waits_for
        self.story = story
        self.reason = reason
        self.advice = advice

    def __str__(self) -> str:
        return (
            f"deadlock: {self.story}. You ({self.who}) were chosen to give way, because {self.reason}, "
            f"and did not get {self.waits_for}. {self.advice}"
        )


class TooLarge(ProngError):
    """A value over its bound."""

    def __init__(self, what: str, size_bytes: int, bound_bytes: int) -> None:
        self.what = what
        self.size_bytes = size_bytes
        self.bound_bytes = bound_bytes

    def __str__(self) -> str:
        return (
            f"{self.what} is {self.size_bytes} bytes, over the bound of {self.bound_bytes}. "
            "Store it in parts, or write it to a file of your own and store the file's path."
        )


class UnknownTask(ProngError):
    """A task number that this swarm does not have."""

    def __init__(self, task: int) -> None:
        self.task = task

    def __str__(self) -> str:
        return f"there is no task {self.task} in this swarm. See which there are with: prong tasks, or list_tasks."


class WrongTaskState(ProngError):
    """Something was asked of a task that its state does not allow."""

    def __init__(self, task: int, state: str, wanted: str) -> None:
        self.task = task
        self.state = state
        self.wanted = wanted

    def __str__(self) -> str:
        return f"task {self.task} is {self.state}, not {self.wanted}. See how it stands with: prong why {self.task}"


class TooManyTasks(ProngError):
    """A task that would pass one of the swarm's limits; `left` says how much each of them still allows."""

    def __init__(self, limit: Limit, most: int, left: Mapping[Limit, int]) -> None:
        self.limit = limit
        self.most = most
        self.left = left

    def __str__(self) -> str:
        what = {
            "open": f"{self.most} tasks are open, and no more may be at once. Wait until some have ended",
            "tasks": f"{self.most} tasks were created, and no more may be in this swarm. Do the rest yourself",
            "depth": f"you are {self.most} tasks below the first, and none may stand deeper. Do the work yourself",
            "children": f"you have created {self.most} tasks, and no task may create more. Do the rest yourself",
        }[self.limit]
        left = ", ".join(f"{name} {number}" for name, number in self.left.items())
        return f"no task was created: {what}. What is left: {left}. A person can raise limits.{self.limit} in PRONG.md."


class PermitLost(ProngError, RuntimeError):
    """A release of a permit that was taken back before, because its lease had run out."""

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.count = count

    def __str__(self) -> str:
        which = "a permit that was" if self.count == 1 else f"{self.count} permits that were"
        return (
            f"semaphore {self.name!r}: you released {which} no longer yours, because the lease had run out. Others may "
            "have worked with the same resource meanwhile: check it, and take a longer lease next time."
        )


class ReleasedTooOften(ProngError, ValueError):
    """A release of a bounded semaphore that would free more permits than there are."""

    def __init__(self, name: str, initial: int) -> None:
        self.name = name
        self.initial = initial

    def __str__(self) -> str:
        return (
            f"semaphore {self.name!r} was released too often: it has {self.initial} permits in all. "
            "Release once for every acquire."
        )


class BrokenFuture(ProngError, futures.BrokenExecutor):
    """A future that nobody will ever set: whoever promised it is gone, or no worker could finish the call."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"future {self.name!r} is broken: {self.reason}. Do that work again under another name, or without it."


class BrokenCall(BrokenFuture, BrokenProcessPool):
    """An executor's call that no worker could finish, as the standard library's; the executor itself goes on."""


class BrokenPool(ProngError, BrokenProcessPool):
    """An executor whose workers cannot run."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"executor {self.name!r} has no worker that can run: {self.reason}. Mend that, and make a new executor."


class NotPromised(ProngError, futures.InvalidStateError):
    """A change of a future that somebody else has promised, or that is a view of something else."""

    def __init__(self, name: str, owner: str) -> None:
        self.name = name
        self.owner = owner

    def __str__(self) -> str:
        return f"future {self.name!r} can be set by {self.owner} alone. Wait for its result, or use another name."


class TaskFailed(ProngError):
    """What the future of a task raises that has failed."""

    def __init__(self, task: int, reason: str | None) -> None:
        self.task = task
        self.reason = reason

    def __str__(self) -> str:
        return f"task {self.task} failed: {self.reason or 'it did not say why'}. Create it again, or go on without it."


class RemoteError(ProngError):
    """An exception of another process whose type cannot be made anew here; `text` is what it said."""

    def __init__(self, type_name: str, text: str) -> None:
        self.type_name = type_name
        self.text = text

    def __str__(self) -> str:
        return f"{self.type_name}: {self.text}"


class RemoteTraceback(ProngError):
    """Where an exception was raised in the other process, as the cause of what is raised here."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class ShutDown(ProngError, getattr(queue, "ShutDown", Exception)):  # type: ignore[misc]  # from Python 3.13 on it is one
    """A put into a queue that was shut down, or a get where nothing is left in it.

    From Python 3.13 on it is a `queue.ShutDown` as well.
    """

    def __init__(self, name: str, how: str) -> None:
        self.name = name
        self.how = how

    def __str__(self) -> str:
        left = "; what was in it became dead letters" if self.how == "immediate" else ""
        return f"queue {self.name!r} was shut down{left}. Nothing more comes: end, or have it reopened."


DONE = "it is done"
"""Where a message is that is nowhere any more."""


class NotDelivered(ProngError, ValueError):
    """A message that its reader wants to be done with is not with that reader, or not any more."""

    def __init__(self, name: str, message: int, now: str) -> None:
        self.name = name
        self.message = message
        self.now = now

    @property
    def is_there(self) -> bool:
        """Whether the message is there still, with somebody else or for somebody else."""
        return self.now != DONE

    def __str__(self) -> str:
        return (
            f"message {self.message} of queue {self.name!r} is not with you: {self.now}. "
            "Drop what you made of it, and take the next."
        )


class OutOfBudget(ProngError):
    """A call, or a budget for a task, that would cost more than is open.

    `kind` says whose bound it is: an `account`'s, which `account` names (0: the swarm's), or the `agent`'s own.  The
    figures are in `unit`: whole tokens, or dollars.
    """

    def __init__(
        self, kind: Literal["account", "agent"], account: int | None, unit: Literal["tokens", "usd"], *, asked: float,
        open: float, bound: float, settled: float, reserved: float = 0, lent: float = 0, closed: bool = False,
    ) -> None:  # fmt: skip
        self.kind = kind
        self.account = account
        self.unit = unit
        self.asked = asked
        self.open = open
        self.bound = bound
        self.settled = settled
        self.reserved = reserved
        self.lent = lent
        self.closed = closed

    @property
    def whose(self) -> str:
        """Whose budget it is, in words."""
        if self.kind == "agent":
            return "this agent's budget"
        return f"the budget of task {self.account}" if self.account else "the swarm's budget"

    def __str__(self) -> str:
        if self.closed:
            return f"{self.whose} is closed: nobody spends from it any more. Retry the task to open it again."
        return (
            f"{self.whose} has {self._amount(self.open)} left, and {self._amount(self.asked)} would be needed: of"
            f" {self._amount(self.bound)} {self._amount(self.settled)} are spent, {self._amount(self.reserved)} set"
            f" aside for calls under way and {self._amount(self.lent)} lent to tasks. Ask for less, or have it raised."
        )

    def _amount(self, number: float) -> str:
        return f"${number:,.4f}" if self.unit == "usd" else f"{number:,.0f} tokens"
