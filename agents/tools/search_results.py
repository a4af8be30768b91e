"""What a search answers: the results that fit, and how many there were."""

from __future__ import annotations

from prong.agents.tools.search_definitions import RESULT_CHARACTERS, RESULTS_MOST


class Shown:
    """The results that fit into the answer, and how many there were."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = RESULT_CHARACTERS
        self._lines: list[str] = []
        self._beside = 0
        self.total = 0
        self.counted = 0

    def add(self, line: str, *, count: int = 1) -> None:
        """Take the next result."""
        self.total += 1
        self.counted += count
        self._left -= len(line) + 1
        if self.total <= self._limit and self._left >= 0:
            self._lines.append(line)

    def add_beside(self, line: str) -> None:
        """Take a line that is no result, but belongs to one that is shown."""
        self._left -= len(line) + 1
        if self.total <= self._limit and self._left >= 0:
            self._lines.append(line)
            self._beside += 1

    def text(self, what: str, *, none: str) -> str:
        """What the model reads of `what` was looked for."""
        if not self.total:
            return none
        results = len(self._lines) - self._beside
        if results == self.total:
            return "\n".join([*self._lines, f"[{what}: {self.total:,}]"])
        advice = (
            "narrow the search" if self.total > RESULTS_MOST or self._left < 0 else "narrow it or raise max_results"
        )
        return "\n".join([*self._lines, f"[{what}: {self.total:,}, of which {results:,} are shown; {advice}]"])
