"""The watch: one sleeper keeps it, and it never falls to nobody for long."""

import os
from collections import Counter

import pytest

from prong.state import waiter
from prong.state.ticket import Ticket
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


@pytest.mark.parametrize(("others", "rings"), [(1, True), (int(waiter.CROWD), False)])
def test_who_leaves_the_watch_wakes_another_unless_enough_turn_over_anyhow(  # noqa: PLR0917  fixtures
    processes, store, member, lookers, until, others, rings
):
    ada = processes("ada").start_running(sleep_watching, "ada")
    until(lookers, "she keeps the watch")
    with member.transaction() as tx:
        tickets = [waiter.enrol(tx, "thing", "other", timeout=None) for _ in range(others)]
    before = [store.bells.read(ticket.slot) for ticket in tickets]
    grant(store, "ada")
    assert ada.result() == "granted"
    rung = [store.bells.read(ticket.slot) != bell for ticket, bell in zip(tickets, before, strict=True)]
    assert rung == [False] * (others - 1) + [rings]


def test_hundreds_of_sleepers_turn_over_as_often_as_few_and_not_at_once():
    def turns(sleepers, until_s):
        for number in range(1, sleepers + 1):
            at, turn = 0.0, 0
            while at < until_s:
                turn += 1
                at += waiter.nap_s(Ticket(number, "thing", "a"), turn, sleepers)
                yield at

    for sleepers in (20, 60, 300):
        in_each_second = Counter(int(at) for at in turns(sleepers, 100))
        assert all(waiter.TURNS_PER_S / 3 < in_each_second[second] < waiter.TURNS_PER_S * 3 for second in range(99))
    assert all(waiter.nap_s(Ticket(1, "thing", "a"), turn, 2) <= waiter.FALLBACK_S for turn in range(100))


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
