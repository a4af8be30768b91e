"""What the model reads about the primitives: names, inputs, and when to use which."""

from __future__ import annotations

from typing import Any

_TIMEOUT = {"type": "number", "description": "Seconds to wait at most. Leave out to wait as long as it takes."}


def _tool(name: str, description: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"name": name, "description": description, "input_schema": schema}


CREATE_TASK = _tool(
    "create_task",
    "Hand a piece of work to another agent that runs in parallel with you, in a process and a clone of the repository"
    " of its own. Use it when work splits into parts that do not need each other's intermediate steps; make all parts"
    " in one turn. Do not use it for a single quick command. What the agent changes is merged when it ends; its last"
    " words are the result that wait_tasks returns.",
    {
        "title": {"type": "string", "description": "A few words that name the work."},
        "prompt": {"type": "string", "description": "What to do, what to leave alone, and what to report."},
        "context": {
            "type": "string",
            "enum": ["fork", "fresh"],
            "description": "fork (default): the agent knows all that you know now and sees the files as you left them;"
            " cheap, because it shares your prompt cache. fresh: it knows only the prompt.",
        },
        "needs": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "Numbers of tasks that must be done before it starts.",
        },
        "priority": {"type": "integer", "description": "Higher starts first; 0 is usual."},
    },
    ["title", "prompt"],
)

WAIT_TASKS = _tool(
    "wait_tasks",
    "Wait until tasks have ended and read their results. Costs nothing while you wait. Use it when you cannot go on"
    " without the results.",
    {
        "tasks": {"type": "array", "items": {"type": "integer"}, "description": "Numbers that create_task returned."},
        "mode": {"type": "string", "enum": ["all", "any"], "description": "all (default) or any of them."},
        "timeout": _TIMEOUT,
    },
    ["tasks"],
)

LOCK = _tool(
    "lock",
    "Make sure that only one agent at a time does something that others must not do meanwhile, such as rewriting a"
    " shared file. Acquire, do the short thing, and release in one turn: the calls of a turn behind an acquire run"
    " after it. A lock is given back at the end of the turn unless you keep it. You need none for files in your own"
    " clone.",
    {
        "op": {"type": "string", "enum": ["acquire", "release", "status"]},
        "name": {"type": "string", "description": "What is guarded, for example file:docs/index.md."},
        "timeout": _TIMEOUT,
        "keep": {"type": "boolean", "description": "Keep the lock beyond this turn, until you release it."},
    },
    ["op", "name"],
)

BARRIER = _tool(
    "barrier",
    "Wait until all parties have got this far, for example until every part is measured before the parts are compared."
    " Costs nothing while you wait. It breaks, and says why, when a party fails or a timeout passes.",
    {
        "op": {"type": "string", "enum": ["wait", "status", "reset"]},
        "name": {"type": "string"},
        "parties": {
            "anyOf": [{"type": "integer"}, {"type": "string", "enum": ["siblings"]}],
            "description": "How many agents meet; siblings: all tasks created in the same turn as yours.",
        },
        "timeout": _TIMEOUT,
    },
    ["op", "name"],
)

SHARED_MAP = _tool(
    "shared_map",
    "Keys and JSON values that all agents see at once. Use it for findings that others build on while they run, and for"
    " counters. Every key has a version: put with if_version writes only over the version that you read.",
    {
        "op": {"type": "string", "enum": ["get", "put", "add", "delete", "keys", "items"]},
        "map": {"type": "string", "description": "Which map."},
        "key": {"type": "string", "description": "For get, put, add and delete."},
        "value": {"description": "For put: any JSON value, up to 256 KiB. For add: the number to add."},
        "if_version": {
            "type": "integer",
            "description": "For put and delete: only if this is the version; 0 if absent.",
        },
        "prefix": {"type": "string", "description": "For keys and items: only keys that begin so."},
    },
    ["op", "map"],
)

MESSAGE_QUEUE = _tool(
    "message_queue",
    "Pass messages to whichever agent reads the queue next; each message is read once. Use it to report progress or to"
    " hand over pieces of work one by one. Waiting costs nothing.",
    {
        "op": {"type": "string", "enum": ["put", "get", "size"]},
        "queue": {"type": "string", "description": "Which queue."},
        "message": {"description": "For put: any JSON value, up to 256 KiB."},
        "priority": {"type": "integer", "description": "For put: higher is read first; 0 is usual."},
        "count": {"type": "integer", "description": "For get: up to so many messages at once; 1 if left out."},
        "timeout": _TIMEOUT,
    },
    ["op", "queue"],
)

PRIMITIVES = (CREATE_TASK, WAIT_TASKS, LOCK, BARRIER, SHARED_MAP, MESSAGE_QUEUE)
