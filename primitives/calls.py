"""The calls of one executor object that may still be under way, as its own process knows them."""

from __future__ import annotations

import json
import weakref
from collections import deque
from typing import Any

from prong.primitives import artifacts, remote
from prong.primitives.errors import BrokenCall
from prong.primitives.future import FORGET_S, Future, tell
from prong.primitives.mirrored import LAST, Told
from prong.primitives.worker import break_call
from prong.state import Membership
from prong.state.transaction import compact

FORGET_AT_ONCE = 200
"""After so many calls that their caller has dropped, their results are given up for removal."""

SWEEP_AT = 100
"""With so many calls in mind it is looked for the first time which of them are over."""

_OPEN = """
select asked.value as name, future.name is not null as made, future.state in ('pending', 'running') as open
  from json_each(:names) as asked left join future on future.name = asked.value
"""

_CANCEL = """
update future set state = 'notified', set_at = :now
 where name in (select value from json_each(:names)) and state in ('pending', 'cancelled')
returning name
"""

_FORGET = """
update future set caller = null, forget_at = :at where name in (select value from json_each(:names))
"""


class Call(Future):
    """The future of a call; only a worker can set it.  Made by `Executor.submit` and `Executor.future`."""

    held: Calls | None = None
    submitted = False

    def _carry(self, told: Told, exception: BaseException | None = None) -> None:
        super()._carry(told, exception)
        if self.held is not None and self._state in LAST and not self._uncommitted:
            self.held.drop(self)  # who has it may drop it now, and with it the result
            self.held = None

    def _outcome(self, told: Told) -> tuple[Any, BaseException | None]:
        if told.state == "broken":
            return None, BrokenCall(self.name, json.loads(told.error or '"nobody said why"'))
        if told.pickled is None:
            return super()._outcome(told)
        try:
            value = remote.unpacked(artifacts.loaded(self.member, told.pickled), self.member.store.path)
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever unpickling it does
            if told.error is not None:
                return super()._outcome(told)
            return None, error if isinstance(error, Exception) else BrokenCall(self.name, f"its result {error!r}")
        if told.state == "done":
            return value, None
        value.__cause__ = remote.rebuilt(artifacts.loaded(self.member, told.error or "{}")).__cause__
        return None, value


class Calls:
    """Calls from their submission until somebody has seen that they are over."""

    def __init__(self, member: Membership, name: str) -> None:
        self.broken: str | None = None
        self._dropped: deque[str] = deque()
        self._member = member
        self._name = name
        self._open: dict[str, Call] = {}
        self._sweep_at = SWEEP_AT

    def add(self, call: Call) -> None:
        """Keep a call in mind; and once its caller has dropped it, that nobody reads it any more."""
        if len(self._open) >= self._sweep_at:
            self._sweep_at = 2 * max(SWEEP_AT // 2, len(self.open()))
        call.held, self._open[call.name] = self, call
        weakref.finalize(call, self._dropped.append, call.name).atexit = False

    def drop(self, call: Call) -> None:
        """Forget a call that could not be submitted."""
        self._open.pop(call.name, None)

    def open(self) -> list[Call]:
        """Those that are not over; the others are forgotten."""
        asked = list(self._open)
        for row in self._member.store.rows(_OPEN, names=compact(asked)):
            call = self._open.get(row["name"])
            # Without a row it is on its way there, unless the block that it was submitted in was undone.
            if call is not None and not row["open"] and (row["made"] or call.submitted):
                self.drop(call)
        return list(self._open.values())

    def cancel(self) -> None:
        """Cancel what nobody has begun; those who wait hear it at once."""
        names = [call.name for call in self.open()]
        with self._member.transaction() as tx:
            for row in tx.rows(_CANCEL, names=compact(names), now=tx.now):
                tx.event("future.cancelled", object=row["name"])
                tell(tx, row["name"])

    def broke(self, reason: str) -> None:
        """No worker can run: break what nobody runs, and let nothing more be submitted."""
        self.broken = reason
        with self._member.transaction() as tx:
            for call in self.open():
                break_call(tx, call.name, f"executor {self._name!r} has no worker that can run: {reason}")

    def forget(self, *, least: int = FORGET_AT_ONCE) -> None:
        """Let the results be removed, in an hour, of calls that their caller has dropped, if they are so many."""
        if len(self._dropped) >= least:
            names = [self._dropped.popleft() for _ in range(len(self._dropped))]
            with self._member.transaction() as tx:
                tx.execute(_FORGET, names=compact(names), at=tx.now + FORGET_S)
