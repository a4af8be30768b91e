"""What a swarm looks like now: one read of the database, for the terminal and for `--json`.

Sums and counts come from the database, and only those tasks are read that are shown: a swarm of a hundred thousand is
looked at as fast as a small one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import psutil

from prong.agents.models import Usage
from prong.harness.approvals import Asked, waiting
from prong.harness.outcome import NOT_NEEDED
from prong.harness.status_rows import ORDER, PROBLEMS, SPENT, counted, shown_rows
from prong.state import Row, Store
from prong.state.process import gone

_HELD = ("budget", "cache")
"""What a task without an agent is held for until a person does something."""

_LIVES = ("alive", "stopped")

SELDOM = """(kind = 'command.cancel' or kind = 'command.pause'
    or kind = 'scheduler.admits' or kind = 'scheduler.refuses' or kind = 'swarm.created' or kind = 'swarm.running')"""
"""The condition of the index `event_seldom`, word by word: a query that contains it reads no other events."""


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """One task: who works or last worked on it, what it waits for, and what it has used.

    `paused` is whether a person paused it, `held` why it is parked without a process (`budget`, `cache`,
    `asleep`).  `failures` of `attempts` tries have failed, and the next begins in `again_in_s` seconds, None where it
    need not wait.
    """

    id: int
    parent: int | None
    title: str
    state: str
    priority: int
    attempt: int
    agent: int | None
    needs: tuple[int, ...]
    waits_for: str | None
    usage: Usage
    usd: float | None
    seconds: float
    merged_commit: str | None
    kept_branch: str | None
    result: str | None
    error: str | None
    paused: bool = False
    held: str | None = None
    failures: int = 0
    attempts: int = 0
    again_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """One agent: its process, its task, and whether it lives."""

    id: int
    pid: int | None
    task: int | None
    state: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Problem:
    """A task that has not ended well, and where its work stands that could not be merged.

    The second copy of a straggler is none, nor is a task that was cancelled because nobody needs it any more.
    """

    task: int
    state: str
    error: str | None
    branch: str | None


@dataclass(frozen=True, slots=True)
class SupervisorStatus:
    """The process that runs a swarm: `alive`, `stopped` (Ctrl-Z, SIGSTOP), `dead` without a word, or `none`."""

    pid: int | None
    state: str

    @property
    def advice(self) -> str | None:
        """What to do about one that stands still."""
        if self.state != "stopped":
            return None
        return (
            f"Its supervisor (process {self.pid}) is stopped, so nothing starts and nothing is merged. Let it go on"
            f" with: kill -CONT {self.pid}, or fg in its terminal"
        )


NO_SUPERVISOR = SupervisorStatus(None, "none")


@dataclass(frozen=True, slots=True)
class Status:
    """A swarm at one moment.  `state` is `interrupted` where it should be running, but nobody supervises it.

    Times count from the first start on: waiting, pauses, and the time in which nobody ran the swarm are in them.

    `paused` is whether a person paused all of it; `refused` why the scheduler starts nobody just now, in words;
    `approvals` are the calls that a person is asked about.  `counted` is how many tasks are in each state, of which
    `tasks` are those that were asked for; `forks` is how many calls began with a prefix of their parent's, and
    `least_prefix_read` the least share of it that any of them read from the cache.
    """

    swarm: str
    state: str
    goal: str
    model: str
    branch: str
    slots: int
    seconds: float
    tasks: tuple[TaskStatus, ...]
    agents: tuple[AgentStatus, ...]
    usage: Usage
    usd: float | None
    counted: Mapping[str, int]
    forks: int = 0
    least_prefix_read: float | None = None
    problems: tuple[Problem, ...] = ()
    paused: bool = False
    refused: str | None = None
    approvals: tuple[Asked, ...] = ()
    supervisor: SupervisorStatus = NO_SUPERVISOR

    def counts(self) -> Mapping[str, int]:
        """How many tasks are in each state."""
        return self.counted

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints of a swarm."""
        return {
            "swarm": self.swarm,
            "state": self.state,
            "supervisor": asdict(self.supervisor),
            "paused": self.paused,
            "refused": self.refused,
            "approvals": [
                {"id": one.id, "task": one.task, "tool": one.tool, "asks": one.text, "asked_s": one.asked_s}
                for one in self.approvals
            ],
            "goal": self.goal,
            "model": self.model,
            "branch": self.branch,
            "seconds": round(self.seconds, 3),
            "tasks": self.counts(),
            "agents": [
                {"id": one.id, "pid": one.pid, "task": one.task, "state": one.state, "reason": one.reason}
                for one in self.agents
            ],
            "tokens": tokens(self.usage),
            "usd": self.usd,
            "cache": {"forks": self.forks, "least_prefix_read": self.least_prefix_read},
            "problems": [asdict(one) for one in self.problems],
        }


