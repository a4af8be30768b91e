"""The rows of a map: how an entry is written, what has changed since a moment, and what a key once held.

    map(writes) <--counts-- map_entry(version, write, event) --names--> event --names--> the event before --> …

Every write takes the map's next number, so that what is new is found by an index; and every write's entry in the log
names the one before it, so that history is read backwards without any index at all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from prong.primitives import artifacts
from prong.primitives.errors import VersionConflict
from prong.primitives.values import checked_name, quoted
from prong.state import Invalid, Row, Store, Transaction, waiter

MAP_KEYS = 1_000_000
"""How many keys a map holds."""

_LAST = "\U0010ffff"

_FOUND = """
select coalesce(map.keys, 0), coalesce(map.writes, 0), coalesce(entry.version, 0), coalesce(entry.deleted, 1),
       entry.event,
       exists (select 1 from waiter where kind = 'map' and object = :map and state = 'waiting')
  from (select 1) left join map on map.name = :map
                  left join map_entry as entry on entry.map = :map and entry.key = :key
"""

_WRITE = """
insert or replace into map_entry (map, key, version, deleted, write, event, updated_by, updated_at, value)
                          values (:map, :key, :version, :deleted, :write, :event, :agent, :now, :value)
"""

_COUNT = """
insert into map (name, keys, writes) values (:map, :more, 1)
on conflict (name) do update set keys = keys + :more, writes = writes + 1
"""

_WATCHERS = """
select id from waiter where kind = 'map' and object = :map and state = 'waiting'
   and (wants ->> 'key' = :key or substr(:key, 1, length(wants ->> 'prefix')) = wants ->> 'prefix')
"""

_CHANGED_KEY = """
select map.writes as seen, entry.* from map left join map_entry as entry
    on entry.map = map.name and entry.key = :key and entry.write > :since
 where map.name = :map
"""

_CHANGED_PREFIX = """
select map.writes as seen, entry.* from map left join map_entry as entry indexed by map_entry_write
    on entry.map = map.name and entry.write > :since and entry.key >= :low and (:high is null or entry.key < :high)
 where map.name = :map order by entry.write
"""

_EVENT = "select event.at, agent.name, data from event left join agent on agent.id = event.agent where seq = :event"


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's value and its version; a key that is absent has the value None and `present` false."""

    key: str
    value: Any
    version: int
    present: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """One write of a key: the value it left (None where it deleted the key), by whom, and when by the wall clock."""

    version: int
    value: Any
    deleted: bool
    by: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed, each key once and the latest change last, and the map's version up to which that is all."""

    entries: tuple[Entry, ...]
    version: int


def entry(store: Store, row: Row) -> Entry:
    """What a row says."""
    if row["deleted"]:
        return Entry(row["key"], None, row["version"], present=False)
    return Entry(row["key"], artifacts.loaded(store, row["value"]), row["version"])


def get(tx: Transaction, name: str, key: str) -> str | None:
    """The text of a key's value; None where the key is absent."""
    row = tx.row("select value from map_entry where map = :map and key = :key and deleted = 0", map=name, key=key)
    return row["value"] if row is not None else None


def put(tx: Transaction, name: str, key: str, text: str, *, expected: int | None = None) -> int:
    """Write the value with this text, and return the key's new version; over the `expected` one, if any."""
    found = _found(tx, name, key, expected)
    if found.absent and found.keys >= MAP_KEYS:
        raise Invalid(f"map {name!r} has {MAP_KEYS} keys and would get another", f"at most {MAP_KEYS}")
    version = found.version + 1
    event = tx.logged("map.put", name, f"{{{_told(key, found)},{artifacts.told(text)}}}")
    _write(tx, name, key, found, event=event, text=text, deleted=0)
    return version


def delete(tx: Transaction, name: str, key: str, *, expected: int | None = None) -> bool:
    """Remove a key; False where it is absent."""
    found = _found(tx, name, key, expected)
    if found.absent:
        return False
    event = tx.logged("map.deleted", name, f"{{{_told(key, found)}}}")
    _write(tx, name, key, found, event=event, text="null", deleted=1)
    return True


