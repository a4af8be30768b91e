"""What a client may do to the swarm itself, if whoever started the server has said so: nothing, unless they name it.

    prong mcp --may cancel --may approve

The ops are those of the browser's command door, and go through it.  What ends or lets loose something is confirmed by
the person at the client first, where the client can show a form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from prong.agents.tools.inputs import Inputs
from prong.agents.tools.tool import Answer, ToolCall, ToolError
from prong.harness.inspector.acts import ACTS
from prong.harness.mcp.offered import Offer
from prong.harness.repository.git import RepositoryError
from prong.harness.swarms import at_directory
from prong.harness.tools.answers import answer
from prong.harness.tools.catalogue import Annotations
from prong.state import ProngError

NAME = "steer"

OPS = tuple(ACTS)
"""What can be allowed, by name."""

CONFIRMED: Final = frozenset({"cancel", "kill", "approve", "budget", "release"})
"""What the person at the client is asked about first."""

_TARGET: Final = {
    "task": ("integer", "The number of a task."),
    "agent": ("integer", "The number of an agent; for kill and message."),
    "approval": ("integer", "The number of a call that waits for an answer; for approve and deny."),
    "lock": ("string", "A lock's name; for release."),
    "fence": ("integer", "The lock's fence, so that no later grant is released; for release."),
    "map": ("string", "A map's name; for map_put."),
    "key": ("string", "A key of it; for map_put."),
    "queue": ("string", "A queue's name; for requeue."),
    "message": ("integer", "The number of a dead letter of it; for requeue."),
}
_ARGS: Final = {
    "text": ("string", "What to say; for message."),
    "reason": ("string", "Why; for deny."),
    "always": ("boolean", "True: such calls are let through from now on; for approve."),
    "priority": ("integer", "Higher goes first; for priority."),
    "tokens": ("integer", "The new bound in tokens; for budget."),
    "usd": ("number", "The new bound in dollars; for budget."),
    "with_dependants": ("boolean", "True: also what failed because it needs the task; for retry."),
    "value": ("string", "The new value as JSON text; for map_put."),
    "if_version": ("integer", "The version that the key has now; for map_put."),
}


def offer(rights: Sequence[str]) -> Offer:
    """The tool as a client with these rights reads it."""
    properties = {
        "op": {"type": "string", "enum": list(rights), "description": "What to do."},
        "target": _object("What it is done to.", _TARGET),
        "args": _object("What else it needs.", _ARGS),
    }
    schema = {"type": "object", "properties": properties, "required": ["op"], "additionalProperties": False}
    result = {
        "type": "object",
        "properties": {
            "op": {"type": "string", "description": "What was done."},
            "result": {"type": "string", "description": "What came of it, as JSON."},
        },
        "required": ["op", "result"],
        "additionalProperties": False,
    }
    return Offer(
        NAME,
        "Steer the swarm",
        "Do to the swarm what the person who connected you has let you do. Use it only when that person asks for it: it"
        " ends work, or lets something happen that a person should decide.",
        schema,
        result,
        Annotations(destructive=True),
    )


class Steering:
    """The tool of one client, in the swarm at `place`, with these rights."""

    def __init__(self, place: Path, rights: Sequence[str], confirm: Callable[[str], str | None]) -> None:
        """`confirm` asks the person and returns why not, or None."""
        self._place = place
        self._rights = rights
        self._confirm = confirm

    def steer(self, call: ToolCall) -> Answer:
        """The tool `steer`."""
        inputs = Inputs(call, keys=["op", "target", "args"])
        op = inputs.text("op", most_characters=40)
        target, args = _given(call, "target", _TARGET), _given(call, "args", _ARGS)
        if op not in self._rights:
            raise ToolError(f"steer: {op!r} is not among what you may do: {', '.join(self._rights)}.")
        if op == "map_put":
            args["value"] = _parsed(args.get("value"))
        swarm = at_directory(self._place)
        if op in CONFIRMED:
            refused = self._confirm(f"Do you want to {op} {json.dumps({**target, **args}, ensure_ascii=False)}?")
            if refused is not None:
                raise ToolError(f"steer: {op} was not done: {refused}")
        try:
            result = ACTS[op](swarm, target, args)
        except (ProngError, RepositoryError) as error:
            raise ToolError(str(error)) from error
        return answer(f"Done: {op}.", {"op": op, "result": json.dumps(result)})


def _object(description: str, known: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    properties = {name: {"type": kind, "description": text} for name, (kind, text) in known.items()}
    return {"type": "object", "properties": properties, "description": description, "additionalProperties": False}


def _given(call: ToolCall, name: str, known: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    given = call.input.get(name, {})
    if not isinstance(given, Mapping) or not given.keys() <= known.keys():
        raise ToolError(f"steer: {name} is an object with some of: {', '.join(known)}.")
    return dict(given)


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise ToolError('steer: args.value is JSON text, such as "[1, 2]" or "\\"words\\"".') from None
