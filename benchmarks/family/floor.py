"""The floor: bare `sqlite3` that writes the rows that Prong's operations write, and nothing else.

One transaction for each change, as `bare.py` makes them.  It reads nothing, checks nothing, and knows beforehand what
it will find.  `rows.py` compares the rows of both sides, so that they stay the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from family.bare import Bare

_LEASE_S = 60.0

_LOCK = """
insert into lock (name, holder, fence, lease_s, acquired_at, expires_at) values (?, ?, 1, ?, ?, ?)
on conflict (name) do update set holder = excluded.holder, fence = fence + 1,
                                 acquired_at = excluded.acquired_at, expires_at = excluded.expires_at
"""
_UNLOCK = "update lock set holder = null, acquired_at = null, expires_at = null where name = ?"

_SEMAPHORE = "insert into semaphore (name, initial, bounded, value) values (?, 1, 0, 1)"
_LEND = "update semaphore set value = value - 1, grants = grants + 1 where name = ?"
_PERMIT = "insert into permit (semaphore, holder, number, lease_s, acquired_at, expires_at) values (?, ?, ?, ?, ?, ?)"
_RETURN = "update semaphore set value = value + 1 where name = ?"
_NO_PERMIT = "delete from permit where semaphore = ? and holder = ? and number = ?"

_FLAG = """
insert into flag (name, is_set, updated_by, updated_at) values (?, ?, ?, ?)
on conflict (name) do update set is_set = excluded.is_set, updated_by = excluded.updated_by,
                                 updated_at = excluded.updated_at
"""

_BARRIER = """
insert into barrier (name, parties, round) values (?, 1, 1) on conflict (name) do update set round = round + 1
"""

_ATOMIC = """
insert into atomic (name, value, version, updated_by, updated_at) values (?, ?, 1, ?, ?)
on conflict (name) do update set value = excluded.value, version = version + 1,
                                 updated_by = excluded.updated_by, updated_at = excluded.updated_at
"""

_MAP = """
insert into map (name, keys, writes) values (?, 1, 1) on conflict (name) do update set keys = ?, writes = writes + 1
"""
_ENTRY = """
insert into map_entry (map, key, version, write, event, updated_by, updated_at, value) values (?, 'k', 1, ?, ?, ?, ?, ?)
on conflict (map, key) do update set version = version + 1, deleted = 0, write = excluded.write,
                                     event = excluded.event, updated_by = excluded.updated_by,
                                     updated_at = excluded.updated_at, value = excluded.value
"""
_NO_ENTRY = """
update map_entry set version = version + 1, deleted = 1, write = ?, event = ?, updated_by = ?, updated_at = ?,
                     value = 'null'
 where map = ? and key = 'k'
