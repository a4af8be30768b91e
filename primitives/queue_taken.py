"""What a thread was delivered and has not said to be done, for `task_done`, which names no message.

Threads of one process are one member, so that the queue cannot tell whose of them a message is.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from prong.state import Store

REMEMBERED = 10_000
"""How many messages a thread that calls no `task_done` keeps in mind; the queue itself knows of all."""


class Taken(threading.local):
    """Deliveries by number and fence, oldest first.

    What was taken in an atomic block that is undone is forgotten: another thread may have it under the same fence.
    """

    def __init__(self, store: Store) -> None:
        self._deliveries: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)
        self._store = store

    def first(self) -> tuple[int, int] | None:
        """The oldest, or None."""
        return self._deliveries[0] if self._deliveries else None

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep in mind what was just delivered."""
        for row in rows:
            delivery = row["id"], row["deliveries"]
            self._deliveries.append(delivery)
            if self._store.inside_atomic:
                self._store.if_undone(partial(self._take_out, delivery))

    def drop(self, number: int, deliveries: int) -> None:
        """Forget a delivery, if this thread got it."""
        delivery = number, deliveries
        at = self._take_out(delivery)
        if at is not None:
            self._store.if_undone(partial(self._put_back, at, delivery))

    def _take_out(self, delivery: tuple[int, int]) -> int | None:
        try:
            at = self._deliveries.index(delivery)
        except ValueError:
            return None
        del self._deliveries[at]
        return at

    def _put_back(self, at: int, delivery: tuple[int, int]) -> None:
        with suppress(IndexError):  # so many came meanwhile that it would have been forgotten anyway
            self._deliveries.insert(at, delivery)
