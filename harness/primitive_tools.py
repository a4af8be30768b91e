"""The primitives as tools: input in, one sentence and one line of JSON out, refusals that say what to do instead."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from prong.agents.tools.inputs import Inputs
from prong.agents.tools.tool import Tool, ToolCall, ToolError
from prong.harness import definitions
from prong.primitives import Barrier, Lock, MessageQueue, NotHeld, SharedMap
from prong.primitives.values import NAME_CHARACTERS
from prong.state import Membership

LONGEST_WAIT_S = 86_400.0
ITEMS_BYTES = 200_000
"""The most JSON that one result of `items` holds, in bytes."""


def answer(words: str, data: Mapping[str, Any]) -> str:
    """A result: words for reading, then data for acting on."""
    return f"{words}\n{json.dumps(data, ensure_ascii=False)}"


def read(call: ToolCall, definition: Mapping[str, Any]) -> Inputs:
    """The call's input, refused where it has a key that the definition does not know."""
    return Inputs(call, keys=list(definition["input_schema"]["properties"]))


def timeout_of(inputs: Inputs, call: ToolCall) -> float | None:
    """Seconds to wait; None where it was left out."""
    value = call.input.get("timeout")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_WAIT_S:
        raise inputs.refuse(
            f"`timeout` must be a number of seconds from 0 to {LONGEST_WAIT_S:g}. Leave it out to wait."
        )
    return float(value)


