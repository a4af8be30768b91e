"""Patterns of files, as leases and write scopes have them: `*` and `?` within a name, `**` across folders.

A pattern covers what it names and all below.  Most are regular expressions; one with many wildcards, on which those
take time without bound, is read letter by letter, all places where it may have got to at once.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from typing import Protocol

MOST_WILD = 3
"""With more wildcards than this a pattern is no regular expression: those try all ways to share a name among them."""

_PIECES = re.compile(r"(/\*\*$|\*\*/|\*\*|\*|\?)")
_WILD = {"**/": "(?:.*/)?", "/**": "(?:/.*)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


class Pattern(Protocol):
    """What tells whether it covers a whole path, relative to the repository's root."""

    def fullmatch(self, path: str, /) -> object:
        """Something true where it does."""
        ...


@functools.lru_cache(maxsize=10_000)
def compiled(pattern: str) -> Pattern:
    """The pattern for whole paths; what names the repository's root covers all.

    >>> [bool(compiled(pattern).fullmatch("src/a.py")) for pattern in ("src", "/src/", "./", "*.py", "**/?.py")]
    [True, True, True, False, True]
    """
    plain = pattern.removeprefix("./").strip("/")
    pieces = [piece for piece in _PIECES.split("**" if plain in ("", ".") else plain) if piece]
    if sum(piece in _WILD for piece in pieces) > MOST_WILD:
        return _Places(pieces)
    return re.compile("".join(_WILD.get(piece, re.escape(piece)) for piece in pieces) + "(?:/.*)?", re.DOTALL)


class _Places:
    """A pattern as a row of places, one bit each: what has been read may have got to any of those that are set."""

    def __init__(self, pieces: list[str]) -> None:
        self._steps: dict[str, int] = defaultdict(int)  # from these places this letter leads one on
        self._in_name = self._any_stays = self._name_stays = 0  # any but a slash leads on; what may stay where it is
        self._skips: list[tuple[int, int]] = []  # who is at the first may be at the second as well, without a letter
        self._end = 0
        for piece in pieces:
            self._add(piece)
        self._accepts = 1 << self._end
        self._add("/**")
        self._accepts |= 1 << self._end

    def fullmatch(self, path: str, /) -> bool:
        """Whether it covers the path."""
        now = self._spread(1)
        for letter in path:
            on = now & (self._steps.get(letter, 0) | (self._in_name if letter != "/" else 0))
            stay = now & (self._any_stays | (self._name_stays if letter != "/" else 0))
            now = self._spread(on << 1 | stay)
            if not now:
                return False
        return bool(now & self._accepts)

    def _add(self, piece: str) -> None:
        here = self._end
        if piece == "**/":  # nothing, or anything that ends with a slash
            self._skips += [(here, here + 1), (here, here + 2)]
            self._any_stays |= 1 << here + 1
            self._steps["/"] |= 1 << here + 1
            self._end += 2
        elif piece == "/**":  # nothing, or a slash and anything
            self._skips += [(here, here + 2), (here + 1, here + 2)]
            self._steps["/"] |= 1 << here
            self._any_stays |= 1 << here + 1
            self._end += 2
        elif piece in ("*", "**"):
            self._skips.append((here, here + 1))
            self._any_stays |= (piece == "**") << here
            self._name_stays |= 1 << here
            self._end += 1
        elif piece == "?":
            self._in_name |= 1 << here
            self._end += 1
        else:
            for letter in piece:
                self._steps[letter] |= 1 << self._end
                self._end += 1

    def _spread(self, places: int) -> int:
        for one, other in self._skips:  # they stand in order, so one pass is enough
            if places >> one & 1:
                places |= 1 << other
        return places
