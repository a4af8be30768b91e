"""From what a script answers to the message that goes over the wire: blocks with ids and signatures, cut to size.

script's blocks -> stop sequences -> max_tokens -> message (whole, or as the events of a stream)
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prong.agents.emulator import compaction
from prong.agents.emulator.errors import ApiError
from prong.agents.emulator.prompt import BYTES_PER_TOKEN, tokens_of
from prong.agents.emulator.script import Block, Raw, Reply, Text, Thinking, ToolUse
from prong.agents.emulator.thinking import Binding
from prong.agents.models import Usage

DELTA_CHARACTERS = 32
STOP_REASONS = frozenset(
    {
        "end_turn",
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
    }
)

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One block of a message: as a whole, as it starts in a stream, and the deltas that lead from one to the other."""

    whole: Json
    start: Json
    deltas: Sequence[Json]
    tokens: int


@dataclass(slots=True)
class Message:
    """A reply that is ready to send."""

    id: str
    model: str
    usage: dict[str, Any]
    parts: list[Part] = field(default_factory=list)
    stop_reason: str = "end_turn"
    stop_sequence: str | None = None
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """How many output tokens it has."""
        return sum(part.tokens for part in self.parts)

    def wire(self) -> dict[str, Any]:
        """The whole message, as a call without a stream gets it."""
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [part.whole for part in self.parts],
            "stop_reason": self.stop_reason,
            "stop_sequence": self.stop_sequence,
            "usage": self.usage,
            **self.extras,
        }


def usage_on_wire(usage: Usage) -> dict[str, Any]:
    """The API's `usage` object; the output is filled in when it is known."""
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write - usage.cache_write_1h,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
        "service_tier": "standard",
    }


def new_id(prefix: str) -> str:
    """An id that no other process or run will make."""
    return f"{prefix}_{uuid.uuid4().hex[:24]}"


class Writer:
    """Writes one reply to one request."""

    def __init__(self, body: Json, message: Message, *, context_left: int) -> None:
        self._body = body
        self._message = message
        self._left = min(body["max_tokens"], context_left)
        self._reason_if_cut = "max_tokens" if body["max_tokens"] <= context_left else "model_context_window_exceeded"
        self._binding: Binding | None = None

    def write(self, reply: Reply) -> None:
        """Fill the message with what a script answered."""
        check_reply(reply, self._body)
        message = self._message
        message.stop_reason = reply.stop_reason or _natural_stop(reply)
        unknown = reply.fault.stop_reason if reply.fault else None
        for block in self._spoken(reply.blocks):
            if self._left <= 0:
                message.stop_reason = self._reason_if_cut
                break
            part, ends = self._part(block)
            if part.whole != _text(""):
                self._append(part)
            if ends:
                break
        message.stop_reason = unknown or message.stop_reason
        message.usage["output_tokens"] = message.tokens

    def compact(self, reply: Reply) -> None:
        """Fill the message with the one block that stands for the conversation."""
        block, tokens = compaction.block_of(reply, self._body)
        start = {"type": "compaction", "content": None, "signature": block["signature"]}
        deltas = [{"type": "compaction_delta", "content": block["content"]}]
        self._message.parts.append(Part(block, start, deltas, tokens))
        self._message.stop_reason = "compaction"
        self._message.usage["output_tokens"] = tokens

    def _spoken(self, blocks: Sequence[Block]) -> Iterator[Block]:
        """The blocks without thinking where the request has turned thinking off."""
        is_off = (self._body.get("thinking") or {}).get("type") == "disabled"
        return (block for block in blocks if not (is_off and isinstance(block, Thinking)))

    def _append(self, part: Part) -> None:
        self._message.parts.append(part)
        self._left -= part.tokens
        if self._binding is not None:
            self._binding.add("assistant", part.whole)

    def _part(self, block: Block) -> tuple[Part, bool]:
        """A block as it goes out, and whether the message ends with it before its time."""
        if isinstance(block, ToolUse):
            return self._tool_use(block)
        if isinstance(block, Thinking):
            return self._thinking(block)
        if isinstance(block, Raw):
            return Part(block.block, block.block, (), tokens_of(json.dumps(block.block).encode())), False
        return self._text(block)

    def _text(self, block: Text) -> tuple[Part, bool]:
        text, sequence = self._until_stop_sequence(block.text)
        text, cut = self._fit(text)
        if sequence is not None and not cut:
            self._message.stop_reason, self._message.stop_sequence = "stop_sequence", sequence
            cut = True
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(text)]
        return Part(_text(text), _text(""), deltas, tokens_of(text.encode())), cut

    def _thinking(self, block: Thinking) -> tuple[Part, bool]:
        thinking, cut = self._fit(block.thinking)
        tokens = tokens_of(thinking.encode())
        if (self._body.get("thinking") or {}).get("display") == "omitted":
            thinking = ""
        signature = self._signed_so_far().sign(self._message.model, thinking)
        whole = {"type": "thinking", "thinking": thinking, "signature": signature}
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(thinking)]
        deltas.append({"type": "signature_delta", "signature": signature})
        start = {"type": "thinking", "thinking": "", "signature": ""}
        return Part(whole, start, deltas, tokens), cut

    def _tool_use(self, block: ToolUse) -> tuple[Part, bool]:
        full = json.dumps(block.input, ensure_ascii=False)
        text, cut = self._fit(full)
        start = {"type": "tool_use", "id": new_id("toolu"), "name": block.name, "input": {}}
        # A call whose input was cut has no input that could be read.
        whole = start if cut else {**start, "input": dict(block.input)}
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces(text))]
        return Part(whole, start, deltas, tokens_of(text.encode())), cut

    def _fit(self, text: str) -> tuple[str, bool]:
        """The text as far as tokens are left, and whether that cut it."""
        data = encode_text(text)
        if tokens_of(data) <= self._left:
            return text, False
        self._message.stop_reason = self._reason_if_cut
        return data[: self._left * BYTES_PER_TOKEN].decode(errors="ignore"), True

    def _until_stop_sequence(self, text: str) -> tuple[str, str | None]:
        found = [
            (text.index(sequence), sequence) for sequence in self._body.get("stop_sequences") or () if sequence in text
        ]
        if not found:
            return text, None
        at, sequence = min(found)
        return text[:at], sequence

    def _signed_so_far(self) -> Binding:
        """The conversation up to where the next block stands, digested only for replies that think."""
        if self._binding is None:
            self._binding = Binding.after(self._body)
            for part in self._message.parts:
                self._binding.add("assistant", part.whole)
        return self._binding


