"""Markdown that no name can break."""

from __future__ import annotations

import re
from collections.abc import Sequence


def code(text: str) -> str:
    """A code span, whatever is in the text: its fence is longer than any run of backticks inside."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    # A reader takes one space off either side if there is one on both, so such a span gets two more.
    pad = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{fence}{pad}{text}{pad}{fence}" if text else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str | int]]) -> list[str]:
    """A table whose columns of numbers are flush right; a pipe in a cell is escaped, as it must be even in code."""
    numbers = [all(isinstance(row[column], int) for row in rows) for column in range(len(heads))]
    rule = ["---:" if number else "---" for number in numbers]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in (heads, rule, *rows)]


def section(title: str, *lines: str) -> list[str]:
    """A heading and what stands under it."""
    return ["", f"## {title}", "", *lines]
