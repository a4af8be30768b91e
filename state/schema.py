"""Making and migrating the database.

A new swarm may be opened by eight processes at the same moment, and neither switching to WAL nor a migration bears
that; so whoever finds the schema old takes a file lock first and looks again.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from prong.state.errors import StoreError

if TYPE_CHECKING:
    from sqlite_utils import Database

VERSION = 1
"""The schema that this code speaks, kept in the database's `user_version`."""


def bring_up_to_date(path: Path) -> None:
    """Create the database or migrate it; returns at once where it is up to date."""
    if path.exists() and _version(path) == VERSION:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name("schema.lock")):
        found = _version(path) if path.exists() else 0
        if found > VERSION:
            raise StoreError(
                str(path),
                f"it was written by a newer Prong (schema {found}, this one speaks {VERSION})",
                "Upgrade Prong.",
            )
        if found < VERSION:
            _migrate(path)


def _version(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        version: int = connection.execute("pragma user_version").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise StoreError(str(path), f"it is no database of Prong's ({error})", "Name another swarm.") from error
    else:
        return version
    finally:
        connection.close()


def _migrate(path: Path) -> None:
    from sqlite_utils import Database, Migrations  # noqa: PLC0415  costs 60 ms, and only a new database needs it

    connection = sqlite3.connect(path, isolation_level=None)
    try:
        database = Database(connection, strict=True, execute_plugins=False)
        database.enable_wal()
        migrations = Migrations("prong")
        migrations(name="schema_1")(_first)
        connection.execute("begin immediate")
        with database.atomic():
            migrations.apply(database)
        connection.execute(f"pragma user_version = {VERSION}")
        connection.commit()
    finally:
        connection.close()


def _first(database: Database) -> None:
    connection = database.conn
    for statement in _statements(Path(__file__).with_name("schema.sql").read_text()):
        connection.execute(statement)


def _statements(script: str) -> list[str]:
    """The statements of a script, since `executescript` would commit the transaction that we are in."""
    statements = []
    start = ""
    for line in script.splitlines(keepends=True):
        start += line
        if sqlite3.complete_statement(start):
            statements.append(start)
            start = ""
    return statements