def check_reply(reply: Reply, body: Json) -> None:
    """Raise the API's 500 for an answer that no model would give to this request: that is a mistake in the script."""
    calls = [block.name for block in reply.blocks if isinstance(block, ToolUse)]
    offered = {tool.get("name") for tool in body.get("tools") or ()}
    choice = body.get("tool_choice") or {}
    if reply.stop_reason is not None and reply.stop_reason not in STOP_REASONS:
        message = f"the script answers with the stop reason {reply.stop_reason!r}, which is none of the API's"
        raise ApiError(500, message)
    if any(isinstance(block, Text) and not block.text.strip() for block in reply.blocks):
        raise ApiError(500, "the script answers with an empty text block, which the API would not take back")
    if calls and choice.get("type") == "none":
        message = f"the script calls {calls[0]!r}, but the request's tool_choice is none"
        raise ApiError(500, message)
    if len(calls) > 1 and choice.get("disable_parallel_tool_use"):
        raise ApiError(500, "the script calls several tools at once, but the request disables parallel tool use")
    for name in calls:
        if name not in offered and None not in offered:
            names = ", ".join(sorted(str(name) for name in offered)) or "none"
            message = f"the script calls {name!r}, but the request offers {names}"
            raise ApiError(500, message)


def _natural_stop(reply: Reply) -> str:
    return "tool_use" if any(isinstance(block, ToolUse) for block in reply.blocks) else "end_turn"


def encode_text(text: str) -> bytes:
    """A script's text in UTF-8, or the API's 500 where it cannot be."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        message = f"the script answers with text that is not valid Unicode: {error}"
        raise ApiError(500, message) from None


def pieces(text: str) -> Iterator[str]:
    """The text in the portions in which it is streamed."""
    for start in range(0, len(text), DELTA_CHARACTERS):
        yield text[start : start + DELTA_CHARACTERS]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
