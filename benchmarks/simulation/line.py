"""Those who want a slot, in the order of the scheduler: what an index of the database is to the real one."""

from __future__ import annotations

import heapq

from prong.harness.scheduler import Candidate, Rank, rank


class Line:
    """A heap whose outdated entries are dropped when they come to its head."""

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, Candidate]] = []
        self.wanting: dict[int, Candidate] = {}

    def put(self, candidate: Candidate) -> None:
        """Somebody wants a slot, or stands elsewhere in the line from now on."""
        self.wanting[candidate.task] = candidate
        heapq.heappush(self._heap, (rank(candidate), candidate))

    def put_all(self, candidates: list[Candidate]) -> None:
        """The same for everybody at once, instead of whoever was there."""
        self.wanting = {one.task: one for one in candidates}
        self._heap = [(rank(one), one) for one in candidates]
        heapq.heapify(self._heap)

    def remove(self, task: int) -> None:
        """A task goes, or wants no slot any more."""
        self.wanting.pop(task, None)

    def head(self, count: int) -> list[Candidate]:
        """The first so many."""
        found: list[tuple[Rank, Candidate]] = []
        while self._heap and len(found) < count:
            _, first = self._heap[0]
            if self.wanting.get(first.task) is not first:
                heapq.heappop(self._heap)
            elif count == 1:  # as in most rounds: a look is enough
                return [first]
            else:
                found.append(heapq.heappop(self._heap))
        for entry in found:
            heapq.heappush(self._heap, entry)
        return [candidate for _, candidate in found]
