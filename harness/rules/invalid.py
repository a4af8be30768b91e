"""What is wrong in a file of rules: every problem with its line, all of them at once."""

from __future__ import annotations

from dataclasses import dataclass

from prong.state import ProngError

_SHOWN = 60
"""A value is shown in an error with so many characters at most."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where (both count from 1), what it is, and what would be right."""

    line: int
    column: int
    what: str
    needed: str

    def __str__(self) -> str:
        return f"{self.what}; {self.needed}"


class RulesInvalid(ProngError):
    """A file of rules cannot be used; `problems` are in the order of their lines, and there is at least one."""

    def __init__(self, path: str, problems: tuple[Problem, ...]) -> None:
        self.path = path
        self.problems = problems

    @property
    def line(self) -> int:
        """The line of the first problem, from 1."""
        return self.problems[0].line

    @property
    def column(self) -> int:
        """Its column, from 1."""
        return self.problems[0].column

    def __str__(self) -> str:
        return "\n".join(f"{self.path}:{problem.line}: {problem}" for problem in self.problems)


def quoted(text: str) -> str:
    r"""A text of the file in quotes, short and harmless to a terminal.

    >>> quoted("eight"), quoted("a" + chr(27) + "[2J"), quoted("x" * 100)[-5:]
    ('"eight"', '"a\\x1b[2J"', 'xxx…"')
    """
    shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    plain = "".join(one if one.isprintable() else repr(one)[1:-1] for one in shown)
    return f'"{plain}"'
