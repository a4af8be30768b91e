"""From the events of a stream to the message that they tell, exactly as it was sent.

    message_start, { content_block_start, content_block_delta ..., content_block_stop } ..., message_delta, message_stop

The SDK's own reader says nothing of a stream that ends early, gives half a tool call an empty input, and leaves out
what it does not know.  Here every event must be where it belongs, or the whole answer is refused: what is written down
goes back to the model for ever.  Blocks are kept as they came, whether their type is known or not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

LARGEST_ANSWER_BYTES = 16 * 1024 * 1024
"""Of one answer, counted as its events come in; the API takes no request of more than twice that."""

MOST_TOKENS = 10**9
"""A number of tokens beyond this is no usage."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")

Json = Mapping[str, Any]


class DamagedStream(Exception):
    """A stream that ended early, or whose events make no message: nothing of it may be used."""


class ErrorEvent(Exception):
    """The endpoint broke off a stream that had begun well, and said why."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class Event(Protocol):
    """A server-sent event as the SDK reads it off the wire."""

    @property
    def event(self) -> str | None:
        """Its name."""
        ...

    @property
    def data(self) -> str:
        """Its lines of data, joined."""
        ...


def ignored(_tool: str) -> None:
    """For who need not know which tools an answer is about to call."""


class Assembly:
    """Puts one message together.  `take` every event; `content`, `stop_reason` and `usage` count once it `is_whole`."""

    def __init__(self, began: Callable[[], None] = lambda: None, calls: Callable[[str], object] = ignored) -> None:
        """`began` is called when the message has begun, `calls` with the name of each tool whose call begins in it.

        Such a call may still turn out to be damaged, or be cut off: it is a hint and nothing more.
        """
        self.content: list[dict[str, Any]] = []
        self.stop_reason: str | None = None
        self.usage: dict[str, Any] = {}
        self._began = began
        self._calls = calls
        self._has_begun = self._is_over = False
        self._is_open = False
        self._grown: dict[str, list[str]] = {}
        self._bytes = 0

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there; the end of the stream may still be missing."""
        return self.stop_reason is not None and not self._is_open

    def take(self, event: Event) -> None:
        """One event further; raises `DamagedStream` where it does not belong here, `ErrorEvent` where it is one."""
        self._bytes += len(event.data)
        if self._bytes > LARGEST_ANSWER_BYTES:
            raise DamagedStream(f"the answer is larger than {LARGEST_ANSWER_BYTES} bytes")
        if event.event == "ping" or self._is_over:
            return
        data = _read(event)
        handle = getattr(self, f"_{event.event}", None) if event.event in _EVENTS else None
        if handle is not None:  # whatever else there will be one day is none of a message's parts
            try:
                handle(data)
            except (KeyError, TypeError, AttributeError) as error:
                raise DamagedStream(f"an event {event.event} is not as it should be") from error

    def finish(self) -> None:
        """The stream has ended; raises `DamagedStream` where the message has not."""
        if not self._has_begun:
            raise DamagedStream("the answer holds no message")
        if not self.is_whole:
            raise DamagedStream("the stream ended early")
        _check_calls(self.content, runs=self.stop_reason in ("tool_use", "end_turn"))
        try:
            json.dumps(self.content, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise DamagedStream("the answer holds half a surrogate pair") from error

    def _error(self, data: Json) -> None:
        error = data["error"]
        raise ErrorEvent(str(error["type"]), str(error["message"]))

    def _message_start(self, data: Json) -> None:
        if self._has_begun:
            raise DamagedStream("a message began twice")
        message = data["message"]
        if message["content"] or message["role"] != "assistant":
            raise DamagedStream("a message began with something in it")
        self._count(message.get("usage"))
        self._has_begun = True
        self._began()

    def _content_block_start(self, data: Json) -> None:
        if not self._has_begun or self._is_open or data["index"] != len(self.content) or self.stop_reason:
            raise DamagedStream("a block began out of its place")
        block = data["content_block"]
        if not isinstance(block, dict) or not isinstance(block["type"], str):
            raise DamagedStream("a block has no type")
        self.content.append(dict(block))
        self._is_open, self._grown = True, {}
        if block["type"] == "tool_use" and isinstance(name := block.get("name"), str):
            self._calls(name)

    def _content_block_delta(self, data: Json) -> None:
        block, delta = self._open_block(data), data["delta"]
        match delta["type"]:
            case "text_delta":
                self._grow("text", delta["text"])
            case "thinking_delta":
                self._grow("thinking", delta["thinking"])
            case "signature_delta":
                block["signature"] = _text(delta["signature"])
            case "input_json_delta":
                self._grow("input", delta["partial_json"])
            case "citations_delta":
                block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
            case "compaction_delta":
                block.update({name: value for name, value in delta.items() if name != "type"})
            case other:
                raise DamagedStream(f"a block grew by {other!r}, which nobody knows")

    def _content_block_stop(self, data: Json) -> None:
        block = self._open_block(data)
        self._is_open = False
        for name, pieces in self._grown.items():
            text = "".join(pieces)
            if name != "input":
                block[name] = _text(block[name]) + text
            elif text.strip():
                block[name] = _input(text)

    def _message_delta(self, data: Json) -> None:
        if not self._has_begun or self._is_open:
            raise DamagedStream("a message ended in the middle of a block")
        reason = data["delta"]["stop_reason"]
        if reason is not None and not isinstance(reason, str):
            raise DamagedStream("the stop reason is none")
        self.stop_reason = reason or self.stop_reason
        self._count(data.get("usage"))

    def _message_stop(self, _data: Json) -> None:
        if not self.is_whole:
            raise DamagedStream("a message ended before its time")
        self._is_over = True

    def _grow(self, name: str, piece: object) -> None:
        self._grown.setdefault(name, []).append(_text(piece))

    def _open_block(self, data: Json) -> dict[str, Any]:
        if not self._is_open or data["index"] != len(self.content) - 1:
            raise DamagedStream("something was said of a block that is not under way")
        return self.content[-1]

    def _count(self, usage: Json | None) -> None:
        known = {name: value for name, value in (usage or {}).items() if value is not None}
        for name, value in known.items():
            is_count = isinstance(value, int) and 0 <= value <= MOST_TOKENS
            if name.endswith("_tokens") and not is_count:
                raise DamagedStream(f"its usage says {name}: {value!r}"[:200])
        self.usage |= known


_EVENTS = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    }
)


def _read(event: Event) -> Json:
    try:
        data = json.loads(event.data)
    except (ValueError, RecursionError) as error:
        raise DamagedStream("an event is no JSON") from error
    if not isinstance(data, dict) or data.get("type") != event.event:
        raise DamagedStream("an event is not what its name says")
    return data


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise DamagedStream("a block grew by something that is no text")
    return value


def _input(text: str) -> Any:
    """The input of a call; None, which only an answer that was cut may have, where it is no JSON."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _check_calls(content: list[dict[str, Any]], *, runs: bool) -> None:
    """Every call has an id of its own, a name, and an object as its input; one that was cut off has an empty one."""
    ids = set()
    for block in content:
        if block["type"] != "tool_use":
            continue
        call, name, given = block.get("id"), block.get("name"), block.get("input")
        if not (isinstance(call, str) and _ID.fullmatch(call)) or call in ids:
            raise DamagedStream("a tool call has no id of its own")
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise DamagedStream("a tool call has no name")
        if not isinstance(given, dict):
            if runs:
                raise DamagedStream(f"the input of a call of {name} is no JSON object")
            block["input"] = {}
        ids.add(call)


def _refuse(name: str) -> None:
    raise ValueError(name)
