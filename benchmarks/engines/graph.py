r"""The graphs of tasks that every engine runs: layered, random, and the same in every run.

layer 0    o   o   o   o        every task of a layer needs one to three of the layer before
           |\ /    |  /|
layer 1    o   o   o   o
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

_SEED = 20
_WIDTH = (16, 34)
"""The least and the most tasks of a layer: more than there are workers, so that the bound can nearly be reached."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task that sleeps so many seconds once all that it needs have ended; `index` is its place in the record."""

    index: int
    sleep_s: float = 0.0
    needs: tuple[int, ...] = ()


def layered(size: int, sleep_s: float) -> list[Task]:
    """So many tasks of equal length, each after those that it needs."""
    dice = random.Random(_SEED)
    tasks: list[Task] = []
    before: list[int] = []
    while len(tasks) < size:
        width = min(dice.randint(*_WIDTH), size - len(tasks))
        layer = range(len(tasks), len(tasks) + width)
        tasks += [
            Task(index, sleep_s, tuple(dice.sample(before, dice.randint(1, 3)) if before else ())) for index in layer
        ]
        before = list(layer)
    return tasks


def independent(size: int, *, first: int, sleep_s: float = 0.0) -> list[Task]:
    """So many tasks that need nothing."""
    return [Task(first + number, sleep_s) for number in range(size)]


def lower_bound_s(tasks: Sequence[Task], workers: int) -> float:
    """What nobody can be faster than: the longest path, or all the work on all workers."""
    ends: dict[int, float] = {}
    for task in tasks:
        ends[task.index] = task.sleep_s + max((ends[need] for need in task.needs), default=0.0)
    return max(*ends.values(), sum(task.sleep_s for task in tasks) / workers)


def in_order_s(tasks: Sequence[Task], workers: int) -> float:
    """How long workers need that lose no time and take the tasks as these become ready."""
    free = [0.0] * workers
    line = [(0.0, task) for task in tasks if not task.needs]
    ends: dict[int, float] = {}
    needs = Needs(tasks)
    heap = [(since, task.index, task) for since, task in line]
    while heap:
        since, _, task = heapq.heappop(heap)
        end = max(heapq.heappop(free), since) + task.sleep_s
        heapq.heappush(free, end)
        ends[task.index] = end
        for freed in needs.ended(task.index):
            heapq.heappush(heap, (max(ends[need] for need in freed.needs), freed.index, freed))
    return max(ends.values())


class Needs:
    """Which tasks of a graph are still held up, and by how many others."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._lacking = {task.index: len(task.needs) for task in tasks if task.needs}
        self._dependants: dict[int, list[Task]] = {}
        for task in tasks:
            for need in task.needs:
                self._dependants.setdefault(need, []).append(task)

    @property
    def blocked(self) -> bool:
        """Whether any task is still held up."""
        return bool(self._lacking)

    def ended(self, index: int) -> list[Task]:
        """Which tasks are held up no more, now that this one has ended."""
        freed = []
        for task in self._dependants.pop(index, []):
            self._lacking[task.index] -= 1
            if not self._lacking[task.index]:
                del self._lacking[task.index]
                freed.append(task)
        return freed