class PrimitiveTools:
    """`lock`, `barrier`, `shared_map` and `message_queue` for one agent."""

    def __init__(self, member: Membership, *, siblings: int | None) -> None:
        self._member = member
        self._siblings = siblings
        self._locks_of_turn: set[str] = set()

    def tools(self) -> tuple[Tool, ...]:
        """The four tools.  Repeating a call changes nothing: each bears its own key."""
        return (
            Tool(definitions.LOCK, self.lock, replay="again", ordered=True),
            Tool(definitions.BARRIER, self.barrier, replay="again", ordered=True),
            Tool(definitions.SHARED_MAP, self.shared_map, replay="again"),
            Tool(definitions.MESSAGE_QUEUE, self.message_queue, replay="again"),
        )

    def end_turn(self) -> None:
        """Give back what the turn did not keep, so that no model can forget a lock."""
        for name in sorted(self._locks_of_turn):
            with contextlib.suppress(NotHeld):  # its lease ran out within the turn, which the log tells
                Lock(self._member, name).release()
        self._locks_of_turn.clear()

    def lock(self, call: ToolCall) -> str:
        """The tool `lock`."""
        inputs = read(call, definitions.LOCK)
        lock = Lock(self._member, inputs.filled("name", most_characters=NAME_CHARACTERS))
        op = inputs.choice("op", ("acquire", "release", "status"))
        if op == "release":
            lock.release()
            self._locks_of_turn.discard(lock.name)
            return answer(f"Released lock {lock.name!r}.", {"name": lock.name, "held": False})
        if op == "status":
            return answer(f"Lock {lock.name!r}:", asdict(lock.statistics()))
        granted = lock.acquire(timeout=timeout_of(inputs, call))
        if granted is None:
            found = lock.statistics()
            raise ToolError(
                f"You did not get lock {lock.name!r}: {found.holder} holds it (fence {found.fence}) and"
                f" {found.waiting} wait for it. Do other work first and try again."
            )
        keep = inputs.flag("keep")
        if keep:
            lock.keep()
        else:
            self._locks_of_turn.add(lock.name)
        until = "until you release it" if keep else "until this turn ends"
        return answer(f"You hold lock {lock.name!r} {until}.", asdict(granted))

    def barrier(self, call: ToolCall) -> str:
        """The tool `barrier`."""
        inputs = read(call, definitions.BARRIER)
        name = inputs.filled("name", most_characters=NAME_CHARACTERS)
        op = inputs.choice("op", ("wait", "status", "reset"))
        barrier = self._barrier(inputs, call, name, op)
        if op == "status":
            return answer(f"Barrier {name!r}:", asdict(barrier.statistics()))
        if op == "reset":
            barrier.reset()
            return answer(f"Barrier {name!r} is empty and whole again.", asdict(barrier.statistics()))
        passage = barrier.wait(timeout=timeout_of(inputs, call), party=call.key)
        return answer(f"All {passage.parties} parties have arrived at {name!r}; go on.", asdict(passage))

    def _barrier(self, inputs: Inputs, call: ToolCall, name: str, op: str) -> Barrier:
        parties = call.input.get("parties")
        if parties is None and op != "wait":
            known = self._member.store.row("select parties, siblings from barrier where name = :name", name=name)
            if known is None:
                raise ToolError(f"barrier: there is no barrier {name!r} yet. Wait at it to make it.")
            return Barrier(self._member, name, known["parties"])
        if parties == "siblings":
            if self._siblings is None:
                raise inputs.refuse("you were not forked, so you have no siblings. Give the number of parties.")
            return Barrier(self._member, name, siblings=self._siblings)
        if isinstance(parties, bool) or not isinstance(parties, int):
            raise inputs.refuse('`parties` must be a whole number or "siblings".')
        return Barrier(self._member, name, parties)

    def shared_map(self, call: ToolCall) -> str:
        """The tool `shared_map`."""
        inputs = read(call, definitions.SHARED_MAP)
        shared = SharedMap(self._member, inputs.filled("map", most_characters=NAME_CHARACTERS))
        op = inputs.choice("op", ("get", "put", "add", "delete", "keys", "items"))
        if op in ("keys", "items"):
            return _listing(shared, op, inputs.text("prefix", most_characters=NAME_CHARACTERS, default=""))
        key = inputs.filled("key", most_characters=NAME_CHARACTERS)
        if op == "get":
            entry = shared.entry(key)
            words = "is at" if entry.present else "is absent; its version is"
            return answer(f"Key {key!r} of map {shared.name!r} {words} version {entry.version}.", asdict(entry))
        if op == "delete":
            removed = shared.delete(key, if_version=_version(inputs), once=call.key)
            return answer(f"Key {key!r} {'is gone' if removed else 'was absent'}.", {"key": key, "deleted": removed})
        if "value" not in call.input:
            raise inputs.refuse(f"`value` is missing. Send it with op {op}.")
        value = call.input["value"]
        if op == "add":
            total = shared.add(key, value, once=call.key)
            return answer(f"Key {key!r} of map {shared.name!r} is {total} now.", {"key": key, "value": total})
        version = shared.put(key, value, if_version=_version(inputs), once=call.key)
        return answer(f"Wrote key {key!r} of map {shared.name!r}.", {"key": key, "version": version})

    def message_queue(self, call: ToolCall) -> str:
        """The tool `message_queue`."""
        inputs = read(call, definitions.MESSAGE_QUEUE)
        queue = MessageQueue(self._member, inputs.filled("queue", most_characters=NAME_CHARACTERS))
        op = inputs.choice("op", ("put", "get", "size"))
        if op == "size":
            return answer(f"Queue {queue.name!r}:", asdict(queue.statistics()))
        if op == "put":
            if "message" not in call.input:
                raise inputs.refuse("`message` is missing. Send it with op put.")
            priority = inputs.integer("priority", least=-1_000_000, most=1_000_000, default=0)
            number = queue.put(call.input["message"], priority=priority, key=call.key)
            return answer(f"Put a message into queue {queue.name!r}.", {"queue": queue.name, "message": number})
        count = inputs.integer("count", least=1, most=1_000, default=1)
        messages = queue.take(count=count, timeout=timeout_of(inputs, call), delivery=call.key)
        words = f"{len(messages)} of {count} messages from queue {queue.name!r}."
        return answer(words, {"messages": [{"message": one.value, "from": one.sender} for one in messages]})


def _version(inputs: Inputs) -> int | None:
    return inputs.integer("if_version", least=0, most=2**53) if "if_version" in inputs else None


def _listing(shared: SharedMap, op: str, prefix: str) -> str:
    """Keys or items, cut with the true count said where they are more than a result holds."""
    entries = shared.entries(prefix)
    shown: dict[str, Any] = {}
    size = 0
    for entry in entries:
        size += len(entry.key) + (len(json.dumps(entry.value)) if op == "items" else 4)
        if size > ITEMS_BYTES:
            break
        shown[entry.key] = entry.value
    words = f"{len(shown)} of {len(entries)} keys of map {shared.name!r}."
    if len(shown) < len(entries):
        words += " Narrow it with prefix, or get keys one by one."
    return answer(words, {op: shown if op == "items" else list(shown), "count": len(entries)})
