"""Values of the front matter, each of which knows its name and where it stands."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prong.harness.rules.invalid import Problem, quoted
from prong.state import Invalid

if TYPE_CHECKING:
    import yaml

Reader = Callable[["Value"], Any]
"""Returns what the value means, or raises `Invalid`: what it is, as a predicate, and what would have done."""

MOST_PROBLEMS = 100
"""Nobody mends more at once; reading ends there."""

_YAML = "tag:yaml.org,2002:"
_KINDS = ("null", "bool", "int", "float", "str", "timestamp", "map", "seq", "merge", "value")
_TAGS = {f"{_YAML}{kind}" for kind in _KINDS}
_SHOWN = {"map": "is a mapping", "seq": "is a list", "null": "has no value"}
_SHOWN_WITH_TEXT = {"bool": "is the truth value", "timestamp": "is the date"}
_NAME_SHOWN = 80


class EnoughProblems(Exception):
    """There are so many that the rest is not looked at."""


@dataclass(slots=True)
class Paper:
    """The file that is read: what is wrong in it, what it says, and which names it has given so far.

    `text` is its front matter, which `lines_above` precede; `names` are the dotted names of all rules that there are.
    """

    text: str
    lines_above: int
    root: Path | None
    names: tuple[str, ...] = ()
    problems: list[Problem] = field(default_factory=list)
    said: set[str] = field(default_factory=set)
    priorities: Mapping[str, int] = field(default_factory=dict)
    roles: tuple[str, ...] = ()

    def wrong(self, mark: yaml.Mark, what: str, needed: str) -> None:
        """Note a problem; raises `EnoughProblems`."""
        column = mark.index - self.text.rfind("\n", 0, mark.index)
        self.problems.append(Problem(self.line(mark.index), column, what, needed))
        if len(self.problems) >= MOST_PROBLEMS:
            raise EnoughProblems

    def line(self, index: int) -> int:
        """The line of a character.  YAML knows more ends of lines than editors, which count these alone."""
        return self.lines_above + self.text.count("\n", 0, index) + 1


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its dotted name, where it stands, and what is written there."""

    name: str
    node: yaml.Node
    paper: Paper

    @property
    def kind(self) -> str:
        """What YAML takes it for: `str`, `int`, `bool`, `map`, `seq`, …"""
        return str(self.node.tag).removeprefix(_YAML)

    def shown(self) -> str:
        """What is there, as the predicate of an error."""
        if self.kind in _SHOWN:
            return _SHOWN[self.kind]
        return f"{_SHOWN_WITH_TEXT.get(self.kind, 'is')} {self._written()}"

    def own_name(self) -> str:
        """The name, short enough for an error and harmless to a terminal."""
        return quoted(self.name)[1:-1] if self.name else "the front matter"

    def entries(self) -> Iterator[tuple[yaml.Node, Value]]:
        """The keys and values of a mapping; what stands twice, or under a key that is no word, is a problem."""
        if self.kind == "null":  # all below it is commented out
            return
        if self.kind != "map":
            raise Invalid(self.shown(), 'a mapping, which is lines of "key: value",')
        first: dict[str, int] = {}
        for key, node in self.node.value:
            if key.id != "scalar" or key.tag not in _TAGS:
                self.paper.wrong(key.start_mark, f"{self.own_name()} has a key that is no word", "a word is needed")
                continue
            inner = Value(f"{self.name}.{key.value}".lstrip("."), node, self.paper)
            if key.value in first:
                what = f"{inner.own_name()} stands in line {first[key.value]} already"
                self.paper.wrong(key.start_mark, what, "keep one of the two")
                continue
            first[key.value] = self.paper.line(key.start_mark.index)
            yield key, inner

    def read(self, reader: Reader) -> Any:
        """What the reader makes of it; where it cannot be used that is noted, and None returned."""
        try:
            self._refuse_tag()
            return reader(self)
        except Invalid as error:
            self.paper.wrong(self.node.start_mark, f"{self.own_name()} {error.what}", f"{error.expected} is needed")
            return None

    def _refuse_tag(self) -> None:
        if self.node.tag not in _TAGS:
            raise Invalid(f"has the YAML tag {quoted(self.node.tag)}", "a value without a tag")

    def _written(self) -> str:
        return quoted(self.node.value) if self.kind == "str" else quoted(self.node.value)[1:-1]


def rule(default: Any, reader: Reader, *, key: str | None = None, fixed: bool = False, part: type | None = None) -> Any:
    """A field of a record: its default, and how it is read.

    `key` is its name in the file where that is another; `fixed` says that it holds for the life of a swarm, and `part`
    what record it is, or its values are.
    """
    metadata = {"reader": reader, "key": key, "fixed": fixed, "part": part}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def rules_of(kind: type) -> dict[str, dataclasses.Field[Any]]:
    """Key in the file -> field, for the fields of a record that stand in the file, in their order."""
    of_file = (one for one in dataclasses.fields(kind) if "reader" in one.metadata)
    return {one.metadata["key"] or one.name: one for one in of_file}


def dotted_names(kind: type, prefix: str = "") -> Iterator[str]:
    """The names of all rules below a record; `NAME` stands for the user's own.

    A rule that is a record is not one of them, what is in it is.
    """
    for key, one in rules_of(kind).items():
        part = one.metadata["part"]
        if part is None:
            yield f"{prefix}{key}"
        else:
            yield from dotted_names(part, f"{prefix}{key}.NAME." if one.default_factory is dict else f"{prefix}{key}.")


def similar(given: str, known: Iterable[str]) -> str | None:
    """A known word that was probably meant."""
    close = difflib.get_close_matches(given[:_NAME_SHOWN].replace("-", "_"), list(known), n=1)
    return close[0] if close else None