"""

_LIST = "insert into list (name, first, length) values (?, 0, 1) on conflict (name) do update set length = ?"
_ITEM = "insert into list_item (list, position, value) values (?, 0, '1')"
_NO_ITEM = "delete from list_item where list = ? and position = 0"

_QUEUE = "insert into queue (name, discipline, maxsize, attempts, lease_s) values (?, 'fifo', 0, 5, 60)"
_MESSAGE = "insert into queue_message (id, queue, body, sender, put_at) values (?, ?, '1', ?, ?)"
_DELIVER = "update queue_message set holder = ?, delivered_at = ?, deliveries = 1 where id = ?"
_NO_MESSAGE = "delete from queue_message where id = ?"

_FUTURE = "insert into future (name, state, result, set_at) values (?, 'done', ?, ?)"


class Floor(Bare):
    """One process's operations, one for each of Prong's, on an object of the process's own."""

    def __init__(self, directory: Path, index: int) -> None:
        super().__init__(directory, f"own {index}")
        self._times = 0

    def lock(self) -> None:
        """Acquire and release."""
        self._times += 1
        now = time.time()
        self._change(
            (_LOCK, (self.name, self._agent, _LEASE_S, now, now + _LEASE_S)),
            self._event("lock.acquired", f'{{"fence":{self._times},"lease_s":60.0}}'),
        )
        self._change((_UNLOCK, (self.name,)), self._event("lock.released", f'{{"fence":{self._times}}}'))

    def semaphore(self) -> None:
        """Acquire and release a permit."""
        if not self._times:
            self._change((_SEMAPHORE, (self.name,)))
        self._times += 1
        now = time.time()
        self._change(
            (_LEND, (self.name,)),
            (_PERMIT, (self.name, self._agent, self._times, _LEASE_S, now, now + _LEASE_S)),
            self._event("semaphore.acquired", f'{{"permit":{self._times},"lease_s":60.0}}'),
        )
        self._change(
            (_NO_PERMIT, (self.name, self._agent, self._times)),
            (_RETURN, (self.name,)),
            self._event("semaphore.released", f'{{"count":1,"permits":[{self._times}]}}'),
        )

    def event(self) -> None:
        """Set and clear."""
        self._change((_FLAG, (self.name, 1, self._agent, time.time())), self._event("event.set", '{"woken":0}'))
        self._change((_FLAG, (self.name, 0, self._agent, time.time())), self._event("event.cleared", "{}"))

    def barrier(self) -> None:
        """Pass a barrier of one party."""
        self._times += 1
        self._change((_BARRIER, (self.name,)), self._event("barrier.opened", f'{{"round":{self._times},"parties":1}}'))

    def atomic(self) -> None:
        """Add one."""
        self._times += 1
        self._change(
            (_ATOMIC, (self.name, str(self._times), self._agent, time.time())),
            self._event("atomic.changed", f'{{"op":"add","version":{self._times},"value":{self._times}}}'),
        )

    def put(self) -> None:
        """Write a map's key."""
        self._times += 1
        self._open()
        event = self._run(
            self._event("map.put", f'{{"key":"k","version":{self._times},"previous":{self._times},"value":1}}')
        )
        self._run((_MAP, (self.name, 1)))
        self._run((_ENTRY, (self.name, self._times, event, self._agent, time.time(), "1")))
        self._close()

    def put_delete(self) -> None:
        """Write a map's key and delete it."""
        self.put()
        self._times += 1
        self._open()
        event = self._run(self._event("map.deleted", f'{{"key":"k","version":{self._times},"previous":{self._times}}}'))
        self._run((_NO_ENTRY, (self._times, event, self._agent, time.time(), self.name)))
        self._run((_MAP, (self.name, 0)))
        self._close()

    def append_pop(self) -> None:
        """Append to a list and pop it again."""
        self._change(
            (_LIST, (self.name, 1)),
            (_ITEM, (self.name,)),
            self._event("list.appended", '{"index":0,"value":1}'),
        )
        self._change(
            (_NO_ITEM, (self.name,)),
            (_LIST, (self.name, 0)),
            self._event("list.popped", '{"index":0,"value":1}'),
        )

    def put_get_done(self) -> None:
        """Put a message, get it, and say that it is dealt with."""
        number = self._put_message()
        self._change(
            (_DELIVER, (self._agent, time.time(), number)),
            self._event("queue.delivered", f'{{"message":{number},"holder":{self._agent}}}'),
        )
        self._change((_NO_MESSAGE, (number,)), self._event("queue.done", f'{{"message":{number}}}'))

    def put_get(self) -> None:
        """Put a message and get it for good."""
        number = self._put_message()
        self._change(
            (_NO_MESSAGE, (number,)),
            self._event("queue.delivered", f'{{"message":{number},"holder":{self._agent},"done":true}}'),
        )

    def set_future(self) -> None:
        """Set a future that is new each time."""
        self._times += 1
        self._change(
            (_FUTURE, (f"{self.name} {self._times}", str(self._times), time.time())),
            self._event("future.done", f'{{"state":"done","result":"{self._times}"}}'),
        )

    def _put_message(self) -> int:
        if not self._times:
            self._change((_QUEUE, (self.name,)))
        self._times += 1
        self._open()
        number = self._run(self._event("queue.put", f'{{"message":{self._times},"priority":0,"value":1}}'))
        self._run((_MESSAGE, (number, self.name, self._agent, time.time())))
        self._close()
        return number


OPERATIONS: dict[str, Callable[[Floor], None]] = {
    "lock acquire, release": Floor.lock,
    "semaphore acquire, release": Floor.semaphore,
    "event set, clear": Floor.event,
    "barrier wait": Floor.barrier,
    "atomic add": Floor.atomic,
    "map put": Floor.put,
    "map put, delete": Floor.put_delete,
    "list append, pop": Floor.append_pop,
    "queue put, get, task_done": Floor.put_get_done,
    "queue put, get at once": Floor.put_get,
    "future set": Floor.set_future,
}
