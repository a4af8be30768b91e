"""A place in a line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ticket:
    """The number of a waiter's row, and what it waits for."""

    waiter: int
    kind: str
    object: str