def tokens(usage: Usage) -> dict[str, int]:
    """Usage as `--json` prints it."""
    return {
        "input": usage.input,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
        "output": usage.output,
    }


def read_status(store: Store, *, tasks: int | None = None) -> Status:
    """Read everything in one snapshot, so that the parts agree; of the tasks the first so many as they are shown."""
    with store.snapshot():
        found = _read(store, tasks)
        living = found.state != "interrupted"
        agents = store.rows("select id, pid, task, state, reason from agent where task is not null order by id")
        problems = tuple(Problem(*row) for row in store.rows(PROBLEMS, not_needed=NOT_NEEDED))
    return replace(found, agents=tuple(_agent(row, unsupervised=not living) for row in agents), problems=problems)


def read_picture(store: Store, tasks: int | None) -> Status:
    """The same without agents and problems, which a picture does not show."""
    with store.snapshot():
        return _read(store, tasks)


def _read(store: Store, tasks: int | None) -> Status:
    swarm, spent = store.row("select * from swarm"), store.row(SPENT)
    assert swarm is not None, "a swarm's row is written when it is made"
    assert spent is not None, "a sum is one row"
    supervisor = supervisor_of(store)
    unsupervised = is_interrupted(swarm, supervised=supervisor.state in _LIVES)
    now = _now(store, swarm, unsupervised=unsupervised)
    shown = tuple(_task(row, now=now, unsupervised=unsupervised) for row in shown_rows(store, tasks))
    if tasks is not None:
        shown = tuple(sorted(shown, key=lambda task: (ORDER[task.state], task.id)))[:tasks]
    refusal = None if unsupervised or swarm["state"] != "running" else last_refusal(store)
    return Status(
        swarm=swarm["id"],
        state="interrupted" if unsupervised else swarm["state"],
        goal=swarm["goal"],
        model=swarm["model"],
        branch=swarm["branch"],
        slots=swarm["slots"],
        seconds=now - swarm["started_at"],
        tasks=shown,
        agents=(),
        usage=Usage(spent["input"], spent["cache_read"], spent["cache_write"], spent["output"]),
        usd=None if spent["unpriced"] else spent["usd"],
        counted=counted(store, unsupervised=unsupervised),
        forks=spent["forks"],
        least_prefix_read=spent["least"],
        paused=bool(swarm["paused"]),
        refused=None if refusal is None else json.loads(refusal["data"])["detail"],
        approvals=tuple(waiting(store)),
        supervisor=supervisor,
    )


def _task(row: Row, *, now: float, unsupervised: bool) -> TaskStatus:
    ended_at = row["ended_at"] or now
    state = shown_state(row, interrupted=unsupervised)
    return TaskStatus(
        id=row["id"],
        parent=row["parent"],
        title=row["title"],
        state=state,
        priority=row["priority"],
        attempt=row["attempt"],
        agent=row["last_agent"],
        needs=tuple(int(need) for need in (row["needs"] or "").split(",") if need),
        waits_for=_waits_for(row) if state in ("running", "parked") and row["held"] not in _HELD else None,
        usage=Usage(row["input"], row["cache_read"], row["cache_write"], row["output"]),
        usd=None if row["unpriced"] else row["usd"],
        seconds=ended_at - row["started_at"] if row["started_at"] is not None else 0.0,
        merged_commit=row["merged_commit"],
        kept_branch=row["kept_branch"],
        result=row["result"],
        error=row["error"],
        paused=bool(row["paused"]),
        held=row["held"],
        failures=row["failures"],
        attempts=row["attempts"],
        again_in_s=max(0.0, row["not_before"] - now) if row["not_before"] is not None else None,
    )


