"""Which tool call waits: a place in line belongs to the call, so that whoever makes the call again finds it.

    call --waits in a row that bears its key--> its process is ended --> another makes the call again --> has the place

The process of an agent that waits may be ended, and its place in line stays, in its own name.  The next process makes
the same call, takes the place up, and returns what was decided meanwhile, or waits on until the time that stands there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from prong.state.store import Store
from prong.state.ticket import Ticket

UNREPEATABLE: Final = frozenset({"barrier", "event", "list", "map"})
"""Kinds of waits whose end the database does not tell for ever, so that a repeated call might wait anew: what such a
call has returned is written down."""

_KEPT = "select id, kind, object, call, wants, until_at from waiter where agent = :agent and call is not null"


@dataclass(frozen=True, slots=True)
class Kept:
    """A place in line from before this process, until when it counts (None: for ever), and what it wants."""

    ticket: Ticket
    until_at: float | None
    wants: dict[str, Any]


class Calling:
    """The calls under way of one agent, each known by its key; and the places that its last process has left."""

    def __init__(self, store: Store, agent: int) -> None:
        self._store = store
        self._keys: dict[int, str] = {}
        self._kinds: dict[str, set[str]] = {}
        self._kept: dict[tuple[str, str, str], Kept] = {}
        for row in store.rows(_KEPT, agent=agent):
            ticket = Ticket(row["id"], row["kind"], row["object"])
            kept = Kept(ticket, row["until_at"], json.loads(row["wants"]))
            self._kept[row["call"], row["kind"], row["object"]] = kept

    @contextmanager
    def call(self, key: str) -> Iterator[None]:
        """Around one call, in the thread that makes it."""
        thread = threading.get_ident()
        self._keys[thread] = key
        try:
            yield
        finally:
            del self._keys[thread]
            for place in [place for place in list(self._kept) if place[0] == key]:  # other threads take theirs up
                # It found what it waited for without its place, which nobody will read.
                self._store.read_waits.append(self._kept.pop(place).ticket.waiter)

    def waits(self, kind: str) -> str | None:
        """The calling thread begins to wait: the key of its call, None outside of any."""
        key = self._keys.get(threading.get_ident())
        if key is not None:
            self._kinds.setdefault(key, set()).add(kind)
        return key

    def taken_up(self, kind: str, object: str) -> Kept | None:
        """The place that the calling thread's call had before this process, which it has from now on."""
        key = self._keys.get(threading.get_ident())
        if key is None:
            return None
        kept = self._kept.pop((key, kind, object), None)
        if kept is not None:
            self.waits(kind)
        return kept

    def ended(self, key: str) -> bool:
        """Forget a call that has ended; whether it waited for something that a repeated call might wait for anew."""
        return bool(UNREPEATABLE & self._kinds.pop(key, set()))
