"""What a plan would take, before anything is run: its longest path, its time on so many slots, its price.

    what is known      how long tasks of a role took, how many turns they had and how they grew, in earlier swarms
    tasks of the plan  a `for_each` over a list or files as many as there are; over a result a guess, which is said
    time               the tasks are started as the scheduler would, on a clock that nobody waits for
    price              `economics` prices every step twice: as forks of what they need, and fresh

Records in, records out; only `learnt` reads databases.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prong.agents import economics
from prong.agents.economics import Setting, Work, conversation, tally
from prong.agents.models import COMPACT_AT, EMULATOR_MODEL, Model
from prong.harness.plans.plan import Plan, Step
from prong.harness.swarms import Options, Swarm
from prong.primitives.ranking import ESTIMATE_S, longest_paths

GUESSED_ITEMS = 5
"""As many items a `for_each` is taken to have whose list is not there yet."""

SHARED_TOKENS = 12_000
"""How long a conversation is at its beginning, in tokens, where no earlier swarm has shown it: the tools, mostly."""

PROMPT_TOKENS = 200
"""How long the prompt of a task is taken to be, in tokens."""

SWARMS_LEARNT = 20
"""From so many swarms of the repository is learnt, the newest first."""

_ROLES = "select name, estimate_s, finished from role where finished > 0"
_TURNS = """
select count(*) as calls, count(distinct task) as tasks, avg(output_tokens) as output,
       min(input_tokens + cache_read_tokens + cache_write_tokens) as least,
       max(input_tokens + cache_read_tokens + cache_write_tokens) as most,
       avg(ended_at - started_at) as call_s from model_call where message is not null
"""
_GROWN = """
select avg(grown) as grown from (
    select 1.0 * (max(input_tokens + cache_read_tokens + cache_write_tokens)
                  - min(input_tokens + cache_read_tokens + cache_write_tokens)) / (count(*) - 1) as grown
      from model_call where message is not null group by task having count(*) > 1)
"""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What earlier swarms have shown: seconds of a task by role, what a conversation is like, and from how many tasks.

    `durations` has "" for tasks without a role; `work` is one task's.
    """

    durations: Mapping[str, float] = field(default_factory=dict)
    work: Work = field(default_factory=Work)
    shared_tokens: int = SHARED_TOKENS
    tasks: int = 0

    def seconds(self, role: str, estimate_s: float | None = None) -> float:
        """How long a task of a role takes: as learnt, as its rules say, or as the scheduler takes one to."""
        known = self.durations.get(role)
        return known if known is not None else estimate_s if estimate_s is not None else ESTIMATE_S


@dataclass(frozen=True, slots=True)
class Job:
    """One task of the plan as it is expected: of which step, how long in seconds, and the jobs that it needs."""

    step: str
    seconds: float
    needs: tuple[int, ...]
    role: str = ""


