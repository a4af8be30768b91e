"""How the emulator sees a prompt: a row of positions, each with a key of everything up to it and a token count.

    tools -> system -> messages          the order in which the API renders a request
      |        |          |
      +-- one position per tool, system block and content block; the key of a position covers all before it

A token is, by definition here, four bytes of a block's compact JSON without its `cache_control`, rounded up per block.
That is near enough to a tokenizer for prose and code, the same on every machine, and cheap.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prong.agents.emulator.errors import bad_request
from prong.agents.emulator.script import blocks_of

BYTES_PER_TOKEN = 4
# A row of tool calls, and a row of their results, counts as one position when a breakpoint looks back.
RUNS = frozenset({"tool_use", "tool_result"})
IMAGES = frozenset({"image"})

Ttl = Literal["5m", "1h"]
Json = Mapping[str, Any]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Position:
    """One block of a prompt: `tokens` and `key` are those of the whole prompt up to and with it.

    `run` is "tool_use" or "tool_result" where neighbours of the same kind count as one; `ttl` is that of its
    breakpoint, None where it has none.
    """

    key: bytes
    tokens: int
    run: str | None = None
    ttl: Ttl | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """The positions of one request."""

    positions: Sequence[Position]

    @property
    def tokens(self) -> int:
        """The length of the whole prompt."""
        return self.positions[-1].tokens if self.positions else 0

    @property
    def key(self) -> bytes:
        """What identifies the whole prompt."""
        return self.positions[-1].key if self.positions else b""


@dataclass(frozen=True, slots=True)
class _Part:
    tier: Literal["tools", "system", "messages"]
    role: str
    block: Json


def tokens_of(data: bytes) -> int:
    """The tokens of so many bytes, at least one."""
    return max(1, -(-len(data) // BYTES_PER_TOKEN))


def encode(value: object) -> bytes:
    """Compact JSON in UTF-8.

    Raises the API's error for half a surrogate pair, which JSON can spell and UTF-8 cannot.
    """
    try:
        return _encode(value).encode()
    except UnicodeEncodeError:
        message = "The request body is not valid JSON: it holds half of a surrogate pair"
        raise bad_request(message) from None


def render(body: Json) -> Prompt:
    """The prompt of a request that has passed the schema check."""
    parts = list(_parts(body))
    automatic = _automatic_breakpoint(body, parts)
    digest = hashlib.sha256(encode(["model", body["model"]]))
    positions: list[Position] = []
    tokens, tier = 0, "tools"
    for index, part in enumerate(parts):
        if part.tier != tier:
            tier = part.tier
            digest.update(encode(_settings(body, parts, tier)))
        data = _canonical(part)
        digest.update(data)
        tokens += tokens_of(data)
        control = automatic if index == len(parts) - 1 and automatic else part.block.get("cache_control")
        kind = part.block.get("type") if part.tier == "messages" else None
        ttl: Ttl | None = (control.get("ttl") or "5m") if control else None
        positions.append(Position(digest.digest(), tokens, kind if kind in RUNS else None, ttl))
    return Prompt(positions)


def _parts(body: Json) -> Iterator[_Part]:
    for tool in body.get("tools") or ():
        yield _Part("tools", "", tool)
    for block in blocks_of(body.get("system") or ()):
        yield _Part("system", "", block)
    for message in body["messages"]:
        for block in blocks_of(message["content"]):
            yield _Part("messages", message["role"], block)


def _canonical(part: _Part) -> bytes:
    """A block as bytes: its own fields in one order, what they hold in the order in which it was sent.

    So a client may rebuild a block from its fields, but not the input of a tool call, which is rendered as it stands.
    """
    fields = sorted((key, value) for key, value in part.block.items() if key != "cache_control" and value is not None)
    return encode([part.tier, part.role, dict(fields)])


def _settings(body: Json, parts: Sequence[_Part], tier: str) -> list[object]:
    """The parameters that a tier's keys depend on besides its blocks.

    `speed` invalidates from the system prompt on.  Thinking, effort, output format, tool choice and whether the prompt
    holds any image invalidate the messages only.
    """
    speed = body.get("speed") or "standard"
    if tier == "system":
        return [speed]
    thinking, output = body.get("thinking") or {}, body.get("output_config") or {}
    choice = body.get("tool_choice")
    return [
        speed,
        thinking.get("type"),
        thinking.get("budget_tokens"),
        output.get("effort"),
        output.get("format"),
        None if choice == {"type": "auto"} else choice,
        any(_holds_image(part.block) for part in parts),
    ]


def _holds_image(block: Json) -> bool:
    if block.get("type") == "tool_result":
        return any(inner.get("type") in IMAGES for inner in blocks_of(block.get("content") or ()))
    return block.get("type") in IMAGES


def _automatic_breakpoint(body: Json, parts: Sequence[_Part]) -> Json | None:
    """The request's own `cache_control`, which marks its last block.

    Raises the API's error where the last block already carries a breakpoint of another lifetime.
    """
    control: Json | None = body.get("cache_control")
    own = parts[-1].block.get("cache_control") if parts else None
    if control and own and (own.get("ttl") or "5m") != (control.get("ttl") or "5m"):
        message = "cache_control: the last block already has a cache_control with a different ttl"
        raise bad_request(message)
    return control
