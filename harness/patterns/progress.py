"""How far a pattern has come."""

from __future__ import annotations

from dataclasses import dataclass

from prong.harness.patterns.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Progress:
    """How many items are done, failed, were there before, and are open; and what those cost that have ended.

    `usd` is None where a price is unknown.  As text it is one line for people.
    """

    title: str
    done: int = 0
    failed: int = 0
    before: int = 0
    open: int = 0
    tokens: int = 0
    cached: int = 0
    usd: float | None = 0.0

    @property
    def ended(self) -> int:
        """How many have ended."""
        return self.done + self.failed

    def __str__(self) -> str:
        said = f"{self.title}: {self.done:,} done"
        if self.failed:
            said += f", {self.failed:,} failed"
        if self.before:
            said += f", {self.before:,} of them before"
        if self.open:
            said += f", {self.open:,} open"
        return f"{said}; {self.tokens:,} tokens" + ("" if self.usd is None else f", ${self.usd:.4f}")


class Meter:
    """Counts outcomes."""

    def __init__(self, title: str) -> None:
        self.progress = Progress(title)

    def count(self, outcome: Outcome, *, open_: int) -> Progress:
        """How far it is with this outcome."""
        was = self.progress
        usd = None if was.usd is None or outcome.usd is None else was.usd + outcome.usd
        self.progress = Progress(
            was.title, was.done + outcome.done, was.failed + (outcome.state == "failed"),
            was.before + outcome.before, open_, was.tokens + outcome.tokens, was.cached + outcome.cached, usd,
        )  # fmt: skip
        return self.progress
