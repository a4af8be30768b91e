"""What outside clients are offered: the catalogue's records as they read them, and tools of their own for tasks.

A client has no turns that Prong sees, so what it acquires it keeps until it releases it or its connection ends; and its
conversation is not Prong's, so the tasks that it creates start with only their prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prong.harness.tools import catalogue
from prong.harness.tools.catalogue import Annotations, Record
from prong.harness.tools.results import schema_of

INSTRUCTIONS: Final = """\
Prong lets agents that work at the same time on one repository keep out of each other's way and share what they find.
All who are connected here see the same locks, barriers, maps, lists, queues and tasks, whoever they are.
Take a lock only around a short change of something that all share, and release it in the same step. Put findings that
others build on into shared_map; hand over pieces of work with message_queue, or create tasks and claim them with
claim_task. Whatever you hold is given back when your connection ends. A call that waits long answers that it is still
waiting and gives a ticket: call resume_wait with it; your place in the line is kept."""

_TURNS: Final = (
    (
        " A lock is given back at the end of the turn unless you keep it.",
        " A lock is yours until you release it or disconnect.",
    ),
    (
        " A permit is given back at the end of the turn unless you keep it.",
        " A permit is yours until you release it or disconnect.",
    ),
    (
        " What you have read counts as dealt with when your task is done; if you fail, it goes to another reader.",
        " What you read is dealt with once you say done or get again; if you disconnect before, others read it.",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Offer:
    """One tool as a client sees it."""

    name: str
    title: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    annotations: Annotations


def _schema(properties: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(required), "additionalProperties": False}


_TIMEOUT = {"type": "number", "description": "Seconds to wait at most. Leave out to wait as long as it takes."}
_FENCE = {
    "task": {"type": "integer", "description": "A number that claim_task returned."},
    "fence": {"type": "integer", "description": "The fence that claim_task returned with it."},
}
_ENDED = schema_of({"task": int, "state": str})

OWN: Final[Sequence[Offer]] = (
    Offer(
        "create_task",
        "Create a task",
        "Write down a piece of work that somebody else can claim: another client that is connected here, or an agent of"
        " a running swarm. It survives you. Use it when work splits into parts that do not need each other's steps.",
        _schema(
            {
                "title": {"type": "string", "description": "A few words that name the work."},
                "prompt": {"type": "string", "description": "What to do, what to leave alone, and what to report."},
                "needs": {
                    "type": "array",
                    "items": {"type": "integer"},
                    "description": "Numbers of tasks that must be done before it can be claimed.",
                },
                "priority": {"type": "integer", "description": "Higher is claimed first; 0 is usual."},
                "role": {"type": "string", "description": "What kind of work it is, such as test or review."},
            },
            ["title", "prompt"],
        ),
        schema_of({"task": int, "title": str, "state": str}),
        Annotations(),
    ),
    Offer(
        "claim_task",
        "Claim a task",
        "Take the most urgent task that is ready, or wait for one. It is yours until you complete or fail it; when your"
        " connection ends, it goes back to the others. Use it in a loop to work off what others created.",
        _schema({"timeout": _TIMEOUT}, []),
        schema_of(
            {"task": int, "fence": int, "title": str, "prompt": str, "needs": [{"task": int, "result": str | None}]}
        ),
        Annotations(),
    ),
    Offer(
        "complete_task",
        "Complete a task",
        "Say that a task that you claimed is done, with its result, which whoever waits for it reads.",
        _schema(
            {**_FENCE, "result": {"type": "string", "description": "What came of it, in a few sentences."}},
            ["task", "fence", "result"],
        ),
        _ENDED,
        Annotations(idempotent=True),
    ),
    Offer(
        "fail_task",
        "Fail a task",
        "Say that your try at a task that you claimed has failed and why. It is tried again by somebody, as often as it"
        " may be.",
        _schema(
            {**_FENCE, "reason": {"type": "string", "description": "Why; whoever waits for it reads it."}},
            ["task", "fence", "reason"],
        ),
        _ENDED,
        Annotations(),
    ),
    Offer(
        "renew_task",
        "Renew a claim",
        "See whether a task that you claimed is still yours. You need not: it stays yours while you are connected.",
        _schema(_FENCE, ["task", "fence"]),
        _ENDED,
        Annotations(read_only=True, idempotent=True),
    ),
    Offer(
        "resume_wait",
        "Go on waiting",
        "Go on with a call that answered that it is still waiting: its ticket keeps your place in the line.",
        _schema(
            {
                "ticket": {"type": "string", "description": "The ticket that the call returned."},
                "give_up": {
                    "type": "boolean",
                    "description": "True to leave the line instead. If it was your turn already, you have got it.",
                },
            },
            ["ticket"],
        ),
        None,
        Annotations(idempotent=True),
    ),
)

_DONE: Final = schema_of({"queue": str, "done": int})

_ANY: Final = ("object", "array", "string", "number", "boolean", "null")

_NOT_OURS = frozenset({*(offer.name for offer in OWN), "cancel_task"})
"""What clients have of their own, or may not do: to cancel is a person's, or of whoever created the task."""


def offers() -> Sequence[Offer]:
    """All tools that a client is offered, in the order in which it reads them."""
    return (*OWN, *(offer_of(record) for record in catalogue.offered("clients") if record.name not in _NOT_OURS))


def offer_of(record: Record) -> Offer:
    """A record of the catalogue as clients read it."""
    description = record.description
    for agents, clients in _TURNS:
        description = description.replace(agents, clients)
    schema = _spelled(record.input_schema)
    if "keep" in schema.get("properties", {}):
        schema["properties"] = {name: value for name, value in schema["properties"].items() if name != "keep"}
    output = None if record.output_schema is None else _spelled(record.output_schema)
    if record.name == "message_queue":  # whose reader has no task that could end
        op = schema["properties"]["op"]
        schema["properties"]["op"] = {**op, "enum": [*op["enum"], "done"]}
        assert output is not None, "every primitive says what it answers"
        output = {**output, "anyOf": [*output.get("anyOf", [output]), _DONE]}
    return Offer(record.name, record.title, description, schema, output, record.annotations)


def _spelled(schema: Any) -> Any:
    """A schema that says of what may be anything that it may be: some clients stumble over one that says nothing."""
    if not isinstance(schema, dict):
        return schema
    told = {name: _inside(name, part) for name, part in schema.items()}
    return (
        told
        if told.keys() - {"title", "description", "default"}
        else {**told, "anyOf": [{"type": one} for one in _ANY]}
    )


def _inside(name: str, part: Any) -> Any:
    if name in ("properties", "$defs"):
        return {key: _spelled(one) for key, one in part.items()}
    if name in ("anyOf", "oneOf", "allOf"):
        return [_spelled(one) for one in part]
    return _spelled(part) if name in ("items", "additionalProperties") else part
