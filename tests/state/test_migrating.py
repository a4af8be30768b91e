"""A database of an older Prong: brought up to date with all that is in it, by one of many who open it at once."""

import re
import sqlite3
from pathlib import Path

import pytest

from prong.state import Store
from prong.state.schema import APPLICATION, VERSION

OLD = Path(__file__).with_name("schema_1.sql").read_text()


@pytest.fixture
def old(tmp_path):
    """A swarm as the first Prong left it."""
    directory = tmp_path / "old"
    directory.mkdir()
    connection = sqlite3.connect(directory / "state.db")
    connection.execute("pragma journal_mode = wal")
    connection.executescript(OLD)
    connection.execute(f"pragma application_id = {APPLICATION}")
    connection.execute("pragma user_version = 1")
    connection.executescript("""
        insert into boot values ('an older boot', 1.5);
        insert into agent (id, name, state, beat_at, started_at) values (7, 'ada', 'ended', 5, 5);
        insert into map_entry values ('m', 'k', '"v"', 3, 0, 7, 5), ('m', 'gone', 'null', 2, 1, 7, 5);
        insert into queue_message (queue, body, priority, put_at)
            values ('q', '"first"', 0, 5), ('q', '"urgent"', 9, 6);
        insert into lock (name, holder, fence, lease_s) values ('l', null, 41, 60);
        insert into event (at, agent, kind, object, data) values (5, 7, 'map.put', 'm', '{}');
    """)
    connection.close()
    return directory


def objects(path):
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("select type, name, sql from sqlite_master where name not like '%sqlite%'").fetchall()
        return {(kind, name): " ".join(re.sub(r"--[^\n]*", "", sql or "").split()) for kind, name, sql in rows}
    finally:
        connection.close()


def opened(_here, directory):
    return Store(directory).row("pragma user_version")[0]


def test_it_has_the_schema_of_a_new_one_and_all_its_rows(old, tmp_path):
    store = Store(old)
    assert objects(store.path) == objects(Store(tmp_path / "new").path)
    assert store.row("pragma user_version")[0] == VERSION
    assert [row[0] for row in store.rows("pragma integrity_check")] == ["ok"]
    assert [row[0] for row in store.rows("pragma foreign_key_check")] == []
    assert tuple(store.row("select name, fence from lock")) == ("l", 41)
    assert store.row("select count(*) from event")[0] == 1
    store.close()


def test_eight_processes_that_open_it_at_once_all_find_it_up_to_date(old, processes):
    crowd = [processes(f"p{n}") for n in range(8)]
    for process in crowd:
        process.start_running(opened, old)
    assert {process.result() for process in crowd} == {VERSION}


def test_a_migration_that_fails_leaves_it_as_it_was(old):
    """A table of the user's own that bears a name of ours."""
    connection = sqlite3.connect(old / "state.db")
    connection.execute("create table old_queue_message (x)")
    connection.close()
    before = objects(old / "state.db")
    with pytest.raises(sqlite3.OperationalError, match="already"):
        Store(old)
    assert objects(old / "state.db") == before
