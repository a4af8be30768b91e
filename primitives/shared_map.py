"""A map whose every key has a version.

    absent --put--> version 1 --put--> version 2 --delete--> absent (version 3) --put--> version 4

A writer that read version n may write on condition that it still is n; who came second is told so and nothing is
overwritten.  The version outlives deletion, so an old reader is never mistaken for a new one.

The map as a whole has a version too, the number of its writes: a watcher who names the last one it has seen is told all
that has changed since, whether it was waiting or busy then.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Self

from prong.primitives import artifacts, map_rows
from prong.primitives import once as changes
from prong.primitives.map_reading import MapReading, MapStatistics
from prong.primitives.map_rows import Change, Changes, Entry, possible
from prong.primitives.values import checked_name, checked_number
from prong.state import Invalid, Transaction

__all__ = ["Change", "Changes", "Entry", "MapStatistics", "SharedMap"]

_MISSING: Any = object()

_FIRST = "select key, value from map_entry where map = :map and deleted = 0 order by key limit 1"

_KEYS = "select key from map_entry where map = :map and deleted = 0 order by key"


class SharedMap(MapReading, MutableMapping[str, Any]):
    """A map by name, from strings to JSON values, as `dict`, between processes.

    It differs from a dict in this: keys come sorted, and iterating shows one moment, whatever is written meanwhile;
    a key that is no string is never there, and is refused (`Invalid`) where it is to be written; what is read is a
    copy, so that only an assignment changes the map; `popitem` takes the first key in order.

    >>> findings = swarm.SharedMap("findings")
    >>> findings["src"] = {"files": 12}
    >>> findings |= {"tests": None}
    >>> findings.copy()
    {'src': {'files': 12}, 'tests': None}
    """

    def put(self, key: str, value: Any, *, if_version: int | None = None, once: str | None = None) -> int:
        """Write and return the new version; with `if_version` only over that one (0: the key was never written).

        Raises `VersionConflict` where another version is there; nothing is written then.  `once` names the change: the
        same one a second time returns what it returned the first time, and changes nothing.

        >>> findings = swarm.SharedMap("findings")
        >>> findings.put("src", 1)
        1
        >>> findings.put("src", 2, if_version=findings.entry("src").version)
        2
        """
        text = self._text(key, value)
        _check_version(if_version)
        with self._member.transaction() as tx:
            version: int | None = changes.returned(tx, self._object, once)
            if version is None:
                version = map_rows.put(tx, self.name, key, text, expected=if_version)
                changes.remember(tx, self._object, once, version)
            return version

    def add(self, key: str, amount: float, *, once: str | None = None) -> float:
        """Add to a number (an absent key counts as 0) and return the sum, in one transaction; `once` as for `put`.

        >>> swarm.SharedMap("count").add("passed", 3)
        3
        """
        checked_name("map key", key)
        if isinstance(amount, bool) or not isinstance(amount, int | float):
            raise Invalid(f"{type(amount).__name__} to add to {key!r}", "a number")
        with self._member.transaction() as tx:
            total: float | None = changes.returned(tx, self._object, once)
            if total is None:
                try:
                    total = self._number(tx, key) + amount
                except OverflowError as error:
                    raise Invalid(f"the sum at {key!r} is no number ({error})", "a smaller number") from error
                map_rows.put(tx, self.name, key, self._text(key, total))
                changes.remember(tx, self._object, once, total)
            return total

    def delete(self, key: str, *, if_version: int | None = None, once: str | None = None) -> bool:
        """Remove a key; False where it was absent.  Raises `VersionConflict`, and takes `once`, as `put` does.

        >>> swarm.SharedMap("findings").delete("src")
        False
        """
        checked_name("map key", key)
        _check_version(if_version)
        with self._member.transaction() as tx:
            removed: bool | None = changes.returned(tx, self._object, once)
            if removed is None:
                removed = map_rows.delete(tx, self.name, key, expected=if_version)
                changes.remember(tx, self._object, once, removed)
            return removed

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """Remove a key and return its value, in one transaction: of many who pop it, one gets it.

        >>> findings = swarm.SharedMap("findings")
        >>> findings["src"] = 1
        >>> findings.pop("src"), findings.pop("src", None)
        (1, None)
        """
        if possible(key):
            with self._member.transaction() as tx:
                text = map_rows.get(tx, self.name, key)
                if text is not None:
                    value = artifacts.loaded(self._member, text)
                    map_rows.delete(tx, self.name, key)
                    return value
        if default is _MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[str, Any]:
        """Remove the first key and return it with its value, in one transaction; KeyError where the map is empty.

        >>> findings = swarm.SharedMap("findings")
        >>> findings.update(tests=2, src=1)
        >>> findings.popitem()
        ('src', 1)
        """
        with self._member.transaction() as tx:
            row = tx.row(_FIRST, map=self.name)
            if row is None:
                raise KeyError("popitem(): dictionary is empty")
            value = artifacts.loaded(self._member, row["value"])
            map_rows.delete(tx, self.name, row["key"])
            return row["key"], value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The key's value; where it was absent `default`, written in the same transaction.

        >>> findings = swarm.SharedMap("findings")
        >>> findings.setdefault("src", 1), findings.setdefault("src", 2)
        (1, 1)
        """
        found = self.get(key, _MISSING)
        if found is not _MISSING:
            return found
        text = self._text(key, default)
        with self._member.transaction() as tx:
            there = map_rows.get(tx, self.name, key)
            if there is None:
                map_rows.put(tx, self.name, key, text)
        return artifacts.loaded(self._member, text if there is None else there)

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Write all keys of a mapping, or all pairs of an iterable, in one transaction.

        >>> findings = swarm.SharedMap("findings")
        >>> findings.update({"src": 1}, tests=2)
        >>> len(findings)
        2
        """
        values = dict(other.copy() if isinstance(other, MapReading) else other, **more)
        texts = {key: self._text(key, value) for key, value in values.items()}
        if not values:
            return
        with self._member.transaction() as tx:
            for key, text in texts.items():
                map_rows.put(tx, self.name, key, text)

    def clear(self) -> None:
        """Remove all keys in one transaction; their versions and their history stay.

        >>> findings = swarm.SharedMap("findings")
        >>> findings["src"] = 1
        >>> findings.clear()
        >>> findings.put("src", 2)
        3
        """
        with self._member.transaction() as tx:
            for row in tx.rows(_KEYS, map=self.name):
                map_rows.delete(tx, self.name, row["key"])

    def __setitem__(self, key: str, value: Any) -> None:
        self.put(key, value)

    def __delitem__(self, key: str) -> None:
        if not possible(key) or not self.delete(key):
            raise KeyError(key)

    def __ior__(self, other: Any) -> Self:  # type: ignore[misc, override]  # `|` makes a dict
        self.update(other)
        return self

    @property
    def _object(self) -> str:
        return f"map {self.name}"

    def _number(self, tx: Transaction, key: str) -> float:
        text = map_rows.get(tx, self.name, key)
        value = 0 if text is None else artifacts.loaded(self._member, text)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Invalid(f"key {key!r} of map {self.name!r} holds {type(value).__name__}", "a number to add to")
        return value

    def _text(self, key: str, value: Any) -> str:
        checked_name("map key", key)
        return artifacts.stored(self._member, f"value of {key!r}", value)


def _check_version(version: int | None) -> None:
    if version is not None:
        checked_number("version", version)
