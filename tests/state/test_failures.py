"""A database that cannot be used is said to be so: who holds it, what to do; and nothing is lost."""

import resource
import subprocess
import sys

import pytest

from prong.state import Store, StoreBusy, StoreError, join

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
connection.execute("select * from agent").fetchall()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def foreign(store):
    """Starts another program that has the database open, and does something to it first."""
    programs = []

    def foreign(sql):
        program = subprocess.Popen(
            [sys.executable, "-c", HOLD, store.path, sql], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        programs.append(program)
        assert program.stdout.readline() == b"ready\n"
        return program

    yield foreign
    for program in programs:
        program.kill()
        program.wait()
        program.stdin.close()
        program.stdout.close()


@pytest.fixture
def impatient(store, clock):
    impatient = Store(store.directory, clock=clock, patience_s=0.2)
    yield join(impatient, "impatient")
    impatient.close()


def write(member, kind):
    with member.transaction() as tx:
        tx.event(kind)


def write_until_full(here):
    """Let files grow no further than now; what is said then, how often a write succeeded, and how many can be read."""
    size = here.store.path.with_name("state.db-wal").stat().st_size
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100_000, limit[1]))
    written = 0
    error = None
    while error is None:
        try:
            with here.member.transaction() as tx:
                tx.event("grow", text="x" * 10_000)
                tx.event("grown")
        except StoreError as told:
            error = told
        else:
            written += 1
    seen = here.store.row("select count(*) as n from event where kind = 'grown'")["n"]
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    write(here.member, "room again")
    return str(error), written, seen


def log(here, kind):
    write(here.member, kind)


def look(here):
    here.store.rows("select * from agent")
    here.kept["snapshot"] = here.store.snapshot()
    here.kept["snapshot"].__enter__().rows("select * from agent")


def test_a_program_that_holds_the_database_is_named_and_then_waited_for_no_longer(
    foreign, impatient, processes, events
):
    reader = processes("reader")
    reader.run(look)
    program = foreign("begin immediate")
    with pytest.raises(StoreBusy, match=rf"process {program.pid} has kept .* 0.2 s.*nothing was written") as caught:
        write(impatient, "too early")
    assert caught.value.holders == (program.pid,)
    program.kill()
    program.wait()
    write(impatient, "free again")
    assert events("too early") == []
    assert events("free again") == [("free again", None)]


def test_readers_are_nobodys_obstacle(foreign, impatient, events):
    foreign("begin")
    write(impatient, "beside a reader")
    assert events("beside") == [("beside a reader", None)]


def test_reading_goes_on_while_a_program_holds_the_database(foreign, impatient):
    foreign("begin immediate")
    assert impatient.store.row("select name from agent where id = 1")["name"] == "impatient"


def test_a_patient_writer_gets_through_when_the_program_lets_go(foreign, processes, events):
    ada = processes("ada")
    program = foreign("begin immediate")
    ada.start_running(log, "at last")
    assert events("at last") == []
    program.stdin.close()
    ada.result()
    assert events("at last") == [("at last", None)]


def test_a_disk_that_is_full_is_an_error_of_the_store_and_nothing_is_lost(processes, events):
    error, written, seen = processes("ada").run(write_until_full)
    assert "nothing was written" in error
    assert 0 < written == seen
    assert [kind for kind, _ in events()].count("grown") == written
    assert events("room again") == [("room again", None)]


def test_a_database_that_lost_its_directory_is_an_error_of_the_store(tmp_path, clock):
    store = Store(tmp_path / "gone", clock=clock)
    store.close()
    for file in (tmp_path / "gone").iterdir():
        file.unlink()
    (tmp_path / "gone").rmdir()
    with pytest.raises(StoreError, match=r"gone"):
        store.rows("select 1")
