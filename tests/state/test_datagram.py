"""Bells of machines without futexes: the same promises over datagrams."""

import os
import time
from pathlib import Path

import pytest

from prong.state import Membership, Store, join, waiter
from prong.state.datagram import DatagramBells


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bells"


def ping_pong(here, path, mine, theirs, times, *, begins):
    """Ring the other and sleep until it has rung back, so many times; how many sleeps ran into their limit."""
    bells = DatagramBells(Path(path))
    seen = bells.read(mine)
    here.kept["bells"] = bells
    with here.member.transaction() as tx:
        tx.event("listens")
    while here.store.row("select count(*) from event where kind = 'listens'")[0] < 2:
        time.sleep(0.001)
    lost = 0
    for _ in range(times):
        if begins:
            bells.ring(theirs)
        lost += not bells.wait(mine, seen, 5)
        seen = bells.read(mine)
        if not begins:
            bells.ring(theirs)
    return lost


def wait_by_datagram(here, directory):
    """Wait for the thing in a store whose bells are datagrams."""
    store = Store(directory, bells=DatagramBells, clock=here.store.clock)
    member = join(store, "waits")
    with waiter.Place(member) as place:
        with member.transaction() as tx:
            place.enrol(tx, "thing", "a", timeout=None)
        return place.wait().state


def test_no_ring_is_lost_in_hundreds_of_exchanges(processes, path):
    ada, bob = processes("ada"), processes("bob")
    bob.start_running(ping_pong, path, 11, 10, 500, begins=False)
    ada.start_running(ping_pong, path, 10, 11, 500, begins=True)
    assert (ada.result(60), bob.result(60)) == (0, 0)


def test_a_ring_between_the_look_and_the_sleep_ends_the_sleep(path):
    bells, ringer = DatagramBells(path), DatagramBells(path)
    seen = bells.read(7)
    ringer.ring(7)
    assert bells.wait(7, seen, 60)


def test_a_ring_for_nobody_and_for_others_wakes_nobody(path):
    bells = DatagramBells(path)
    bells.ring(7)
    seen = bells.read(7)
    bells.ring(8)
    assert not bells.wait(7, seen, 0.01)


def test_what_a_killed_sleeper_left_behind_hinders_nobody(processes, path):
    ada = processes("ada")
    ada.start_running(ping_pong, path, 7, 8, 1, begins=True).kill()
    bells = DatagramBells(path)
    seen = bells.read(7)
    bells.ring(7)
    assert bells.wait(7, seen, 60)


def test_a_forked_child_listens_by_itself(path):
    bells = DatagramBells(path)
    bells.read(7)
    pid = os.fork()
    if pid == 0:
        os._exit(bells.wait(7, bells.read(7), 0.01))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    seen = bells.read(8)
    bells.ring(8)
    assert bells.wait(8, seen, 60)


def test_the_path_of_a_swarm_may_be_as_long_as_it_likes(tmp_path):
    deep = tmp_path / ("long" * 30) / ("longer" * 30)
    store = Store(deep, bells=DatagramBells)
    member = Membership(store, join(store, "ada").me)
    with waiter.Place(member) as place:
        with member.transaction() as tx:
            ticket = place.enrol(tx, "thing", "a", timeout=None)
        with store.transaction(None) as tx:
            waiter.grant(tx, ticket.waiter)
        assert place.wait().state == "granted"


def test_a_wait_is_granted_by_datagram(processes, directory, store, in_line):
    ada = processes("ada")
    ada.start_running(wait_by_datagram, directory)
    in_line("thing")
    other = Store(directory, bells=DatagramBells, clock=store.clock)
    with other.transaction(None) as tx:
        waiter.grant(tx, waiter.first(tx, "thing", "a")["id"])
    assert ada.result(timeout=waiter.FALLBACK_S * waiter.ROW_TURNS / 2) == "granted"
    other.close()
