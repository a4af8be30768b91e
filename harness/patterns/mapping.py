"""One task for each item: what it is asked, under which key, and how the items' results are told.

    'Review {item}'          the item stands in its place; of an object also {item.field}
    'Review this file:'      without a place it stands behind

The key of an item is made of the map and of the item's content, so the same map finds what it has done before.  An
item that comes n times has n keys.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from prong.harness.patterns.fan_out import Piece
from prong.harness.patterns.outcome import Outcome
from prong.harness.routing import role_for
from prong.harness.rules.role_names import check_role
from prong.harness.rules.rules import Route
from prong.harness.swarms import Options
from prong.primitives import Plan
from prong.primitives.task_record import PROMPT_BYTES
from prong.state import Invalid

TITLE_CHARACTERS = 80

_PLACE = re.compile(r"\{item((?:\.\w+)*)\}")


@dataclass(frozen=True, slots=True)
class Work:
    """What is done for each item: its prompt, and what else its tasks are made of.

    Where there is no `role`, `route` gives each task one, by the `type` of all, or by its own title and prompt.
    """

    prompt: str
    context: str = "fresh"
    role: str = ""
    priority: int | None = None
    schema: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    type: str | None = None
    route: Route = field(default_factory=Route)

    def identity(self, kind: str, model: str) -> str:
        """The same for the same work by the same model."""
        said = [kind, self.prompt, self.context, self.role, self.schema, model]
        said += [self.type] if self.type is not None else []
        return digest(json.dumps(said, ensure_ascii=False), length=8)

    def plan(self, prompt: str, *, title: str, key: str | None) -> Plan:
        """The plan of one task."""
        short = " ".join(title.split())[:TITLE_CHARACTERS] or "task"
        role = self.role or role_for(self.route, title=short, prompt=prompt, type=self.type)
        return Plan(short, prompt, role=role, priority=self.priority, result_schema=self.schema, key=key, **self.more)


def digest(text: str, *, length: int = 16) -> str:
    """A short name for a text.

    >>> digest("a", length=4)
    'ca97'
    """
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:length]


def routed(work: Work, options: Options) -> Work:
    """The same, whose tasks get the roles that the rules route them to; raises `NoSuchRole` for one that is none."""
    check_role(work.role, options.roles)
    return replace(work, route=options.route)


def text_of(item: Any) -> str:
    """An item as it stands in a prompt: text as it is, everything else as JSON.

    >>> text_of({"a": 1})
    '{"a": 1}'
    """
    return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)


def asked(prompt: str, item: Any) -> str:
    """What is asked for an item; raises `Invalid` where it has no such field.

    >>> asked("Greet {item.name}.", {"name": "Ada"})
    'Greet Ada.'
    """

    def place(match: re.Match[str]) -> str:
        value = item
        for name in match[1].split(".")[1:]:
            if not isinstance(value, Mapping) or name not in value:
                has = ", ".join(map(str, value)) if isinstance(value, Mapping) else "none, it is no object"
                raise Invalid(f"{match[0]} for the item {text_of(item)[:80]!r}", f"fields that it has: {has}")
            value = value[name]
        return text_of(value)

    found, count = _PLACE.subn(place, prompt)
    return found if count else f"{prompt}\n\n{text_of(item)}"


@dataclass(frozen=True, slots=True)
class Item:
    """An item and what its key is made of: of a file its name and what is in it."""

    value: Any
    content: str


def items_of(values: Iterable[Any]) -> Iterator[Item]:
    """Values whose key is made of nothing but themselves."""
    for value in values:
        yield Item(value, json.dumps(value, ensure_ascii=False, sort_keys=True))


def keyed(items: Iterable[Item], identity: str) -> Iterator[tuple[str, Item]]:
    """Each item with its key.

    >>> [key for key, _ in keyed(items_of(["a", "a"]), "map")]
    ['map-ac8d8342bbb2362d', 'map-ac8d8342bbb2362d-2']
    """
    seen: dict[str, int] = {}
    for item in items:
        name = digest(item.content)
        seen[name] = count = seen.get(name, 0) + 1
        yield f"{identity}-{name}" + (f"-{count}" if count > 1 else ""), item


def pieces(
    items: Iterable[tuple[str, Item]], work: Work, *, planned: Callable[[Plan], Plan], nonce: str = ""
) -> Iterator[Piece]:
    """A piece of work for each item; `nonce` keeps this call apart from others on the same swarm.

    An item of which no task can be made is a piece that says why: one of many must not end the work on all.
    """
    for key, item in items:
        try:
            prompt = _checked(asked(work.prompt, item.value))
        except Invalid as error:
            yield Piece(key, item.value, None, str(error))
            continue
        yield Piece(key, item.value, planned(work.plan(prompt, title=text_of(item.value), key=f"{nonce}{key}")))


def _checked(prompt: str) -> str:
    size = len(prompt.encode(errors="replace"))
    if not prompt.strip() or size > PROMPT_BYTES:
        raise Invalid(f"a prompt of {size:,} bytes for this item", f"1 to {PROMPT_BYTES:,}")
    return prompt


def in_order(pieces: Iterable[Piece], run: Callable[[Iterable[Piece]], Iterator[Outcome]]) -> Iterator[Outcome]:
    """The outcomes in the order of the pieces; those that come too early are held until it is their turn."""
    awaited: deque[str] = deque()

    def noted() -> Iterator[Piece]:
        for piece in pieces:
            awaited.append(piece.key)
            yield piece

    early: dict[str, Outcome] = {}
    outcomes = run(noted())
    try:
        for outcome in outcomes:
            early[outcome.key] = outcome
            while awaited and awaited[0] in early:
                yield early.pop(awaited.popleft())
    finally:
        close = getattr(outcomes, "close", None)
        if close is not None:
            close()
