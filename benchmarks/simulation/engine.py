"""A swarm in virtual time: a graph runs on slots as the real scheduler decides.

The order, the levels, the paths and the decisions are the harness's own functions; what is simulated is what those see:
tasks, agents that park, attempts that fail, locks, the machine, the provider, and a budget.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator

from prong.harness.admission import Provider
from prong.harness.scheduler import Candidate, Decisions, Snapshot, Start, decide, wanted
from prong.primitives import ranking

from .graphs import Graph, Work, spans
from .line import Line
from .records import FINAL, LOOK_S, PROVIDER, Outcome, Run, World

Watch = Callable[["Simulation", Snapshot, Decisions], None]


class Simulation:
    """One run of a graph; `watch` is called with every round."""

    def __init__(self, graph: Graph, world: World, watch: Watch | None = None) -> None:
        self.world = world
        self.now = 0.0
        self.taken = 0
        self.runs = {task: Run(work) for task, work in graph.items()}
        self.ready, self.waking = Line(), Line()
        self.log: list[tuple[float, str, int]] = []
        self.tokens = self.reserved = self.wasted = 0
        self._watch = watch
        self._events: list[tuple[float, int, Callable[[int], None], int]] = []
        self._count = 0
        self._dependants: dict[int, list[int]] = defaultdict(list)
        self._estimates: dict[int, float] = {}
        self._paths: dict[int, float] = {}
        self._learnt: dict[str, tuple[int, float]] = {}
        # Whoever parks for children waits for them as for needs; what is not there yet does not count.
        self._ways = {task: (*work.needs, *work.children) for task, work in graph.items()}
        self._spans = spans(graph) if world.known else {}
        self._locks: dict[str, int] = {}
        self._finished = 0
        self._rerank_at = 8
        self._look_at = -1.0
        self._rounds = 0
        self._out_of_budget = False

    def run(self) -> Outcome:
        """Until nothing more happens: every task has ended, or what is left is parked for want of budget."""
        self._prepare()
        while self._events:
            self.now = self._events[0][0]
            while self._events and self._events[0][0] == self.now:
                _, _, happen, task = heapq.heappop(self._events)
                happen(task)
            while self._round():
                pass
        ended = max((run.ended_at for run in self.runs.values()), default=0.0)
        spent, wasted = self.tokens, self.wasted
        return Outcome(self.runs, self.log, max(0.0, ended), spent, wasted, self._rounds)

    def level(self, task: int) -> int:
        """Where a task that was ready stands."""
        run = self.runs[task]
        return ranking.level(run.work.priority, run.raised, run.ready_at, self.world.ageing_s)

    def waits_for(self, task: int) -> Iterator[int]:
        """What must go on before this can: needs, children, and whoever stands before it at a lock."""
        run = self.runs[task]
        if run.state == "blocked":
            yield from (need for need in run.work.needs if self.runs[need].state not in FINAL)
        elif run.parked_for == "children":
            yield from (child for child in run.work.children if self.runs[child].state not in FINAL)
        elif run.parked_for == "lock" and run.work.lock is not None:
            holder = self._locks[run.work.lock]
            line = self.runs[holder].line
            place = line.index(task)
            yield line[place - 1] if place else holder

    # ---- what happens

    def _prepare(self) -> None:
        later: dict[float, list[int]] = defaultdict(list)
        children = {child: task for task, run in self.runs.items() for child in run.work.children}
        for task, run in self.runs.items():
            run.parent = children.get(task)
            for need in run.work.needs:
                self._dependants[need].append(task)
            if run.parent is None:
                later[run.work.created_at].append(task)
        for at, tasks in sorted(later.items()):
            self._at(at, lambda _, tasks=tasks: self._create(tasks), 0)
        for _, end in self.world.closed:
            self._at(end, self._look, 0)

    def _at(self, at: float, happen: Callable[[int], None], task: int) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, self._count, happen, task))

    def _tell(self, what: str, task: int) -> None:
        self.log.append((self.now, what, task))

    def _look(self, _task: int) -> None:
        """Nothing has happened but time."""

    def _create(self, tasks: list[int]) -> None:
        """Tasks come to be: a graph, or the children of one that has just parked for them."""
        for task in tasks:
            self._estimates[task] = self._estimate(task)
            self.runs[task].state = "blocked"
            self._tell("created", task)
        self._lengthen(tasks)
        doomed = []
        for task in tasks:
            run = self.runs[task]
            run.unmet = sum(self.runs[need].state != "done" for need in run.work.needs)
            if any(self.runs[need].state == "failed" for need in run.work.needs):
                doomed.append(task)
        self._raise([task for task in tasks if self.runs[task].unmet])
        for task in doomed:
            self._end(task, "failed")
        for task in tasks:
            if self.runs[task].unmet == 0 and self.runs[task].state == "blocked":
                self._make_ready(task)

    def _make_ready(self, task: int) -> None:
        run = self.runs[task]
        if run.ready_at < 0:
            run.ready_at = self.now
        run.state, run.since = "ready", self.now
        self._tell("ready", task)
        self.ready.put(self._candidate(task))

    def _start(self, task: int) -> None:
        run = self.runs[task]
        run.state = "running"
        self.taken += 1
        if run.started_at < 0:
            run.started_at = self.now
        self._tell("started", task)
        lock = run.work.lock
        if lock is None or self._locks.setdefault(lock, task) == task:
            self._attempt(task)
        else:
            self.runs[self._locks[lock]].line.append(task)
            self._park(task, "lock")

    def _attempt(self, task: int) -> None:
        """Run until the attempt fails, or is done but for the children."""
        run = self.runs[task]
        if self.world.tokens is not None and self.tokens + self.reserved + run.work.tokens > self.world.tokens:
            self._out_of_budget = True
            self._park(task, "budget")
            return
        self.reserved += run.work.tokens
        run.attempt += 1
        failed = run.work.failed_s
        if run.attempt <= len(failed):
            self._at(self.now + failed[run.attempt - 1], self._fail, task)
        else:
            self._at(self.now + run.work.run_s, self._ran, task)

    def _settle(self, work: Work, tokens: int) -> None:
        self.reserved -= work.tokens
        self.tokens += tokens

    def _fail(self, task: int) -> None:
        run = self.runs[task]
        work = run.work
        share = work.failed_s[run.attempt - 1] / work.run_s if work.run_s else 1.0
        used = min(work.tokens, int(work.tokens * share))
        self._settle(work, used)
        self.wasted += used
        self.taken -= 1
        self._free_lock(task)
        self._tell("attempt failed", task)
        if work.given_up and run.attempt == len(work.failed_s):
            self._end(task, "failed")
        else:
            run.state = "resting"
            self._at(self.now + self.world.backoff_s * 2 ** (run.attempt - 1), self._make_ready, task)

    def _ran(self, task: int) -> None:
        run = self.runs[task]
        self._settle(run.work, run.work.tokens)
        if not run.work.children:
            self._finish(task)
            return
        # What is left of it is what follows its children, and their paths lead through that.
        self._paths[task] -= self._estimates[task] - self._join_estimate(run.work)
        self._estimates[task] = self._join_estimate(run.work)
        run.unmet = len(run.work.children)
        self._park(task, "children")
        self._create(list(run.work.children))
        self._raise([task])

    def _finish(self, task: int) -> None:
        work = self.runs[task].work
        count, spent_s = self._learnt.get(work.role, (0, 0.0))
        self._learnt[work.role] = count + 1, spent_s + work.run_s + work.join_s
        self._finished += 1
        self.taken -= 1
        self._end(task, "done")
        if not self.world.known and self._finished >= self._rerank_at:
            self._rerank_at *= 2
            self._rerank()

    def _end(self, task: int, state: str) -> None:
        """A final state, and what follows from it for whoever needed this or waited for it."""
        ended = [(task, state)]
        for one, how in ended:  # which grows while it is read
            run = self.runs[one]
            if run.state in FINAL:
                continue
            run.state, run.ended_at = how, self.now
            del self._estimates[one], self._paths[one]
            self._tell(how, one)
            self._free_lock(one)
            for dependant in self._dependants.get(one, ()):
                other = self.runs[dependant]
                if how == "failed" and other.state == "blocked":
                    ended.append((dependant, "failed"))
                elif how == "done" and other.state == "blocked":
                    other.unmet -= 1
                    if other.unmet == 0:
                        self._make_ready(dependant)
            if run.parent is not None:
                parent = self.runs[run.parent]
                parent.unmet -= 1
                if parent.unmet == 0:
                    parent.joining = True
                    self._wake(run.parent)

    def _park(self, task: int, what: str) -> None:
        run = self.runs[task]
        run.state, run.parked_for = "parked", what
        self.taken -= 1
        self._tell("parked", task)
        if what == "lock":
            self._raise([task])

    def _wake(self, task: int) -> None:
        """The wait is over; what is missing is a slot."""
        run = self.runs[task]
        run.parked_for, run.since = "", self.now
        self._tell("woken", task)
        self.waking.put(self._candidate(task))

    def _unpark(self, task: int) -> None:
        run = self.runs[task]
        run.state = "running"
        self.taken += 1
        self._tell("unparked", task)
        if run.joining:
            self._at(self.now + run.work.join_s, self._finish, task)
        else:
            self._attempt(task)

    def _free_lock(self, task: int) -> None:
        run = self.runs[task]
        if run.work.lock is None or self._locks.get(run.work.lock) != task:
            return
        del self._locks[run.work.lock]
        if run.line:
            heir, *line = run.line
            self._locks[run.work.lock] = heir
            self.runs[heir].line, run.line = line, []
            self._wake(heir)

    # ---- what is decided

    def _round(self) -> bool:
        """One round of the scheduler; whether there is room again, because somebody parked at once."""
        snapshot = self._snapshot()
        count = wanted(snapshot)
        candidates = [*self.waking.head(count), *self.ready.head(count)]
        snapshot = self._snapshot(candidates)
        decisions = decide(snapshot)
        self._rounds += 1
        if self._watch is not None:
            self._watch(self, snapshot, decisions)
        expected = self.taken + len(decisions)
        for decision in decisions:
            if isinstance(decision, Start):
                self.ready.remove(decision.task)
                self._start(decision.task)
            else:
                self.waking.remove(decision.task)
                self._unpark(decision.task)
        if decisions.rest.reason in ("cpu", "memory") and self._look_at <= self.now:
            self._look_at = self.now + LOOK_S
            self._at(self._look_at, self._look, 0)
        return self.taken < expected

    def _snapshot(self, candidates: Collection[Candidate] = ()) -> Snapshot:
        world = self.world
        closed_until = max((end for start, end in world.closed if start <= self.now), default=None)
        return Snapshot(
            slots=world.slots,
            taken=self.taken,
            candidates=tuple(candidates),
            now=self.now,
            pressure=world.pressure(self.now, self.taken) if world.pressure else None,
            providers={PROVIDER: Provider(closed_until=closed_until)} if world.closed else {},
            budget="the tokens are spent" if self._out_of_budget else None,
        )

    def _candidate(self, task: int) -> Candidate:
        run = self.runs[task]
        return Candidate(
            task,
            self.level(task),
            run.since,
            waiter=task if run.state == "parked" else None,
            path_s=self._paths[task],
            provider=PROVIDER if self.world.closed else None,
        )

    # ---- what the order rests on

    def _estimate(self, task: int) -> float:
        work = self.runs[task].work
        return self._spans[task] if self.world.known else ranking.estimate(*self._learnt.get(work.role, (0, 0.0)))

    def _join_estimate(self, work: Work) -> float:
        return work.join_s if self.world.known else max(0.0, self._estimate(work.task) - work.run_s)

    def _lengthen(self, tasks: list[int]) -> None:
        """The paths of new tasks: those of children go on through their parent."""
        parent = self.runs[tasks[0]].parent
        if parent is None and not self._paths:
            self._paths = ranking.longest_paths(self._estimates, self._ways)
        elif parent is None:
            longer = ranking.lengthened(tasks, self._estimates, self._ways, self._paths)
            self._paths |= longer
            for task in longer:
                self._move(task)
        else:
            estimates = {task: self._estimates[task] for task in tasks} | {parent: self._paths[parent]}
            self._paths |= ranking.longest_paths(estimates, self._ways)

    def _rerank(self) -> None:
        """More is known of how long roles take: everybody's path is computed anew."""
        for task in self._estimates:
            if not self.runs[task].joining and self.runs[task].parked_for != "children":
                self._estimates[task] = self._estimate(task)
        self._paths = ranking.longest_paths(self._estimates, self._ways)
        for line in (self.ready, self.waking):
            line.put_all([self._candidate(task) for task in line.wanting])

    def _raise(self, tasks: list[int]) -> None:
        """Whoever these wait for is as important as they are."""
        ways: dict[int, list[int]] = {}
        reached = [task for task in tasks if self._is_above(task)]
        while reached:
            task = reached.pop()
            if task not in ways:
                ways[task] = list(self.waits_for(task))
                own = self._priority(task)
                reached += [other for other in ways[task] if self._priority(other) < own]
        targets = {other for others in ways.values() for other in others} | set(ways)
        for task, priority in ranking.raised({one: self._priority(one) for one in targets}, ways).items():
            self.runs[task].raised = priority
            self._move(task)

    def _is_above(self, task: int) -> bool:
        """Whether anybody that it waits for is less important."""
        own = self._priority(task)
        return any(self._priority(other) < own for other in self.waits_for(task))

    def _priority(self, task: int) -> int:
        run = self.runs[task]
        return run.work.priority if run.raised is None else max(run.raised, run.work.priority)

    def _move(self, task: int) -> None:
        """It stands elsewhere in its line from now on."""
        for line in (self.ready, self.waking):
            if task in line.wanting:
                line.put(self._candidate(task))
