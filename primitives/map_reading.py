"""A map as its readers see it: keys and values of one moment, what each key once held, and what changes.

A watcher that names the version of the map up to which it has seen everything is told all that has changed since, at
once where there is something, and else as soon as there is: nothing falls between two calls.
"""

from __future__ import annotations

import json
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass
from typing import Any

from prong.primitives import artifacts, map_rows
from prong.primitives.map_rows import Change, Changes, Entry, possible
from prong.primitives.map_views import Items, Keys, Values
from prong.primitives.place import Place
from prong.primitives.values import checked_name, checked_number, checked_timeout
from prong.state import Membership, ProngError

HISTORY_CHANGES = 1_000
"""How many changes of a key are told at once."""

_GET = "select value from map_entry where map = :map and key = :key and deleted = 0"

_PAIRS = "select key, value from map_entry where map = :map and deleted = 0 order by key"

_KEYS = "select key from map_entry where map = :map and deleted = 0 order by key"


@dataclass(frozen=True, slots=True)
class MapStatistics:
    """How many keys the map has, how many writes it has seen (its version), and how many wait for the next."""

    name: str
    keys: int
    writes: int
    waiting: int


class MapReading(Mapping[str, Any]):
    """What can be asked of a map."""

    def __init__(self, member: Membership, name: str) -> None:
        self.name = checked_name("map name", name)
        self._member = member

    def __repr__(self) -> str:
        try:
            return f"<{type(self).__name__} {self.name!r}: {len(self)} keys>"
        except ProngError:
            return f"<{type(self).__name__} {self.name!r}>"

    def entry(self, key: str) -> Entry:
        """The value together with the version on which a conditional `put` can build.

        >>> swarm.SharedMap("findings").entry("src")
        Entry(key='src', value=None, version=0, present=False)
        """
        checked_name("map key", key)
        row = self._member.store.row("select * from map_entry where map = :map and key = :key", map=self.name, key=key)
        return map_rows.entry(self._member.store, row) if row is not None else Entry(key, None, 0, present=False)

    def entries(self, prefix: str = "") -> list[Entry]:
        """All entries whose key begins with `prefix`, sorted by key, as of one moment.

        >>> findings = swarm.SharedMap("findings")
        >>> findings.update({"src/a": 1, "src/b": 2, "tests/a": 3})
        >>> [entry.key for entry in findings.entries("src/")]
        ['src/a', 'src/b']
        """
        low, high = map_rows.bounds(map_rows.scope(None, prefix)["prefix"])
        rows = self._member.store.rows(
            "select * from map_entry where map = :map and deleted = 0 and key >= :low"
            " and (:high is null or key < :high) order by key",
            map=self.name,
            low=low,
            high=high,
        )
        return [map_rows.entry(self._member.store, row) for row in rows]

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those of the keys that are there, as of one moment.

        >>> findings = swarm.SharedMap("findings")
        >>> findings.update(src=1, tests=2)
        >>> findings.get_many(["tests", "docs"])
        {'tests': 2}
        """
        wanted = json.dumps([checked_name("map key", key) for key in keys])
        return self._read(
            "select map_entry.key, map_entry.value from json_each(:keys) as wanted"
            " join map_entry on map = :map and map_entry.key = wanted.value"
            " where deleted = 0 order by wanted.key",
            keys=wanted,
        )

    def history(self, key: str, *, limit: int = HISTORY_CHANGES) -> list[Change]:
        """The last writes of a key, at most `limit`, the latest first.

        >>> findings = swarm.SharedMap("findings")
        >>> findings["src"] = 1
        >>> del findings["src"]
        >>> [(change.version, change.value, change.deleted) for change in findings.history("src")]
        [(2, None, True), (1, 1, False)]
        """
        checked_number("limit", limit, least=1, most=HISTORY_CHANGES)
        return map_rows.history(self._member.store, self.name, checked_name("map key", key), limit)

    def watch(
        self,
        key: str | None = None,
        *,
        prefix: str | None = None,
        since: int | None = None,
        timeout: float | None = None,
    ) -> Changes:
        """Wait until a key, any key that begins with `prefix`, or any key at all is written or deleted.

        `since` is the map's version that was seen last: whatever has changed after it is returned at once, so that a
        caller who passes the `version` of one answer to the next call misses nothing.  None is the present moment, and
        0 the beginning.  Where nothing came within `timeout` seconds (None: for ever) there are no entries.

        >>> findings = swarm.SharedMap("findings")
        >>> seen = findings.watch(prefix="src/", timeout=0)
        >>> findings["src/a"] = 1
        >>> findings.watch(prefix="src/", since=seen.version).entries
        (Entry(key='src/a', value=1, version=1, present=True),)
        """
        store, wants, timeout = self._member.store, map_rows.scope(key, prefix), checked_timeout(timeout)
        since = self._version() if since is None else checked_number("since", since, least=0)
        found = map_rows.changed(store, self.name, wants, since)
        if found.entries or timeout == 0:
            return found
        with Place(self._member) as place:
            with self._member.transaction() as tx:
                kept = place.take_up(tx, "map", self.name)
                seen: int = found.version if kept is None else kept.wants["since"]
                if kept is None:
                    found = map_rows.changed(store, self.name, wants, seen)
                    if found.entries:
                        return found
                    seen = found.version
                    place.enrol(tx, "map", self.name, timeout=timeout, wants={**wants, "since": seen})
            place.wait()
        return map_rows.changed(store, self.name, wants, seen)

    def changes(
        self, key: str | None = None, *, prefix: str | None = None, since: int | None = None
    ) -> Iterator[Entry]:
        """What `watch` returns, entry by entry and without end; None begins at the moment of this call.

        >>> findings = swarm.SharedMap("findings")
        >>> coming = findings.changes("src")
        >>> findings["src"] = 1
        >>> next(coming)
        Entry(key='src', value=1, version=1, present=True)
        """
        seen = self.watch(key, prefix=prefix, since=since, timeout=0)

        def follow(seen: Changes) -> Iterator[Entry]:
            while True:
                yield from seen.entries
                seen = self.watch(key, prefix=prefix, since=seen.version)

        return follow(seen)

    def statistics(self) -> MapStatistics:
        """What is so now, read in one query.

        >>> swarm.SharedMap("findings").statistics()
        MapStatistics(name='findings', keys=0, writes=0, waiting=0)
        """
        row = self._member.store.row(
            "select coalesce(max(keys), 0) as keys, coalesce(max(writes), 0) as writes,"
            " (select count(*) from waiter where kind = 'map' and object = :map and state = 'waiting') as waiting"
            " from map where name = :map",
            map=self.name,
        )
        assert row is not None, "an aggregate has one row"
        return MapStatistics(self.name, row["keys"], row["writes"], row["waiting"])

    def copy(self) -> dict[str, Any]:
        """All keys and values as of one moment, as a dict of one's own.

        >>> findings = swarm.SharedMap("findings")
        >>> findings["src"] = 1
        >>> findings.copy()
        {'src': 1}
        """
        return self._read(_PAIRS)

    def keys(self) -> KeysView[str]:
        """A view of the keys, sorted: each use of it reads what is there then.

        >>> findings = swarm.SharedMap("findings")
        >>> keys = findings.keys()
        >>> findings.update(tests=2, src=1)
        >>> list(keys)
        ['src', 'tests']
        """
        return Keys(self)

    def items(self) -> ItemsView[str, Any]:
        """A view of keys and values: each use of it shows one moment.

        >>> findings = swarm.SharedMap("findings")
        >>> findings.update(tests=2, src=1)
        >>> list(findings.items())
        [('src', 1), ('tests', 2)]
        """
        return Items(self)

    def values(self) -> ValuesView[Any]:
        """A view of the values in the order of their keys: each use of it shows one moment.

        >>> findings = swarm.SharedMap("findings")
        >>> findings.update(tests=2, src=1)
        >>> sum(findings.values())
        3
        """
        return Values(self)

    def __getitem__(self, key: str) -> Any:
        if isinstance(key, str):
            try:
                rows = self._member.store.rows(_GET, map=self.name, key=key)
            except UnicodeEncodeError:  # a lone surrogate, with which nothing can be written
                rows = []
            if rows:
                return artifacts.loaded(self._member, rows[0][0])
        hash(key)  # a list, say, is refused as a dict refuses it
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return possible(key) and bool(self._member.store.rows(_GET, map=self.name, key=key))

    def __iter__(self) -> Iterator[str]:
        return iter([row["key"] for row in self._member.store.rows(_KEYS, map=self.name)])

    def __reversed__(self) -> Iterator[str]:
        return iter([row["key"] for row in self._member.store.rows(f"{_KEYS} desc", map=self.name)])

    def __len__(self) -> int:
        rows = self._member.store.rows("select keys from map where name = :map", map=self.name)
        return rows[0]["keys"] if rows else 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return self.copy() == (other.copy() if isinstance(other, MapReading) else dict(other))

    __hash__ = None  # type: ignore[assignment]  # as a dict: what is equal now may differ later

    def __or__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        return {**self.copy(), **other} if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        return {**other, **self.copy()} if isinstance(other, Mapping) else NotImplemented

    def _version(self) -> int:
        """How many writes there were so far."""
        rows = self._member.store.rows("select writes from map where name = :map", map=self.name)
        return rows[0]["writes"] if rows else 0

    def _read(self, sql: str, **values: Any) -> dict[str, Any]:
        rows = self._member.store.rows(sql, map=self.name, **values)
        return {row["key"]: artifacts.loaded(self._member, row["value"]) for row in rows}
