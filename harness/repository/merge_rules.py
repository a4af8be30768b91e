"""What the merge queue obeys: how finished work is checked, how often it may come back, how many are taken at once."""

from __future__ import annotations

import os
from dataclasses import dataclass

MOST_TOGETHER = 100
"""The most tasks that are merged and checked at once."""

MOST_PARALLEL = 4
"""The most checks that run at once where nobody says how many."""


@dataclass(frozen=True, slots=True)
class MergeRules:
    """`check` is the command that must end with 0 (None: nothing is checked), for at most `timeout_s`.

    A failing check is run `tries` times before it counts.  Work comes back to its agent until it was handed in
    `attempts` times.  With `batch` 1 every commit on the branch was checked itself, and where the line is long
    `parallel` of them are, at once (None: half as many as there are processors); with more, so many tasks are checked
    by one run and reach the branch together.
    """

    check: str | None = None
    timeout_s: float = 600.0
    tries: int = 1
    batch: int = 1
    parallel: int | None = None
    attempts: int = 3

    @property
    def at_once(self) -> int:
        """How many checks run at once."""
        return self.parallel or max(1, min(MOST_PARALLEL, (os.cpu_count() or 1) // 2))


@dataclass(frozen=True, slots=True)
class Round:
    """What the queue takes next: so many from the head of the line, checked `together` by one run or each by itself."""

    count: int
    together: bool


def next_round(rules: MergeRules, *, waiting: int, suspects: int) -> Round:
    """How many of those who wait are taken.

    `suspects` are the first of the line, among whom a check has failed that none of them has yet failed alone (0:
    nobody is suspected).  Each round halves them: a half that passes is merged, one that fails is halved again, and who
    fails alone is the culprit, after about log2 of them checks.

    >>> next_round(MergeRules("make test", batch=8), waiting=20, suspects=0)
    Round(count=8, together=True)
    >>> next_round(MergeRules("make test", batch=8), waiting=20, suspects=8)
    Round(count=4, together=True)
    >>> next_round(MergeRules("make test", batch=1, parallel=3), waiting=20, suspects=0)
    Round(count=3, together=False)
    """
    if rules.check is None:
        return Round(min(1, waiting), together=False)
    if rules.batch > 1:
        most = min(rules.batch, MOST_TOGETHER)
        return Round(min(waiting, max(1, suspects // 2) if suspects else most), together=True)
    return Round(min(waiting, rules.at_once), together=False)


def suspects_after(before: int, *, taken: int, passed: bool) -> int:
    """Who is suspected after a round that took so many of the line's head.

    >>> suspects_after(0, taken=8, passed=False), suspects_after(8, taken=4, passed=True)
    (8, 4)
    """
    if not passed:
        return taken if taken > 1 else max(0, before - 1)
    return max(0, before - taken)
