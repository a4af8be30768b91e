"""The watch: one sleeper keeps it, and it never falls to nobody for long."""

import os

import pytest

from prong.state import waiter
from prong.state.watch import Watch


def sleep_watching(here, object):
    """Wait, and write into the log each time that we look for all."""

    def look():
        with here.member.transaction() as tx:
            tx.event("looked", object=object)

    with waiter.Place(here.member) as place:
        with here.member.transaction() as tx:
            place.enrol(tx, "thing", object, timeout=None)
        return place.wait(look=look).state


def grant(store, object):
    with store.transaction(None) as tx:
        waiter.grant(tx, waiter.first(tx, "thing", object)["id"])


@pytest.fixture
def lookers(events):
    return lambda: {who for _, who in events("looked")}


def test_one_at_a_time_keeps_it(tmp_path):
    one, other = Watch(tmp_path / "watch"), Watch(tmp_path / "watch")
    assert one.begin()
    assert not one.begin()
    assert not other.begin()
    one.end()
    assert other.begin()
    other.end()


def test_of_many_sleepers_one_looks(processes, in_line, lookers, until):
    for name in ("ada", "bob", "eve"):
        processes(name).start_running(sleep_watching, name)
    in_line("thing", 3)
    until(lambda: len(lookers()) == 1, "somebody looks")


def test_another_keeps_it_when_the_keeper_has_what_it_waited_for(processes, store, in_line, lookers, until):
    crowd = {name: processes(name).start_running(sleep_watching, name) for name in ("ada", "bob")}
    in_line("thing", 2)
    (keeper,) = until(lookers, "somebody looks")
    grant(store, keeper)
    assert crowd[keeper].result() == "granted"
    until(lambda: len(lookers()) == 2, "the other looks")


def test_another_keeps_it_when_the_keeper_is_killed(processes, in_line, lookers, until):
    crowd = {name: processes(name).start_running(sleep_watching, name) for name in ("ada", "bob")}
    in_line("thing", 2)
    (keeper,) = until(lookers, "somebody looks")
    crowd[keeper].kill()
    until(lambda: len(lookers()) == 2, "the other looks")


def test_a_forked_child_does_not_keep_its_parents_watch_after_the_parent_let_go(tmp_path):
    watch, other = Watch(tmp_path / "watch"), Watch(tmp_path / "watch")
    assert watch.begin()
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(theirs)
        os.read(ours, 1)
        os._exit(0)
    watch.end()
    assert other.begin()
    other.end()
    os.close(theirs)
    os.close(ours)
    os.waitpid(pid, 0)
