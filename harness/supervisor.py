"""The supervisor: the one process that starts agents, hears of their deaths, merges, and knows when all is done.

It decides nothing by itself that must survive it: every decision is a transaction, so another supervisor finds the
swarm as this one left it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
from filelock import FileLock, Timeout

from prong.agents import fork_point
from prong.agents.nursery import Exited, Forked, Nursery, adopt_orphans, children, end_orphans
from prong.harness import pressure, sleeping
from prong.harness.admission import Providers
from prong.harness.bounds import Bounds
from prong.harness.dispatch import Dispatcher
from prong.harness.hearing import LOOK_S, ears, stopped_by_signals, watch_gate
from prong.harness.merger import merge_queue_of
from prong.harness.outcome import finished, outcome
from prong.harness.repository import merge_queue
from prong.harness.rules.keeper import RuleKeeper
from prong.harness.swarms import Swarm, tidy, tidy_all
from prong.primitives import holdings, watch
from prong.primitives import task as tasks
from prong.state import ProngError, Row, Store, Transaction, member
from prong.state.bell import MERGER_SLOT, SCHEDULER_SLOT
from prong.state.process import identity

UNBORN_PAUSE_S = 5.0
"""How long a task waits whose agent could not even be forked, in seconds."""

NURSERY_STARTS = 5
NURSERY_STARTS_WITHIN_S = 60.0
"""How often a nursery is started within so many seconds; if that one dies too, the run ends."""

LINGERS_S = 5.0
"""How long an agent may live on after it has finished its task, in seconds."""

_SILENT = "select id, pid, expires_at from agent where ended_at is null and expires_at < :now"

# Who has left in good order is buried already, and leads nobody.
_HAS_LEFT = """
select 1 from agent where id = :agent and state = 'ended'
   and not exists (select 1 from fork_point where leader = agent.id)
   and not exists (select 1 from task where task.id = agent.task and task.agent = agent.id
                      and task.state in ('running', 'parked'))
"""

_WITHOUT_TASK = """
select agent.id, agent.pid, task.state, task.agent from agent join task on task.id = agent.task
 where agent.ended_at is null and agent.state <> 'starting' and (task.agent is null or task.agent <> agent.id)
   and not exists (select 1 from merge where merge.task = task.id and merge.state in ('waiting', 'resolving'))
