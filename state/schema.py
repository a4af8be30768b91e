"""Making and migrating the database.

A new swarm may be opened by eight processes at the same moment, and neither switching to WAL nor a migration bears
that; so whoever finds the schema old takes a file lock first and looks again.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from prong.state.door import opening
from prong.state.errors import StoreError
from prong.state.failure import damaged, meaning

if TYPE_CHECKING:
    from sqlite_utils import Database

VERSION = 6
"""The schema that this code speaks, kept in the database's `user_version`."""

PAGE_BYTES = 1024
"""The size of a page: a transaction of ours changes a few bytes in a few pages, and each page is written whole."""

APPLICATION = int.from_bytes(b"Prng")
"""What makes a database one of Prong's, kept in its `application_id`."""


def bring_up_to_date(path: Path, *, lock: Path, patience_s: float) -> None:
    """Create the database or migrate it, one process at a time; returns at once where it is up to date."""
    with opening(path):
        try:
            if path.exists() and _version(path, patience_s) == VERSION:
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.touch()  # or what cannot be made would be waited for as if somebody had it
            with FileLock(lock):
                _mend(path, patience_s)
        except OSError as error:
            raise StoreError(str(path), str(error), "Name a directory in which files can be made.") from error


def _mend(path: Path, patience_s: float) -> None:
    found = _version(path, patience_s) if path.exists() else 0
    if found > VERSION:
        problem = f"it was written by a newer Prong (schema {found}, this one speaks {VERSION})"
        raise StoreError(str(path), problem, "Upgrade Prong.")
    if found < VERSION:
        try:
            _migrate(path)
        except sqlite3.DatabaseError as error:
            raise meaning(path, error, patience_s) or error from error


def _version(path: Path, patience_s: float) -> int:
    """The schema's version; 0 where the file is empty still."""
    try:
        connection = sqlite3.connect(path, timeout=patience_s)
    except sqlite3.Error as error:
        raise meaning(path, error, patience_s) or error from error
    try:
        version: int = connection.execute("pragma user_version").fetchone()[0]
        application: int = connection.execute("pragma application_id").fetchone()[0]
        filled = connection.execute("select 1 from sqlite_master limit 1").fetchone() is not None
    except sqlite3.DatabaseError as error:
        raise meaning(path, error, patience_s) or _stranger(path, str(error)) from error
    except UnicodeDecodeError as error:  # SQLite repeats a damaged schema in its message, which Python cannot read then
        raise damaged(path, "its schema is unreadable") from error
    else:
        if filled and application != APPLICATION:
            raise _stranger(path, "another program made it")
        return version
    finally:
        connection.close()


def _stranger(path: Path, why: str) -> StoreError:
    return StoreError(str(path), f"it is no database of Prong's ({why})", "Name another swarm or file.")


def _migrate(path: Path) -> None:
    from sqlite_utils import Database, Migrations  # noqa: PLC0415  costs 60 ms, and only a new database needs it

    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"pragma page_size = {PAGE_BYTES}")
        database = Database(connection, strict=True, execute_plugins=False)
        database.enable_wal()
        connection.execute("pragma legacy_alter_table = on")  # or a table that is renamed drags references along
        migrations = Migrations("prong")
        migrations(name=f"schema_{VERSION}")(_renew)
        connection.execute("begin immediate")
        with database.atomic():
            migrations.apply(database)
        connection.execute(f"pragma application_id = {APPLICATION}")
        connection.execute(f"pragma user_version = {VERSION}")
        connection.commit()
    finally:
        connection.close()


def _renew(database: Database) -> None:
    """Make the database what schema.sql says, whichever version it was: rows stay, what is new is empty."""
    connection = database.conn
    script = Path(__file__).with_name("schema.sql").read_text()
    wanted = sqlite3.connect(":memory:")
    wanted.executescript(script)
    there = _objects(connection)
    for (kind, name), sql in _objects(wanted).items():
        if kind == "table" and ("table", name) in there and there["table", name] != sql:
            _rebuild(connection, name, sql)
    for kind, name in there:
        if kind in ("index", "trigger"):
            connection.execute(f"drop {kind} if exists {name}")
    there = _objects(connection)
    for (kind, name), sql in _objects(wanted).items():
        if (kind, name) not in there:
            connection.execute(sql)
    wanted.close()
    for statement in _FILL.split(";"):
        connection.execute(statement)


_FILL = """
delete from waiter;
delete from waiter_task;
insert or ignore into map select map, sum(deleted = 0), sum(version) from map_entry group by map;
insert or ignore into task_count (id, open, total)
    select 1, coalesce(sum(state not in ('done', 'failed', 'cancelled')), 0), count(*) from task;
insert or ignore into queue (name, discipline, maxsize, attempts, lease_s)
    select distinct queue, 'fifo', 0, 5, 60 from queue_message;
update barrier set arrived =
    (select count(*) from barrier_arrival as a where a.barrier = barrier.name and a.round = barrier.round);
"""
"""What the counters of an older database would have been."""


def _objects(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """The schema of ours, as (kind, name): statement without comments and with single spaces."""
    rows = connection.execute(
        "select type, name, sql from sqlite_master where sql is not null and name not like 'sqlite_%'"
        " and name not like '_sqlite%' order by rowid"
    )
    return {(kind, name): " ".join(re.sub(r"--[^\n]*", " ", sql).split()) for kind, name, sql in rows}


def _rebuild(connection: sqlite3.Connection, table: str, sql: str) -> None:
    """Give a table its new columns: SQLite can change a table only by making it anew."""
    connection.execute(f"alter table {table} rename to old_{table}")
    connection.execute(sql)
    old = {row[1] for row in connection.execute(f"pragma table_info(old_{table})")}
    both = ", ".join(row[1] for row in connection.execute(f"pragma table_info({table})") if row[1] in old)
    connection.execute(f"insert into {table} ({both}) select {both} from old_{table}")  # noqa: S608  names of ours
    connection.execute(f"drop table old_{table}")
