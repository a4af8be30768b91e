"""What the data of each tool's results look like, by operation: what programs and MCP clients rely on.

A shape is a type, a record of `primitives`, an object given by its keys, or a list of shapes given by its only item.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from prong.primitives.any_lock import LockStatistics
from prong.primitives.atomic import Change
from prong.primitives.barrier import BarrierStatistics
from prong.primitives.barrier_round import Passage
from prong.primitives.event import EventStatistics
from prong.primitives.future import FutureStatistics
from prong.primitives.list_reading import ListStatistics
from prong.primitives.lock_line import Grant
from prong.primitives.map_rows import Change as Write
from prong.primitives.map_rows import Entry
from prong.primitives.queue_settings import QueueStatistics
from prong.primitives.semaphore import SemaphoreStatistics

Shape = Any

_HELD = {"name": str, "held": bool}
_SET = {"name": str, "is_set": bool}
_AT = {"list": str, "index": int}
_TASK = {
    "task": int, "title": str, "state": str, "result": str | None, "value": Any, "cut": bool, "error": str | None,
}  # fmt: skip
_LISTED = {
    "task": int, "parent": int | None, "title": str, "state": str, "priority": int, "attempt": int,
    "agent": int | None, "needs": str | None, "waits_for": str | None, "error": str | None,
}  # fmt: skip

RESULTS: Final[Mapping[str, Mapping[str, Shape]]] = {
    "create_task": {"": {"task": int, "title": str, "state": str}},
    "wait_tasks": {"": {"tasks": [_TASK]}},
    "list_tasks": {"": {"tasks": [_LISTED], "count": int}},
    "cancel_task": {"": {"cancelled": [int]}},
    "read_result": {"": {"task": int, "state": str, "text": str, "from": int, "next": int | None, "characters": int}},
    "lock": {"acquire": Grant, "release": _HELD, "status": LockStatistics},
    "semaphore": {"acquire": _HELD, "release": _HELD, "status": SemaphoreStatistics},
    "barrier": {"wait": Passage, "status": BarrierStatistics, "reset": BarrierStatistics},
    "event": {"wait": _SET, "set": _SET, "clear": _SET, "status": EventStatistics},
    "atomic": {"get": {"name": str, "value": Any}, "": Change},
    "shared_map": {
        "get": Entry,
        "put": {"key": str, "version": int},
        "add": {"key": str, "value": float},
        "delete": {"key": str, "deleted": bool},
        "keys": {"keys": [str], "count": int},
        "items": {"items": dict[str, Any], "count": int},
        "watch": {"entries": [Entry], "version": int},
        "history": {"history": [Write]},
    },
    "shared_list": {
        "append": _AT,
        "read": {"items": [Any], "next": int},
        "set": _AT,
        "insert": _AT,
        "pop": {"index": int, "value": Any},
        "length": ListStatistics,
    },
    "message_queue": {
        "put": {"queue": str, "message": int},
        "get": {"messages": [{"message": Any, "from": str | None}]},
        "size": QueueStatistics,
        "publish": {"topic": str, "queues": int},
        "subscribe": {"queue": str, "topic": str},
    },
    "future": {"get": {"name": str, "value": Any}, "": FutureStatistics},
    "run_program": {"": {"exit_code": int, "calls": int, "tasks": [int], "seconds": float}},
}
"""By tool and operation; under "" stands what the other operations give."""

_TYPES: Mapping[Any, Mapping[str, Any]] = {
    Any: {},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
}


def schema_of(shape: Shape) -> dict[str, Any]:
    """The JSON schema of a shape; every key of an object is there.

    >>> schema_of({"name": str, "seen": [int]})["properties"]["seen"]
    {'type': 'array', 'items': {'type': 'integer'}}
    """
    if isinstance(shape, list):
        return {"type": "array", "items": schema_of(shape[0])}
    if isinstance(shape, Mapping):
        return _object({key: schema_of(value) for key, value in shape.items()})
    if is_dataclass(shape):
        hints = get_type_hints(shape)
        return _object({field.name: schema_of(hints[field.name]) for field in fields(shape)})
    if shape in _TYPES:
        return dict(_TYPES[shape])
    return _generic(shape)


def _generic(shape: Shape) -> dict[str, Any]:
    origin: Any = get_origin(shape)
    arguments = get_args(shape)
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(each) for each in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (tuple, list, Sequence):
        return {"type": "array", "items": schema_of(arguments[0])}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": schema_of(arguments[1])}
    raise TypeError(f"{shape!r} has no JSON schema here; write its shape with plain types.")


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def output_schema(shapes: Mapping[str, Shape]) -> dict[str, Any] | None:
    """The schema of whatever the tool returns as data; None where it returns only words."""
    schemas: list[dict[str, Any]] = []
    for shape in shapes.values():
        schema = schema_of(shape)
        if schema not in schemas:
            schemas.append(schema)
    if len(schemas) < 2:  # noqa: PLR2004  one shape needs no choice
        return schemas[0] if schemas else None
    return {"type": "object", "anyOf": schemas}
