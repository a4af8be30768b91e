"""A map whose every key has a version.

    absent --put--> version 1 --put--> version 2 --delete--> absent (version 3) --put--> version 4

A writer that read version n may write on condition that it still is n; who came second is told so and nothing is
overwritten.  The version outlives deletion, so an old reader is never mistaken for a new one.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, MutableMapping, ValuesView
from dataclasses import dataclass
from typing import Any

from prong.primitives import once as changes
from prong.primitives.errors import VersionConflict
from prong.primitives.values import checked_name, decoded, encoded
from prong.state import Invalid, Membership, Row, Transaction

_PUT = """
insert into map_entry (map, key, value, version, updated_by, updated_at) values (:map, :key, :value, 1, :agent, :now)
on conflict (map, key) do update
        set value = excluded.value, version = map_entry.version + 1, deleted = 0,
            updated_by = excluded.updated_by, updated_at = excluded.updated_at
  returning version
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's value and its version; a key that is absent has the value None and `present` false."""

    key: str
    value: Any
    version: int
    present: bool = True


@dataclass(frozen=True, slots=True)
class MapStatistics:
    """How many keys the map has, and how many writes it has seen."""

    name: str
    keys: int
    writes: int


class SharedMap(MutableMapping[str, Any]):
    """A map by name, from strings to JSON values, as `dict`, between processes."""

    def __init__(self, member: Membership, name: str) -> None:
        self.name = checked_name("map name", name)
        self._member = member

    def __repr__(self) -> str:
        return f"SharedMap({self.name!r})"

    def entry(self, key: str) -> Entry:
        """The value together with the version on which a conditional `put` can build."""
        row = self._member.store.row(
            "select key, value, version, deleted from map_entry where map = :map and key = :key",
            map=self.name,
            key=checked_name("map key", key),
        )
        if row is None:
            return Entry(key, None, 0, present=False)
        if row["deleted"]:
            return Entry(key, None, row["version"], present=False)
        return Entry(key, decoded(row["value"]), row["version"])

    def put(self, key: str, value: Any, *, if_version: int | None = None, once: str | None = None) -> int:
        """Write and return the new version; with `if_version` only over that one (0: the key was never written).

        Raises `VersionConflict` where another version is there; nothing is written then.  `once` names the change: the
        same one a second time returns what it returned the first time, and changes nothing.
        """
        checked_name("map key", key)
        text = encoded(f"value of {key!r}", value)
        with self._member.transaction() as tx:
            version: int | None = changes.returned(tx, self._object, once)
            if version is None:
                self._expect(tx, key, if_version)
                version = changes.remember(tx, self._object, once, self._write(tx, key, text))
            return version

    def add(self, key: str, amount: float, *, once: str | None = None) -> float:
        """Add to a number (an absent key counts as 0) and return the sum, in one transaction; `once` as for `put`."""
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
                self._write(tx, key, encoded(f"value of {key!r}", total))
                changes.remember(tx, self._object, once, total)
            return total

    def delete(self, key: str, *, if_version: int | None = None, once: str | None = None) -> bool:
        """Remove a key; False where it was absent.  Raises `VersionConflict`, and takes `once`, as `put` does."""
        with self._member.transaction() as tx:
            removed: bool | None = changes.returned(tx, self._object, once)
            if removed is None:
                self._expect(tx, key, if_version)
                removed = changes.remember(tx, self._object, once, self._remove(tx, key))
            return removed

    def entries(self, prefix: str = "") -> list[Entry]:
        """All entries whose key begins with `prefix`, sorted by key, as of one moment."""
        if prefix:
            checked_name("prefix", prefix)
        rows = self._member.store.rows(
            "select key, value, version from map_entry where map = :map and deleted = 0"
            " and key >= :prefix and substr(key, 1, length(:prefix)) = :prefix order by key",
            map=self.name,
            prefix=prefix,
        )
        return [Entry(row["key"], decoded(row["value"]), row["version"]) for row in rows]

    def statistics(self) -> MapStatistics:
        """What is so now, read in one query."""
        row = self._member.store.row(
            "select count(*) filter (where deleted = 0) as keys, coalesce(sum(version), 0) as writes"
            " from map_entry where map = :map",
            map=self.name,
        )
        assert row is not None
        return MapStatistics(self.name, row["keys"], row["writes"])

    def items(self) -> ItemsView[str, Any]:
        """All keys and values as of one moment."""
        return {entry.key: entry.value for entry in self.entries()}.items()

    def values(self) -> ValuesView[Any]:
        """All values as of one moment."""
        return {entry.key: entry.value for entry in self.entries()}.values()

    def pop(self, key: str, /, *default: Any) -> Any:
        """Remove a key and return its value, in one transaction: of many who pop it, one gets it."""
        if len(default) > 1:
            raise TypeError(f"pop expected at most 2 arguments, got {1 + len(default)}")
        with self._member.transaction() as tx:
            row = self._row(tx, key)
            if row is not None and not row["deleted"]:
                self._remove(tx, key)
                return decoded(row["value"])
        if default:
            return default[0]
        raise KeyError(key)

    def popitem(self) -> tuple[str, Any]:
        """Remove the first key and return it with its value, in one transaction; KeyError where the map is empty."""
        with self._member.transaction() as tx:
            row = tx.row(
                "select key, value from map_entry where map = :map and deleted = 0 order by key limit 1", map=self.name
            )
            if row is None:
                raise KeyError("popitem(): the map is empty")
            self._remove(tx, row["key"])
            return row["key"], decoded(row["value"])

    def setdefault(self, key: str, default: Any = None, /) -> Any:
        """The key's value; where it was absent `default`, written in the same transaction."""
        checked_name("map key", key)
        text = encoded(f"value of {key!r}", default)
        with self._member.transaction() as tx:
            row = self._row(tx, key)
            if row is not None and not row["deleted"]:
                return decoded(row["value"])
            self._write(tx, key, text)
            return decoded(text)

    def __getitem__(self, key: str) -> Any:
        entry = self.entry(key)
        if not entry.present:
            raise KeyError(key)
        return entry.value

    def __setitem__(self, key: str, value: Any) -> None:
        self.put(key, value)

    def __delitem__(self, key: str) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        rows = self._member.store.rows(
            "select key from map_entry where map = :map and deleted = 0 order by key", map=self.name
        )
        return iter([row["key"] for row in rows])

    def __len__(self) -> int:
        return self.statistics().keys

    @property
    def _object(self) -> str:
        return f"map {self.name}"

    def _number(self, tx: Transaction, key: str) -> float:
        row = self._row(tx, key)
        value = decoded(row["value"]) if row is not None and not row["deleted"] else 0
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Invalid(f"key {key!r} of map {self.name!r} holds {type(value).__name__}", "a number to add to")
        return value

    def _remove(self, tx: Transaction, key: str) -> bool:
        row = tx.row(
            "update map_entry set value = 'null', deleted = 1, version = version + 1, updated_by = :agent,"
            " updated_at = :now where map = :map and key = :key and deleted = 0 returning version",
            map=self.name,
            key=checked_name("map key", key),
            agent=self._member.me.agent,
            now=tx.now,
        )
        if row is not None:
            tx.event("map.deleted", object=self.name, key=key, version=row["version"])
        return row is not None

    def _row(self, tx: Transaction, key: str) -> Row | None:
        return tx.row(
            "select value, version, deleted from map_entry where map = :map and key = :key",
            map=self.name,
            key=checked_name("map key", key),
        )

    def _expect(self, tx: Transaction, key: str, version: int | None) -> None:
        if version is None:
            return
        row = self._row(tx, key)
        found = row["version"] if row is not None else 0
        if found != version:
            raise VersionConflict(self.name, key, version, found)

    def _write(self, tx: Transaction, key: str, text: str) -> int:
        version: int = tx.value(
            _PUT,
            map=self.name,
            key=checked_name("map key", key),
            value=text,
            agent=self._member.me.agent,
            now=tx.now,
        )
        tx.event("map.put", object=self.name, key=key, version=version, value=decoded(text))
        return version
