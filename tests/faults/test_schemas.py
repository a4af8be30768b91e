"""A database of an older Prong serves every primitive; one of a newer Prong none."""

import sqlite3
from pathlib import Path

import pytest

from prong.primitives import Lock, MessageQueue, SharedMap, join
from prong.state import Store, StoreError
from prong.state.schema import APPLICATION, VERSION

from .operations import WRITES, sound

OLD = Path(__file__).parents[1].joinpath("state", "schema_1.sql").read_text()


@pytest.fixture
def old(tmp_path):
    """A swarm as the first Prong left it, with something in it."""
    directory = tmp_path / "old"
    directory.mkdir()
    connection = sqlite3.connect(directory / "state.db")
    connection.execute("pragma journal_mode = wal")
    connection.executescript(OLD)
    connection.execute(f"pragma application_id = {APPLICATION}")
    connection.execute("pragma user_version = 1")
    connection.executescript("""
        insert into agent (id, name, state, beat_at, started_at) values (7, 'ada', 'ended', 5, 5);
        insert into lock (name, holder, fence, lease_s) values ('l', null, 41, 60);
        insert into map_entry values ('m', 'k', '"v"', 3, 0, 7, 5);
        insert into queue_message (queue, body, priority, put_at) values ('q', '"first"', 0, 5);
        insert into event (at, agent, kind, object, data) values (5, 7, 'map.put', 'm', '{}');
    """)
    connection.close()
    return directory


@pytest.mark.parametrize("which", WRITES)
def test_every_primitive_writes_into_a_database_that_was_an_older_one(old, which):
    prepare, write = WRITES[which]
    with join(old, "bob") as swarm:
        write(prepare(swarm))
        assert sound(swarm.store)


def test_what_an_older_prong_wrote_is_there(old):
    with join(old, "bob") as swarm:
        assert SharedMap(swarm, "m")["k"] == "v"
        assert SharedMap(swarm, "m").put("k", "w") == 4
        assert MessageQueue(swarm, "q").get(timeout=0) == "first"
        with Lock(swarm, "l") as grant:
            assert grant.fence == 42


@pytest.mark.parametrize("version", [VERSION + 1, 1_000])
def test_a_newer_one_is_refused_by_whoever_joins_and_left_as_it_is(old, version):
    path = old / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"pragma user_version = {version}")
    connection.close()
    for way in (lambda: join(old), lambda: join(path), lambda: Store(old)):
        with pytest.raises(StoreError, match=rf"newer Prong \(schema {version}, this one speaks {VERSION}\).*Upgrade"):
            way()
    connection = sqlite3.connect(path)
    assert connection.execute("pragma user_version").fetchone() == (version,)
    assert connection.execute("select fence from lock").fetchone() == (41,)
    connection.close()
