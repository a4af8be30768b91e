"""Opening a swarm: by many at once, after a crash, and refusing what is not a swarm."""

import sqlite3
import time
from pathlib import Path

import pytest
from filelock import FileLock

from prong.state import Store, StoreError, join
from prong.state.schema import VERSION


def open_at(here, directory, moment):
    while here.store.clock.now() < moment:
        time.sleep(0.0005)
    store = Store(directory)
    return join(store, "one of many").me.agent


def sound(directory):
    connection = sqlite3.connect(directory / "state.db")
    try:
        return connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()


def test_eight_processes_open_a_new_swarm_at_the_same_moment(processes, clock, tmp_path):
    for round_ in range(3):
        directory = tmp_path / f"new {round_}"
        crowd = [processes(f"p{n}") for n in range(8)]
        moment = clock.now() + 1
        for process in crowd:
            process.start_running(open_at, directory, moment)
        clock.advance(1)
        assert sorted(process.result() for process in crowd) == list(range(1, 9))
        assert sound(directory)


def test_who_finds_a_swarm_in_the_making_waits(processes, clock, tmp_path):
    """SQLite refuses a switch to WAL while others look, so only one may make the file."""
    directory = tmp_path / "new"
    directory.mkdir()
    ada = processes("ada")
    with FileLock(directory / "schema.lock"):
        ada.start_running(open_at, directory, clock.now())
        with pytest.raises(TimeoutError):
            ada.result(timeout=0.7)
    assert ada.result() == 1


def test_a_swarm_whose_making_was_killed_can_be_opened(tmp_path):
    directory = tmp_path / "half made"
    directory.mkdir()
    (directory / "state.db").touch()
    store = Store(directory)
    assert join(store, "ada").me.agent == 1


@pytest.mark.usefixtures("member")
def test_a_second_open_finds_what_the_first_wrote(directory):
    assert Store(directory).row("select name from agent")["name"] == "test"


def test_a_swarm_of_a_newer_prong_is_refused_and_left_as_it_is(directory, store):
    connection = sqlite3.connect(store.path)
    connection.execute(f"pragma user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match=rf"newer Prong \(schema {VERSION + 1}.*Upgrade"):
        Store(directory)
    connection = sqlite3.connect(store.path)
    assert connection.execute("pragma user_version").fetchone() == (VERSION + 1,)
    connection.close()


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "state.db").write_text("once upon a time " * 100)
    with pytest.raises(StoreError, match=r"no database"):
        Store(tmp_path)
    assert (tmp_path / "state.db").read_text().startswith("once upon")


@pytest.mark.parametrize("version", [0, VERSION])
def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path, version):
    connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    connection.execute("create table recipe (name text)")
    connection.execute(f"pragma user_version = {version}")
    connection.close()
    with pytest.raises(StoreError, match=r"another program made it"):
        Store(tmp_path)
    connection = sqlite3.connect(tmp_path / "state.db")
    assert connection.execute("select name from sqlite_master").fetchall() == [("recipe",)]
    connection.close()


def test_a_damaged_database_says_that_it_is_damaged(directory, store):
    join(store, "ada")
    store.close()
    size = store.path.stat().st_size
    with Path(store.path).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(StoreError, match=r"malformed.*keep a copy"):
        Store(directory)


def test_a_directory_that_cannot_be_made_is_an_error_of_the_store(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file"):
        Store(tmp_path / "file" / "swarm")