@dataclass(frozen=True, slots=True)
class Price:
    """What all calls of the model cost, in dollars where the model has a price, else without a unit."""

    fork: float
    fresh: float
    alone: float
    in_usd: bool
    model: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan would take.

    `sequential_s` is all tasks one after another, `critical_s` the longest path, which goes through `critical`,
    `wall_s` the time on `slots`; `guessed` are steps whose number of items nobody knows yet; `busy` is by role the
    share of the time in which any of it runs.
    """

    tasks: int
    slots: int
    sequential_s: float
    critical_s: float
    critical: tuple[str, ...]
    wall_s: float
    guessed: tuple[str, ...]
    busy: Mapping[str, float]
    price: Price
    learnt: Learnt

    @property
    def speed_up(self) -> float:
        """How many times as fast as one task after another."""
        return self.sequential_s / self.wall_s if self.wall_s else 1.0


def learnt(swarms: Iterable[Swarm], *, offline: bool) -> Learnt:
    """What the newest swarms have shown; a script on the emulator says nothing of a model, nor a model of a script.

    Whoever asks an emulator that somebody started by hand plays a script, too, whatever is said of being offline.
    """
    sums: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    calls: list[tuple[int, int, float, float, float]] = []
    shared = []
    like = [swarm for swarm in swarms if is_played(swarm.options) == offline]
    for swarm in like[-SWARMS_LEARNT:]:
        store = swarm.store()
        for row in store.rows(_ROLES):
            sums[row["name"]].append((row["estimate_s"], row["finished"]))
        turns, grown = store.row(_TURNS), store.row(_GROWN)
        if turns is not None and turns["calls"] and grown is not None:
            grows = grown["grown"] or turns["output"]
            calls.append((turns["calls"], turns["tasks"], turns["output"], grows, turns["call_s"]))
            shared.append(turns["least"])
    durations = {role: sum(s * n for s, n in all_) / sum(n for _, n in all_) for role, all_ in sums.items()}
    if not calls:
        return Learnt(durations)
    number, tasks = sum(one[0] for one in calls), sum(one[1] for one in calls)
    output, grows, call_s = (sum(one[n] * one[0] for one in calls) / number for n in (2, 3, 4))
    work = Work(max(1, round(number / tasks)), round(output), max(0, round(grows - output)), call_s)
    return Learnt(durations, work, min(shared), tasks)


def is_played(options: Options) -> bool:
    """Whether a swarm of these options plays a script instead of asking a model."""
    return options.offline is not None or options.model == EMULATOR_MODEL


def estimate(
    plan: Plan, *, slots: int, known: Learnt, model: Model | None, priced_as: str, roles: Mapping[str, str],
    estimates: Mapping[str, float], crews: Mapping[str, int], items: Mapping[str, int],
) -> Estimate:  # fmt: skip
    """What the plan would take.

    `roles` are those of its steps, `estimates` what the rules say that a task of a role takes in seconds, `crews` how
    many of a role may run at once, and `items` how many files the globs of a step find.
    """
    jobs, guessed = _jobs(plan, known, roles, estimates, items)
    durations = {number: job.seconds for number, job in enumerate(jobs)}
    paths = longest_paths(durations, {number: job.needs for number, job in enumerate(jobs)})
    wall_s, busy_s = _simulated(jobs, paths, slots, crews)
    critical = _critical(jobs, paths)
    return Estimate(
        tasks=sum(job.seconds > 0 for job in jobs),
        slots=slots,
        sequential_s=sum(durations.values()),
        critical_s=max(paths.values(), default=0.0),
        critical=tuple(dict.fromkeys(jobs[number].step for number in critical)),
        wall_s=wall_s,
        guessed=guessed,
        busy={role: seconds / wall_s for role, seconds in busy_s.items()} if wall_s else {},
        price=_price(plan, jobs, known, model, priced_as),
        learnt=known,
    )


def alone(model: Model | None, work: Work, *, shared_tokens: int, turns: int) -> float:
    """What one agent would cost that did everything in one conversation, made short whenever its window is full.

    >>> from prong.agents.models import lookup
    >>> work, model = Work(turns=8), lookup("claude-sonnet-5-5")
    >>> alone(model, work, shared_tokens=10_000, turns=16) > alone(model, work, shared_tokens=10_000, turns=8)
    True
    """
    window = model.context_tokens if model is not None else 200_000
    grows = max(1, work.output_tokens + work.result_tokens)
    longest = max(1, int((window * COMPACT_AT - shared_tokens) / grows))
    least = model.min_cacheable_tokens if model is not None else 0

    def part(number: int) -> float:
        one = Work(number, work.output_tokens, work.result_tokens, work.turn_s)
        return tally(model, conversation(one, cached=0, new=shared_tokens, min_cacheable=least)).cost

    longest = min(longest, economics.MOST_TURNS)
    whole, rest = divmod(turns, longest)
    return whole * part(longest) + (part(rest) if rest else 0.0) if whole else part(rest)


def _jobs(
    plan: Plan, known: Learnt, roles: Mapping[str, str], estimates: Mapping[str, float], items: Mapping[str, int]
) -> tuple[list[Job], tuple[str, ...]]:
    """The tasks in an order in which each stands behind its needs; the end of a for_each is one that takes no time."""
    jobs: list[Job] = []
    last: dict[str, int] = {}
    guessed = []
    for name in plan.order:
        step, role = plan.steps[name], roles.get(name, "")
        needs = tuple(last[need] for need in step.needs)
        seconds = known.seconds(role, estimates.get(role))
        if step.for_each is None:
            jobs.append(Job(name, seconds, needs, role))
        else:
            count = items_of(name, step, items)
            guessed += [name] if count is None else []
            first = len(jobs)
            jobs += [Job(name, seconds, needs, role) for _ in range(GUESSED_ITEMS if count is None else count)]
            jobs.append(Job(name, 0.0, tuple(range(first, len(jobs))) or needs, ""))
        last[name] = len(jobs) - 1
    return jobs, tuple(guessed)


def items_of(name: str, step: Step, files: Mapping[str, int]) -> int | None:
    """How many items a for_each has; None where a result will say."""
    assert step.for_each is not None
    if step.for_each.listed is not None:
        return len(step.for_each.listed)
    return files.get(name, 0) if step.for_each.globs else None


def _simulated(
    jobs: Sequence[Job], paths: Mapping[int, float], slots: int, crews: Mapping[str, int]
) -> tuple[float, Mapping[str, float]]:
    """When the last job ends, the one with the longest path going first; and how long any of each role runs."""
    missing = [len(job.needs) for job in jobs]
    behind: defaultdict[int, list[int]] = defaultdict(list)
    for number, job in enumerate(jobs):
        for need in job.needs:
            behind[need].append(number)
    ready = [(-paths[number], number) for number, count in enumerate(missing) if not count]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now, of_role = 0.0, defaultdict[str, int](int)
    busy: defaultdict[str, float] = defaultdict(float)
    while ready or running:
        held = []
        while ready and len(running) < slots:
            entry = heapq.heappop(ready)
            role = jobs[entry[1]].role
            if role in crews and of_role[role] >= crews[role]:
                held.append(entry)
                continue
            of_role[role] += 1
            heapq.heappush(running, (now + jobs[entry[1]].seconds, entry[1]))
        for entry in held:
            heapq.heappush(ready, entry)
        then, number = heapq.heappop(running)
        for role, count in of_role.items():
            busy[role] += then - now if count else 0.0
        now = then
        of_role[jobs[number].role] -= 1
        for other in behind[number]:
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(ready, (-paths[other], other))
    return now, busy


def _critical(jobs: Sequence[Job], paths: Mapping[int, float]) -> list[int]:
    """The jobs of the longest path, the first first."""
    behind: defaultdict[int, list[int]] = defaultdict(list)
    for number, job in enumerate(jobs):
        for need in job.needs:
            behind[need].append(number)
    walk: list[int] = []
    following = [number for number, job in enumerate(jobs) if not job.needs]
    while following:
        walk.append(max(following, key=lambda number: paths[number]))
        following = behind[walk[-1]]
    return walk


def _price(plan: Plan, jobs: Sequence[Job], known: Learnt, model: Model | None, priced_as: str) -> Price:
    """Each step as forks of what it needs, and fresh; those that need nothing begin with nothing either way."""
    work, shared = known.work, known.shared_tokens
    counts: defaultdict[str, int] = defaultdict(int)
    for job in jobs:
        counts[job.step] += job.seconds > 0
    grows = work.turns * (work.output_tokens + work.result_tokens)
    least = model.min_cacheable_tokens if model is not None else 0
    first = tally(model, conversation(work, cached=0, new=shared, min_cacheable=least)).cost
    root = tally(model, conversation(work, cached=shared, new=PROMPT_TOKENS, min_cacheable=least)).cost
    fork = fresh = max(0.0, first - root)  # what all begin with is written to the cache once, by whoever comes first
    in_usd = model is not None and any(tier.input for tier in model.prices)
    for name, step in plan.steps.items():
        if not counts[name]:
            continue
        if not step.needs:
            fork, fresh = fork + root * counts[name], fresh + root * counts[name]
            continue
        setting = Setting(
            prefix_tokens=shared + grows,
            shared_tokens=shared,
            children=counts[name],
            model=model,
            work=work,
            sibling_tokens=0,
        )
        ways = {context: economics.price(setting, context) for context in ("fork", "fresh")}
        fresh += ways["fresh"].cost
        fork += ways["fork"].cost if ways["fork"].why_not is None else ways["fresh"].cost
    turns = sum(counts.values()) * work.turns
    return Price(fork, fresh, alone(model, work, shared_tokens=shared, turns=turns), in_usd, priced_as)
