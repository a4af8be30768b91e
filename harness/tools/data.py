"""`atomic`, `shared_map`, `shared_list`, `message_queue` and `future`: what agents tell each other while they run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import CancelledError, InvalidStateError
from dataclasses import asdict
from functools import partial
from typing import Any

from prong.agents.tools.inputs import Inputs
from prong.agents.tools.tool import Answer, Tool, ToolCall, ToolError
from prong.harness.tools import catalogue, definitions
from prong.harness.tools.answers import answer, cut, made_once, name_of, number_of, op_of, read, timeout_of, value_of
from prong.primitives import Atomic, Future, MessageQueue, RemoteError, SharedList, SharedMap, Topic
from prong.primitives.atomic import Change
from prong.primitives.values import NAME_CHARACTERS
from prong.state import Membership, ProngError

ITEMS_BYTES = 200_000
"""The most JSON that one result of many items holds, in bytes."""

REASON_CHARACTERS = 4_000

VALUE_CHARACTERS = 200
"""How much of a value the words of a result repeat, in characters; the data have all of it."""


class DataTools:
    """The five tools for one agent."""

    def __init__(self, member: Membership) -> None:
        self._member = member

    def tools(self) -> tuple[Tool, ...]:
        """The five tools.  Repeating a call changes nothing: each bears its own key."""
        return (
            catalogue.record("atomic").tool(self.atomic),
            catalogue.record("shared_map").tool(self.shared_map),
            catalogue.record("shared_list").tool(self.shared_list),
            catalogue.record("message_queue").tool(self.message_queue),
            catalogue.record("future").tool(self.future),
        )

    def atomic(self, call: ToolCall) -> Answer:
        """The tool `atomic`."""
        inputs = read(call, definitions.ATOMIC)
        number = Atomic(self._member, name_of(inputs))
        op = op_of(inputs, definitions.ATOMIC)
        if op == "get":
            return answer(f"Atomic {number.name!r}:", {"name": number.name, "value": number.get()})
        if op == "compare_and_set":
            expected, new = value_of(inputs, call, "expected"), value_of(inputs, call)
            change = number.compare_and_set(expected, new, once=call.key)
        elif op == "set":
            change = number.exchange(value_of(inputs, call), once=call.key)
        else:
            change = {"add": number.add, "min": number.min, "max": number.max}[op](
                number_of(inputs, call), once=call.key
            )
        return answer(_changed(number.name, change), asdict(change))

    def shared_map(self, call: ToolCall) -> Answer:
        """The tool `shared_map`."""
        inputs = read(call, definitions.SHARED_MAP)
        shared = SharedMap(self._member, name_of(inputs, "map"))
        op = op_of(inputs, definitions.SHARED_MAP)
        prefix = inputs.text("prefix", most_characters=NAME_CHARACTERS, default="")
        if op in ("keys", "items"):
            return _listing(shared, op, prefix)
        if op == "watch":
            return self._watch(shared, inputs, call, prefix)
        key = name_of(inputs, "key")
        if op == "get":
            entry = shared.entry(key)
            words = "is at" if entry.present else "is absent; its version is"
            return answer(f"Key {key!r} of map {shared.name!r} {words} version {entry.version}.", asdict(entry))
        if op == "history":
            count = inputs.integer("count", least=1, most=1_000, default=20)
            past = _fitting(asdict(one) for one in shared.history(key, limit=count))
            return answer(f"The last {len(past)} writes of key {key!r} of map {shared.name!r}.", {"history": past})
        return self._write(shared, inputs, call, key)

    def _write(self, shared: SharedMap, inputs: Inputs, call: ToolCall, key: str) -> Answer:
        op = call.input["op"]
        if op == "delete":
            removed = shared.delete(key, if_version=_version(inputs), once=call.key)
            return answer(f"Key {key!r} {'is gone' if removed else 'was absent'}.", {"key": key, "deleted": removed})
        if op == "add":
            total = shared.add(key, number_of(inputs, call), once=call.key)
            return answer(f"Key {key!r} of map {shared.name!r} is {total} now.", {"key": key, "value": total})
        version = shared.put(key, value_of(inputs, call), if_version=_version(inputs), once=call.key)
        return answer(f"Wrote key {key!r} of map {shared.name!r}.", {"key": key, "version": version})

    def _watch(self, shared: SharedMap, inputs: Inputs, call: ToolCall, prefix: str) -> Answer:
        """Wait for a change; with the version of the last answer nothing between two calls is missed."""
        since = inputs.integer("since", least=0, most=2**53) if "since" in inputs else None
        key = name_of(inputs, "key") if "key" in inputs else None
        found = shared.watch(key, prefix=prefix or None, since=since, timeout=timeout_of(inputs, call))
        entries = _fitting(asdict(entry) for entry in found.entries)
        words = f"{len(found.entries)} keys of map {shared.name!r} have changed."
        return answer(words, {"entries": entries, "version": found.version})

    def shared_list(self, call: ToolCall) -> Answer:
        """The tool `shared_list`."""
        inputs = read(call, definitions.SHARED_LIST)
        shared = SharedList(self._member, name_of(inputs, "list"))
        op = op_of(inputs, definitions.SHARED_LIST)
        if op == "length":
            return answer(f"List {shared.name!r}:", asdict(shared.statistics()))
        if op == "append":
            index = shared.append(value_of(inputs, call), once=call.key)
            return answer(f"Appended to list {shared.name!r}.", {"list": shared.name, "index": index})
        if op == "read":
            return self._read(shared, inputs, call)
        index = inputs.integer("index", least=-(2**53), most=2**53)
        try:
            if op == "pop":
                value = shared.pop(index, once=call.key)
                return answer(f"Took item {index} out of list {shared.name!r}.", {"index": index, "value": value})
            new = value_of(inputs, call)
            if op == "insert":
                shared.insert(index, new, once=call.key)
            else:
                made_once(self._member, call, f"list {shared.name}", partial(shared.__setitem__, index, new))
        except IndexError:
            raise ToolError(
                f"List {shared.name!r} has {len(shared)} items, so there is no item {index}. Read it and try again."
            ) from None
        return answer(f"Wrote item {index} of list {shared.name!r}.", {"list": shared.name, "index": index})

    def _read(self, shared: SharedList, inputs: Inputs, call: ToolCall) -> Answer:
        first = inputs.integer("index", least=0, most=2**53, default=0)
        count = inputs.integer("count", least=1, most=1_000, default=100)
        timeout = timeout_of(inputs, call) if "timeout" in inputs else 0
        items = _fitting(shared.since(first, limit=count, timeout=timeout))
        length = len(shared)
        words = f"Items {first} to {first + len(items) - 1}" if items else f"No item from {first} on"
        return answer(f"{words} of {length} in list {shared.name!r}.", {"items": items, "next": first + len(items)})

    def message_queue(self, call: ToolCall) -> Answer:
        """The tool `message_queue`."""
        inputs = read(call, definitions.MESSAGE_QUEUE)
        name = name_of(inputs, "queue")
        op = op_of(inputs, definitions.MESSAGE_QUEUE)
        if op == "publish":
            message = value_of(inputs, call, "message")
            reached = Topic(self._member, name).publish(message, priority=_priority(inputs), key=call.key)
            return answer(f"Published to {reached} queues of topic {name!r}.", {"topic": name, "queues": reached})
        queue = MessageQueue(self._member, name)
        if op == "subscribe":
            topic = name_of(inputs, "topic")
            Topic(self._member, topic).subscribe(queue)
            return answer(f"Queue {name!r} gets what is published to topic {topic!r}.", {"queue": name, "topic": topic})
        if op == "size":
            return answer(f"Queue {name!r}:", asdict(queue.statistics()))
        if op == "put":
            message, timeout = value_of(inputs, call, "message"), timeout_of(inputs, call)
            number = queue.put(message, timeout=timeout, priority=_priority(inputs), key=call.key)
            return answer(f"Put a message into queue {name!r}.", {"queue": name, "message": number})
        count = inputs.integer("count", least=1, most=1_000, default=1)
        messages = queue.take(count=count, timeout=timeout_of(inputs, call), delivery=call.key)
        words = f"{len(messages)} of {count} messages from queue {name!r}."
        return answer(words, {"messages": [{"message": one.value, "from": one.sender} for one in messages]})

    def future(self, call: ToolCall) -> Answer:
        """The tool `future`."""
        inputs = read(call, definitions.FUTURE)
        future = Future(self._member, name_of(inputs))
        op = op_of(inputs, definitions.FUTURE)
        if op == "status":
            return answer(f"Future {future.name!r}:", asdict(future.statistics()))
        if op == "get":
            return _outcome(future, timeout_of(inputs, call))
        try:
            words = self._settle(future, op, inputs, call)
        except InvalidStateError:
            state = future.statistics().state
            raise ToolError(f"Future {future.name!r} is {state} already, and it is set only once. Get it.") from None
        return answer(f"Future {future.name!r} {words}.", asdict(future.statistics()))

    def _settle(self, future: Future, op: str, inputs: Inputs, call: ToolCall) -> str:
        """Change the future's state; returns what it is then."""
        if op == "promise":
            made_once(self._member, call, f"future {future.name}", future.promise)
            words = "is yours to set; it breaks, and its readers are told, when you end without setting it"
        elif op == "set":
            value = value_of(inputs, call)
            made_once(self._member, call, f"future {future.name}", partial(future.set_result, value))
            words = "is set; whoever waited for it has it"
        elif op == "fail":
            reason = inputs.filled("reason", most_characters=REASON_CHARACTERS)
            made_once(self._member, call, f"future {future.name}", partial(future.set_exception, RuntimeError(reason)))
            words = "has failed; whoever waited for it reads why"
        else:
            cancelled = made_once(self._member, call, f"future {future.name}", future.cancel)
            words = "is cancelled" if cancelled else "cannot be cancelled any more"
        return words


