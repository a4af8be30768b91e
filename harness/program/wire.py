"""The line between a program and its agent: JSON objects, each behind its length in four bytes.

    program   {"hello": 1}                                          the version that it speaks
    agent     {"go": 1, "source": …, "name": …, "arguments": […]}   what to run
    program   {"id": 7, "tool": "atomic", "input": {…}, "once": null}
    agent     {"id": 7, "data": {…}}    or    {"id": 7, "refused": "…", "error": "ToolError"}
    program   {"bye": 0}                                            its exit code

Neither side trusts the other's lengths, nor that what comes is JSON.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any, NoReturn

VERSION = 1
"""What both sides must speak."""

FRAME_BYTES = 4 * 2**20
"""The longest message, in bytes."""

_LENGTH_BYTES = 4


class Garbage(Exception):
    """What came over the line is no message."""


def encode(message: Mapping[str, Any]) -> bytes:
    r"""The bytes of a message; raises `Garbage` where it is too long, `TypeError` or `ValueError` where it is no JSON.

    >>> encode({"bye": 0})
    b'\x00\x00\x00\t{"bye":0}'
    """
    data = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    if len(data) > FRAME_BYTES:
        raise Garbage(f"a message of {len(data):,} bytes; the most is {FRAME_BYTES:,}")
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def receive(line: socket.socket) -> dict[str, Any] | None:
    """The next message; None at the end of the line.  Raises `Garbage`, and `OSError` where the line breaks."""
    head = _exactly(line, _LENGTH_BYTES)
    if head is None:
        return None
    length = int.from_bytes(head, "big")
    if length > FRAME_BYTES:
        raise Garbage(f"a message that says it has {length:,} bytes; the most is {FRAME_BYTES:,}")
    data = _exactly(line, length)
    if data is None:
        raise Garbage("a message that ends too early")
    try:
        message = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Garbage(f"a message that is no JSON ({type(error).__name__})") from None
    if not isinstance(message, dict):
        raise Garbage("a message that is no object")
    return message


def _exactly(line: socket.socket, count: int) -> bytes | None:
    """So many bytes; None where the line ends before the first."""
    data = bytearray()
    while len(data) < count:
        part = line.recv(min(count - len(data), 2**16))
        if not part:
            if data:
                raise Garbage("a message that ends too early")
            return None if count else b""
        data += part
    return bytes(data)


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)
