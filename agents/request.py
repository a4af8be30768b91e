"""What is asked of a model, as it goes over the wire: the same bytes for whoever shares them, and what is to be cached.

[tools][system]|breakpoint ... [messages up to the fork point]|breakpoint ... [the last message]|breakpoint
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prong.agents.conversation import Block, Message
from prong.agents.definitions import most_bytes, on_wire, spaced_bytes, wire
from prong.agents.economics import Lifetime

CHARACTERS_A_TOKEN = 4
"""What an estimate of new input is made with."""

COMPACTION_BETA = "compact-2026-09-04"
"""What the API asks to be named in the header of a request that compacts, or that holds what was compacted."""

_MARK: Mapping[Lifetime, Block] = {
    "5m": {"cache_control": {"type": "ephemeral"}},
    "1h": {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
}
_MARKED = frozenset({"text", "tool_use", "tool_result", "image", "document", "compaction"})
"""The blocks that a cache breakpoint may stand on; a thinking block may not."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: everything that all agents of a swarm share, and one conversation.

    `fork_point` is the message up to which the conversation is its parent's: a cache breakpoint stands there.
    What stands up to there is written to the cache for a `lifetime`; the end of the conversation, which its next
    request reads, for five minutes.

    `max_tokens` bounds this one answer; None: as the endpoint has it; 0: it only warms the prompt cache.  With
    `compacts` the endpoint is to answer with one block that stands for the whole conversation, not to go on with it.
    """

    system: Sequence[Block]
    tools: Sequence[Block]
    messages: Sequence[Message]
    fork_point: int | None = None
    max_tokens: int | None = None
    compacts: bool = False
    lifetime: Lifetime = "5m"

    def wire(self) -> dict[str, Any]:
        """The request's body, with breakpoints behind the system prompt, at the fork point and at the end."""
        last = len(self.messages) - 1
        return {
            # An entry for an hour may not stand behind one for less.
            "system": [*self.system[:-1], {**self.system[-1], **_MARK[self.lifetime]}],
            "tools": list(self.tools),
            "messages": [
                _marked(message, "5m" if place == last else self.lifetime)
                if place == last or message.id == self.fork_point
                else message.wire()
                for place, message in enumerate(self.messages)
            ],
        }

    def body(self, *, model: str, max_tokens: int) -> bytes:
        """The whole body of a request that is answered as a stream, as the SDK would write it."""
        parts = self.wire()
        begin = {"max_tokens": max_tokens, "model": model, "stream": True, **self.options()["extra_body"]}
        told = wire({**begin, "system": parts["system"], "messages": parts["messages"]})
        return f'{told[:-1]},"tools":{on_wire(self.tools)}}}'.encode()

    def most_bytes(self) -> int:
        """How many bytes the prompt has at most."""
        rest = {**self.wire(), "tools": []}
        return spaced_bytes(rest) - len("[]") + most_bytes(self.tools)

    def options(self) -> dict[str, Any]:
        """What the SDK is told beside the body."""
        begins_compacted = any(block["type"] == "compaction" for block in self.messages[0].content)
        headers = {"anthropic-beta": COMPACTION_BETA} if self.compacts or begins_compacted else {}
        body = {"compaction": {"type": "summarize"}} if self.compacts else {}
        return {"extra_headers": headers, "extra_body": body}


def _marked(message: Message, lifetime: Lifetime) -> dict[str, Any]:
    places = [place for place, block in enumerate(message.content) if block["type"] in _MARKED]
    last = places[-1] if places else None
    content = [{**block, **_MARK[lifetime]} if place == last else block for place, block in enumerate(message.content)]
    return {"role": message.role, "content": content}


def new_tokens(request: Request) -> int:
    """About how much of the prompt no cache holds: what came behind the last answer, and that answer."""
    roles = [message.role for message in request.messages]
    last = len(roles) - 1 - roles[::-1].index("assistant") if "assistant" in roles else 0
    new = [message.content for message in request.messages[last:]]
    return len(json.dumps(new, default=str)) // CHARACTERS_A_TOKEN
