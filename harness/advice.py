"""When a swarm pays and when it does not: sentences, each said only where the figures bear it, and with them.

    figures of a run    (`run_figures.py`)       -+
                                                  +-> advise -> sentences
    figures of a plan   (`plans/estimate.py`)    -+

Figures in, sentences out: nothing here reads a clock or a database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

KINDS = ("model", "tool", "lock", "queue", "coordination", "merge", "other")
"""What agents' time goes to: the model, tools, waiting for locks, for a slot, for others, for merges, and the rest."""

SHORT_S = 0.1
"""Work that takes less time than this does not pay for an agent of its own, in seconds."""

SHORT_SHARE = 0.5
SHORT_LEAST = 3
"""At least so many tasks, and such a share of all, must be short before it is said."""

CHEAPER = 0.9
"""One agent is called cheaper from this share of the cost down."""

AS_FAST = 1.1
"""One agent is called about as fast up to so many times the time."""

FASTER = 0.9
"""One agent is called faster up to so many times the time."""

IDLE = 0.9
"""A role is called idle from this share of the time on."""

WAITED = 0.2
"""Waiting is worth a word from this share of all agents' time on."""

STARTED = 0.5
"""Starting and ending agents is worth a word from this share of the time on in which they held a slot."""

ON_PATH = 0.8
"""The longest path is called the bound from this share of the time on."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run took, or would take.  Times are in seconds.

    `wall_s` is the run's time; `work_s` what its model calls and tools took added up, which is about what one agent
    alone would take; `critical_s` is the longest path, which goes through `critical`; `kinds` is agents' time by
    `KINDS`; `short` tasks had less than `SHORT_S` of work, and starting one took `start_s`; `cost` and `alone` are what
    it cost and what one agent would have, in dollars or, where a model has no price, in the tokens that they compare
    by (`unit`); `busy` is by role the share of the time in which any of it ran, and `waited_slot` how many waited for a
    free slot.
    """

    tasks: int
    slots: int
    wall_s: float
    work_s: float
    critical_s: float
    critical: Sequence[str] = ()
    kinds: Mapping[str, float] = field(default_factory=dict)
    short: int = 0
    start_s: float = 0.0
    cost: float | None = None
    alone: float | None = None
    unit: Literal["usd", "tokens"] = "usd"
    busy: Mapping[str, float] = field(default_factory=dict)

    @property
    def parallelism(self) -> float:
        """How many agents worked at once on average: work by time."""
        return self.work_s / self.wall_s if self.wall_s else 0.0

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {**asdict(self), "parallelism": self.parallelism}


def advise(figures: Figures, *, before: bool = False) -> list[str]:
    """What the figures say, the weightiest first; `before` the run it is said of what would be.

    >>> for line in advise(Figures(tasks=4, slots=4, wall_s=10, work_s=9, critical_s=9, cost=0.4, alone=0.1)):
    ...     print(line)
    One agent would have done better: about $0.10 and 9.0 s, against $0.40 and 10.0 s.
    """
    return [
        *_alone(figures, before=before),
        *_short(figures),
        *_waiting(figures),
        *_bound(figures, before=before),
        *_idle(figures, before=before),
    ]


def _alone(figures: Figures, *, before: bool) -> list[str]:
    if figures.tasks < 2:  # noqa: PLR2004  one task is one agent
        return []
    cheaper = None not in (figures.cost, figures.alone) and (figures.alone or 0) <= CHEAPER * (figures.cost or 0)
    as_fast = _is_as_fast_alone(figures)
    times = f"{duration(figures.work_s)}, against"
    would = "would do" if before else "would have done"
    be = "would be" if before else "would have been"
    if cheaper and as_fast:
        mine = f"{_cost(figures, figures.cost)} and {duration(figures.wall_s)}"
        return [f"One agent {would} better: about {_cost(figures, figures.alone)} and {times} {mine}."]
    if cheaper:
        prices = f"about {_cost(figures, figures.alone)} against {_cost(figures, figures.cost)}"
        return [f"This {be} cheaper with one agent: {prices}, but in about {times} {duration(figures.wall_s)}."]
    if as_fast:
        how = "faster" if figures.work_s <= FASTER * figures.wall_s else "no slower"
        return [f"One agent {be} {how}: about {times} {duration(figures.wall_s)}."]
    return []


def _is_as_fast_alone(figures: Figures) -> bool:
    return figures.work_s <= AS_FAST * figures.wall_s


def _short(figures: Figures) -> list[str]:
    if figures.short < SHORT_LEAST or figures.short < SHORT_SHARE * figures.tasks:
        return []
    started = f"; starting one took {duration(figures.start_s)} on average" if figures.start_s > SHORT_S else ""
    counts = f"{figures.short} of {figures.tasks} had less work than that"
    return [f"Tasks under {SHORT_S * 1000:.0f} ms do not pay: {counts}{started}. Give several to one agent."]


def _waiting(figures: Figures) -> list[str]:
    whole = sum(figures.kinds.values())
    at_work = whole - figures.kinds.get("queue", 0.0)
    starting = figures.kinds.get("other", 0.0) > figures.kinds.get("model", 0.0) + figures.kinds.get("tool", 0.0)
    # Where the slots are held by agents that start and end, more of them would start no faster.
    in_vain = {"queue"} if starting or _is_as_fast_alone(figures) else set()
    advice = {
        "lock": "waiting for locks. Hold them for less, or give each agent what it changes for itself.",
        "queue": f"waiting for one of {figures.slots} slots. More of them (--agents) would help, or fewer tasks.",
        "other": "starting agents and handing in their work. Fewer and larger tasks would pay.",
        "coordination": "waiting for other agents. Let a task need others instead of waiting for them.",
        "merge": "waiting for merges and checks. A faster check, or check_batch in PRONG.md, would help.",
    }
    said = [kind for kind in advice if kind not in in_vain and figures.kinds.get(kind, 0.0) > WAITED * whole]
    if "other" in said and figures.kinds["other"] <= STARTED * at_work:
        said.remove("other")
    return [
        f"{_percent(figures.kinds[kind] / (at_work if kind == 'other' else whole))} of the agents' time"
        f" ({duration(figures.kinds[kind])}) went to {advice[kind]}"
        for kind in said
    ]


def _bound(figures: Figures, *, before: bool) -> list[str]:
    if len(figures.critical) < 2 or not figures.wall_s or figures.critical_s < ON_PATH * figures.wall_s:  # noqa: PLR2004  a path has two ends
        return []
    more = "would not help" if before else "would not have helped"
    path = " -> ".join(title.rstrip(". ") for title in figures.critical)
    return [
        f"More agents {more}: the longest path is {_percent(figures.critical_s / figures.wall_s)} of the time: {path}."
    ]


def _idle(figures: Figures, *, before: bool) -> list[str]:
    be = "would be" if before else "was"
    return [
        f"Role {role} {be} idle {_percent(1 - busy)} of the time: another role could do its tasks."
        for role, busy in sorted(figures.busy.items())
        if role and busy <= 1 - IDLE
    ]


def duration(seconds: float) -> str:
    """A time as people say it."""
    from prong.harness.report.words import duration as said  # noqa: PLC0415  it brings the whole display with it

    return said(seconds)


def _percent(share: float) -> str:
    return f"{min(1.0, share):.0%}".replace("%", " %")


def _cost(figures: Figures, amount: float | None) -> str:
    assert amount is not None, "it was compared"
    if figures.unit == "tokens":
        return f"{amount:,.0f} tokens by weight"
    return f"${amount:.2f}" if amount >= 0.1 else f"${amount:.4f}"  # noqa: PLR2004  ten cents
