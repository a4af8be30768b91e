"""Who goes before whom: figures that are stored with a task, so that the line of ready tasks is an index.

Pure: numbers in, numbers out.  Nothing here changes with time, so nothing has to be written again while tasks wait.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

AGEING_S = 14_400.0
"""How long a task waits until it goes before what is one priority higher and became ready then, in seconds."""

ESTIMATE_S = 300.0
"""How long a task is expected to run while nothing of its role has finished, in seconds."""


def level(priority: int, raised: int | None, ready_at: float, ageing_s: float = AGEING_S) -> int:
    """The effective priority of a task that became ready at `ready_at`; higher goes first.

    Waiting raises everybody equally fast, so it need not be added: it is enough to take from each task what it missed
    by being ready later.  `raised` is the priority of somebody who waits for the task (`raised`), None where nobody
    higher does.

    Nothing starves: a task of priority p waits behind one of priority q >= p only if that became ready less than
    (q - p + 1) * ageing_s after it.

    >>> level(0, None, ready_at=0, ageing_s=300) > level(2, None, ready_at=900, ageing_s=300)
    True
    """
    own = priority if raised is None else max(priority, raised)
    return own - math.floor(ready_at / ageing_s)


def longest_paths(estimates: Mapping[int, float], needs: Mapping[int, Iterable[int]]) -> dict[int, float]:
    """How many seconds remain on the longest line of tasks that begins with each: its own, then those that need it.

    `estimates` are the tasks that have not ended, in seconds; `needs` is what each of them needs, or waits for.  What
    is needed and not among them has ended.  Those that need each other in a circle count as far as it was followed.
    Takes time in proportion to tasks and needs.

    >>> longest_paths({1: 5, 2: 10, 3: 1}, {2: [1], 3: [1]})
    {1: 15, 2: 10, 3: 1}
    """
    left = dict.fromkeys(estimates, 0)
    for task in estimates:
        for need in needs.get(task, ()):
            if need in left:
                left[need] += 1
    behind: dict[int, float] = dict.fromkeys(estimates, 0)
    ends = [task for task, count in left.items() if count == 0]
    for task in ends:  # which grows while it is read: whoever is needed by none that is not counted yet
        path = estimates[task] + behind[task]
        for need in needs.get(task, ()):
            if need in left:
                behind[need] = max(behind[need], path)
                left[need] -= 1
                if left[need] == 0:
                    ends.append(need)
    return {task: estimate + behind[task] for task, estimate in estimates.items()}


def lengthened(
    new: Sequence[int], estimates: Mapping[int, float], needs: Mapping[int, Iterable[int]], paths: Mapping[int, float]
) -> dict[int, float]:
    """The paths that are longer than `paths` says because `new` tasks were created, theirs among them.

    Looks only at what the new ones need and what that needs, as far as it matters, so that one more task in a large
    graph costs little; the mappings may read what they are asked for.  Tasks without an estimate have ended.

    >>> lengthened([3], {1: 5, 2: 5, 3: 20}, {3: [2], 2: [1]}, {1: 10, 2: 5})
    {3: 20, 2: 25, 1: 30}
    """
    longer: dict[int, float] = {}
    followed: dict[int, int] = defaultdict(int)
    reached = [(task, estimates[task]) for task in new if task in estimates]
    for task, path in reached:  # which grows while it is read
        if path <= longer.get(task, paths.get(task, -1.0)):
            continue
        longer[task] = path
        followed[task] += 1
        if followed[task] > len(longer):  # round a circle: it would grow for ever
            continue
        reached += [(need, estimates[need] + path) for need in needs.get(task, ()) if need in estimates]
    return longer


def raised(priorities: Mapping[int, int], waits_for: Mapping[int, Collection[int]]) -> dict[int, int]:
    """The tasks that somebody of higher priority waits for, and the highest priority of those; nobody else.

    Who waits for a task waits for all that it waits for; circles do no harm.  `waits_for` holds needs and waits alike:
    task -> those that must go on before it can.  Takes time in proportion to tasks and waits, and their sorting.

    >>> raised({1: 0, 2: 0, 3: 5}, {3: [2], 2: [1]})
    {2: 5, 1: 5}
    """
    if len(set(priorities.values())) <= 1:  # as in most swarms: nobody is higher than anybody
        return {}
    found: dict[int, int] = {}
    seen: set[int] = set()
    for source in sorted(waits_for, key=lambda task: -priorities.get(task, 0)):
        if source not in priorities or source in seen:
            continue
        seen.add(source)
        highest = priorities[source]
        reached = [source]
        while reached:  # whoever is reached first is reached by the highest
            for target in waits_for.get(reached.pop(), ()):
                if target in priorities and target not in seen:
                    seen.add(target)
                    reached.append(target)
                    if priorities[target] < highest:
                        found[target] = highest
    return found


def estimate(finished: int, spent_s: float, *, before_s: float = ESTIMATE_S) -> float:
    """How long a task of a role will run, in seconds, where `finished` of them ran `spent_s` together.

    What was believed before (`before_s`) counts as one task, so that the first that ends does not decide alone.

    >>> estimate(0, 0), estimate(9, 700)
    (300.0, 100.0)
    """
    return (spent_s + before_s) / (finished + 1)
