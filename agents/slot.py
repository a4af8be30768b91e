"""A slot is the right to run; an agent that waits gives it up, so that the pool never starves itself.

running --every call of the turn waits--> parked --a wait ended--> waits for a slot --the scheduler--> running
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prong.agents import fork_point
from prong.state import Member, Membership, Store, TaskLost, waiter
from prong.state.ticket import Ticket


class Slot:
    """The slot of one claimed task.  `parking` is what the agent's membership does while it waits."""

    def __init__(self, store: Store, me: Member, fence: int) -> None:
        assert me.task is not None, "only an agent with a task has a slot"
        self._bare = Membership(store, me)
        self._task = me.task
        self._fence = fence
        self._lock = threading.Lock()
        self._working = 0
        self._waiting = 0
        self._parked = False

    @contextmanager
    def working(self) -> Iterator[None]:
        """A tool call is under way; while one works, the waits of others do not park the agent.

        One that begins while the others wait needs a slot first.
        """
        with self._lock:
            self._working += 1
        try:
            with self._lock:
                if self._parked:
                    self._unpark()
            yield
        finally:
            with self._lock:
                self._working -= 1
                if self._waiting and self._waiting >= self._working and not self._parked:
                    self._park("calls", "of one turn")

    @contextmanager
    def parking(self, ticket: Ticket) -> Iterator[None]:
        """Around a wait: parks when nothing else is under way, and has a slot again when it ends."""
        with self._lock:
            self._waiting += 1
            if self._waiting >= self._working and not self._parked:
                self._park(ticket.kind, ticket.object)
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
                if self._parked:
                    self._unpark()

    def _park(self, kind: str, object: str) -> None:
        with self._bare.transaction() as tx:
            row = tx.row("select state, fence from task where id = :task", task=self._task)
            if row is None or row["fence"] != self._fence or row["state"] != "running":
                raise TaskLost(self._task, self._fence, row["state"] if row else "gone", row["fence"] if row else 0)
            tx.execute("update task set state = 'parked' where id = :task", task=self._task)
            tx.execute("update agent set state = 'parked' where id = :agent", agent=self._bare.me.agent)
            tx.event("task.parked", object=str(self._task), waits_for=kind, which=object)
            fork_point.parent_parks(tx, self._task)
            tx.ring_scheduler()
        self._parked = True

    def _unpark(self) -> None:
        """Stand in line for a slot; the scheduler moves the task to running when it grants one."""
        self._parked = False
        with self._bare.transaction() as tx:
            row = tx.row("select state, fence from task where id = :task", task=self._task)
            if row is None or row["state"] != "parked" or row["fence"] != self._fence:
                return  # its task has ended or is another's: whoever only leaves needs no slot
            ticket = waiter.enrol(tx, "slot", str(self._task), timeout=None)
            tx.ring_scheduler()
        waiter.wait(self._bare, ticket)
