"""The definitions of tools that all agents of a swarm send with each request, and what is computed of them once.

They are the longest part of most requests and never change, so their JSON is made once and not for each call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

Definition = Mapping[str, Any]


class Definitions(tuple[Definition, ...]):  # noqa: SLOT001  what was computed once has to be kept somewhere
    """Definitions of tools, none of which is ever changed."""

    @cached_property
    def on_wire(self) -> str:
        """Their JSON as a request holds it."""
        return wire(list(self))

    @cached_property
    def in_order(self) -> str:
        """Their JSON with sorted keys, by which two lists are compared."""
        return sorted_json(list(self))

    @cached_property
    def most_bytes(self) -> int:
        """How many bytes they are at most, however JSON is spaced."""
        return spaced_bytes(list(self))


def on_wire(tools: Sequence[Definition]) -> str:
    """The JSON of some definitions as a request holds it."""
    return tools.on_wire if isinstance(tools, Definitions) else wire(list(tools))


def in_order(tools: Sequence[Definition]) -> str:
    """The JSON of some definitions with sorted keys."""
    return tools.in_order if isinstance(tools, Definitions) else sorted_json(list(tools))


def most_bytes(tools: Sequence[Definition]) -> int:
    """How many bytes some definitions are at most."""
    return tools.most_bytes if isinstance(tools, Definitions) else spaced_bytes(list(tools))


def wire(value: Any) -> str:
    """JSON as the SDK would write it; raises ValueError for what is no JSON number."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def sorted_json(value: Any) -> str:
    """JSON that is the same for what is the same."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def spaced_bytes(value: Any) -> int:
    """The length of JSON as it is usually spaced."""
    return len(json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass"))
