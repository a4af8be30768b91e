"""The files that a task is to change, said before it begins: patterns, which a scheduler may go by.

They are no right and no bound: a task may change other files, and what it says keeps nobody out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from prong.state import Invalid

PATTERNS = 100
"""The most patterns of one task."""

PATTERN_CHARACTERS = 500

_EXPECTED = (
    f"up to {PATTERNS} patterns of files of up to {PATTERN_CHARACTERS} characters, as seen from the repository's root,"
    " such as src/parser/** or docs/*.md"
)


def checked(patterns: Sequence[str]) -> str | None:
    """The patterns as they are stored, JSON, in order and each once; None for none.  Raises `Invalid`.

    >>> checked(["src/**", "./docs/", "src/**"])
    '["docs", "src/**"]'
    """
    if isinstance(patterns, str) or len(patterns) > PATTERNS:
        raise Invalid("the files that a task is to write", _EXPECTED)
    found = sorted({_plain(pattern) for pattern in patterns})
    return json.dumps(found) if found else None


def _plain(pattern: str) -> str:
    plain = pattern.removeprefix("./").rstrip("/") if isinstance(pattern, str) else ""
    parts = plain.split("/")
    if not 0 < len(plain) <= PATTERN_CHARACTERS or "\0" in plain or any(part in ("", ".", "..") for part in parts):
        # Whatever else came instead may be nested deeper than it could be shown.
        shown = repr(pattern[:PATTERN_CHARACTERS]) if isinstance(pattern, str) else f"a {type(pattern).__name__}"
        raise Invalid(f"{shown} as files that a task is to write", _EXPECTED)
    return plain
