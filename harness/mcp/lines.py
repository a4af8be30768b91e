r"""The lines of a client on standard input, and an answer to each that is no message.

line --a message--> the library
 +--anything else--> an error with its id, in words that a model can mend it by; the connection lives on

The library drops such a line without a word, and its client waits for ever.  Half a surrogate pair is the usual case: a
model that cuts an emoji in two, whose client writes it down as the escape \ud83d, as JSON allows and no text does.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TextIO

import anyio
from mcp import types

PARSE_ERROR = -32700
INVALID_REQUEST = -32600

SHOWN_CHARACTERS = 200
"""How much of what is wrong with a line is told, in characters."""


class Messages:
    """The lines of a client that are messages, as the library reads and writes them.

    `write` writes text to the client and flushes it; of two that write at once each writes its whole text.
    """

    def __init__(self, lines: AsyncIterator[str], write: Callable[[str], Awaitable[None]]) -> None:
        self._lines = lines
        self._write = write
        self._writing = anyio.Lock()

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> str:
        async for line in self._lines:
            problem = _problem(line)
            if problem is None:
                return line
            answer = _answer(line, problem)
            if answer is not None:
                await self.write(answer + "\n")
        raise StopAsyncIteration

    async def write(self, text: str) -> None:
        """Write lines to the client."""
        async with self._writing:
            await self._write(text)

    async def flush(self) -> None:
        """What is written is flushed already."""


def of_standard_streams() -> Messages:
    """Standard input and output, which are the client's alone from now on.

    Whatever else reads finds nothing, and whatever else prints prints to standard error.
    """
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout.flush()
    os.dup2(2, 1)
    source = anyio.wrap_file(open(reading, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115  a descriptor, open to the end of the process
    target = open(writing, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  as above

    async def write(text: str) -> None:
        await anyio.to_thread.run_sync(_written, target, text)

    return Messages(aiter(source), write)


def _written(target: TextIO, text: str) -> None:
    target.write(text)
    target.flush()


def _problem(line: str) -> ValueError | None:
    """Why the library could not read a line; None where it can."""
    try:
        types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError as error:
        return error
    return None


def _answer(line: str, problem: ValueError) -> str | None:
    """The error that a line is answered with; None where nobody waits for an answer.

    >>> _answer('{"jsonrpc": "2.0", "id": 7, "method": 3}', ValueError("method: not a string"))
    '{"jsonrpc": "2.0", "id": 7, "error": {"code": -32600, "message": "This is no request: method: not a string"}}'
    >>> _answer('{"id": 7, "result": {}}', ValueError("no version")) is None
    True
    """
    if not line.strip():
        return None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        return _error(None, PARSE_ERROR, f"This line is no JSON: {error}")
    if not isinstance(said, dict):
        return _error(None, INVALID_REQUEST, "A line holds one message, which is a JSON object")
    is_news = "id" not in said and isinstance(said.get("method"), str)
    is_answer = "method" not in said and ("result" in said or "error" in said)
    return None if is_news or is_answer else _refusal(said, problem)


def _refusal(said: dict[str, Any], problem: ValueError) -> str:
    own = said.get("id")
    number = own if isinstance(own, str | int) and not isinstance(own, bool) else None
    half = _half_of_a_pair(said)
    if half is None:
        return _error(number, INVALID_REQUEST, f"This is no request: {problem}")
    text = f"This message holds half of a surrogate pair ({half}), which is no character. Send the whole character"
    return _error(number, PARSE_ERROR, text)


def _error(number: str | int | None, code: int, text: str) -> str:
    short = " ".join(text.split())
    if len(short) > SHOWN_CHARACTERS:
        short = f"{short[:SHOWN_CHARACTERS]}…"
    # In ASCII: an id may hold half of a pair itself.
    return json.dumps({"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": short}})


def _half_of_a_pair(said: Any) -> str | None:
    r"""The first half of a surrogate pair that stands alone in a message, as JSON writes it.

    >>> _half_of_a_pair({"a": ["\ud83d"]}), _half_of_a_pair({"a": "\U0001f600"})
    ('\\ud83d', None)
    """
    try:
        json.dumps(said, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(error.object[error.start]):04x}"
    return None
