"""What clients can read without a call: maps, queues and tasks, each under an address of its own, as they are now.

    prong://maps     prong://maps/NAME     prong://maps/NAME/KEY
    prong://queues   prong://queues/NAME
    prong://tasks    prong://tasks/NUMBER

Names are written as in any address: what is neither letter, digit nor one of `-._~` stands as `%` and its code.  Who
only reads is no member, holds nothing and disturbs nobody.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from prong.primitives import artifacts
from prong.state import ProngError, Row, Store

SCHEME = "prong://"

KINDS = ("maps", "queues", "tasks")
"""What can be read, in the order in which it is listed."""

PAGE = 200
"""How many resources one page of the list has."""

ITEMS = 500
"""How many keys, messages or tasks one resource shows; what is left out is counted."""

TEXT_CHARACTERS = 200_000
"""The longest resource, in characters; a single value alone may have five times as many."""

ADDRESS_CHARACTERS = 4_000
"""The longest address that is looked up, in characters."""

TEMPLATES: Final[Sequence[tuple[str, str, str]]] = (
    ("prong://maps/{map}", "A shared map", "The keys of a shared map with their values and versions."),
    ("prong://maps/{map}/{key}", "A key of a shared map", "One key of a shared map: its value and version."),
    ("prong://queues/{queue}", "A queue", "What waits in a message queue, and what was delivered and is not done."),
    ("prong://tasks/{task}", "A task", "One task: its state, who works on it, its result."),
)
"""The addresses that can be filled in: the template, its title, and what is found there."""

_LISTS: Final = {
    "maps": ("All maps", "Every shared map, with how many keys it has."),
    "queues": ("All queues", "Every message queue, with how many messages wait in it."),
    "tasks": ("All tasks", "Every task, the newest first, with its state."),
}


class NoSuchResource(ProngError):
    """Nothing can be read at this address."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __str__(self) -> str:
        return f"nothing is at {self.uri[:200]!r}. See what there is at prong://maps, prong://queues and prong://tasks"


@dataclass(frozen=True, slots=True)
class Listed:
    """One resource as the list tells it."""

    uri: str
    name: str
    title: str
    description: str


def address(kind: str, *names: str | int) -> str:
    """Where something is read.

    >>> address("maps", "a/b", "k 1")
    'prong://maps/a%2Fb/k%201'
    """
    return SCHEME + "/".join([kind, *(quote(str(name), safe="") for name in names)])


def listed(store: Store, cursor: str | None) -> tuple[list[Listed], str | None]:
    """One page of all that there is, and where the next begins; raises `NoSuchResource` where no page begins there."""
    kind, _, after = (cursor or "lists").partition(" ")
    found: list[Listed] = []
    if cursor is None:
        found = [Listed(address(one), one, *_LISTS[one]) for one in KINDS]
        kind, after = KINDS[0], ""
    if kind not in KINDS or (kind == "tasks" and after and not _is_number(after)):
        raise NoSuchResource(f"the page {cursor}")
    for one in KINDS[KINDS.index(kind) :]:
        for row in _NAMED[one](store, after if one == kind else "", PAGE - len(found)):
            found.append(_listing(one, row))
        if len(found) >= PAGE:
            last = found[-1].uri.removeprefix(address(one)).removeprefix("/")
            return found, f"{one} {unquote(last)}"
    return found, None


def read(store: Store, uri: str) -> str:
    """What is at an address, as JSON; raises `NoSuchResource`."""
    kind, *names = _parts(uri)
    if not names:
        return _told({kind: _fitting(_ALL[kind](store)), "count": _count(store, kind)})
    if kind == "maps":
        return _told(_map(store, uri, *names))
    return _told((_queue if kind == "queues" else _task)(store, uri, names[0]))


def _parts(uri: str) -> list[str]:
    path = uri.removeprefix(SCHEME)
    parts = [unquote(part) for part in path.split("/")]
    most = {"maps": 3, "queues": 2, "tasks": 2}.get(parts[0], 0)
    if path == uri or len(uri) > ADDRESS_CHARACTERS or not 1 <= len(parts) <= most or not all(parts):
        raise NoSuchResource(uri)
    return parts


def _listing(kind: str, row: Row) -> Listed:
    if kind == "tasks":
        words = f"Task {row['id']} ({row['state']}): {row['title']}"
        return Listed(address(kind, row["id"]), f"task {row['id']}", words, "Its state, who works on it, its result.")
    what = "map" if kind == "maps" else "queue"
    held = "Its keys and values." if kind == "maps" else "What waits in it."
    return Listed(address(kind, row["name"]), f"{what} {row['name']}", f"{what.title()} {row['name']}", held)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 15  # noqa: PLR2004  what SQLite's integers hold


def _tasks_before(store: Store, after: str, count: int) -> Sequence[Row]:
    sql = "select id, title, state from task where id < :before order by id desc limit :count"
    return store.rows(sql, before=int(after) if after else 2**53, count=count)


_NAMED: Mapping[str, Callable[[Store, str, int], Sequence[Row]]] = {
    "maps": lambda store, after, count: store.rows(
        "select name from map where name > :after order by name limit :count", after=after, count=count
    ),
    "queues": lambda store, after, count: store.rows(
        "select name from queue where name > :after order by name limit :count", after=after, count=count
    ),
    "tasks": _tasks_before,
}

_QUEUES = """
select name, maxsize, closed,
       (select count(*) from queue_message as m where m.queue = queue.name and holder is null and dead_at is null)
           as waiting
  from queue order by name limit :most
"""

