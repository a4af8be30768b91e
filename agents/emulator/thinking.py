"""Thinking blocks: signed when they are made, and bound to the conversation that they were made in.

    signature = "prong." model "." digest of all before the block "." digest of the thinking

What counts as "all before": the system prompt, the tools as a set, and every block but thinking.  What does not: cache
breakpoints, a bare string against one text block, whitespace at the edges of a text, the order of keys and of tools,
tools whose loading is deferred, and all other parameters.  So branches, rewinds and retries pass; an edited history
does not, and neither does a tail that was kept without its head.

A block that comes from another model is dropped and not billed, as the API does when a conversation changes its model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prong.agents.emulator.errors import bad_request
from prong.agents.emulator.script import blocks_of
from prong.agents.models import Model

Json = Mapping[str, Any]

THINKING = frozenset({"thinking", "redacted_thinking"})
CONTROLS_BETA = "thinking-binding-controls-2026-08-01"
DIGEST_DIGITS = 32

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class Binding:
    """The running digest of a conversation, which thinking blocks are signed with."""

    def __init__(self, body: Json) -> None:
        tools = [_normal(tool) for tool in body.get("tools") or () if not tool.get("defer_loading")]
        head = [[_normal(block) for block in blocks_of(body.get("system") or ())], sorted(tools, key=_encode)]
        self._digest = hashlib.sha256(_encode(head).encode())

    @classmethod
    def after(cls, body: Json) -> Binding:
        """The digest of a whole request, where the reply begins."""
        binding = cls(body)
        for message in body["messages"]:
            for block in blocks_of(message["content"]):
                binding.add(message["role"], block)
        return binding

    def add(self, role: str, block: Json) -> None:
        """Go past one block of the conversation."""
        if block["type"] not in THINKING:
            self._digest.update(_encode([role, _normal(block)]).encode())

    def sign(self, model: str, thinking: str) -> str:
        """The signature of a thinking block that stands here."""
        return f"prong.{model}.{self._digest.hexdigest()[:DIGEST_DIGITS]}.{_digest_of(thinking)}"


@dataclass(frozen=True, slots=True)
class Checked:
    """A request whose thinking was checked: its body without the dropped blocks, and what to report of them."""

    body: Json
    dropped: Sequence[Json]


def check(body: Json, model: Model, betas: Sequence[str]) -> Checked:
    """Judge every thinking block of a request.

    Raises the API's errors for a signature that is not the emulator's and for a block out of its conversation, unless
    the request asks to drop such blocks.
    """
    found = [
        (index, place, block)
        for index, message in enumerate(body["messages"])
        if message["role"] == "assistant"
        for place, block in enumerate(blocks_of(message["content"]))
        if block["type"] == "thinking"
    ]
    drops_mismatches = _drops_mismatches(body, betas)
    if not found:
        return Checked(body, ())
    reasons: dict[tuple[int, int], str] = {}
    digests = _digests(body) if model.binds_thinking else {}
    for index, place, block in found:
        path = f"messages.{index}.content.{place}"
        maker, digest = _parse(block, path)
        if model.binds_thinking and maker != model.id:
            reasons[index, place] = "model_binding_mismatch"
        elif model.binds_thinking and digest != digests[index, place]:
            if not drops_mismatches:
                raise bad_request(
                    f"{path}: Invalid `signature` in `thinking` block. The block is bound to a different conversation."
                    " Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to"
                    ' "drop_block".'
                )
            reasons[index, place] = "prefix_binding_mismatch"
    return _without(body, reasons)


def _drops_mismatches(body: Json, betas: Sequence[str]) -> bool:
    binding = (body.get("thinking") or {}).get("block_binding")
    if binding is None:
        return False
    if CONTROLS_BETA not in betas:
        message = f"thinking.block_binding: this field needs the beta header {CONTROLS_BETA}"
        raise bad_request(message)
    return bool(binding.get("prefix_mismatch_behavior") == "drop_block")


def _digests(body: Json) -> dict[tuple[int, int], str]:
    """Where each thinking block should be bound to, in one pass over the conversation."""
    binding = Binding(body)
    digests = {}
    for index, message in enumerate(body["messages"]):
        for place, block in enumerate(blocks_of(message["content"])):
            if block["type"] == "thinking":
                digests[index, place] = binding.sign("", "").split(".")[2]
            binding.add(message["role"], block)
    return digests


def _parse(block: Json, path: str) -> tuple[str, str]:
    """The model and the conversation that a thinking block's signature names."""
    prefix, _, rest = str(block["signature"]).partition(".")
    maker, _, digests = rest.partition(".")
    conversation, _, text = digests.partition(".")
    if prefix != "prong" or text != _digest_of(block["thinking"]):
        message = f"{path}: Invalid `signature` in `thinking` block"
        raise bad_request(message)
    return maker, conversation


def _without(body: Json, reasons: Mapping[tuple[int, int], str]) -> Checked:
    if not reasons:
        return Checked(body, ())
    messages = [
        {
            **message,
            "content": [
                block for place, block in enumerate(blocks_of(message["content"])) if (index, place) not in reasons
            ],
        }
        for index, message in enumerate(body["messages"])
    ]
    dropped = [
        {"type": "thinking_dropped", "path": f"messages.{index}.content.{place}", "reason": reason}
        for (index, place), reason in reasons.items()
    ]
    return Checked({**body, "messages": messages}, dropped)


def _normal(block: Json) -> dict[str, Any]:
    normal = {key: value for key, value in block.items() if key != "cache_control" and value is not None}
    if normal.get("type") == "text":
        normal["text"] = normal["text"].strip()
    if normal.get("type") == "tool_result":
        normal["content"] = [_normal(inner) for inner in blocks_of(normal.get("content") or ())]
    return normal


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_DIGITS]
