"""What a call touches, which decides beside which other calls of its turn it may run.

A thing is a path of names: whoever touches ("map", "m") touches every key of the map m, and whoever touches () touches
everything.  Many may read one thing at once; whoever changes it has it alone.  Calls that conflict run in the order in
which the model wrote them, because models write "edit the file, run the tests" in one turn and mean it so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Touch:
    """One thing that a call touches, alone or beside others who only read it.

    In a declaration, the name `{key}` stands for what the call has under this key.
    """

    thing: tuple[str, ...]
    alone: bool

    def __str__(self) -> str:
        return f"{'changes' if self.alone else 'reads'} {' '.join(self.thing) or 'everything'}"


Touches = Sequence[Touch]
ByOperation = Mapping[str, Touches]
"""What the calls of a tool touch, by operation; under "" stands what the others do."""


def reads(*thing: str) -> Touch:
    """It is only looked at."""
    return Touch(thing, alone=False)


def changes(*thing: str) -> Touch:
    """It may be another one afterwards."""
    return Touch(thing, alone=True)


EVERYTHING: Final = (changes(),)
"""For a call that ends before those behind it begin, and begins when those before it have ended."""

TELLS: Final = (changes("told"), reads("files"))
"""For what others can see: it is told in order, and after the changes of files that stand before it."""

FILES: Final[Mapping[str, ByOperation]] = {
    "bash": {"": (changes("files"),)},
    "str_replace_based_edit_tool": {"view": (reads("files", "{path}"),), "": (changes("files", "{path}"),)},
    "read": {"": (reads("files", "{path}"),)},
    "grep": {"": (reads("files", "{path}"),)},
    "glob": {"": (reads("files", "{path}"),)},
}
"""What the tools of a workspace touch."""


def conflict(one: Touches, other: Touches) -> bool:
    """Whether two calls must keep their order.

    >>> conflict([reads("map", "m")], [changes("map", "m", "key")])
    True
    >>> conflict([changes("file", "a")], [changes("file", "b")])
    False
    >>> conflict([reads("file", "a")], [reads("file", "a")])
    False
    """
    return any((mine.alone or theirs.alone) and _overlap(mine.thing, theirs.thing) for mine in one for theirs in other)


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def touched(declared: ByOperation, given: object, *, locate: Callable[[str], Sequence[str]] | None = None) -> Touches:
    """What a call with the input `given` touches; a malformed one, which will be refused, touches what is left of it.

    `locate` turns a path into names, so that two ways to write one place are one thing.
    """
    inputs = given if isinstance(given, Mapping) else {}
    operation = inputs.get("op", inputs.get("command"))
    found = declared.get(operation if isinstance(operation, str) else "", declared.get("", ()))
    return [Touch(_filled(touch.thing, inputs, locate), touch.alone) for touch in found]


def _filled(
    thing: tuple[str, ...], inputs: Mapping[str, Any], locate: Callable[[str], Sequence[str]] | None
) -> tuple[str, ...]:
    names: list[str] = []
    for name in thing:
        if not name.startswith("{"):
            names.append(name)
            continue
        value = inputs.get(name[1:-1])
        text = value if isinstance(value, str) else ""
        names += [text] if locate is None else locate(text)
    return tuple(names)


def place_below(workspace: Path) -> Callable[[str], Sequence[str]]:
    """How paths relative to `workspace` become names: the real place; none, which is all files, where it has none."""

    def locate(path: str) -> Sequence[str]:
        try:
            return Path(os.path.realpath(workspace / path)).parts
        except (OSError, ValueError):
            return ()

    return locate
