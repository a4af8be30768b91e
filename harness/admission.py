"""How many more agents may run now, and why not more: a pure function.

Slots bound how many agents run at once.  Within them, a machine under pressure starts no more; a spent budget starts
nothing new; a provider that said when to come back is not asked before; and a swarm that is paused stands still.

Pressure never stops the last agent: while the machine is busy with something else, a few (`Limits.least`) go on, and
on busy cores as many as there are cores, since most of them wait for a model.  An agent whose wait has ended is there
already, and gives its memory back only by ending, so pressure does not hold it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from prong.harness.pressure import Pressure

MIB = 1024 * 1024

Reason = Literal["slots", "cpu", "memory", "provider", "budget", "paused", "role", "writes", "empty"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody does not start: a reason for programs, a sentence for people.

    `until` is the point in time at which it ends by itself, where that is known; a refusal for `cpu` or `memory` ends
    when the machine is read again.
    """

    reason: Reason
    detail: str
    until: float | None = None


EMPTY = Refusal("empty", "nobody else wants a slot")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the machine must keep free.  Agents wait for models most of the time: memory ends before the cores do."""

    cpu_percent: float = 95.0
    """Pressure on the cores from which none is started: the share of time in which something waited for one."""

    load: float = 2.0
    """The same where the kernel tells no pressure: processes that want to run, per core."""

    memory_some_percent: float = 20.0
    """The share of time in which something waited for memory, from which none is started."""

    memory_full_percent: float = 5.0
    """The share of time in which nothing could run for want of memory, from which none is started."""

    reserve_bytes: int | None = None
    """Memory that stays free; None: 5 % of all, and at least 256 MiB."""

    agent_bytes: int = 64 * MIB
    """Memory that an agent and its tools may take at once."""

    least: int = 1
    """How many agents run however high the pressure is; at least 1, or a busy machine could stop the swarm."""


@dataclass(frozen=True, slots=True)
class Provider:
    """What is known of a provider of models: until when it is closed, how many calls it takes at once, how many run."""

    closed_until: float | None = None
    concurrency: int | None = None
    in_flight: int = 0

    def free(self, now: float, running: int) -> int | None:
        """How many more agents could call it now; None: no bound is known.

        While none of ours is `running`, one may: calls of other swarms might never leave a place, and only who is there
        stands in the line for one.
        """
        if self.closed_until is not None and self.closed_until > now:
            return 0
        return None if self.concurrency is None else max(self.concurrency - self.in_flight, int(running == 0), 0)

    def refusal(self, name: str, now: float) -> Refusal:
        """Why no more agents of it run."""
        if self.closed_until is not None and self.closed_until > now:
            seconds = self.closed_until - now
            return Refusal("provider", f"{name} takes no calls for another {seconds:.0f} s", self.closed_until)
        return Refusal("provider", f"{name} takes {self.concurrency} calls at once, and {self.in_flight} are under way")


@dataclass(frozen=True, slots=True)
class Providers:
    """The providers of a swarm by name: the `usual` one, and those of roles whose models another one bounds."""

    usual: str
    by_name: Mapping[str, Provider]
    of_roles: Mapping[str, str] = field(default_factory=dict)

    def of(self, role: str) -> str:
        """Whom an agent of the role asks."""
        return self.of_roles.get(role, self.usual)


@dataclass(frozen=True, slots=True)
class Crew:
    """What is known of a role that has a bound: so many of its tasks run at `most` at once, so many are `running`."""

    most: int
    running: int = 0

    def free(self) -> int:
        """How many more may run."""
        return max(0, self.most - self.running)

    def refusal(self, role: str) -> Refusal:
        """Why no more of it run."""
        run = "1 task runs" if self.running == 1 else f"{self.running} tasks run"
        return Refusal("role", f"{run} of the role {role}, of which at most {self.most} run at once")


@dataclass(frozen=True, slots=True)
class Room:
    """How many may run more: `free` slots, of which `starts` may be new agents.

    `full` is what whoever finds no free slot is told, `tight` whoever may not start although one is free.
    """

    free: int
    starts: int
    full: Refusal
    tight: Refusal


def admit(
    *, slots: int, taken: int, pressure: Pressure | None = None, limits: Limits | None = None, unseen: int = 0,
    budget: str | None = None, paused: str | None = None,
) -> Room:  # fmt: skip
    """How many more agents may run.

    `budget` and `paused` say in words what is spent and who stopped the swarm; None: nothing, nobody.  `unseen` is how
    many agents were started after the pressure was read.

    >>> admit(slots=8, taken=6)
    Room(free=2, starts=2, full=Refusal(reason='slots', detail='all 8 slots are taken', until=None), ...)
    >>> admit(slots=8, taken=6, budget="all 1000000 tokens are spent").starts
    0
    """
    if paused is not None:
        refusal = Refusal("paused", paused)
        return Room(0, 0, refusal, refusal)
    free = max(0, slots - taken)
    full = Refusal("slots", "the only slot is taken" if slots == 1 else f"all {slots} slots are taken")
    if budget is not None:
        return Room(free, 0, full, Refusal("budget", budget))
    if pressure is None:
        return Room(free, free, full, full)
    limits = limits or Limits()
    fit, tight = min(_memory(pressure, limits, unseen), _cores(pressure, limits, taken), key=lambda found: found[0])
    least = max(1, limits.least) - taken
    return Room(free, min(free, max(fit, least)), full, tight)


def _memory(pressure: Pressure, limits: Limits, unseen: int) -> tuple[int, Refusal]:
    """How many new agents have memory, and why not more."""
    some, full = pressure.memory_some_percent, pressure.memory_full_percent
    if full is not None and full >= limits.memory_full_percent:
        return 0, _stalled("memory", "nothing could run for want of memory", full, limits.memory_full_percent)
    if some is not None and some >= limits.memory_some_percent:
        return 0, _stalled("memory", "something waited for memory", some, limits.memory_some_percent)
    if pressure.available_bytes is None:
        return sys.maxsize, EMPTY
    reserve = _reserve(pressure, limits)
    fit = (pressure.available_bytes - reserve) // limits.agent_bytes - unseen
    available = f"{pressure.available_bytes // MIB} MiB of memory are available"
    return max(0, fit), Refusal("memory", f"{available}, of which {reserve // MIB} MiB stay free")


def _cores(pressure: Pressure, limits: Limits, taken: int) -> tuple[int, Refusal]:
    """How many new agents the cores bear, and why not more."""
    cpu, load = pressure.cpu_percent, pressure.load
    fit = max(0, pressure.cores - taken)
    if cpu is not None and cpu >= limits.cpu_percent:
        return fit, _stalled("cpu", "something waited for a core", cpu, limits.cpu_percent)
    if cpu is None and load is not None and load >= limits.load:
        return fit, Refusal("cpu", f"the load is {load:.1f} for each core; none starts from {limits.load:g}")
    return sys.maxsize, EMPTY


def _reserve(pressure: Pressure, limits: Limits) -> int:
    if limits.reserve_bytes is not None:
        return limits.reserve_bytes
    return max(256 * MIB, (pressure.total_bytes or 0) // 20)


def _stalled(reason: Reason, what: str, percent: float, limit: float) -> Refusal:
    return Refusal(reason, f"{what} for {percent:.0f} % of the last 10 s; none starts from {limit:g} %")
