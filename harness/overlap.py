"""Whether two tasks have said that they will write the same file: a question that is asked of thousands of pairs.

Most patterns are names or begin with one, and most tasks write in other places: that a set tells.  Only those that lie
below one another are laid side by side, and where even that would take long the answer is yes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from prong.harness.repository.patterns import compiled

CELLS = 500_000
"""So much work at most is one pair of tasks, in pairs of letters: two that would take more are taken to overlap."""


def overlap(one: str, other: str) -> bool:
    """Whether some file may be meant by both patterns; a name without a suffix stands for all below it, too.

    >>> [overlap("src/**", other) for other in ("src/a.py", "**/a.py", "src", "docs/**", "*.md")]
    [True, True, True, False, False]
    >>> overlap("a*c/x", "ab*/?"), overlap("a*c/x", "ab*d/x"), overlap("*.py", "src/*.py")
    (True, False, False)
    >>> overlap("**/test_*.py", "src/b.py"), overlap(".github", ".github/workflows/*.yml")
    (False, True)
    """
    return _meet(_parts(one), _parts(other), _same_part, many="**")


def both_say(one: str, other: str) -> bool:
    """The same of what is stored with two tasks."""
    return _both_say(min(one, other), max(one, other))


def meant(said: str, below: dict[str, set[str]]) -> frozenset[str]:
    """Which of the files a task's patterns mean; `below` has them by all that stands above them, as `by_folder` has."""
    found: set[str] = set()
    for pattern in _said(said).patterns:
        near: Collection[str] = below.get(pattern.head, ())
        if pattern.is_plain:
            found |= set(near)
        elif near:
            covers = compiled(pattern.text)
            found |= {path for path in near if covers.fullmatch(path)}
    return frozenset(found)


def by_folder(paths: Collection[str]) -> dict[str, set[str]]:
    """The paths by themselves and by each folder above them, "" for the root."""
    below: dict[str, set[str]] = {}
    for path in paths:
        for folder in _up(path):
            below.setdefault(folder, set()).add(path)
    return below


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A pattern, and what it begins with before the first wildcard: of a plain one, all of it."""

    text: str
    head: str
    is_plain: bool


@dataclass(frozen=True, slots=True)
class _Said:
    """The patterns of a task, what they begin with, and that with all that stands above it."""

    patterns: tuple[_Pattern, ...]
    heads: frozenset[str]
    reach: frozenset[str]


@functools.lru_cache(maxsize=10_000)
def _said(text: str) -> _Said:
    patterns = tuple(_Pattern(one, "/".join(_head(one)), _is_plain(one)) for one in json.loads(text))
    heads = frozenset(one.head for one in patterns)
    return _Said(patterns, heads, frozenset(above for head in heads for above in _up(head)))


@functools.lru_cache(maxsize=50_000)
def _both_say(one: str, other: str) -> bool:
    mine, theirs = _said(one), _said(other)
    if mine.heads.isdisjoint(theirs.reach) and theirs.heads.isdisjoint(mine.reach):
        return False
    left = CELLS
    for pattern in mine.patterns:
        for against in theirs.patterns:
            if not _is_below(pattern.head, against.head) and not _is_below(against.head, pattern.head):
                continue
            left -= len(pattern.text) * len(against.text)
            if left < 0 or overlap(pattern.text, against.text):
                return True
    return False


def _is_below(one: str, other: str) -> bool:
    return not other or one == other or one.startswith(f"{other}/")


def _is_plain(text: str) -> bool:
    return "*" not in text and "?" not in text


def _head(pattern: str) -> Iterator[str]:
    for part in pattern.split("/"):
        if not _is_plain(part):
            return
        yield part


def _up(path: str) -> Iterator[str]:
    """The path, each folder above it, and "" for the root."""
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""


def _parts(pattern: str) -> tuple[str, ...]:
    """The parts between slashes, and all below; `**` within a part may stand for several."""
    parts = ["**" if "**" in part else part for part in pattern.removeprefix("./").rstrip("/").split("/")]
    # What has a suffix is a file: else `**/*.py` would meet every file there is, were that a folder.
    return (*parts,) if "." in parts[-1][1:] else (*parts, "**")


def _same_part(one: str, other: str) -> bool:
    if _is_plain(one) and _is_plain(other):
        return one == other
    return _meet(tuple(one), tuple(other), lambda a, b: a == b or "?" in (a, b), many="*")


def _meet(one: Sequence[str], other: Sequence[str], same: Callable[[str, str], bool], *, many: str) -> bool:
    """Whether two rows have a common reading, where `many` stands for any number of anything."""
    reach = [all(part == many for part in other[:count]) for count in range(len(other) + 1)]
    for left in one:
        row = [reach[0] and left == many]
        for place, right in enumerate(other):
            if many in (left, right):  # it stands for nothing, or for one more of the other row
                row.append(reach[place + 1] or row[place])
            else:
                row.append(reach[place] and same(left, right))
        reach = row
    return reach[-1]
