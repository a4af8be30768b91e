"""Compaction: a request that asks for it is answered with one signed block that stands for the whole conversation.

    {"compaction": {"type": "summarize"}, ...}  ->  [{"type": "compaction", "content", "signature"}], "compaction"

The block goes back first, in an assistant message of its own, in place of all that it sums up.  The script says the
summary: the texts of its reply.  The emulator takes the models that bind their thinking for those that compact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from prong.agents.emulator.errors import bad_request
from prong.agents.emulator.prompt import tokens_of
from prong.agents.emulator.script import Reply, Text, blocks_of
from prong.agents.models import Model

Json = Mapping[str, Any]

BETA = "compact-2026-09-04"


def plays(model: Model) -> bool:
    """Whether this model compacts."""
    return model.binds_thinking


def check(body: Json, model: Model, betas: Sequence[str]) -> None:
    """Refuse a request that compacts, or holds what was compacted, in a way that the API would not take."""
    blocks = [
        (f"messages.{index}.content.{place}", index == place == 0, block)
        for index, message in enumerate(body["messages"])
        for place, block in enumerate(blocks_of(message["content"]))
        if block["type"] == "compaction"
    ]
    if (blocks or body.get("compaction")) and BETA not in betas:
        raise bad_request(f"compaction: this needs the beta header {BETA}")
    for path, is_first, block in blocks:
        if not is_first:
            raise bad_request(f"{path}: a `compaction` block must come first in `messages`")
        if not block.get("content") or block.get("signature") != sign(block["content"]):
            raise bad_request(f"{path}: Invalid `signature` in `compaction` block")
    if not body.get("compaction"):
        return
    if not plays(model):
        raise bad_request(f"compaction: not supported on {model.id}")
    for name in ("context_management", "stop_sequences", "output_format"):
        if body.get(name):
            raise bad_request(f"compaction: cannot be combined with {name}")


def sign(content: str) -> str:
    """The signature of a summary."""
    return f"prong.{hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def block_of(reply: Reply, body: Json) -> tuple[Json, int]:
    """The block that stands for the conversation, and its tokens."""
    said = "\n".join(block.text for block in reply.blocks if isinstance(block, Text))
    content = said or f"(a conversation of {len(body['messages'])} messages)"
    return {"type": "compaction", "content": content, "signature": sign(content)}, tokens_of(content.encode())