def scope(key: str | None, prefix: str | None) -> dict[str, str]:
    """What a watcher waits for: `{"key": …}` or `{"prefix": …}`."""
    if key is not None and prefix is not None:
        raise Invalid("a watch of a key and of a prefix", "one of them, or none for the whole map")
    if key is not None:
        return {"key": checked_name("map key", key)}
    return {"prefix": checked_name("prefix", prefix) if prefix else ""}


def changed(store: Store, name: str, wants: dict[str, str], since: int) -> Changes:
    """What has changed after the map's version `since`."""
    since = since or -1  # what an older schema wrote has no number of its own
    if "key" in wants:
        rows = store.rows(_CHANGED_KEY, map=name, key=wants["key"], since=since)
    else:
        low, high = bounds(wants["prefix"])
        rows = store.rows(_CHANGED_PREFIX, map=name, low=low, high=high, since=since)
    entries = tuple(entry(store, row) for row in rows if row["key"] is not None)
    return Changes(entries, rows[0]["seen"] if rows else 0)


def history(store: Store, name: str, key: str, limit: int) -> list[Change]:
    """The last writes of a key, the latest first."""
    row = store.row("select event from map_entry where map = :map and key = :key", map=name, key=key)
    event = row["event"] if row is not None else None
    found: list[Change] = []
    while event is not None and len(found) < limit:
        row = store.row(_EVENT, event=event)
        assert row is not None, "the log is never cut"
        data = json.loads(row["data"])
        gone = "value" not in data and "artifact" not in data
        found.append(Change(data["version"], artifacts.from_log(store, data), gone, by=row["name"], at=row["at"]))
        event = data["previous"]
    return found


def possible(key: object) -> bool:
    """Whether a key can have been written; raises TypeError for what cannot be a key of any dict."""
    hash(key)
    try:
        checked_name("map key", key)
    except Invalid:
        return False
    return True


def bounds(prefix: str) -> tuple[str, str | None]:
    """From which key on, and below which (None: no bound), the keys stand that begin with `prefix`.

    >>> bounds("src/")
    ('src/', 'src0')
    >>> bounds("")
    ('', None)
    """
    stem = prefix.rstrip(_LAST)
    if not stem:
        return prefix, None
    follower = ord(stem[-1]) + 1
    return prefix, stem[:-1] + chr(0xE000 if 0xD800 <= follower < 0xE000 else follower)  # noqa: PLR2004  surrogates


class _Found(NamedTuple):
    """What a write comes upon: the map's keys and writes, and the key's version and entry in the log."""

    keys: int
    writes: int
    version: int
    absent: int
    event: int | None
    watched: int


def _found(tx: Transaction, name: str, key: str, expected: int | None) -> _Found:
    """What a write comes upon; raises `VersionConflict` where that is another version than expected."""
    found = _Found._make(tx.rows(_FOUND, map=name, key=key)[0])  # it tells of what is absent, too
    if expected is not None and found.version != expected:
        raise VersionConflict(name, key, expected, found.version)
    return found


def _told(key: str, found: _Found) -> str:
    """What the log tells of every write, as the members of a JSON object."""
    previous = "null" if found.event is None else found.event
    return f'"key":{quoted(key)},"version":{found.version + 1},"previous":{previous}'


def _write(tx: Transaction, name: str, key: str, found: _Found, *, event: int, text: str, deleted: int) -> None:
    """Replace what was found, count it, and wake those who watch this key: they read for themselves what is new."""
    tx.execute(
        _WRITE,
        map=name,
        key=key,
        version=found.version + 1,
        deleted=deleted,
        write=found.writes + 1,
        event=event,
        agent=tx.member.agent if tx.member is not None else None,
        now=tx.now,
        value=text,
    )
    tx.execute(_COUNT, map=name, more=found.absent - deleted)
    if found.watched:
        for row in tx.rows(_WATCHERS, map=name, key=key):
            waiter.grant(tx, row["id"])
