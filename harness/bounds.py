"""What a swarm must not pass: tokens and money, how many tasks, and how busy the machine may be."""

from __future__ import annotations

from dataclasses import dataclass, replace

import psutil

from prong.harness.admission import Limits
from prong.harness.rules.rules import Load, Memory
from prong.primitives.task import set_limits
from prong.state import Transaction


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a swarm must not pass; None: what is the default, or no bound.

    `tokens` and `usd` are its budget, `agent_tokens` and `agent_usd` that of one attempt, `task_tokens` and `task_usd`
    that of one that an agent creates without.  `open` and `tasks` bound the tasks that are open and ever created,
    `depth` and `children` how deep they stand and how many below one, `attempts` the failures of one, `parked` the
    processes that wait, and `priority` what tasks have that name none and whose role has none.  `cpu_percent`,
    `load` (for each core) and `reserve_bytes` are what the machine must bear when an agent starts.
    """

    tokens: int | None = None
    usd: float | None = None
    agent_tokens: int | None = None
    agent_usd: float | None = None
    open: int = 1_000
    tasks: int = 10_000
    depth: int | None = None
    children: int = 50
    attempts: int | None = None
    ageing_s: float | None = None
    priority: int | None = None
    task_tokens: int | None = None
    task_usd: float | None = None
    parked: int = 64
    cpu_percent: float = 100.5  # never, unless somebody asks for it: a busy machine is what a swarm is for
    load: float = 16.0
    reserve_bytes: int | None = None

    def admission(self) -> Limits:
        """What the scheduler asks of the machine."""
        return Limits(cpu_percent=self.cpu_percent, load=self.load, reserve_bytes=self.reserve_bytes)

    def with_load(self, load: Load | None) -> Bounds:
        """The same with how busy the cores may be when an agent starts; None: what is the default."""
        usual = Bounds()
        return replace(
            self,
            cpu_percent=usual.cpu_percent if load is None or load.pressure_percent is None else load.pressure_percent,
            load=usual.load if load is None or load.per_core is None else load.per_core,
        )

    def with_memory(self, memory: Memory | None) -> Bounds:
        """The same with how much memory must stay free; None: what is the default."""
        kept = None if memory is None else memory.of(total_bytes=psutil.virtual_memory().total)
        return replace(self, reserve_bytes=kept)

    def set_limits(self, tx: Transaction) -> None:
        """Make them hold for whoever creates tasks."""
        set_limits(
            tx, open=self.open, tasks=self.tasks, depth=self.depth, children=self.children, attempts=self.attempts,
            ageing_s=self.ageing_s, priority=self.priority,
        )  # fmt: skip
