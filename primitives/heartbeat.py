"""A program's heartbeat: what it holds is renewed for as long as it runs.

    (none) --it holds something--> beating --it holds nothing any more--> (none)

One thread for all memberships of a process.  A process that is stopped does not beat: what it held goes to others when
the lease has run out, and its own fence tells it so when it wakes.
"""

from __future__ import annotations

import threading
import weakref

from prong.primitives import holdings
from prong.state import Deposed, Membership, ProngError, process

PARTS = 3
"""How many times a lease is renewed before it would run out."""


class Heartbeat:
    """The heartbeat of one membership."""

    def __init__(self, member: Membership) -> None:
        self._member = weakref.ref(member)
        self._store = member.store
        self._lock = threading.Lock()
        self._sooner = threading.Event()
        self._asked = 0
        self._pause_s: float | None = None  # None: no thread runs

    def needed(self, lease_s: float) -> None:
        """Something is held under a lease of so many seconds: beat from now on, often enough for it."""
        self._asked += 1  # before the look, so that a thread that is about to stop sees it
        pause = self._pause_s
        if pause is not None and pause <= lease_s / PARTS:
            return
        with self._lock:
            running = self._pause_s is not None
            self._pause_s = min(self._pause_s or lease_s, lease_s / PARTS)
            if running:
                self._sooner.set()
            else:
                threading.Thread(target=self._run, name="prong-heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Nothing is held any more, and nothing will be."""
        with self._lock:
            self._pause_s = None
            self._sooner.set()

    def _run(self) -> None:
        with process.helping():
            while (pause := self._pause_s) is not None:
                if self._sooner.wait(pause):
                    self._sooner.clear()
                else:
                    self._beat()
            self._store.close()

    def _beat(self) -> None:
        """Renew, and go on as often as what is held asks for, or not at all."""
        asked = self._asked
        try:
            shortest = self._renew()
        except Deposed:
            shortest = None
        except ProngError:  # a database that cannot be written now may be so at the next beat
            return
        with self._lock:
            if self._sooner.is_set():
                return
            before, self._pause_s = self._pause_s, None if shortest is None else shortest / PARTS
            if self._asked != asked and self._pause_s is None:
                self._pause_s = before

    def _renew(self) -> float | None:
        """Renew all, and the shortest lease of them in seconds; None where nothing is held."""
        member = self._member()
        if member is None:
            return None
        with member.transaction() as tx:
            holdings.renew(tx, lease_s=None)
            return holdings.shortest_lease(tx)
