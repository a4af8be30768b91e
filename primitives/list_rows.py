"""The rows of a list: items at consecutive positions, and how a stretch of them is replaced by another.

    first                       first + length
      v                              v
      [0] [1] [2] … [start … stop) … [length - 1]        item i stands at position first + i

Whatever is put in or taken out, the shorter side gives way, so that both ends cost the same however long the list is.
"""

from __future__ import annotations

import json
import operator
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, SupportsIndex

from prong.primitives import artifacts
from prong.primitives.values import VALUE_BYTES
from prong.state import Invalid, Membership, Transaction, waiter

LIST_ITEMS = 1_000_000
"""How many items a list holds."""

FAR = 2**40
"""A distance that no position reaches: items that move go there first, lest two of them meet on the way."""

_STATE = """
select coalesce(first, 0) as first, coalesce(length, 0) as length,
       exists (select 1 from waiter where kind = 'list' and object = :list and state = 'waiting') as watched
  from (select 1) left join list on name = :list
"""

_STATE_AT = """
select coalesce(first, 0) as first, coalesce(length, 0) as length,
       exists (select 1 from waiter where kind = 'list' and object = :list and state = 'waiting') as watched, item.value
  from (select 1) left join list on name = :list
                  left join list_item as item on item.list = :list and position = first + :at + (:at < 0) * length
"""

_EXTENT = """
insert into list (name, first, length) values (:list, :first, :length)
on conflict (name) do update set first = excluded.first, length = excluded.length
"""

_INSERT = "insert into list_item (list, position, value) values (:list, :position, :value)"

_INSERT_MANY = """
insert into list_item (list, position, value) select :list, :position + key, value from json_each(:texts)
"""

_WATCHERS = """
select id from waiter where kind = 'list' and object = :list and state = 'waiting' and wants ->> 'index' < :length
"""


@dataclass(slots=True)
class Batch:
    """Some items on their way into a list: their texts, and what the log's entry tells of them."""

    texts: list[str] = field(default_factory=list)
    log: dict[str, Any] = field(default_factory=lambda: {"values": []})
    size: int = 0

    def add(self, value: Any, text: str) -> None:
        """One item more."""
        logged = artifacts.logged(value, text)
        self.log["values"].append(logged.get("value"))
        if "artifact" in logged:
            self.log.setdefault("artifacts", {})[len(self.texts)] = text
        self.texts.append(text)
        self.size += len(text)


def place(index: SupportsIndex) -> int:
    """The index within what the database can count."""
    try:
        index = operator.index(index)
    except TypeError:
        raise TypeError(f"list indices must be integers or slices, not {type(index).__name__}") from None
    if abs(index) > sys.maxsize:
        raise IndexError("cannot fit 'int' into an index-sized integer")
    return max(min(index, FAR), -FAR)


def bound(index: SupportsIndex | None, default: int) -> int:
    """One end of a slice within what the database can count."""
    return default if index is None else max(min(operator.index(index), FAR), -FAR)


def batches(member: Membership, name: str, values: Iterable[Any]) -> list[Batch]:
    """The values as texts, in batches that an entry of the log can hold."""
    made: list[Batch] = []
    for value in values:
        text = artifacts.stored(member, f"item of list {name!r}", value)
        if not made or made[-1].size + len(text) > VALUE_BYTES:
            made.append(Batch())
        made[-1].add(value, text)
    return made


class State(NamedTuple):
    """What a change comes upon: where the list begins, how long it is, and whether anybody waits for more."""

    name: str
    first: int
    length: int
    watched: bool

    def place(self, index: int, refusal: str) -> int:
        """The index counted from the front; raises IndexError with these words where there is no such item."""
        at = index + self.length if index < 0 else index
        if not 0 <= at < self.length:
            raise IndexError(refusal)
        return at


def state(tx: Transaction, name: str) -> State:
    """What a change comes upon."""
    return State(name, *tx.rows(_STATE, list=name)[0])  # it tells of what is absent, too


def append(tx: Transaction, name: str, text: str) -> int:
    """Put the item with this text behind the last and return its index."""
    found = state(tx, name)
    index = found.length
    tx.execute(_INSERT, list=name, position=found.first + index, value=text)
    _grow(tx, found, found.first, index + 1)
    tx.logged("list.appended", name, f'{{"index":{index},{artifacts.told(text)}}}')
    return index


