"""A message as it is put, and as its reader has it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from prong.primitives import artifacts
from prong.state import Invalid, Membership, Row


@dataclass(frozen=True, slots=True)
class Message:
    """A delivered message: its number in the log's order, the value, who sent it, and how often it was delivered.

    `deliveries` is the fence of this delivery: once the message is delivered anew, this one counts no more.
    """

    id: int
    value: Any
    sender: str
    priority: int
    deliveries: int = 1


class Letter(NamedTuple):
    """What is put: the text that a row holds for it, and its place among the others."""

    body: str
    rank: float = 0.0
    priority: int = 0
    key: str | None = None


def rank(value: Any) -> float:
    """What a priority queue orders a message by: the number that it is, or that it begins with."""
    first = value[0] if isinstance(value, list | tuple) and value else value
    try:
        if isinstance(first, int | float) and math.isfinite(first):
            return float(first)
    except OverflowError:
        pass
    raise Invalid("this message of a priority queue", "a number, or a list that begins with one, the lowest first")


def message(source: Membership, row: dict[str, Any]) -> Message:
    """The record of a delivered row."""
    return Message(row["id"], value(source, row), sender(row), row["priority"], row["deliveries"])


def value(source: Membership, row: dict[str, Any]) -> Any:
    """The value alone."""
    return artifacts.loaded(source, row["body"])


def sender(row: dict[str, Any] | Row) -> str:
    """Who put a message, in words."""
    return f"task {row['sender_task']}" if row["sender_task"] is not None else f"agent {row['sender']}"
