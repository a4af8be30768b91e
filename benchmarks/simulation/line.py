"""Those who want a slot, in the order of the scheduler: what an index of the database is to the real one.

As an index does, it holds what it orders by in blocks of plain numbers that lie side by side, so that a step costs the
same however many stand in the line: a heap of objects would jump through all of the memory that they fill.

    (level, begun) --> blocks: [ paths | since | tasks ] [ … ] [ … ]        each block and all of them in order
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from prong.harness.scheduler import Candidate, Rank, rank

BLOCK = 512
"""A block that would grow beyond twice of this is split."""

Key = tuple[float, float, int]
"""What is left of a rank within one level: less path, since, task."""


class _Block:
    """Some keys in order, column by column."""

    __slots__ = ("paths", "since", "tasks")

    def __init__(self, keys: list[Key]) -> None:
        self.paths = array("d", [key[0] for key in keys])
        self.since = array("d", [key[1] for key in keys])
        self.tasks = array("q", [key[2] for key in keys])

    def place(self, key: Key) -> int:
        """How many keys are less."""
        path, since, task = key
        low = bisect_left(self.paths, path)
        high = bisect_right(self.paths, path, low)
        if low < high:
            low = bisect_left(self.since, since, low, high)
            high = bisect_right(self.since, since, low, high)
            low = bisect_left(self.tasks, task, low, high)
        return low

    def insert(self, place: int, key: Key) -> None:
        self.paths.insert(place, key[0])
        self.since.insert(place, key[1])
        self.tasks.insert(place, key[2])

    def drop(self, place: int) -> None:
        del self.paths[place], self.since[place], self.tasks[place]

    def keys(self) -> list[Key]:
        return list(zip(self.paths, self.since, self.tasks, strict=True))

    def __len__(self) -> int:
        return len(self.tasks)


class _Level:
    """All of one level that have begun, or that have not; never empty."""

    __slots__ = ("blocks", "firsts")

    def __init__(self, keys: list[Key]) -> None:
        """`keys` are in order."""
        self.blocks = [_Block(keys[at : at + BLOCK]) for at in range(0, len(keys), BLOCK)]
        self.firsts = _Block([keys[at] for at in range(0, len(keys), BLOCK)])  # the first key of each block, or less

    def _which(self, key: Key) -> int:
        """The block where a key belongs."""
        firsts = self.firsts
        place = firsts.place(key)
        if place < len(firsts) and (firsts.paths[place], firsts.since[place], firsts.tasks[place]) == key:
            return place
        return max(0, place - 1)

    def put(self, key: Key) -> None:
        which = self._which(key)
        block = self.blocks[which]
        place = block.place(key)
        block.insert(place, key)
        if place == 0 and which == 0:
            self.firsts.drop(0)
            self.firsts.insert(0, key)
        if len(block) > 2 * BLOCK:
            keys = block.keys()
            self.blocks[which : which + 1] = _Block(keys[:BLOCK]), _Block(keys[BLOCK:])
            self.firsts.insert(which + 1, keys[BLOCK])

    def remove(self, key: Key) -> None:
        which = self._which(key)
        block = self.blocks[which]
        block.drop(block.place(key))
        if not block:
            del self.blocks[which]
            self.firsts.drop(which)

    def tasks(self) -> Iterator[int]:
        for block in self.blocks:
            yield from block.tasks


class Line:
    """Who wants a slot, by task, and the order in which they go."""

    def __init__(self) -> None:
        self.wanting: dict[int, Candidate] = {}
        self._levels: dict[tuple[int, bool], _Level] = {}
        self._order: list[tuple[int, bool]] = []

    def put(self, candidate: Candidate) -> None:
        """Somebody wants a slot, or stands elsewhere in the line from now on."""
        self.remove(candidate.task)
        self.wanting[candidate.task] = candidate
        which, key = _split(rank(candidate))
        level = self._levels.get(which)
        if level is None:
            self._levels[which] = _Level([key])
            insort(self._order, which)
        else:
            level.put(key)

    def put_all(self, candidates: list[Candidate]) -> None:
        """The same for everybody at once, instead of whoever was there."""
        self.wanting = {one.task: one for one in candidates}
        keys: dict[tuple[int, bool], list[Key]] = {}
        for one in sorted(map(rank, candidates)):
            which, key = _split(one)
            keys.setdefault(which, []).append(key)
        self._levels = {which: _Level(some) for which, some in keys.items()}
        self._order = sorted(keys)

    def remove(self, task: int) -> None:
        """A task goes, or wants no slot any more."""
        candidate = self.wanting.pop(task, None)
        if candidate is None:
            return
        which, key = _split(rank(candidate))
        level = self._levels[which]
        level.remove(key)
        if not level.blocks:
            del self._levels[which]
            self._order.remove(which)

    def head(self, count: int) -> list[Candidate]:
        """The first so many."""
        found: list[Candidate] = []
        if count:
            for which in self._order:
                for task in self._levels[which].tasks():
                    found.append(self.wanting[task])
                    if len(found) == count:
                        return found
        return found


def _split(place: Rank) -> tuple[tuple[int, bool], Key]:
    level, is_new, path, since, task = place
    return (level, is_new), (path, since, task)