_ALL: Mapping[str, Callable[[Store], Sequence[Row]]] = {
    "maps": lambda store: store.rows("select name, keys, writes from map order by name limit :most", most=ITEMS),
    "queues": lambda store: store.rows(_QUEUES, most=ITEMS),
    "tasks": lambda store: store.rows(
        "select id as task, title, state, priority, role, agent from task order by id desc limit :most", most=ITEMS
    ),
}


def _count(store: Store, kind: str) -> int:
    table = {"maps": "map", "queues": "queue", "tasks": "task"}[kind]
    number: int = store.rows(f"select count(*) as n from {table}")[0]["n"]  # noqa: S608  one of three words
    return number


def _map(store: Store, uri: str, name: str, key: str | None = None) -> dict[str, Any]:
    if key is not None:
        row = store.row(
            "select key, value, version from map_entry where map = :map and key = :key and deleted = 0",
            map=name, key=key,
        )  # fmt: skip
        if row is None:
            raise NoSuchResource(uri)
        return {"map": name, **_entry(store, row, TEXT_CHARACTERS * 5)}
    found = store.row("select keys, writes from map where name = :name", name=name)
    if found is None:
        raise NoSuchResource(uri)
    rows = store.rows(
        "select key, value, version from map_entry where map = :map and deleted = 0 order by key limit :most",
        map=name,
        most=ITEMS,
    )
    entries = _fitting(_entry(store, row, TEXT_CHARACTERS // 4) for row in rows)
    return {"map": name, "count": found["keys"], "version": found["writes"], "entries": entries}


def _entry(store: Store, row: Row, most: int) -> dict[str, Any]:
    """A key with its value, or with no more than the value's length where that is long or its file is lost."""
    told = {"key": row["key"], "version": row["version"]}
    try:
        value = artifacts.loaded(store, row["value"]) if _size(row["value"]) <= most else None
    except ProngError as error:
        return {**told, "lost": str(error)}
    return {**told, "value": value} if value is not None or row["value"] == "null" else _long(told, row["value"])


def _long(told: dict[str, Any], text: str) -> dict[str, Any]:
    return {**told, "bytes": _size(text), "read_it_with": "the tool shared_map, op get"}


def _size(text: str) -> int:
    """How long a value is: the marker of an artifact tells it last."""
    return int(text.rpartition(" ")[2]) if text.startswith("@") else len(text)


def _queue(store: Store, uri: str, name: str) -> dict[str, Any]:
    found = store.row("select * from queue where name = :name", name=name)
    if found is None:
        raise NoSuchResource(uri)
    rows = store.rows(
        """select id, body, priority, holder, dead_reason, dead_at from queue_message where queue = :queue
            order by dead_at is not null, holder is not null, priority desc, rank, id limit :most""",
        queue=name,
        most=ITEMS,
    )
    count = store.rows("select count(*) as n from queue_message where queue = :queue", queue=name)[0]["n"]
    messages = _fitting(_message(store, row) for row in rows)
    return {
        "queue": name, "discipline": found["discipline"], "maxsize": found["maxsize"], "closed": found["closed"],
        "count": count, "messages": messages,
    }  # fmt: skip


def _message(store: Store, row: Row) -> dict[str, Any]:
    state = "dead" if row["dead_at"] is not None else "waiting" if row["holder"] is None else "delivered"
    told = {"message": row["id"], "state": state, "priority": row["priority"]}
    if row["dead_reason"]:
        told["reason"] = row["dead_reason"]
    if _size(row["body"]) > TEXT_CHARACTERS // 4:
        return {**told, "bytes": _size(row["body"])}
    try:
        return {**told, "value": artifacts.loaded(store, row["body"])}
    except ProngError as error:
        return {**told, "lost": str(error)}


def _task(store: Store, uri: str, number: str) -> dict[str, Any]:
    row = None
    if _is_number(number):
        row = store.row(
            """select task.id as task, parent, title, prompt, task.state, role, priority, attempt, failures,
                      agent.name as agent, fence, result, error from task left join agent on agent.id = task.agent
                where task.id = :task""",
            task=int(number),
        )
    if row is None:
        raise NoSuchResource(uri)
    needs = [need["need"] for need in store.rows("select need from task_need where task = :task", task=row["task"])]
    told = {name: row[name] for name in row.keys()}  # noqa: SIM118  a row is no mapping
    for name in ("prompt", "result", "error"):
        if told[name] is not None and len(told[name]) > TEXT_CHARACTERS // 4:
            told[name] = told[name][: TEXT_CHARACTERS // 4] + " …"
    return {**told, "needs": needs}


def _fitting(rows: Sequence[Row] | Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many of the first as one resource holds; all of them are counted elsewhere."""
    shown: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        one = dict(row)
        size += len(json.dumps(one)) + 2
        if size > TEXT_CHARACTERS:
            break
        shown.append(one)
    return shown


def _told(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False)


class Shelf:
    """All that can be read of the shared state at one place, opened when somebody first looks."""

    def __init__(self, place: Path) -> None:
        self._store = Store(place)

    @property
    def path(self) -> Path:
        """The database, made where there is none yet."""
        self._store.rows("select 1")
        return self._store.path

    def listed(self, cursor: str | None) -> tuple[list[Listed], str | None]:
        """As the function of this name."""
        return listed(self._store, cursor)

    def read(self, uri: str) -> str:
        """As the function of this name, of one moment."""
        with self._store.snapshot() as store:
            return read(store, uri)

    def close(self) -> None:
        """Let go of the database."""
        self._store.close()
