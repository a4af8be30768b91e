"""Patience is learnt: it is kept where it pays, and soon given up where it does not."""

import os

import pytest

from prong.state.patience import MOST_MISSES, Patience


@pytest.fixture
def patience():
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("on one processor it never pays")
    return Patience()


def tries(patience, times, come):
    """How often of so many times it looks again, where what it waits for does `come` or does not."""
    looked = 0
    for _ in range(times):
        if patience.pays():
            looked += 1
            (patience.hit if come else patience.missed)()
    return looked


def test_where_it_pays_it_looks_every_time(patience):
    assert tries(patience, 100, True) == 100


def test_where_it_does_not_it_looks_once_in_hundreds_of_times(patience):
    tries(patience, 1000, False)
    assert tries(patience, 10 * 4**MOST_MISSES, False) == 10


def test_it_learns_that_it_pays_again(patience):
    tries(patience, 10_000, False)
    tries(patience, 2 * 4**MOST_MISSES, True)
    assert tries(patience, 100, True) == 100


def test_on_one_processor_it_never_pays():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert not Patience().pays()
    finally:
        os.sched_setaffinity(0, before)
