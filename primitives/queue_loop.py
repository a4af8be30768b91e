"""The loop of a reader: message after message, each done as the next is asked for.

    with jobs.each() as values:                    for value in jobs.each():
        for value in values:                           ...
            ...

    asked for the next  --> done                   asked for the next  --> done
    break               --> queued again           break, an exception --> queued again
    an exception        --> a failed attempt

An iterator is only dropped by a `for` that ends early; whether by `break` or by an exception nobody tells it.  A `with`
block is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from prong.primitives.errors import ShutDown
from prong.primitives.letters import Message
from prong.state import Deposed, Store

REASON_CHARACTERS = 500
"""How much of what ended a loop is told of the message that it had in hand."""


class Loop(Iterator[Any]):
    """What `MessageQueue.each` returns: the values, and as a context manager what becomes of the last of them."""

    def __init__(
        self,
        store: Store,
        *,
        take: Callable[[list[Message]], list[Message]],
        give_up: Callable[[Message, str, bool], None],
    ) -> None:
        self._give_up = give_up
        self._hand: list[Message] = []
        self._over = False
        self._store = store
        self._take = take

    def __next__(self) -> Any:
        if self._over:
            raise StopIteration
        before = self._hand
        try:
            self._hand = self._take(before)
        except ShutDown:
            self._hand = []
        except BaseException:
            self.close()
            raise
        self._store.if_undone(lambda: setattr(self, "_hand", before))
        if not self._hand:
            self._over = True
            raise StopIteration
        return self._hand[0].value

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):  # an interrupt is not the message's fault
            self._end(f"its reader's loop ended with {type(error).__name__}: {error}"[:REASON_CHARACTERS], failed=True)
        else:
            self.close()

    def __del__(self) -> None:
        with suppress(Deposed):  # its member has left, and what it held was given back then
            self.close()

    def close(self) -> None:
        """Give the message in hand back, if it is not done; nothing more comes."""
        self._end("its reader left the loop", failed=False)

    def _end(self, reason: str, *, failed: bool) -> None:
        self._over = True
        hand, self._hand = self._hand, []
        for message in hand:
            self._give_up(message, reason, failed)
