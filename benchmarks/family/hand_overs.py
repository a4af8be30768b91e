"""Whether the bare loops write the same rows as Prong where one process waits and another one wakes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from family import barriers, locks, queue_sides
from family.bare_loops import BareBarrier, BareLock
from family.crew import Crew, Make, Work
from family.ours import swarm_directory, until_waiting
from family.rows import written

Side = Callable[[Path], AbstractContextManager[Any]]
"""What makes a process's hold of the object in the swarm of that directory."""

Call = tuple[int, str, tuple[Any, ...]]
"""Which of two processes calls which method, and with what."""

_WAIT_S = 10.0
"""How long a reader waits for a message at most, in seconds."""

_LOCK: tuple[Call, ...] = (0, "acquire", ()), (1, "acquire", ()), (0, "release", ()), (1, "release", ())
_QUEUE: tuple[Call, ...] = (0, "put", ("a",)), (0, "get", (_WAIT_S,)), (0, "done", ()), (1, "get", (_WAIT_S,)), (
    0, "put", ("b",)
), (1, "done", ())  # fmt: skip
_BARRIER: tuple[Call, ...] = (0, "wait", ()), (1, "wait", ())

HAND_OVERS: dict[str, tuple[Side, Side, tuple[Call, ...], int]] = {
    "lock": (locks.of_prong, BareLock, _LOCK, 1),
    "queue": (
        lambda directory: queue_sides.of_prong(directory, "at_task_done"),
        lambda directory: queue_sides.of_bare(directory, "at_task_done"),
        _QUEUE,
        3,
    ),
    "queue, at_get": (
        lambda directory: queue_sides.of_prong(directory, "at_get"),
        lambda directory: queue_sides.of_bare(directory, "at_get"),
        _QUEUE,
        3,
    ),
    "barrier": (
        lambda directory: barriers.of_prong(directory, 2),
        lambda directory: BareBarrier(directory, 2),
        _BARRIER,
        0,
    ),
}
"""Of each: Prong's side, the bare loop's, what two processes call one after the other, and which of the calls waits."""


def differing_hand_over(what: str) -> str:
    """What the bare loop writes otherwise than Prong does; empty where nothing."""
    ours, bare, calls, waits = HAND_OVERS[what]
    found, expected = _written(ours, calls, waits), _written(bare, calls, waits)
    return "" if found == expected else f"Prong writes {found}, the bare loop {expected}"


def _written(side: Side, calls: tuple[Call, ...], waits: int) -> dict[str, int]:
    with swarm_directory() as directory, Crew(2, _one(side, directory)) as crew:
        return written(directory, lambda: _play(crew, directory, calls, waits))


def _play(crew: Crew, directory: Path, calls: tuple[Call, ...], waits: int) -> None:
    """Make the calls one after the other; the one that waits is over after the next."""
    waiter = calls[waits][0]
    for number, (who, method, values) in enumerate(calls):
        crew.tell(who, (method, values))
        if number == waits:
            until_waiting(directory, 1)
            continue
        crew.hear(who)
        if number == waits + 1:
            crew.hear(waiter)


def _one(side: Side, directory: Path) -> Make:
    @contextmanager
    def make(_index: int) -> Iterator[Work]:
        with side(directory) as hold:
            yield lambda call: bool(getattr(hold, call[0])(*call[1]))

    return make
