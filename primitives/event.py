"""An event: a flag that many wait for, and that survives whoever set it.

    unset --set--> set: everybody who waits goes on --clear--> unset

Who sets it wakes all in the same transaction, so that whoever waited goes on even where the event is cleared right
after.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from prong.primitives.place import Place
from prong.primitives.values import checked_name, checked_timeout
from prong.state import Membership, Transaction, waiter

_SET = """
insert into flag (name, is_set, updated_by, updated_at) values (:name, 1, :agent, :now)
on conflict (name) do update set is_set = 1, updated_by = excluded.updated_by, updated_at = excluded.updated_at
      where flag.is_set = 0                                                         -- no row changed: it was set before
"""

_CLEAR = """
update flag set is_set = 0, updated_by = :agent, updated_at = :now where name = :name and is_set = 1
"""


@dataclass(frozen=True, slots=True)
class EventStatistics:
    """Whether the event is set, who set or cleared it last and when (None: nobody ever did), and how many wait."""

    name: str
    is_set: bool
    updated_by: str | None
    updated_at: float | None
    waiting: int


class Event:
    """An event by name, as `threading.Event`, between processes.  It is unset until somebody sets it.

    >>> ready = swarm.Event("ready")
    >>> ready.is_set()
    False
    >>> ready.set()
    >>> ready.wait()
    True
    >>> ready
    <prong.Event at 'ready': set>
    """

    def __init__(self, member: Membership, name: str) -> None:
        self.name = checked_name("event name", name)
        self._member = member

    def __repr__(self) -> str:
        state = "unknown"
        with suppress(Exception):  # what cannot be read must not keep anybody from being told which event it is
            state = "set" if self.is_set() else "unset"
        return f"<prong.Event at {self.name!r}: {state}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def is_set(self) -> bool:
        """Whether it is set.

        >>> swarm.Event("ready").is_set()
        False
        """
        row = self._member.store.row("select is_set from flag where name = :name", name=self.name)
        return row is not None and bool(row["is_set"])

    def set(self) -> None:
        """Set it and wake everybody who waits; nothing happens where it is set already.

        >>> ready = swarm.Event("ready")
        >>> ready.set()
        >>> ready.is_set()
        True
        """
        with self._member.transaction() as tx:
            if tx.execute(_SET, name=self.name, agent=self._member.me.agent, now=tx.now):
                woken = waiter.grant_all(tx, "event", self.name)
                tx.event("event.set", object=self.name, woken=woken)

    def clear(self) -> None:
        """Unset it: whoever waits from now on blocks until it is set again.

        >>> ready = swarm.Event("ready")
        >>> ready.set()
        >>> ready.clear()
        >>> ready.is_set()
        False
        """
        with self._member.transaction() as tx:
            if tx.execute(_CLEAR, name=self.name, agent=self._member.me.agent, now=tx.now):
                tx.event("event.cleared", object=self.name)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for at most `timeout` seconds (None: for ever); False where it was not.

        One that is set costs a read and no write.

        >>> swarm.Event("ready").wait(timeout=0)
        False
        """
        patience = 0.0 if timeout is not None and timeout < 0 else checked_timeout(timeout)
        if self.is_set():
            return True
        if patience == 0:
            return False
        with Place(self._member) as place:
            with self._member.transaction() as tx:
                if place.take_up(tx, "event", self.name) is None:
                    if self._is_set_in(tx):
                        return True
                    place.enrol(tx, "event", self.name, timeout=patience)
                    tx.event("event.waiting", object=self.name)
            return place.wait().state == "granted"

    def statistics(self) -> EventStatistics:
        """What is so now, read in one query.

        >>> ready = swarm.Event("ready")
        >>> ready.set()
        >>> ready.statistics().is_set, ready.statistics().waiting
        (True, 0)
        """
        row = self._member.store.row(
            "select coalesce(is_set, 0) as is_set, agent.name as who, updated_at,"
            " (select count(*) from waiter where kind = 'event' and object = :name and state = 'waiting') as waiting"
            " from (select 1) left join flag on flag.name = :name left join agent on agent.id = updated_by",
            name=self.name,
        )
        assert row is not None, "there is always one row to join to"
        return EventStatistics(self.name, bool(row["is_set"]), row["who"], row["updated_at"], row["waiting"])

    @property
    def _identity(self) -> tuple[str, str]:
        return str(self._member.store.path), self.name

    def _is_set_in(self, tx: Transaction) -> bool:
        """Whether it was set between the first look and the transaction that would begin the wait."""
        return tx.row("select 1 from flag where name = :name and is_set = 1", name=self.name) is not None