"""


class AlreadySupervised(ProngError):
    """Another process supervises the swarm."""

    def __init__(self, swarm: str, pid: int | None) -> None:
        self.swarm = swarm
        self.pid = pid

    def __str__(self) -> str:
        who = "another process" if self.pid is None else f"process {self.pid}"
        return f"swarm {self.swarm} is already run by {who}. Watch it with: prong status {self.swarm}"


class NurseryDied(ProngError):
    """The process that forks agents does not stay alive."""

    def __init__(self, log: str) -> None:
        self.log = log

    def __str__(self) -> str:
        within = f"within {NURSERY_STARTS_WITHIN_S:g} s"
        return f"the nursery ended {NURSERY_STARTS} times {within}; what it printed is in {self.log}"


@contextmanager
def alone(swarm: Swarm) -> Iterator[None]:
    """Be the only one that runs the swarm; raises `AlreadySupervised` where somebody does."""
    lock = FileLock(swarm.directory / "supervisor.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        row = swarm.store().row("select supervisor_pid from swarm")
        pid = row["supervisor_pid"] if row else None
        raise AlreadySupervised(swarm.id, pid if pid is not None and psutil.pid_exists(pid) else None) from None
    try:
        yield
    finally:
        lock.release()


class Supervisor:
    """Runs a swarm until every task is final, or until it is told to stop."""

    def __init__(
        self, swarm: Swarm, *, nurseries: Callable[[], Nursery], is_over: Callable[[Store], bool] = finished,
        provider: Callable[[float], Providers] | None = None,
    ) -> None:  # fmt: skip
        """`nurseries` starts a nursery, again if one dies; `provider` tells how the models' endpoints are at a time."""
        self._swarm = swarm
        self._store = swarm.store()
        self._nurseries = nurseries
        self._is_over = is_over
        self._dispatcher = Dispatcher(
            self._store,
            slots=swarm.options.slots,
            parked=swarm.options.bounds.parked,
            limits=swarm.options.bounds.admission(),
            pressure=pressure.read,
            provider=provider,
        )
        self._rules = RuleKeeper(swarm, self._store, self._obey)
        self._queue = merge_queue_of(swarm, self._store)
        self._nursery_starts: list[float] = []
        self._without_task: dict[int, float] = {}
        self._stopping = False
        self._failure: Exception | None = None

    def run(self) -> str:
        """Run the swarm; returns its state then, as `outcome` has it, or `stopped`.  Must run `alone`."""
        with stopped_by_signals(self.stop):
            adopt_orphans()
            self._bury_all("its supervisor is gone")
            self._set_state("running")
            state = "stopped"
            try:
                state = self._supervise()
            finally:
                self._bury_all("the swarm was stopped")
                tidy_all(self._swarm, self._store)
                self._set_state(state)
            return state

    def stop(self) -> None:
        """End the run soon; may be called from a signal handler or another thread."""
        self._stopping = True
        self._store.bells.ring(SCHEDULER_SLOT)

    def _supervise(self) -> str:
        while True:
            others = children()  # an emulator, say
            nursery = self._start_nursery()
            try:
                with ears(nursery, self._store.bells, self._pause_s) as listen, self._threads(), self._rules.keeping():
                    outcome = self._tend(nursery, listen)
            finally:
                nursery.close()
                # What a nursery could not end itself, because it was killed, has become ours by now.
                end_orphans(others - {nursery.pid})
            if outcome is not None:
                return outcome
            self._bury_all("the nursery is gone")

    def _tend(self, nursery: Nursery, listen: Callable[[], None]) -> str | None:
        """Run the swarm with this nursery; the outcome, or None where the nursery died."""
        while not self._stopping:
            if self._failure is not None:
                raise self._failure
            if self._is_over(self._store):
                return outcome(self._store)
            watch.glance(self._store)  # whoever waits does so too, unless no process waits
            self._schedule(nursery)
            listen()
            if not self._hear(nursery):
                return None
            self._bury_silent(nursery)
        return "stopped"

    def _pause_s(self) -> float:
        return self._dispatcher.pause_s(LOOK_S)

    def _obey(self, slots: int, bounds: Bounds) -> None:
        """The rules have changed; called in a thread of theirs."""
        self._dispatcher.slots = slots
        self._dispatcher.parked = bounds.parked
        self._dispatcher.limits = bounds.admission()
        self._store.bells.ring(SCHEDULER_SLOT)

    def _start_nursery(self) -> Nursery:
        log = self._swarm.directory / "log" / "agents.log"
        now = self._store.clock.now()
        self._nursery_starts = [at for at in self._nursery_starts if now - at < NURSERY_STARTS_WITHIN_S] + [now]
        if len(self._nursery_starts) > NURSERY_STARTS:
            raise NurseryDied(str(log))
        return self._nurseries()

    def _schedule(self, nursery: Nursery) -> None:
        """Fill the free slots, and only then fork; end the processes that wait beyond their number."""
        orders = self._dispatcher.round()
        for order in orders.forks:
            nursery.fork(order["agent"], order)
        for agent in orders.sleeps:
            nursery.kill(agent)

    def _hear(self, nursery: Nursery) -> bool:
        """Write down births and deaths; False where the nursery is gone."""
        heard = nursery.hear()
        news = [one for one in heard or () if isinstance(one, Forked) or not self._has_left(one.agent)]
        if news:
            with self._store.transaction(None) as tx:
                for one in news:
                    self._write_down(tx, one)
        return heard is not None

    def _has_left(self, agent: int) -> bool:
        return self._store.row(_HAS_LEFT, agent=agent) is not None

    def _write_down(self, tx: Transaction, one: Forked | Exited) -> None:
        if isinstance(one, Forked):
            tx.execute("update agent set pid = :pid where id = :agent", pid=one.pid, agent=one.agent)
            tx.event("agent.forked", object=str(one.agent), pid=one.pid)
        elif not _fell_asleep(tx, one):
            unborn = one.pid == 0  # the machine has no room for it, which is no fault of the task
            if not (unborn and sleeping.sleeps_on(tx, one.agent, pause_s=UNBORN_PAUSE_S)):
                self._bury(tx, one.agent, _in_words(one), blame=not unborn, pause_s=UNBORN_PAUSE_S * unborn)

    def _bury(self, tx: Transaction, agent: int, reason: str, *, blame: bool, pause_s: float = 0.0) -> None:
        """An agent is gone: what it held goes on to others, its task back to the ready ones."""
        row = tx.row("select task, state, reason from agent where id = :agent", agent=agent)
        task = row["task"] if row else None
        if row is not None and row["state"] != "ended" and row["reason"] is not None:  # somebody said why beforehand
            reason, blame = row["reason"], False
        holdings.bury(tx, agent, state="dead", reason=reason, task=task)
        fork_point.abandon(tx, agent)
        if task is not None and not merge_queue.is_queued(tx, task):
            tasks.give_back(tx, task, agent=agent, reason=reason, blame=blame, pause_s=pause_s)
        elif task is not None:  # it waits for its merge without anybody, and without a slot
            tx.execute("update task set state = 'parked' where id = :task and state = 'running'", task=task)
        tx.ring_scheduler()

    def _bury_all(self, reason: str) -> None:
        """All processes of agents are gone, and no task is to blame; who was asleep goes on waiting."""
        with self._store.transaction(None) as tx:
            for agent in sleeping.go_on(tx):
                self._bury(tx, agent, reason, blame=False)

    def _bury_silent(self, nursery: Nursery) -> None:
        """End whoever has not beaten its heart in time, and whoever's task was taken away.

        A silent agent's task goes on with another only when its process is seen to be gone (`_hear`), so that no two
        work in one clone; an agent that never had a process, or whose end is never told, is given up here.
        """
        if not self._store.rows(_SILENT, now=self._store.clock.now()) and not self._store.rows(_WITHOUT_TASK):
            return  # as nearly always; nobody has to be kept waiting for it
        with self._store.transaction(None) as tx:
            silent = tx.rows(_SILENT, now=tx.now)
            reason = f"it gave no sign of life for {member.LEASE_S:g} s"
            given_up = [row for row in silent if row["pid"] is None or row["expires_at"] < tx.now - member.LEASE_S]
            for row in given_up:
                self._bury(tx, row["id"], reason, blame=False)
            taken = [row for row in tx.rows(_WITHOUT_TASK) if self._lost_it(row, tx.now)]
            for row in taken:  # another agent starts only when this one's process is seen to be gone
                tx.execute("update agent set reason = 'its task was taken away' where id = :agent", agent=row["id"])
                if row["pid"] is None:
                    self._bury(tx, row["id"], "its task was taken away", blame=False)
        for row in silent:
            nursery.kill(row["id"])
        for row in taken:
            nursery.end(row["id"])

    def _lost_it(self, row: Row, now: float) -> bool:
        """Whether an agent is to end whose task is not its own any more; who has just finished it ends by itself."""
        if row["state"] == "cancelled" or row["agent"] is not None:
            return True
        return now - self._without_task.setdefault(row["id"], now) > LINGERS_S

    def _set_state(self, state: str) -> None:
        with self._store.transaction(None) as tx:
            running = state == "running"
            tx.execute(
                "update swarm set state = :state, supervisor_pid = :pid, supervisor_process = :process,"
                " ended_at = :ended_at",
                state=state,
                pid=os.getpid() if running else None,
                process=identity() if running else None,
                ended_at=None if running else tx.now,
            )
            tx.event(f"swarm.{state}", object=self._swarm.id)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """The merger, and the watch over the gate, beside the main loop."""
        over = threading.Event()
        threads = [
            threading.Thread(target=self._guarded, args=(work, over), name=work.__name__)
            for work in (self._merge_for_ever, self._watch_gate)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            self._store.bells.ring(MERGER_SLOT)
            for thread in threads:
                thread.join()

    def _guarded(self, work: Callable[[threading.Event], None], over: threading.Event) -> None:
        """Run a thread's work; what breaks it ends the run in the main thread, instead of hanging it."""
        try:
            work(over)
        except Exception as error:  # noqa: BLE001  it is raised again by `_tend`
            self._failure = error
            self._store.bells.ring(SCHEDULER_SLOT)
        finally:
            self._store.close()

    def _merge_for_ever(self, over: threading.Event) -> None:
        bells = self._store.bells
        self._queue.take_over()
        try:
            while not over.is_set():
                seen = bells.read(MERGER_SLOT)
                while not over.is_set() and self._queue.merge_next(over):
                    for task in self._queue.rested():
                        tidy(self._store, task)
                bells.wait(MERGER_SLOT, seen, LOOK_S)
        finally:
            self._queue.close()

    def _watch_gate(self, over: threading.Event) -> None:
        watch_gate(self._swarm.directory / "gate", self._store.clock, over)


def _fell_asleep(tx: Transaction, exited: Exited) -> bool:
    """Whether it was a process that was ended while its agent waits; from now on another may go on for it."""
    return bool(
        tx.execute(
            "update agent set pid = null where id = :agent and pid = :pid and state = 'asleep'",
            agent=exited.agent,
            pid=exited.pid,
        )
    )


def _in_words(exited: Exited) -> str:
    return "it ended without a word" if exited.how == "exit code 0" else f"its process ended with {exited.how}"
