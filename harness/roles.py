"""How much each role of a swarm is used: is it busy enough to be worth having?

task.claimed, task.unparked --> one more of the role runs
parked, held, given back, ended --> one less
busy: at least one runs;  the run: from swarm.running to its end, each time
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from prong.harness.status import is_supervised
from prong.state import Store

NONE = "(none)"
"""What tasks without a role are listed under."""

_TASKS = """
select role, count(*) as tasks, sum(state = 'running') as running, sum(state = 'ready') as waiting,
       sum(state = 'parked') as parked, sum(state = 'done') as done, sum(state in ('failed', 'cancelled')) as failed
  from task group by role order by role
"""

# A price that nobody knows makes the sum unknown.
_CALLS = """
select role, count(*) as calls, sum(input_tokens + cache_read_tokens + cache_write_tokens + output_tokens) as tokens,
       case when count(*) = count(usd) then sum(usd) end as usd
  from model_call join task on task.id = model_call.task group by role
"""

_LOG = """
select at, kind, event.agent, object, task.role from event left join task on task.id = event.task
 where kind in ('task.claimed', 'task.unparked', 'task.parked', 'task.held', 'task.returned', 'task.backs_off',
                'task.done', 'task.failed', 'task.cancelled')
    or kind in ('swarm.running', 'swarm.stopped', 'swarm.done', 'swarm.failed', 'swarm.budget', 'swarm.approval',
                'swarm.cache')
 order by seq
"""

_BEGINS = frozenset({"task.claimed", "task.unparked"})


@dataclass(frozen=True, slots=True)
class RoleUse:
    """One role: its tasks by where they stand, how long any of them ran, and what they have cost.

    `agents` of it may run at once (None: no bound of its own); `waiting` tasks are ready and have not started; `busy_s`
    is how long at least one ran, `agent_s` the same of all added up, in seconds; `busy` is the share of the run's time,
    None before there was any; `usd` is None where a price is unknown; `kind` is which outside agent does its tasks.
    """

    role: str
    tasks: int = 0
    running: int = 0
    waiting: int = 0
    parked: int = 0
    done: int = 0
    failed: int = 0
    agents: int | None = None
    busy_s: float = 0.0
    agent_s: float = 0.0
    busy: float | None = None
    calls: int = 0
    tokens: int = 0
    usd: float | None = 0.0
    kind: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints of it."""
        return asdict(self)

    def words(self) -> str:
        """Whether it is worth having, in a few words.

        >>> RoleUse("reviewer", tasks=2, busy=0.1).words()
        'idle 90 % of the run'
        """
        if not self.tasks:
            return "has had no task"
        if self.busy is None:
            return ""
        idle = f"idle {1 - self.busy:.0%} of the run".replace("%", " %")
        full = self.waiting and self.agents is not None and self.running >= self.agents
        return f"{idle}; {self.waiting} wait for it" if full else idle


@dataclass(slots=True)
class _Clock:
    """How long something was so: `since` when it is."""

    running: set[str] = field(default_factory=set)
    since: float = 0.0
    busy_s: float = 0.0
    agent_s: float = 0.0

    def pass_to(self, at: float) -> None:
        passed = max(0.0, at - self.since)  # the wall clock may be set back
        self.agent_s += passed * len(self.running)
        self.busy_s += passed if self.running else 0.0
        self.since = at


def read_roles(
    store: Store, defined: Sequence[str] = (), *, kinds: Mapping[str, str | None] | None = None
) -> Sequence[RoleUse]:
    """The use of all roles that have tasks, and of those `defined` in the rules that have none; `kinds` by role."""
    with store.snapshot() as source:
        tasks = {row["role"]: dict(row) for row in source.rows(_TASKS)}
        calls = {row["role"]: dict(row) for row in source.rows(_CALLS)}
        bounds = {row["name"]: row["agents"] for row in source.rows("select name, agents from role")}
        run_s, clocks = _clocks(source)
    found = []
    for name in sorted({*tasks, *defined}, key=lambda name: (name == "", name)):
        clock = clocks.get(name, _Clock())
        known: Mapping[str, Any] = {**tasks.get(name, {}), **calls.get(name, {}), "role": name or NONE}
        busy = min(1.0, clock.busy_s / run_s) if run_s else None
        found.append(
            RoleUse(
                **known,
                agents=bounds.get(name) if name else None,
                busy_s=clock.busy_s,
                agent_s=clock.agent_s,
                busy=busy,
                kind=(kinds or {}).get(name),
            )
        )
    return found


def _clocks(source: Store) -> tuple[float, Mapping[str, _Clock]]:
    """How long the swarm was run, and how busy each role was meanwhile."""
    run = _Clock()
    clocks: dict[str, _Clock] = {}
    for row in source.rows(_LOG):
        at, kind = row["at"], row["kind"]
        if kind.startswith("swarm."):
            for clock in (run, *clocks.values()):  # whoever ran has ended with the run
                clock.pass_to(at)
                clock.running.clear()
            if kind == "swarm.running":
                run.running.add("run")
            continue
        clock = clocks.setdefault(row["role"] or "", _Clock(since=at))
        clock.pass_to(at)
        if kind in _BEGINS:
            clock.running.add(row["object"])
        else:
            clock.running.discard(row["object"])
    if is_supervised(source):
        now = source.clock.wall()
        for clock in (run, *clocks.values()):
            clock.pass_to(now)
    return run.busy_s, clocks
