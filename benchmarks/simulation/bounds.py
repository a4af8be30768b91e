"""What no scheduler can beat: lower bounds on the time that a graph takes on so many slots."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

from .graphs import Graph


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds.  `plain` is the larger of the critical path and all work / slots; `best` is the largest proven."""

    plain: float
    best: float


@dataclass(slots=True)
class _Job:
    """A stretch in a slot: it cannot begin before `head`, and `tail` seconds follow its end."""

    run_s: float
    after: list[tuple[_Job, float]] = field(default_factory=list)  # which must have ended, and how long before
    head: float = 0.0
    tail: float = 0.0


def bounds(graph: Graph, slots: int, backoff_s: float) -> Bounds:
    """Those of a graph whose tasks all run (of those that failed for good, nobody needs any).

    A job is one attempt, or what a parent runs when its children have ended.

    - For every set S of at least `slots` jobs: each slot's first job of S begins no earlier than its head, and its last
      is followed by its tail; no two slots share these, so slots * time >= work of S + the `slots` smallest heads + the
      `slots` smallest tails (Carlier 1987).  The sets that are tried hold all jobs with heads and tails from some
      value up.
    - Of the k * slots + 1 longest jobs, k + 1 must share a slot, which takes as long as the k + 1 shortest of these.
    - Where every other job must come before or after one job, what is before it, it, and what is after it take the sum
      of their times.  So these bounds are taken of each such section, and added.
    """
    jobs = _jobs(graph, backoff_s)
    plain = max(_path(jobs), sum(job.run_s for job in jobs) / slots)
    whole = any(work.created_at > 0 for work in graph.values())  # a head is no distance from the section's beginning
    sections = [jobs] if whole else _sections(jobs)
    return Bounds(plain, max(plain, sum(_best(section, slots) for section in sections)))


def _path(jobs: list[_Job]) -> float:
    return max((job.head + job.run_s + job.tail for job in jobs), default=0.0)


def _best(jobs: list[_Job], slots: int) -> float:
    if len(jobs) == 1:
        return jobs[0].run_s
    return max(_path(jobs), sum(job.run_s for job in jobs) / slots, _sharing(jobs, slots), *_crowds(jobs, slots))


def _sections(jobs: list[_Job]) -> list[list[_Job]]:
    """The jobs before, between and after those that all others come before or after, and these alone.

    Such a job is the only end of all that stands before it in the order, and the only beginning of all behind it.
    """
    place = {id(job): number for number, job in enumerate(jobs)}
    ends, begins = [0] * (len(jobs) + 1), [0] * (len(jobs) + 1)
    follower = [len(jobs)] * len(jobs)  # the first job that comes after this one
    for number, job in enumerate(jobs):
        before = [place[id(other)] for other, _ in job.after]
        for one in before:
            follower[one] = min(follower[one], number)
        begins[max(before, default=-1) + 1] += 1
        begins[number + 1] -= 1
    for number, first in enumerate(follower):
        ends[number] += 1
        ends[first] -= 1
    sections: list[list[_Job]] = [[]]
    for job, end, begin in zip(jobs, accumulate(ends[:-1]), accumulate(begins[:-1]), strict=True):
        if end == begin == 1:
            sections += [[job], []]
        else:
            sections[-1].append(job)
    return [_alone(section) for section in sections if section]


def _alone(jobs: list[_Job]) -> list[_Job]:
    """A section as if there were nothing else."""
    head, tail = min(job.head for job in jobs), min(job.tail for job in jobs)
    return [replace(job, head=job.head - head, tail=job.tail - tail) for job in jobs]


def _sharing(jobs: list[_Job], slots: int) -> float:
    lengths = sorted((job.run_s for job in jobs), reverse=True)
    ends = range(slots, len(lengths), slots)
    most = max((sum(lengths[end - k : end + 1]) for k, end in enumerate(ends, 1)), default=0.0)
    return most + min(job.head for job in jobs) + min(job.tail for job in jobs)


def _crowds(jobs: list[_Job], slots: int) -> Iterator[float]:
    """The bound of every set of jobs with heads from one of some values, and tails from any value up."""
    heads = sorted({job.head for job in jobs})
    tried = max(3, min(40, 400_000 // len(jobs)))
    by_tail = sorted(jobs, key=lambda job: -job.tail)
    yield 0.0
    for least in heads[:: max(1, len(heads) // tried)]:
        smallest: list[float] = []  # heads, the largest first
        early = work = late = 0.0
        members: list[float] = []
        for job in by_tail:
            if job.head < least:
                continue
            members.append(job.tail)
            work += job.run_s
            late += job.tail
            early += job.head
            heapq.heappush(smallest, -job.head)
            if len(members) > slots:
                late -= members[-1 - slots]
                early += heapq.heappop(smallest)
            if len(members) >= slots:
                yield (early + work + late) / slots


def _jobs(graph: Graph, backoff_s: float) -> list[_Job]:
    """All jobs, what comes before standing before, with their heads and tails."""
    first: dict[int, _Job] = {}
    attempt: dict[int, _Job] = {}
    last: dict[int, _Job] = {}
    jobs: list[_Job] = []
    for task, work in graph.items():
        lengths = [*work.failed_s, *([] if work.given_up else [work.run_s])]
        attempts = [_Job(run_s) for run_s in lengths]
        for number, (one, other) in enumerate(pairwise(attempts)):
            other.after.append((one, backoff_s * 2**number))
        first[task], attempt[task] = attempts[0], attempts[-1]
        last[task] = _Job(work.join_s) if work.children else attempts[-1]
        first[task].head = work.created_at
        jobs += attempts + ([last[task]] if work.children else [])
    for task, work in graph.items():
        first[task].after += [(last[need], 0.0) for need in work.needs if need in last]
        for child in work.children:
            first[child].after.append((attempt[task], 0.0))
            last[task].after.append((last[child], 0.0))
    jobs = _in_order(jobs)
    for job in jobs:
        job.head = max([job.head, *(before.head + before.run_s + wait_s for before, wait_s in job.after)])
    for job in reversed(jobs):
        for before, wait_s in job.after:
            before.tail = max(before.tail, job.tail + job.run_s + wait_s)
    return jobs


def _in_order(jobs: list[_Job]) -> list[_Job]:
    left = {id(job): len(job.after) for job in jobs}
    behind: dict[int, list[_Job]] = {id(job): [] for job in jobs}
    for job in jobs:
        for before, _ in job.after:
            behind[id(before)].append(job)
    order = [job for job in jobs if not job.after]
    for job in order:  # which grows while it is read
        for other in behind[id(job)]:
            left[id(other)] -= 1
            if left[id(other)] == 0:
                order.append(other)
    return order