def take(tx: Transaction, found: State, at: int, text: str) -> int:
    """Take the item with this text out of its place and return the number of the log's entry."""
    if at == found.length - 1:  # nothing moves
        tx.execute(
            "delete from list_item where list = :list and position = :position",
            list=found.name,
            position=found.first + at,
        )
        _grow(tx, found, found.first, at)
    else:
        replace(tx, found, at, at + 1, [])
    return tx.logged("list.popped", found.name, f'{{"index":{at},{artifacts.told(text)}}}')


def put(tx: Transaction, found: State, at: int, text: str) -> None:
    """Replace the item that stands at a place by the one with this text."""
    tx.execute(
        "update list_item set value = :value where list = :list and position = :position",
        list=found.name,
        position=found.first + at,
        value=text,
    )
    tx.logged("list.set", found.name, f'{{"index":{at},{artifacts.told(text)}}}')


def state_at(tx: Transaction, name: str, index: int) -> tuple[State, str | None]:
    """What a change comes upon, with the text of the item at an index, which may be counted from the end."""
    first, length, watched, text = tx.rows(_STATE_AT, list=name, at=max(min(index, FAR), -FAR))[0]
    return State(name, first, length, watched), text


def splice(tx: Transaction, found: State, start: int, stop: int, new: list[Batch]) -> None:
    """Replace the items from index `start` to `stop`, 0 <= start <= stop <= length, by others."""
    if start == stop and not new:
        return
    replace(tx, found, start, stop, [text for batch in new for text in batch.texts])
    removed, index = stop - start, start
    for batch in new or [Batch()]:
        tx.event("list.spliced", object=found.name, index=index, removed=removed, **batch.log)
        removed, index = 0, index + len(batch.texts)


def replace(tx: Transaction, found: State, start: int, stop: int, texts: list[str]) -> None:
    """What `splice` does to the rows; the caller tells the log."""
    first, length = found.first, found.length
    grown = len(texts) - (stop - start)
    if stop > start:
        tx.execute(
            "delete from list_item where list = :list and position >= :low and position < :high",
            list=found.name,
            low=first + start,
            high=first + stop,
        )
    if grown and length - stop <= start:
        _shift(tx, found.name, first + stop, first + length, grown)
    elif grown:
        _shift(tx, found.name, first, first + start, -grown)
        first -= grown
    if len(texts) == 1:
        tx.execute(_INSERT, list=found.name, position=first + start, value=texts[0])
    elif texts:
        tx.execute(_INSERT_MANY, list=found.name, position=first + start, texts=json.dumps(texts, ensure_ascii=False))
    _grow(tx, found, first, length + grown)


def reverse(tx: Transaction, name: str) -> None:
    """Turn the order of the items round."""
    found = state(tx, name)
    far = FAR + 2 * found.first
    near = found.length - 1 - FAR
    tx.execute("update list_item set position = :far - position where list = :list", list=name, far=far)
    tx.execute("update list_item set position = position + :near where list = :list", list=name, near=near)
    tx.event("list.reversed", object=name)


def _grow(tx: Transaction, found: State, first: int, length: int) -> None:
    """Write where the list stands now, and wake those who wait for an item that is there now."""
    if length > LIST_ITEMS:
        raise Invalid(f"list {found.name!r} would have {length} items", f"at most {LIST_ITEMS}")
    tx.execute(_EXTENT, list=found.name, first=first, length=length)
    if found.watched:
        for row in tx.rows(_WATCHERS, list=found.name, length=length):
            waiter.grant(tx, row["id"])


def _shift(tx: Transaction, name: str, low: int, high: int, by: int) -> None:
    """Move the items of these positions."""
    if low < high:
        tx.execute(
            "update list_item set position = position + :by where list = :list and position >= :low"
            " and position < :high",
            list=name,
            low=low,
            high=high,
            by=by + FAR,
        )
        tx.execute(
            "update list_item set position = position - :far where list = :list and position > :far / 2",
            list=name,
            far=FAR,
        )
