"""The mirror: one thread of a process that hears when futures change which other code waits for.

    (none) --callback, wait(), as_completed()--> watching --nothing left to watch--> (none)

`concurrent.futures.wait`, `as_completed`, `asyncio.wrap_future` and callbacks know nothing of a database: they are told
by the object that they were given.  For these objects the mirror has rows in `future_watch`; who changes a future marks
its rows and rings, in the same transaction, and the mirror carries over what is there then.  `result()` needs none of
this: it waits itself.
"""

from __future__ import annotations

import functools
import os
import secrets
import sqlite3
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from prong.state import Membership, ProngError, Transaction
from prong.state.bell import slot_of
from prong.state.transaction import compact

if TYPE_CHECKING:
    from prong.primitives.mirrored import Mirrored

FALLBACK_S = 1.0
"""How often the mirror looks although nothing rang, in seconds."""

QUIET_TURNS = 10
"""After how many such looks it looks at the futures themselves: a row may not have been written on a full disk, say."""

_failure = functools.partial(suppress, ProngError, sqlite3.Error)


class Mirror:
    """The mirror of one membership."""

    def __init__(self, member: Membership) -> None:
        self._member = member
        self._agent = member.me.agent
        self._bell = secrets.randbits(40)
        self._lock = threading.RLock()
        self._kept: dict[int, Mirrored] = {}
        self._new: list[weakref.ref[Mirrored]] = []
        self._watched: dict[str, list[weakref.ref[Mirrored]]] = {}
        self._runs = False

    def watch(self, future: Mirrored) -> None:
        """Carry over what becomes of the future, from now on until it is done; one with callbacks is kept alive."""
        with self._lock:
            self._new.append(weakref.ref(future))
            if future.has_callbacks:
                self._kept[id(future)] = future
            runs, self._runs = self._runs, True
        if runs:
            self._member.store.bells.ring(self._slot)
        else:
            threading.Thread(target=self._run, name="prong-futures", daemon=True).start()

    @property
    def _slot(self) -> int:
        return slot_of(self._bell)

    def _run(self) -> None:
        bells = self._member.store.bells
        quiet = 0
        while True:
            seen = bells.read(self._slot)
            if quiet:
                self._glance()
            self._carry_over(quiet)
            if self._is_over():
                self._member.store.close()
                return
            quiet = 0 if bells.wait(self._slot, seen, FALLBACK_S) else quiet + 1

    def _glance(self) -> None:
        """Nobody keeps the watch for `concurrent.futures.wait`, which may wait for what a dead process had promised."""
        from prong.primitives.watch import glance  # noqa: PLC0415  it looks after every kind, this one too

        with _failure():
            glance(self._member.store)

    def _carry_over(self, quiet: int) -> None:
        for reference in self._begin_watching() + self._rung() + self._unsure(quiet):
            future = reference()
            if future is not None:
                with _failure():
                    future.carry_over()

    def _begin_watching(self) -> list[weakref.ref[Mirrored]]:
        """Have rows for those who came since, and look at them afterwards: who changes them later sees the rows."""
        with self._lock:
            new, self._new = self._new, []
        names = set()
        for reference in new:
            future = reference()
            if future is not None:
                names.add(future.watched_as)
                self._watched.setdefault(future.watched_as, []).append(reference)
        future = None
        if names:
            with _failure(), self._member.transaction() as tx:
                for name in names:
                    tx.execute(
                        "insert into future_watch (future, bell, agent) values (:name, :bell, :agent)"
                        " on conflict do nothing",
                        name=name,
                        bell=self._bell,
                        agent=self._agent,
                    )
        return new

    def _rung(self) -> list[weakref.ref[Mirrored]]:
        """Those that have changed, and may change once more."""
        with _failure():
            if self._member.store.row("select 1 from future_watch where bell = :bell and rung = 1", bell=self._bell):
                with self._member.transaction() as tx:
                    rows = tx.rows(
                        "update future_watch set rung = 0 where bell = :bell and rung = 1 returning future",
                        bell=self._bell,
                    )
                return [future for row in rows for future in self._watched.get(row["future"], ())]
        return []

    def _unsure(self, quiet: int) -> list[weakref.ref[Mirrored]]:
        """Those to look at although nothing says that they have changed."""
        if quiet == 0:
            return []
        every = quiet % QUIET_TURNS == 0
        found = [reference for references in self._watched.values() for reference in references]
        return [one for one in found if every or ((future := one()) is not None and future.is_silent)]

    def _is_over(self) -> bool:
        """Forget those that are done, and stop where none is left."""
        over = []
        for name, references in list(self._watched.items()):
            left = [one for one in references if (future := one()) is not None and future.is_watched]
            future = None
            self._watched[name] = left
            if not left:
                del self._watched[name]
                over.append(name)
        with self._lock:
            for key in [key for key, future in self._kept.items() if not future.has_callbacks]:
                del self._kept[key]
        if over:
            with _failure(), self._member.transaction() as tx:
                tx.execute(
                    "delete from future_watch where bell = :bell and future in (select value from json_each(:names))",
                    bell=self._bell,
                    names=compact(over),
                )
        mirrors, lock = _mirrors(os.getpid())
        with lock, self._lock:
            self._runs = bool(self._new or self._watched)
            if not self._runs:
                mirrors.pop((str(self._member.store.path), self._agent), None)
            return not self._runs


def tell(tx: Transaction, name: str) -> None:
    """Have every mirror hear, after the commit, that the future of this name has changed."""
    for row in tx.rows("update future_watch set rung = 1 where future = :name returning bell", name=name):
        tx.ring(slot_of(row["bell"]))


def forget_held_by(tx: Transaction, agent: int) -> None:
    """A dead member's mirror is to hear nothing any more."""
    tx.execute("delete from future_watch where agent = :agent", agent=agent)


def mirror_of(member: Membership) -> Mirror:
    """The mirror of this process for this member."""
    mirrors, lock = _mirrors(os.getpid())
    key = (str(member.store.path), member.me.agent)
    with lock:
        if key not in mirrors:
            mirrors[key] = Mirror(member)
        return mirrors[key]


@functools.cache
def _mirrors(_pid: int) -> tuple[dict[tuple[str, int], Mirror], threading.RLock]:
    """All of this process; a forked child begins anew, since threads do not live through a fork."""
    return {}, threading.RLock()
