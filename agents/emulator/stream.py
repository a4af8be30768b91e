"""How a message goes out: in one piece or as server-sent events, at the asked pace, with the asked fault.

message_start, { content_block_start, ping (after the first), content_block_delta ..., content_block_stop } ...,
message_delta, message_stop
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from prong.agents.emulator.connection import LARGEST_PIECE_BYTES, Connection
from prong.agents.emulator.reply import Message
from prong.agents.emulator.script import Fault

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
NO_JSON = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{not json\n\n'
ERROR_EVENT = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Pace:
    """How long writing a message takes after its first byte, and how often a ping says that it goes on."""

    seconds: float
    ping_s: float


@dataclass(frozen=True, slots=True)
class _Frame:
    """One event of a stream; `share` is its part of the writing time, and faults count the deltas."""

    data: bytes
    share: float = 0.0
    is_delta: bool = False
    is_closing: bool = False


LONGEST_DELAY_S = 0.002
MOST_DAMAGES = 3
MOST_PIECES = 4


class Cut(Exception):
    """The response ends here without being finished, so that the server closes the connection."""


async def send_whole(connection: Connection, message: Message, headers: Mapping[str, str], fault: Fault | None) -> None:
    """Send a message in one piece, which a fault may shorten or spoil."""
    data = _encode(message.wire()).encode()
    headers = {"content-type": "application/json", **headers, "content-length": str(len(data))}
    await connection.start(200, headers)
    match fault.stream if fault else None:
        case "disconnect":
            raise Cut
        case "truncate":
            await connection.write(data[: len(data) // 2])
            raise Cut
        case "malformed":
            # Of the same length, so that only reading it as JSON tells.
            await connection.finish(data[:-1] + b",")
        case _:
            await connection.finish(data)


async def send_stream(
    connection: Connection, message: Message, headers: Mapping[str, str], fault: Fault | None, pace: Pace
) -> None:
    """Send a message as events.  Without a pace all of them leave together, which is kind to both sides."""
    await connection.start(
        200, {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", **headers}
    )
    if fault and fault.stream == "damage":
        await _send_damaged(connection, b"".join(frame.data for frame in _frames(message)), fault.after)
        return
    began, due_s, deltas = monotonic(), 0.0, 0
    waiting = bytearray()
    for frame in _frames(message):
        if fault and fault.stream and (frame.is_closing or (frame.is_delta and deltas >= fault.after)):
            await connection.write(bytes(waiting))
            if await _break(connection, fault):
                return
            waiting.clear()
            fault = None
        due_s += frame.share * pace.seconds
        if due_s > 0 and frame.share > 0:
            await _flush(connection, waiting)
            await _pause(connection, began + due_s, pace.ping_s)
        deltas += frame.is_delta
        waiting += frame.data
        if len(waiting) > LARGEST_PIECE_BYTES:
            await _flush(connection, waiting)
    await connection.finish(bytes(waiting))


async def _send_damaged(connection: Connection, data: bytes, seed: int) -> None:
    pieces, is_cut = damaged(data, seed)
    for piece in pieces:
        await connection.write(piece)
        await connection.wait(LONGEST_DELAY_S * (seed % 7 == 0))
    if is_cut:
        raise Cut
    await connection.finish()


async def _flush(connection: Connection, waiting: bytearray) -> None:
    if waiting:
        await connection.write(bytes(waiting))
        waiting.clear()


async def _pause(connection: Connection, until: float, ping_s: float) -> None:
    while (left_s := until - monotonic()) > ping_s:
        await connection.wait(ping_s)
        await connection.write(PING)
    await connection.wait(left_s)


async def _break(connection: Connection, fault: Fault) -> bool:
    """Play a fault in the middle of a stream; True when nothing comes after it."""
    match fault.stream:
        case "disconnect":
            raise Cut
        case "truncate":
            await connection.finish()
            return True
        case "error_event":
            await connection.finish(_event(ERROR_EVENT))
            return True
        case _:
            await connection.write(NO_JSON)
            return False


def _frames(message: Message) -> Iterator[_Frame]:
    start = {**message.wire(), "content": [], "stop_reason": None, "stop_sequence": None}
    start["usage"] = {**message.usage, "output_tokens": 1 if message.parts else 0}
    yield _Frame(_event({"type": "message_start", "message": start}))
    tokens = message.tokens
    for index, part in enumerate(message.parts):
        yield _Frame(_event({"type": "content_block_start", "index": index, "content_block": part.start}))
        if index == 0:
            yield _Frame(PING)
        share = part.tokens / tokens / max(1, len(part.deltas))
        for delta in part.deltas:
            data = _event({"type": "content_block_delta", "index": index, "delta": delta})
            yield _Frame(data, share, is_delta=True)
        yield _Frame(_event({"type": "content_block_stop", "index": index}))
    # A message without blocks takes its time too.
    yield _Frame(_closing(message), 0.0 if message.parts else 1.0, is_closing=True)
    yield _Frame(_event({"type": "message_stop"}))


def _closing(message: Message) -> bytes:
    usage = {key: message.usage[key] for key in message.usage if key.endswith("_tokens")}
    delta = {"stop_reason": message.stop_reason, "stop_sequence": message.stop_sequence}
    return _event({"type": "message_delta", "delta": delta, "usage": usage})


def _event(event: Mapping[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {_encode(event)}\n\n".encode()


def damaged(data: bytes, seed: int) -> tuple[list[bytes], bool]:
    """A stream with a few damages, in pieces as a slow line brings them; and whether the connection breaks there."""
    chance = random.Random(seed)  # noqa: S311  the same damage for the same seed, which is no secret
    is_cut = False
    for _ in range(chance.randint(1, MOST_DAMAGES)):
        at = chance.randrange(len(data) + 1)
        events = [event + b"\n\n" for event in data.split(b"\n\n") if event]
        one, other = (chance.randrange(len(events)) for _ in range(2)) if events else (0, 0)
        match chance.choice(("truncate", "disconnect", "flip", "insert", "remove", "repeat", "drop", "swap")):
            case "truncate":
                data = data[:at]
            case "disconnect":
                data, is_cut = data[:at], True
            case "flip":
                data = data[:at] + bytes(byte ^ 1 << chance.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]
            case "insert":
                data = data[:at] + chance.randbytes(chance.randint(1, 20)) + data[at:]
            case "remove":
                data = data[:at] + data[at + chance.randint(1, 20) :]
            case "repeat":
                data = b"".join([*events[: one + 1], *events[one:]])
            case "drop":
                data = b"".join([*events[:one], *events[one + 1 :]])
            case _:
                if events:
                    events[one], events[other] = events[other], events[one]
                data = b"".join(events)
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(MOST_PIECES)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < end], is_cut
