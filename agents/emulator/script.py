"""A script: the function that the emulator plays where the real API has a model.

A script gets the whole request and answers from it alone.  It keeps no state of its own, so forks, retries and replays
need no care: the turn is the number of assistant messages in the request, and what was done is read from the
tool results in it.

    @script(r"^Say hello")
    def hello(request: Request) -> Reply:
        return Reply([Text("hello")])
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Text:
    """A text block of a reply."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """A thinking block of a reply; the emulator signs it and binds it to what stands before it."""

    thinking: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call of a reply; the emulator makes its id."""

    name: str
    input: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Raw:
    """A block of any type, which goes out exactly as it stands here, whether the API knows it or not."""

    block: Mapping[str, Any]


Block = Text | Thinking | ToolUse | Raw


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with a reply.

    `status` other than 200 answers with that HTTP error instead (429 and 529 with `retry_after_s` where it is given).
    `stream` breaks a streamed reply after `after` deltas: `truncate` ends it silently, `disconnect` cuts the
    connection, `malformed` sends an event that is no JSON, `error_event` sends the API's own error event.  `damage`
    spoils bytes or events anywhere in it, where chance with the seed `after` wants them.  `stop_reason` is one that the
    API does not have.
    """

    status: int = 200
    retry_after_s: float | None = None
    stream: Literal["truncate", "disconnect", "malformed", "error_event", "damage"] | None = None
    after: int = 1
    stop_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a script answers: blocks, and on demand a stop reason, seconds before the first token, and a fault."""

    blocks: Sequence[Block]
    stop_reason: str | None = None
    first_token_s: float = 0.0
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A tool call that the conversation holds together with its result; `text` is None while there is none yet."""

    id: str
    name: str
    input: Mapping[str, Any]
    text: str | None
    is_error: bool


@dataclass(frozen=True, slots=True)
class Request:
    """A valid request as a script sees it: the wire JSON in `body`, and what scripts ask most.

    `seen` says how often the emulator was sent the same prompt before, so that a fault may hit only the first tries.
    """

    body: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    seen: int = 0

    @property
    def turn(self) -> int:
        """How many assistant messages the conversation holds."""
        return sum(message["role"] == "assistant" for message in self.messages)

    @property
    def first_text(self) -> str:
        """The text of the first user message."""
        for message in self.messages:
            if message["role"] == "user":
                return text_of(message["content"])
        return ""

    def exchanges(self) -> list[Exchange]:
        """Every tool call of the conversation with its result, in order."""
        results = {
            block["tool_use_id"]: block
            for message in self.messages
            for block in blocks_of(message["content"])
            if block["type"] == "tool_result"
        }
        return [
            Exchange(
                id=block["id"],
                name=block["name"],
                input=block["input"],
                text=text_of(results[block["id"]].get("content", "")) if block["id"] in results else None,
                is_error=bool(results.get(block["id"], {}).get("is_error", False)),
            )
            for message in self.messages
            if message["role"] == "assistant"
            for block in blocks_of(message["content"])
            if block["type"] == "tool_use"
        ]


Play = Callable[[Request], Reply]


@dataclass(frozen=True, slots=True)
class Script:
    """A named function from request to reply, for requests in whose first user text the pattern `match` is found."""

    name: str
    match: str
    play: Play


def script(match: str, *, name: str | None = None) -> Callable[[Play], Script]:
    """Make a script of a function; `match` is searched in the first user text."""

    def decorate(play: Play) -> Script:
        return Script(name or play.__name__, match, play)

    return decorate


def choose(scripts: Sequence[Script], request: Request) -> Script | None:
    """The first script whose pattern is found in the first user text."""
    first_text = request.first_text
    return next((script for script in scripts if re.search(script.match, first_text)), None)


def blocks_of(content: str | Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The blocks of a message's content, a bare string counting as one text block."""
    if isinstance(content, str):
        yield {"type": "text", "text": content}
    else:
        yield from content


def text_of(content: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a message's content, its text blocks joined by newlines."""
    return "\n".join(block["text"] for block in blocks_of(content) if block["type"] == "text")