def is_interrupted(swarm: Row, *, supervised: bool) -> bool:
    """Whether a swarm should be running, but nobody supervises it."""
    return swarm["state"] == "running" and not supervised


def shown_state(task: Row, *, interrupted: bool) -> str:
    """A task's state as people are told it: in an interrupted swarm what ran is ready, and who slept waits on."""
    gone = interrupted and task["state"] in ("running", "parked") and task["held"] not in (*_HELD, "asleep")
    state: str = "ready" if gone else task["state"]
    return state


def _waits_for(row: Row) -> str | None:
    """What it waits for: a primitive, or an endpoint or a branch that makes trouble just now."""
    if row["trouble"] is None:
        waits_for: str | None = row["waits_for"]
        return waits_for
    trouble = json.loads(row["trouble"])
    if "problem" in trouble:
        return f"model, {trouble['problem']}; asked again every {trouble['seconds']:.0f} s"
    return f"merge, {trouble['reason']}" if "reason" in trouble else "merge, its check runs"


def _agent(row: Row, *, unsupervised: bool) -> AgentStatus:
    """Without a supervisor no agent lives, whatever the last one had time to write."""
    gone = unsupervised and row["state"] not in ("ended", "dead", "asleep")
    return AgentStatus(row["id"], row["pid"], row["task"], "dead" if gone else row["state"], row["reason"])


def _now(store: Store, swarm: Row, *, unsupervised: bool) -> float:
    """Until when times run: now, or when the swarm ended, or when it gave its last sign of life."""
    if swarm["ended_at"] is not None:
        return float(swarm["ended_at"])
    if unsupervised:
        row = store.row("select max(beat_at) as at from agent")
        return float((row and row["at"]) or swarm["started_at"])
    return store.clock.now()


def is_supervised(source: Store) -> bool:
    """Whether a supervisor's process lives, even if it stands still."""
    return supervisor_of(source).state in _LIVES


def supervisor_of(source: Store) -> SupervisorStatus:
    """The swarm's supervisor; a younger process that was given its number does not count.

    The wall clock does not count either, by which a process that began before the clock was set may look younger.
    """
    row = source.row("select supervisor_pid as pid, supervisor_process as process from swarm where state = 'running'")
    if row is None or row["pid"] is None:
        return NO_SUPERVISOR
    pid: int = row["pid"]
    named = (row["process"] or "").split(" ")[1:2] == [str(pid)]
    began = source.row(
        f"select max(at) as at from event where {SELDOM} and kind in ('swarm.created', 'swarm.running')"  # noqa: S608  a constant
    )
    try:
        process = psutil.Process(pid)
        if began is None or (gone(row["process"]) if named else process.create_time() > began["at"]):
            return SupervisorStatus(pid, "dead")
        how = process.status()
    except psutil.Error:
        return SupervisorStatus(pid, "dead")
    return SupervisorStatus(pid, {psutil.STATUS_ZOMBIE: "dead", psutil.STATUS_STOPPED: "stopped"}.get(how, "alive"))


def last_refusal(source: Store) -> Row | None:
    """The event by which the scheduler said why it starts nobody, where that is its last word."""
    row = source.row(
        f"select kind, object, at, data from event where {SELDOM}"  # noqa: S608  a constant
        " and kind in ('scheduler.admits', 'scheduler.refuses', 'swarm.running') order by seq desc limit 1"
    )
    return row if row is not None and row["kind"] == "scheduler.refuses" and row["object"] != "paused" else None
