"""A place in a line."""

from __future__ import annotations

from dataclasses import dataclass

from prong.state.bell import slot_of, slot_of_all

TOGETHER = ("barrier", "event")
"""Kinds whose waiters are woken together: they sleep on one bell, which one ring wakes them by."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """The number of a waiter's row, and what it waits for."""

    waiter: int
    kind: str
    object: str

    @property
    def slot(self) -> int:
        """The bell that rings for it."""
        return slot_of_all(f"{self.kind} {self.object}") if self.kind in TOGETHER else slot_of(self.waiter)
