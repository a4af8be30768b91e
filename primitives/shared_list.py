"""A list that processes share, and whose end a reader can follow.

    [0] [1] [2] … [n - 1]  <--append
              since(1) --> [1] [2] … [n - 1], or waits for more

Both ends are equally near; what happens in the middle moves the shorter side.  What was appended has an index, and a
reader that keeps the index up to which it has read misses nothing, as long as nobody takes items out.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, MutableSequence
from contextlib import AbstractContextManager
from typing import Any, Self, SupportsIndex, overload

from prong.primitives import artifacts, list_rows
from prong.primitives import once as changes
from prong.primitives.list_reading import ListReading, ListStatistics
from prong.primitives.list_rows import batches, place
from prong.state import Transaction

__all__ = ["ListStatistics", "SharedList"]

_OUT = "list assignment index out of range"


class SharedList(ListReading, MutableSequence[Any]):
    """A list by name, of JSON values, as `list`, between processes.

    It differs from a list in this: `append` returns the index; iterating, and every other call, shows one moment,
    whatever is written meanwhile; what is read is a copy, so that only an assignment changes the list.

    >>> steps = swarm.SharedList("steps")
    >>> steps.append("plan")
    0
    >>> steps += ["build", "test"]
    >>> steps[-2:]
    ['build', 'test']
    """

    def append(self, value: Any, *, once: str | None = None) -> int:  # type: ignore[override]  # a list returns None
        """Put an item behind the last and return its index.

        `once` names the change: the same one a second time returns what it returned the first time, and changes
        nothing.

        >>> swarm.SharedList("steps").append("plan")
        0
        """
        text = artifacts.stored(self._member, f"item of list {self.name!r}", value)
        with self._member.transaction() as tx:
            index: int | None = changes.returned(tx, self._object, once)
            if index is None:
                index = changes.remember(tx, self._object, once, list_rows.append(tx, self.name, text))
            return index

    def extend(self, values: Iterable[Any], *, once: str | None = None) -> None:
        """Put all items of an iterable behind the last, in one transaction; `once` as for `append`.

        >>> steps = swarm.SharedList("steps")
        >>> steps.extend(["plan", "build"])
        >>> len(steps)
        2
        """
        new = batches(self._member, self.name, values)
        with self._member.transaction() as tx:
            if not self._made_before(tx, once):
                found = list_rows.state(tx, self.name)
                list_rows.splice(tx, found, found.length, found.length, new)

    def insert(self, index: SupportsIndex, value: Any, *, once: str | None = None) -> None:
        """Put an item before the one at `index`; `once` as for `append`.

        >>> steps = swarm.SharedList("steps")
        >>> steps += ["plan", "test"]
        >>> steps.insert(1, "build")
        >>> steps.copy()
        ['plan', 'build', 'test']
        """
        index, new = operator.index(index), batches(self._member, self.name, [value])
        with self._member.transaction() as tx:
            if not self._made_before(tx, once):
                found = list_rows.state(tx, self.name)
                at = min(max(index + found.length, 0) if index < 0 else index, found.length)
                list_rows.splice(tx, found, at, at, new)

    def pop(self, index: SupportsIndex = -1, *, once: str | None = None) -> Any:
        """Take an item out and return it: of many who pop, each gets another one; `once` as for `append`.

        Raises IndexError where there is none.

        >>> steps = swarm.SharedList("steps")
        >>> steps.extend(["plan", "build"])
        >>> steps.pop(0)
        'plan'
        """
        index = operator.index(index)
        with self._member.transaction() as tx:
            entry: int | None = changes.returned(tx, self._object, once)
            if entry is not None:
                return self._popped(tx, entry)
            found, text = list_rows.state_at(tx, self.name, index)
            at = found.place(index, "pop index out of range" if found.length else "pop from empty list")
            assert text is not None, "an item stands at every place of the list"
            value = artifacts.loaded(self._member, text)
            changes.remember(tx, self._object, once, list_rows.take(tx, found, at, text))
            return value

    def remove(self, value: Any) -> None:
        """Take the first item out that equals `value`; raises ValueError where none does.

        >>> steps = swarm.SharedList("steps")
        >>> steps += ["plan", "build", "plan"]
        >>> steps.remove("plan")
        >>> steps.copy()
        ['build', 'plan']
        """
        with self._atomic():
            try:
                del self[self.index(value)]
            except ValueError:
                raise ValueError("list.remove(x): x not in list") from None

    def clear(self) -> None:
        """Take all items out.

        >>> steps = swarm.SharedList("steps")
        >>> steps += ["plan", "build"]
        >>> steps.clear()
        >>> len(steps)
        0
        """
        del self[:]

    def reverse(self) -> None:
        """Turn the order round.

        >>> steps = swarm.SharedList("steps")
        >>> steps += ["plan", "build"]
        >>> steps.reverse()
        >>> steps.copy()
        ['build', 'plan']
        """
        with self._member.transaction() as tx:
            list_rows.reverse(tx, self.name)

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sort as `list.sort` does; raises ValueError where somebody has changed the list meanwhile.

        >>> steps = swarm.SharedList("steps")
        >>> steps.extend(["plan", "build"])
        >>> steps.sort()
        >>> steps.copy()
        ['build', 'plan']
        """
        before = self._texts()
        values = [artifacts.loaded(self._member, text) for text in before]
        keys = values if key is None else [key(value) for value in values]
        order = sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)
        with self._member.transaction() as tx:
            if self._texts() != before:
                raise ValueError("list modified during sort")
            found = list_rows.state(tx, self.name)
            list_rows.replace(tx, found, 0, found.length, [before[index] for index in order])
            tx.event("list.reordered", object=self.name, order=order)

    @overload
    def __setitem__(self, index: SupportsIndex, value: Any) -> None: ...

    @overload
    def __setitem__(self, index: slice, value: Iterable[Any]) -> None: ...

    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        if isinstance(index, slice):
            self._set_slice(index, value)
            return
        at, text = place(index), artifacts.stored(self._member, f"item of list {self.name!r}", value)
        with self._member.transaction() as tx:
            found = list_rows.state(tx, self.name)
            list_rows.put(tx, found, found.place(at, _OUT), text)

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        if isinstance(index, slice):
            self._delete_slice(index)
            return
        index = place(index)
        with self._member.transaction() as tx:
            found = list_rows.state(tx, self.name)
            at = found.place(index, _OUT)
            list_rows.splice(tx, found, at, at + 1, [])

    def __imul__(self, times: SupportsIndex) -> Self:  # type: ignore[override]  # `*` makes a list
        with self._atomic():
            whole = self.copy() * times
            self.extend(whole[len(self) :]) if whole else self.clear()
        return self

    @property
    def _object(self) -> str:
        return f"list {self.name}"

    def _atomic(self) -> AbstractContextManager[Transaction]:
        return self._member.store.atomic(self._member.me)

    def _made_before(self, tx: Transaction, once: str | None) -> bool:
        before = changes.returned(tx, self._object, once) is not None
        if not before:
            changes.remember(tx, self._object, once, result=True)
        return before

    def _popped(self, tx: Transaction, entry: int) -> Any:
        """What a pop returned, of which the log tells."""
        return artifacts.from_log(
            self._member, json.loads(tx.value("select data from event where seq = :entry", entry=entry))
        )

    def _set_slice(self, index: slice, values: Iterable[Any]) -> None:
        if not isinstance(values, Iterable):
            raise TypeError("can only assign an iterable")
        new = batches(self._member, self.name, taken := list(values))
        with self._member.transaction() as tx:
            found = list_rows.state(tx, self.name)
            start, stop, step = index.indices(found.length)
            if step == 1:
                list_rows.splice(tx, found, start, max(start, stop), new)
                return
            places = range(start, stop, step)
            if len(places) != len(taken):
                raise ValueError(
                    f"attempt to assign sequence of size {len(taken)} to extended slice of size {len(places)}"
                )
            texts = (text for batch in new for text in batch.texts)
            for at, text in zip(places, texts, strict=True):
                list_rows.put(tx, found, at, text)

    def _delete_slice(self, index: slice) -> None:
        with self._member.transaction() as tx:
            found = list_rows.state(tx, self.name)
            places = range(*index.indices(found.length))
            if places.step < 0:
                places = places[::-1]
            if places.step == 1 or len(places) < 2:  # noqa: PLR2004  one item is a stretch, too
                list_rows.splice(tx, found, places.start, places.start + len(places), [])
                return
            kept = [text for at, text in enumerate(self._texts()) if at not in places]
            list_rows.replace(tx, found, 0, found.length, kept)
            tx.event("list.thinned", object=self.name, start=places.start, stop=places.stop, step=places.step)
