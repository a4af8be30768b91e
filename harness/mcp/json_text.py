"""Adding and removing one member of a JSON file, with all else left as somebody wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prong.state import ProngError

_BLANK = re.compile(r"[ \t\r\n]*")


class NotPlainJson(ProngError):
    """A file that is no JSON object, or has comments, which only its owner can edit."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"{self.path} is not plain JSON ({self.problem}), as where it has comments. It is left as it is: add by"
            " hand what the same command prints with --print."
        )


@dataclass(frozen=True, slots=True)
class _Member:
    """One `"key": value` of an object, by its offsets in the text."""

    key: str
    start: int
    value: int
    end: int


def parsed(text: str, path: str) -> dict[str, Any]:
    """The object that the text is; an empty text is an empty object.  Raises `NotPlainJson`."""
    try:
        found = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise NotPlainJson(path, str(error)) from error
    if not isinstance(found, dict):
        raise NotPlainJson(path, "it is no object")
    return found


def with_member(text: str, path: str, group: str, key: str, value: Mapping[str, Any]) -> str:
    """The text with `{group: {key: value}}` in it, in the place of what stood there under the key.

    Raises `NotPlainJson`.
    """
    whole = parsed(text, path)
    if not isinstance(whole.get(group, {}), dict):
        raise NotPlainJson(path, f"{group} is no object")
    if not whole:
        return json.dumps({group: {key: value}}, indent=2, ensure_ascii=False) + "\n"
    step = _step(text)
    top = text.index("{")
    inside = next((one for one in _members(text, top) if one.key == group), None)
    if inside is None:
        return _inserted(text, top, group, {key: value}, step, depth=1)
    there = next((one for one in _members(text, inside.value) if one.key == key), None)
    if there is None:
        return _inserted(text, inside.value, key, value, step, depth=2)
    if whole[group][key] == value:
        return text
    return text[: there.value] + _written(value, step, depth=2) + text[there.end :]


def without_member(text: str, path: str, group: str, key: str) -> str:
    """The text without what `with_member` has added; empty where nothing else was in it.  Raises `NotPlainJson`."""
    whole = parsed(text, path)
    if not isinstance(whole.get(group), dict) or key not in whole[group]:
        return text
    alone = len(whole[group]) == 1
    if alone and len(whole) == 1:
        return ""
    top = text.index("{")
    inside = next(one for one in _members(text, top) if one.key == group)
    return _removed(text, top, group) if alone else _removed(text, inside.value, key)


def _members(text: str, opening: int) -> Iterator[_Member]:
    """The members of the object whose brace stands at `opening`, of a text that is JSON."""
    decoder = json.JSONDecoder()
    at = _skip(text, opening + 1)
    while text[at] == '"':
        start = at
        key, at = decoder.raw_decode(text, at)
        value = _skip(text, _skip(text, at) + 1)
        _, end = decoder.raw_decode(text, value)
        yield _Member(key, start, value, end)
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at


def _inserted(text: str, opening: int, key: str, value: Mapping[str, Any], step: str, *, depth: int) -> str:
    member = f"\n{step * depth}{json.dumps(key)}: {_written(value, step, depth=depth)}"
    after = _skip(text, opening + 1)
    if text[after] == "}":
        return text[: opening + 1] + member + f"\n{step * (depth - 1)}" + text[after:]
    return text[: opening + 1] + member + "," + text[opening + 1 :]


def _removed(text: str, opening: int, key: str) -> str:
    """The text without a member, and without the comma and the line that were its own."""
    members = list(_members(text, opening))
    at = next(index for index, one in enumerate(members) if one.key == key)
    if at + 1 < len(members):
        start = members[at - 1].end + 1 if at else opening + 1
        start = text.index(",", members[at - 1].end) + 1 if at else start
        return text[:start] + text[text.index(",", members[at].end) + 1 :]
    start = members[at - 1].end if at else opening + 1
    return text[:start] + text[members[at].end :]


def _written(value: Mapping[str, Any], step: str, *, depth: int) -> str:
    return json.dumps(value, indent=step, ensure_ascii=False).replace("\n", f"\n{step * depth}")


def _step(text: str) -> str:
    """By what its owner indents: the blanks of the first line that begins with some."""
    found = re.search(r"\n([ \t]+)\S", text)
    return found[1] if found else "  "


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
