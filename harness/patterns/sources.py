"""Where items come from: files of the repository, lines, JSON objects.

--over 'src/**/*.py'   files as git knows them at the commit that the swarm begins from; one that has changed since
                       is another item
--lines FILE           lines that are not empty
--jsonl FILE           one JSON value a line
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from prong.harness.patterns.mapping import Item, items_of
from prong.harness.repository.repository import Repository
from prong.state import Invalid

SHOWN_CHARACTERS = 80
_LINKS_AND_MODULES = ("120000", "160000")


def files(repository: Repository, base: str, patterns: Sequence[str]) -> list[Item]:
    """The files at a commit that a pattern names, by name, each with what is in it; raises `Invalid` without one."""
    empty = repository.git("hash-object", "-t", "tree", "/dev/null")
    specs = [f":(top,glob){pattern.removeprefix('./')}" for pattern in patterns]
    told = repository.git("diff-tree", "-r", "-z", "--raw", "--no-renames", empty, base, "--", *specs)
    fields = iter(told.split("\0"))
    found = []
    for entry in fields:
        if not entry:
            continue
        _, mode, _, blob, _ = entry.removeprefix(":").split(" ")
        name = next(fields)
        if mode in _LINKS_AND_MODULES:
            continue
        _refuse_no_text(name)
        found.append(Item(name, f"{name}\0{blob}"))
    if not found:
        raise Invalid(
            f"the pattern {' '.join(patterns)} names no file of {repository.root} at {base[:12]}",
            "names from its root, such as 'src/**/*.py'; '**/' stands for any folders, and only committed files count",
        )
    return sorted(found, key=lambda item: str(item.value))


def lines(text: Iterable[str]) -> Iterator[Item]:
    """Lines that are not empty."""
    return items_of(stripped for line in text if (stripped := line.strip()))


def objects(text: Iterable[str], name: str) -> Iterator[Item]:
    """One JSON value of each line that is not empty; raises `Invalid` with the line that is none."""

    def values() -> Iterator[object]:
        for number, line in enumerate(text, 1):
            if line.strip():
                try:
                    yield json.loads(line, parse_constant=_no_number)
                except ValueError as error:
                    shown = line.strip()[:SHOWN_CHARACTERS]
                    raise Invalid(f"line {number} of {name}: {shown!r} ({error})", "one JSON value a line") from None

    return items_of(values())


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number in JSON")


def _refuse_no_text(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Invalid(f"the file name {name!r}", "names in UTF-8; give the others as --lines") from None
