"""What a simulation is given, what it keeps of each task, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from prong.harness.pressure import Pressure
from prong.primitives import ranking

from .graphs import Work

FINAL = ("done", "failed")
LOOK_S = 1.0
"""How long after a refusal that does not tell its end the scheduler looks again."""

PROVIDER = "model"


@dataclass(frozen=True, slots=True)
class World:
    """What a graph runs in.

    `known`: how long tasks take is known beforehand; else it is learnt per role from those that finish.  `pressure`
    tells the machine at a time with so many running; `closed` are the times in which the provider takes no calls;
    `tokens` is the budget.
    """

    slots: int
    ageing_s: float = ranking.AGEING_S
    known: bool = True
    backoff_s: float = 2.0
    pressure: Callable[[float, int], Pressure] | None = None
    closed: tuple[tuple[float, float], ...] = ()
    tokens: int | None = None


@dataclass(slots=True)
class Run:
    """A task as it is: `attempt` counts those that began, `held` is what it waits for while it is parked."""

    work: Work
    parent: int | None = None
    state: str = "unborn"
    ready_at: float = -1.0
    since: float = 0.0
    attempt: int = 0
    joining: bool = False
    unmet: int = 0
    raised: int | None = None
    started_at: float = -1.0
    ended_at: float = -1.0
    parked_for: str = ""
    line: list[int] = field(default_factory=list)  # who waits for the lock that this task holds


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: every task as it ended, what happened when, and the `rounds` of the scheduler."""

    runs: dict[int, Run]
    log: list[tuple[float, str, int]]
    makespan_s: float
    tokens: int
    wasted_tokens: int
    rounds: int
