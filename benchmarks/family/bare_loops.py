"""The bare loops: what is contended, by `sqlite3` alone, so that a bound that even they miss can be told from our cost.

Same rows in the same number of transactions as Prong's, behind the same gate, woken by the same futexes; statements
read only what the decision needs.  `rows.py` compares the rows of both, so that they stay the same.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from family.bare import Bare

from prong.state.bell import slot_of, slot_of_all

_LEASE_S = 60.0

_TAKE = """
insert into lock (name, holder, fence, lease_s, acquired_at, expires_at) values (?, ?, 1, ?, ?, ?)
on conflict (name) do update set holder = excluded.holder, fence = fence + 1,
                                 acquired_at = excluded.acquired_at, expires_at = excluded.expires_at
      where holder is null
        and not exists (select 1 from waiter where kind = 'lock' and object = excluded.name and state = 'waiting')
"""
_PASS_ON = "update lock set holder = ?, fence = fence + 1, acquired_at = ?, expires_at = ? where name = ?"
_UNLOCK = "update lock set holder = null, acquired_at = null, expires_at = null where name = ?"

_QUEUE = """
insert into queue (name, discipline, maxsize, attempts, lease_s) values (?, 'fifo', 0, 5, 60) on conflict do nothing
"""
_MESSAGE = """
insert into queue_message (id, queue, body, sender, put_at, holder, delivered_at, deliveries)
values (?, ?, ?, ?, ?, ?, ?, ?)
"""
_NEXT = """
select id, body from queue_message where queue = ? and holder is null and dead_at is null
 order by priority desc, rank, id limit 1
"""
_DELIVER = "update queue_message set holder = ?, delivered_at = ?, deliveries = deliveries + 1 where id = ?"
_NO_MESSAGE = "delete from queue_message where id = ?"

_BARRIER = "insert into barrier (name, parties) values (?, ?) on conflict do nothing"
_LOOK = "select round, arrived from barrier where name = ?"
_COUNT = "update barrier set arrived = ?, round = ? where name = ?"
_FORGET = "delete from barrier_arrival where barrier = ? and round < ? and party is null"
_ARRIVE = "insert into barrier_arrival (barrier, round, place, agent) values (?, ?, ?, ?)"
_OPEN = "update waiter set state = 'granted', outcome = ? where kind = 'barrier' and object = ? and state = 'waiting'"


class BareLock(Bare):
    """A lock that is handed to the first in line by whoever releases it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "contended")
        self._fence = 0

    def acquire(self) -> None:
        """Take the lock, or wait for it."""
        now = time.time()
        self._open()
        taken = self._connection.execute(_TAKE, (self.name, self._agent, _LEASE_S, now, now + _LEASE_S)).rowcount
        if taken > 0:
            self._fence += 1
            self._run(self._event("lock.acquired", f'{{"fence":{self._fence},"expires_at":{now + _LEASE_S}}}'))
            self._close()
            return
        self._sweep()
        waiter = self._enrol("lock", f'{{"shared":false,"lease_s":{_LEASE_S}}}', None)
        self._run(self._event("lock.waiting", "{}"))
        slot = slot_of(waiter)
        seen = self._bells.read(slot)
        self._close()
        self._fence = self._sleep(waiter, slot, seen)["fence"]

    def release(self) -> None:
        """Free the lock, or hand it on."""
        self._open()
        heir = self._first("lock")
        if heir is None:
            self._run((_UNLOCK, (self.name,)))
            self._run(self._event("lock.released", f'{{"fence":{self._fence}}}'))
            self._close()
            return
        waiter, agent = heir
        now = time.time()
        outcome = {"fence": self._fence + 1, "expires_at": now + _LEASE_S}
        self._run((_PASS_ON, (agent, now, now + _LEASE_S, self.name)))
        self._run(
            self._two_events(
                "lock.released",
                f'{{"fence":{self._fence}}}',
                "lock.acquired",
                f'{{"holder":{agent},"fence":{self._fence + 1},"expires_at":{now + _LEASE_S}}}',
            )
        )
        self._close([self._grant(waiter, outcome)])


