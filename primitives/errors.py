"""What a primitive refuses, each refusal saying who holds what and what to do instead."""

from __future__ import annotations

from prong.state import ProngError


class NotHeld(ProngError):
    """A release or renewal by somebody who does not hold the thing, or not any more."""

    def __init__(self, name: str, holder: str | None, fence: int) -> None:
        self.name = name
        self.holder = holder
        self.fence = fence

    def __str__(self) -> str:
        now = f"{self.holder} holds it now (fence {self.fence})" if self.holder else "nobody holds it"
        return f"you do not hold lock {self.name!r}: {now}. Acquire it again before you touch what it guards."


class BrokenBarrier(ProngError):
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


class TooLarge(ProngError):
    """A value over its bound."""

    def __init__(self, what: str, size_bytes: int, bound_bytes: int) -> None:
        self.what = what
        self.size_bytes = size_bytes
        self.bound_bytes = bound_bytes

    def __str__(self) -> str:
        return (
            f"{self.what} is {self.size_bytes} bytes, over the bound of {self.bound_bytes}. "
            "Write it to a shared file and store the file's path."
        )


class UnknownTask(ProngError):
    """A task number that this swarm does not have."""

    def __init__(self, task: int) -> None:
        self.task = task

    def __str__(self) -> str:
        return f"there is no task {self.task} in this swarm. Its tasks are those that create_task and prong tasks name."
