"""Bells: no ring is lost, and a sleeper wakes at once."""

import time

import pytest

from prong.state.bell import SLOTS, FutexBells, slot_of


def ping_pong(here, mine, theirs, times, *, begins):
    """Ring the other and sleep until it has rung back, so many times; how often a sleep ran into its limit."""
    bells = here.store.bells
    lost = 0
    for n in range(times):
        if begins:
            bells.ring(theirs)
        while (seen := bells.read(mine)) == n:
            began = time.monotonic()
            bells.wait(mine, seen, 5)
            lost += time.monotonic() - began > 4
        if not begins:
            bells.ring(theirs)
    return lost


def ring_often(here, slot, times):
    for _ in range(times):
        here.store.bells.ring(slot)


def sleep_once_told(here, slot):
    """Say in the log that we are about to sleep, and sleep."""
    bells = here.store.bells
    seen = bells.read(slot)
    with here.member.transaction() as tx:
        tx.event("asleep")
    began = time.monotonic()
    bells.wait(slot, seen, 10)
    return time.monotonic() - began


def test_no_ring_is_lost_in_thousands_of_exchanges(processes):
    """Goal: a sleeper that checks, sleeps and is rung at any moment wakes.  Method: two ring each other in turn; a
    single lost ring would cost five seconds."""
    ada, bob = processes("ada"), processes("bob")
    bob.start_running(ping_pong, 11, 10, 4000, begins=False)
    ada.start_running(ping_pong, 10, 11, 4000, begins=True)
    assert (ada.result(60), bob.result(60)) == (0, 0)


def test_rings_of_many_processes_at_once_all_count(processes, store):
    before = store.bells.read(20)
    crowd = [processes(f"p{n}") for n in range(4)]
    for process in crowd:
        process.start_running(ring_often, 20, 10_000)
    for process in crowd:
        process.result()
    assert store.bells.read(20) - before == 40_000


def test_one_ring_wakes_all_who_share_a_word(processes, store, events, until):
    first, second = slot_of(5), slot_of(5 + SLOTS - 2)
    assert first == second
    crowd = [processes(f"p{n}") for n in range(4)]
    for process in crowd:
        process.start_running(sleep_once_told, first)
    until(lambda: len(events("asleep")) == 4, "four sleepers")
    store.bells.ring(first)
    assert max(process.result() for process in crowd) < 5


def test_a_ring_before_the_sleep_is_not_slept_over(store):
    seen = store.bells.read(30)
    store.bells.ring(30)
    began = time.monotonic()
    store.bells.wait(30, seen, 10)
    assert time.monotonic() - began < 5


def test_a_sleep_ends_with_its_limit(store):
    began = time.monotonic()
    store.bells.wait(31, store.bells.read(31), 0.05)
    assert 0.04 < time.monotonic() - began < 5


def test_a_sleeper_can_be_interrupted(processes, events, until):
    ada = processes("ada")
    ada.start_running(sleep_once_told, 40)
    until(lambda: events("asleep"), "a sleeper")
    ada.interrupt()
    with pytest.raises(KeyboardInterrupt):
        ada.result()


def test_the_scheduler_and_the_merger_share_their_words_with_no_waiter():
    assert {slot_of(n) for n in range(2 * SLOTS)} == set(range(2, SLOTS))


def test_a_bell_file_of_the_wrong_size_is_mended(tmp_path):
    (tmp_path / "bells").write_bytes(b"short")
    bells = FutexBells(tmp_path / "bells")
    bells.ring(SLOTS - 1)
    assert bells.read(SLOTS - 1) == 1
