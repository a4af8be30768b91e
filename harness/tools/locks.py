"""`lock`, `semaphore`, `barrier` and `event`: how agents keep out of each other's way, and wait for each other."""

from __future__ import annotations

import contextlib
from dataclasses import asdict

from prong.agents.tools.inputs import Inputs
from prong.agents.tools.tool import Answer, Tool, ToolCall, ToolError
from prong.harness.tools import catalogue, definitions
from prong.harness.tools.answers import answer, made_once, name_of, op_of, read, timeout_of
from prong.primitives import Barrier, Event, Lock, NotHeld, PermitLost, Semaphore, lock_line
from prong.primitives.barrier import PARTIES
from prong.primitives.lock_line import Grant
from prong.state import Membership

PERMITS = 10_000
"""The most permits that a model can give a semaphore."""


class LockTools:
    """The four tools for one agent, which forgets no lock: what a turn did not keep is given back at its end."""

    def __init__(self, member: Membership, *, siblings: int | None) -> None:
        self._member = member
        self._siblings = siblings
        self._locks_of_turn: list[str] = []
        self._permits_of_turn: list[tuple[str, str]] = []

    def tools(self) -> tuple[Tool, ...]:
        """The four tools.  Repeating a call changes nothing: each bears its own key."""
        return (
            catalogue.record("lock").tool(self.lock),
            catalogue.record("semaphore").tool(self.semaphore),
            catalogue.record("barrier").tool(self.barrier),
            catalogue.record("event").tool(self.event),
        )

    def end_turn(self) -> None:
        """Give back what the turn did not keep, so that no model can forget it."""
        locks, self._locks_of_turn = self._locks_of_turn, []
        permits, self._permits_of_turn = self._permits_of_turn, []
        for name in locks:
            with contextlib.suppress(NotHeld):  # its lease ran out within the turn, which the log tells
                Lock(self._member, name).release()
        for name, key in permits:
            with contextlib.suppress(PermitLost):
                self._semaphore(name, None).release(key=f"{key} end")

    def lock(self, call: ToolCall) -> Answer:
        """The tool `lock`."""
        inputs = read(call, definitions.LOCK)
        lock = Lock(self._member, name_of(inputs))
        op = op_of(inputs, definitions.LOCK)
        if op == "release":
            lock.release()
            if lock.name in self._locks_of_turn:
                self._locks_of_turn.remove(lock.name)
            return answer(f"Released lock {lock.name!r}.", {"name": lock.name, "held": False})
        if op == "status":
            return answer(f"Lock {lock.name!r}:", asdict(lock.statistics()))
        shared, keep = inputs.flag("shared"), inputs.flag("keep")
        grant, held = self._acquire(lock, timeout_of(inputs, call), shared=shared, key=call.key)
        if keep:
            lock.keep()
            self._locks_of_turn = [name for name in self._locks_of_turn if name != lock.name]
        elif not held:
            self._locks_of_turn.append(lock.name)
        how = "share" if grant.shared else "hold"
        until = "until you release it" if keep or lock.name not in self._locks_of_turn else "until this turn ends"
        return answer(f"You {how} lock {lock.name!r} {until}.", asdict(grant))

    def _acquire(self, lock: Lock, timeout: float | None, *, shared: bool, key: str) -> tuple[Grant, bool]:
        """The grant, and whether the agent had it already; the class would let it wait for itself."""
        held = lock.held()
        if held is not None and self._has_got(lock, key):  # the call is made again, by another process of the agent
            return held, False
        if held is not None and held.shared and not shared:
            raise ToolError(
                f"You share lock {lock.name!r} and cannot have it alone as well. Release it first, and then acquire it:"
                " what you read under it may have changed by then, so read it again."
            )
        if held is not None:
            return held, True
        if not lock.acquire(timeout=-1 if timeout is None else timeout, shared=shared, key=key):
            raise ToolError(self._refusal(lock))
        grant = lock.grant
        assert grant is not None, "it was acquired just now"
        return grant, False

    def _has_got(self, lock: Lock, key: str) -> bool:
        with self._member.transaction() as tx:
            return lock_line.find(tx, lock.name, key) is not None

    def _refusal(self, lock: Lock) -> str:
        """Who holds it until when, and what to do instead."""
        found = lock.statistics()
        holder = " and ".join(found.shared_by) or found.holder
        if holder is None:
            return f"You did not get lock {lock.name!r} in time; it has become free just now. Try again."
        until = ""
        if found.expires_at is not None:
            left = max(0.0, found.expires_at - self._member.store.clock.now())
            until = f", or for {left:.0f} s more if it falls silent"
        return (
            f"You did not get lock {lock.name!r}: {holder} holds it (fence {found.fence}) until it is released{until};"
            f" {found.waiting} wait for it. Do other work first and try again, or wait for it without a timeout."
        )

    def semaphore(self, call: ToolCall) -> Answer:
        """The tool `semaphore`."""
        inputs = read(call, definitions.SEMAPHORE)
        name = name_of(inputs)
        permits = inputs.integer("permits", least=0, most=PERMITS) if "permits" in inputs else None
        semaphore = self._semaphore(name, permits)
        op = op_of(inputs, definitions.SEMAPHORE)
        if op == "status":
            return answer(f"Semaphore {name!r}:", asdict(semaphore.statistics()))
        if op == "release":
            semaphore.release(key=call.key)
            mine = next((one for one in self._permits_of_turn if one[0] == name), None)
            if mine is not None:
                self._permits_of_turn.remove(mine)
            return answer(f"Gave a permit of semaphore {name!r} back.", {"name": name, "held": False})
        if not semaphore.acquire(timeout=timeout_of(inputs, call), key=call.key):
            found = semaphore.statistics()
            holders = ", ".join(sorted({str(permit.holder) for permit in found.permits})) or "nobody any more"
            raise ToolError(
                f"You did not get a permit of semaphore {name!r}: {holders} hold them all and {found.waiting} wait."
                " Do other work first and try again."
            )
        keep = inputs.flag("keep")
        if keep:
            semaphore.keep()
        elif semaphore.statistics().initial == 0:
            return answer(f"You have used up one permit of semaphore {name!r}.", {"name": name, "held": False})
        else:
            self._permits_of_turn.append((name, call.key))
        until = "until you release it" if keep else "until this turn ends"
        return answer(f"You hold a permit of semaphore {name!r} {until}.", {"name": name, "held": True})

    def _semaphore(self, name: str, permits: int | None) -> Semaphore:
        """The semaphore with as many permits as it has, or as it is to have where it is new."""
        if permits is None:
            row = self._member.store.row("select initial from semaphore where name = :name", name=name)
            permits = row["initial"] if row is not None else 1
        return Semaphore(self._member, name, permits)

    def barrier(self, call: ToolCall) -> Answer:
        """The tool `barrier`."""
        inputs = read(call, definitions.BARRIER)
        name = name_of(inputs)
        op = op_of(inputs, definitions.BARRIER)
        barrier = self._barrier(inputs, call, name, op)
        if op == "status":
            return answer(f"Barrier {name!r}:", asdict(barrier.statistics()))
        if op == "reset":
            barrier.reset()
            return answer(f"Barrier {name!r} is empty and whole again.", asdict(barrier.statistics()))
        passage = barrier.meet(timeout_of(inputs, call), party=call.key)
        return answer(f"All {passage.parties} parties have arrived at {name!r}; go on.", asdict(passage))

    def _barrier(self, inputs: Inputs, call: ToolCall, name: str, op: str) -> Barrier:
        parties = call.input.get("parties")
        if parties is None and op != "wait":
            known = self._member.store.row("select parties from barrier where name = :name", name=name)
            if known is None:
                raise ToolError(f"barrier: there is no barrier {name!r} yet. Wait at it to make it.")
            return Barrier(self._member, name, known["parties"])
        if parties == "siblings":
            if self._siblings is None:
                raise inputs.refuse("you were not forked, so you have no siblings. Give the number of parties.")
            return Barrier(self._member, name, siblings=self._siblings)
        if isinstance(parties, bool) or not isinstance(parties, int) or not 1 <= parties <= PARTIES:
            raise inputs.refuse(f'`parties` must be a whole number from 1 to {PARTIES}, or "siblings".')
        return Barrier(self._member, name, parties)

    def event(self, call: ToolCall) -> Answer:
        """The tool `event`."""
        inputs = read(call, definitions.EVENT)
        event = Event(self._member, name_of(inputs))
        op = op_of(inputs, definitions.EVENT)
        if op == "status":
            return answer(f"Event {event.name!r}:", asdict(event.statistics()))
        if op in ("set", "clear"):
            change = event.set if op == "set" else event.clear
            made_once(self._member, call, f"event {event.name}", change)
            words = "is set; whoever waited for it goes on" if op == "set" else "is not set any more"
            return answer(f"Event {event.name!r} {words}.", {"name": event.name, "is_set": op == "set"})
        came = event.wait(timeout_of(inputs, call))
        words = "is set; go on" if came else "was not set in time. Do other work first and look again"
        return answer(f"Event {event.name!r} {words}.", {"name": event.name, "is_set": came})