class BareQueue(Bare):
    """A queue whose messages stay until they are done, or `for_good` are gone as they are got."""

    def __init__(self, directory: Path, name: str, *, for_good: bool) -> None:
        super().__init__(directory, name)
        self._change((_QUEUE, (name,)))
        self._for_good = for_good
        self._taken = 0

    def put(self, text: str) -> None:
        """Hand the message to the first reader in line, or queue it."""
        body, now = json.dumps(text), time.time()
        self._open()
        self._sweep()
        number = self._run(self._event("queue.put", f'{{"priority":0,"value":{body}}}'))
        reader = self._first("queue")
        if reader is None:
            self._run((_MESSAGE, (number, self.name, body, self._agent, now, None, None, 0)))
            self._close()
            return
        waiter, agent = reader
        if not self._for_good:
            self._run((_MESSAGE, (number, self.name, body, self._agent, now, agent, now, 1)))
        self._run(self._event("queue.delivered", f'{{"message":{number},"holder":{agent}}}'))
        self._close([self._grant(waiter, {"message": number, "body": body})])

    def get(self, timeout_s: float) -> str | None:
        """The next message, or None where none comes in time."""
        self._open()
        self._sweep()
        row = self._row(_NEXT, self.name)
        if row is not None:
            number, body = row
            done = _NO_MESSAGE, (number,)
            self._run(done if self._for_good else (_DELIVER, (self._agent, time.time(), number)))
            self._run(self._event("queue.delivered", f'{{"message":{number},"holder":{self._agent}}}'))
            self._close()
            return self._got(number, body)
        waiter = self._enrol("queue", f'{{"count":1,"for_good":{str(self._for_good).lower()}}}', timeout_s)
        slot = slot_of(waiter)
        seen = self._bells.read(slot)
        self._close()
        outcome = self._sleep(waiter, slot, seen, timeout_s) or self._leave(waiter)
        return None if outcome is None else self._got(outcome["message"], outcome["body"])

    def done(self) -> None:
        """Say that the message that was got last is dealt with."""
        if not self._for_good:
            self._open()
            self._sweep()
            self._run((_NO_MESSAGE, (self._taken,)))
            self._run(self._event("queue.done", f'{{"message":{self._taken}}}'))
            self._close()

    def _got(self, number: int, body: str) -> str:
        self._taken = number
        text: str = json.loads(body)
        return text


class BareBarrier(Bare):
    """A barrier that the last to arrive opens for all."""

    def __init__(self, directory: Path, parties: int) -> None:
        super().__init__(directory, "meeting")
        self._change((_BARRIER, (self.name, parties)))
        self._parties = parties
        self._slot = slot_of_all(f"barrier {self.name}")

    def wait(self) -> None:
        """Arrive, and go on once all have."""
        self._open()
        self._sweep()
        number, arrived = self._row(_LOOK, self.name)
        if arrived + 1 == self._parties:
            outcome = f'{{"round":{number + 1},"parties":{self._parties}}}'
            self._run((_COUNT, (0, number + 1, self.name)))
            self._run(self._event("barrier.opened", outcome))
            self._run((_OPEN, (outcome, self.name)))
            self._close([self._slot])
            return
        self._run((_COUNT, (arrived + 1, number, self.name)))
        if arrived == 0:
            self._run((_FORGET, (self.name, number)))
        self._run((_ARRIVE, (self.name, number, arrived, self._agent)))
        self._run(self._event("barrier.arrived", f'{{"round":{number + 1},"index":{arrived}}}'))
        waiter = self._enrol("barrier", f'{{"index":{arrived}}}', None)
        seen = self._bells.read(self._slot)
        self._close()
        self._sleep(waiter, self._slot, seen)
