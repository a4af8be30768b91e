"""Making and migrating the database.

A new swarm may be opened by eight processes at the same moment, and neither switching to WAL nor a migration bears
that; so whoever finds the schema old takes a file lock first and looks again.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from prong.state.door import opening
from prong.state.errors import StoreError
from prong.state.failure import meaning

if TYPE_CHECKING:
    from sqlite_utils import Database

VERSION = 1
"""The schema that this code speaks, kept in the database's `user_version`."""

APPLICATION = int.from_bytes(b"Prng")
"""What makes a database one of Prong's, kept in its `application_id`."""


def bring_up_to_date(path: Path, *, patience_s: float) -> None:
    """Create the database or migrate it; returns at once where it is up to date."""
    with opening(path):
        if path.exists() and _version(path, patience_s) == VERSION:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name("schema.lock")):
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
    connection = sqlite3.connect(path, timeout=patience_s)
    try:
        version: int = connection.execute("pragma user_version").fetchone()[0]
        application: int = connection.execute("pragma application_id").fetchone()[0]
        filled = connection.execute("select 1 from sqlite_master limit 1").fetchone() is not None
    except sqlite3.DatabaseError as error:
        raise meaning(path, error, patience_s) or _stranger(path, str(error)) from error
    else:
        if filled and application != APPLICATION:
            raise _stranger(path, "another program made it")
        return version
    finally:
        connection.close()


def _stranger(path: Path, why: str) -> StoreError:
    return StoreError(str(path), f"it is no database of Prong's ({why})", "Name another swarm.")


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
        connection.execute(f"pragma application_id = {APPLICATION}")
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