def _changed(name: str, change: Change) -> str:
    was = f"it was {cut(json.dumps(change.old, ensure_ascii=False), VALUE_CHARACTERS)}"
    now = cut(json.dumps(change.new, ensure_ascii=False), VALUE_CHARACTERS)
    return f"Atomic {name!r} is {now} now; {was}." if change.changed else f"Atomic {name!r} stays {now}."


def _outcome(future: Future, timeout: float | None) -> Answer:
    try:
        value = future.result(timeout)
    except TimeoutError:
        raise ToolError(f"Future {future.name!r} was not set in time. Do other work first and ask again.") from None
    except CancelledError:
        raise ToolError(f"Future {future.name!r} was cancelled, so no value will ever come.") from None
    except (RemoteError, ProngError):
        raise
    except Exception as error:  # noqa: BLE001  whatever its setter gave as the reason
        raise ToolError(f"Future {future.name!r} failed: {error}") from None
    return answer(f"Future {future.name!r} is set.", {"name": future.name, "value": value})


def _version(inputs: Inputs) -> int | None:
    return inputs.integer("if_version", least=0, most=2**53) if "if_version" in inputs else None


def _priority(inputs: Inputs) -> int:
    return inputs.integer("priority", least=-1_000_000, most=1_000_000, default=0)


def _fitting(values: Iterable[Any]) -> list[Any]:
    """As many of the first values as one result holds."""
    shown: list[Any] = []
    size = 0
    for value in values:
        size += len(json.dumps(value)) + 2
        if size > ITEMS_BYTES:
            break
        shown.append(value)
    return shown


def _listing(shared: SharedMap, op: str, prefix: str) -> Answer:
    """Keys or items, cut with the true count said where they are more than a result holds."""
    entries = shared.entries(prefix)
    rows = [{entry.key: entry.value if op == "items" else 0} for entry in entries]
    shown: dict[str, Any] = {}
    for row in _fitting(rows):
        shown |= row
    words = f"{len(shown)} of {len(entries)} keys of map {shared.name!r}."
    if len(shown) < len(entries):
        words += " Narrow it with prefix, or get keys one by one."
    return answer(words, {op: shown if op == "items" else list(shown), "count": len(entries)})
