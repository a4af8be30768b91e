"""A list as its readers see it: items of one moment, and those that are still to come.

A reader that keeps the index up to which it has read misses nothing, as long as nobody takes items out.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex, overload

from prong.primitives import artifacts
from prong.primitives.list_rows import FAR, bound, place
from prong.primitives.place import Place
from prong.primitives.values import checked_name, checked_number, checked_timeout
from prong.state import Membership, ProngError

TAIL_ITEMS = 1_000
"""How many items `tail` reads at once."""

_GET = """
select item.value from list join list_item as item
    on item.list = list.name and item.position = list.first + :index + (:index < 0) * list.length
 where list.name = :list
"""

_RANGE = """
select item.value from list join list_item as item
    on item.list = list.name and item.position >= list.first + :start + (:start < 0) * list.length
   and item.position < list.first + :stop + (:stop < 0) * list.length
 where list.name = :list order by item.position
"""


@dataclass(frozen=True, slots=True)
class ListStatistics:
    """How many items the list has, and how many wait for more."""

    name: str
    length: int
    waiting: int


class ListReading(Sequence[Any]):
    """What can be asked of a list."""

    def __init__(self, member: Membership, name: str) -> None:
        self.name = checked_name("list name", name)
        self._member = member

    def __repr__(self) -> str:
        try:
            return f"<{type(self).__name__} {self.name!r}: {len(self)} items>"
        except ProngError:
            return f"<{type(self).__name__} {self.name!r}>"

    def since(self, index: int, *, limit: int | None = None, timeout: float | None = None) -> list[Any]:
        """All items from `index` on, at most `limit` of them; where there is none yet, wait for it.

        Where none came within `timeout` seconds (None: for ever) it is empty.

        >>> steps = swarm.SharedList("steps")
        >>> steps.extend(["plan", "build"])
        >>> steps.since(1)
        ['build']
        >>> steps.since(2, timeout=0)
        []
        """
        checked_number("index", index, least=0, most=FAR)
        stop = FAR if limit is None else index + checked_number("limit", limit, least=1, most=FAR)
        timeout = checked_timeout(timeout)
        found = self._texts(index, stop)
        if not found and timeout != 0:
            with Place(self._member) as place:
                with self._member.transaction() as tx:
                    found = self._texts(index, stop)
                    if not found and place.take_up(tx, "list", self.name) is None:
                        place.enrol(tx, "list", self.name, timeout=timeout, wants={"index": index})
                if not found:
                    place.wait()
                    found = self._texts(index, stop)
        return [artifacts.loaded(self._member, text) for text in found]

    def tail(self, index: int | None = None) -> Iterator[Any]:
        """The items from `index` on (None: those that come from now on), one by one and without end.

        >>> steps = swarm.SharedList("steps")
        >>> coming = steps.tail()
        >>> steps += ["plan"]
        >>> next(coming)
        'plan'
        """
        start = len(self) if index is None else checked_number("index", index, least=0, most=FAR)

        def follow(start: int) -> Iterator[Any]:
            while True:
                found = self.since(start, limit=TAIL_ITEMS)
                yield from found
                start += len(found)

        return follow(start)

    def statistics(self) -> ListStatistics:
        """What is so now, read in one query.

        >>> swarm.SharedList("steps").statistics()
        ListStatistics(name='steps', length=0, waiting=0)
        """
        row = self._member.store.row(
            "select coalesce(max(length), 0) as length,"
            " (select count(*) from waiter where kind = 'list' and object = :list and state = 'waiting') as waiting"
            " from list where name = :list",
            list=self.name,
        )
        assert row is not None, "an aggregate has one row"
        return ListStatistics(self.name, row["length"], row["waiting"])

    def copy(self) -> list[Any]:
        """All items as of one moment, as a list of one's own.

        >>> steps = swarm.SharedList("steps")
        >>> steps += ["plan", "build"]
        >>> steps.copy()
        ['plan', 'build']
        """
        return [artifacts.loaded(self._member, text) for text in self._texts()]

    def index(self, value: Any, start: SupportsIndex = 0, stop: SupportsIndex = sys.maxsize) -> int:
        """The index of the first item that equals `value`; raises ValueError where none does.

        >>> steps = swarm.SharedList("steps")
        >>> steps += ["plan", "build"]
        >>> steps.index("build")
        1
        """
        return self.copy().index(value, start, stop)

    def count(self, value: Any) -> int:
        """How many items equal `value`.

        >>> steps = swarm.SharedList("steps")
        >>> steps += ["build", "test", "build"]
        >>> steps.count("build")
        2
        """
        return self.copy().count(value)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            index.indices(0)  # refuses what a list refuses
            step = 1 if index.step is None else operator.index(index.step)
            if step < 0:
                return self.copy()[index]
            texts = self._texts(bound(index.start, 0), bound(index.stop, FAR))[::step]
            return [artifacts.loaded(self._member, text) for text in texts]
        rows = self._member.store.rows(_GET, list=self.name, index=place(index))
        if not rows:
            raise IndexError("list index out of range")
        return artifacts.loaded(self._member, rows[0][0])

    def __len__(self) -> int:
        rows = self._member.store.rows("select length from list where name = :list", list=self.name)
        return rows[0][0] if rows else 0

    def __iter__(self) -> Iterator[Any]:
        return iter(self.copy())

    def __reversed__(self) -> Iterator[Any]:
        return iter(self.copy()[::-1])

    def __contains__(self, value: object) -> bool:
        return value in self.copy()

    def __eq__(self, other: object) -> bool:
        return self.copy() == _list(other) if isinstance(other, list | ListReading) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as a list: what is equal now may differ later

    def __lt__(self, other: list[Any] | ListReading) -> bool:
        return self.copy() < _list(other) if isinstance(other, list | ListReading) else NotImplemented

    def __le__(self, other: list[Any] | ListReading) -> bool:
        return self.copy() <= _list(other) if isinstance(other, list | ListReading) else NotImplemented

    def __gt__(self, other: list[Any] | ListReading) -> bool:
        return self.copy() > _list(other) if isinstance(other, list | ListReading) else NotImplemented

    def __ge__(self, other: list[Any] | ListReading) -> bool:
        return self.copy() >= _list(other) if isinstance(other, list | ListReading) else NotImplemented

    def __add__(self, other: list[Any] | ListReading) -> list[Any]:
        return self.copy() + _list(other) if isinstance(other, list | ListReading) else NotImplemented

    def __radd__(self, other: list[Any]) -> list[Any]:
        return other + self.copy() if isinstance(other, list) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> list[Any]:
        return self.copy() * times

    __rmul__ = __mul__

    def _texts(self, start: int = 0, stop: int = FAR) -> list[str]:
        rows = self._member.store.rows(_RANGE, list=self.name, start=start, stop=stop)
        return [row["value"] for row in rows]


def _list(other: list[Any] | ListReading) -> list[Any]:
    return other.copy() if isinstance(other, ListReading) else other
