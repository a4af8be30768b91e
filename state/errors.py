"""What can go wrong with the shared state, each error saying what, who, and what next."""

from __future__ import annotations

from typing import Any, Self


class ProngError(Exception):
    """The base of every error that Prong raises on purpose.

    The fields are attributes and the text is built from them, so that an error crosses a pickle unharmed.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, dict(self.__dict__))

    @classmethod
    def _restore(cls, arguments: tuple[Any, ...], fields: dict[str, Any]) -> Self:
        error = cls.__new__(cls, *arguments)
        error.__dict__.update(fields)
        return error


def _rebuild(kind: type[ProngError], arguments: tuple[Any, ...], fields: dict[str, Any]) -> ProngError:
    return kind._restore(arguments, fields)  # noqa: SLF001  a method of the same class, called from pickle's side


class StoreError(ProngError):
    """The database could not be opened, read or written."""

    def __init__(self, path: str, problem: str, advice: str) -> None:
        self.path = path
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}. {self.advice}"


class StoreBusy(StoreError):
    """Another program held the database for longer than a call waits."""

    def __init__(self, path: str, waited_s: float, holders: tuple[int, ...]) -> None:
        self.waited_s = waited_s
        self.holders = holders
        who = " and ".join(f"process {pid}" for pid in holders) or "an unknown process"
        super().__init__(
            path,
            f"{who} {'have' if len(holders) > 1 else 'has'} kept the database locked for {waited_s:g} s",
            "Let it finish or end it, then call again; nothing was written.",
        )


class Deposed(ProngError):
    """The acting agent was declared dead, so that nothing it still does may be written."""

    def __init__(self, agent: int, incarnation: int, reason: str, name: str | None = None) -> None:
        self.agent = agent
        self.incarnation = incarnation
        self.reason = reason
        self.name = name

    def __str__(self) -> str:
        number = f"agent {self.agent}, incarnation {self.incarnation}"
        return (
            f"{f'{self.name} ({number})' if self.name else number} is no member any more: {self.reason}. "
            "What it held belongs to others now; end this process, or join anew."
        )


class WaitInsideAtomic(ProngError, RuntimeError):
    """A call that would have to wait for others inside a block that keeps them out."""

    def __init__(self, kind: str, object: str) -> None:
        self.kind = kind
        self.object = object

    def __str__(self) -> str:
        return (
            f"this call would wait for {self.kind} {self.object!r} inside an atomic block, which others cannot enter "
            "before it ends. Wait before the block, or ask with a timeout of 0 in it; the block was undone."
        )


class TaskLost(ProngError):
    """A write for a task by an agent that holds it no longer."""

    def __init__(self, task: int, fence: int, state: str, now: int) -> None:
        self.task = task
        self.fence = fence
        self.state = state
        self.now = now

    def __str__(self) -> str:
        return f"task {self.task} was claimed under fence {self.fence}, but is {self.state} at fence {self.now}. Stop."


class Invalid(ProngError, ValueError):
    """An argument that cannot be used: what was given, and what would do."""

    def __init__(self, what: str, expected: str) -> None:
        self.what = what
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.what}; use {self.expected}"
