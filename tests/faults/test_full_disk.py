"""A full disk: every write says so, nothing is half written, and all goes on when there is room."""

import re

import pytest

from prong.state import StoreError

from .operations import (
    WRITES,
    acquire,
    check_sound,
    directory_name,
    fill,
    held,
    join_and_hold,
    make_room,
    open_new,
    refused_and_then_done,
    release,
    swallow,
    wait_for,
    write_something,
)

FULL = r"(database or disk is full|No space left on device)\. Free some of the disk"
LIMITED = r"(disk I/O error\. See whether the disk is full|File too large\. Free some of the disk)"


def test_a_write_on_a_full_disk_says_so_and_changes_nothing(aboard):
    ada = aboard("ada")
    said = {which: ada.run(refused_and_then_done, which, "fill") for which in WRITES}
    assert {which: text for which, text in said.items() if not re.search(FULL, text)} == {}


def test_a_write_beyond_a_limit_says_so_and_changes_nothing(processes):
    ada = processes("ada")
    said = {which: ada.run(refused_and_then_done, which, "limit") for which in WRITES}
    assert {which: text for which, text in said.items() if not re.search(LIMITED, text)} == {}


def test_a_new_swarm_on_a_full_disk_is_refused_and_can_be_made_when_there_is_room(aboard):
    ada = aboard("ada")
    ada.run(fill)
    assert re.search(FULL, ada.run(open_new, "another"))
    ada.run(make_room)
    assert ada.run(open_new, "another") is None


def test_a_process_that_comes_when_the_disk_is_full_is_told_so(aboard):
    ada = aboard("ada")
    ada.run(fill)
    assert re.search(FULL, ada.run(open_new, ada.run(directory_name)))
    ada.run(make_room)
    assert ada.run(open_new, ada.run(directory_name)) is None


def test_a_holder_that_cannot_release_holds_on_and_releases_when_there_is_room(aboard, in_line):
    ada, bob = aboard("ada"), aboard("bob")
    assert ada.run(acquire)
    bob.start_running(acquire)
    in_line(ada)
    ada.run(fill)
    with pytest.raises(StoreError, match=FULL):
        ada.run(release)
    assert ada.run(held)
    assert bob.busy()
    ada.run(make_room)
    ada.run(release)
    assert bob.result()
    assert ada.run(check_sound)


def test_a_wait_whose_time_is_up_on_a_full_disk_ends_and_leaves_nobody_in_line(aboard, in_line, clock):
    ada, bob, eve = aboard("ada"), aboard("bob"), aboard("eve")
    assert ada.run(acquire)
    bob.start_running(acquire, timeout=5)
    in_line(ada)
    ada.run(fill)
    clock.advance(6)
    with pytest.raises(StoreError, match=FULL):
        bob.result()
    ada.run(make_room)
    ada.run(release)
    assert eve.run(acquire, timeout=0)
    assert ada.run(check_sound)


def test_a_wait_that_is_interrupted_on_a_full_disk_is_not_granted_afterwards(aboard, in_line):
    ada, bob, eve = aboard("ada"), aboard("bob"), aboard("eve")
    assert ada.run(acquire)
    bob.start_running(acquire)
    in_line(ada)
    ada.run(fill)
    bob.interrupt()
    with pytest.raises((StoreError, KeyboardInterrupt)):
        bob.result()
    ada.run(make_room)
    bob.run(write_something)
    ada.run(release)
    assert eve.run(acquire, timeout=0)
    assert ada.run(check_sound)


def test_who_waits_for_the_dead_on_a_full_disk_goes_on_when_there_is_room(aboard, in_line):
    ada, mortal = aboard("ada"), aboard("mortal")
    mortal.run(join_and_hold)
    outcomes = {"lock": True, "semaphore": True, "queue": "a", "future": "broken"}
    waiters = {which: aboard(which).start_running(wait_for, which) for which in outcomes}
    in_line(ada, len(waiters))
    ada.run(fill)
    mortal.kill()
    with pytest.raises(TimeoutError):
        waiters["lock"].result(timeout=0.7)  # a round of the watch, which can bury nobody
    assert all(waiter.busy() for waiter in waiters.values())
    ada.run(make_room)
    assert {which: waiter.result() for which, waiter in waiters.items()} == outcomes
    assert ada.run(check_sound)


def test_a_block_that_goes_on_although_the_disk_was_full_is_undone_as_a_whole(aboard):
    said, entries = aboard("ada").run(swallow)
    assert entries == {"before": 0}
    assert re.search("undone", said)
