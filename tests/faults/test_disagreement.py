"""Two make the same thing at once and differ about what it is: one of them is refused, and told how it is."""

import re

import pytest

from prong.primitives import Barrier, MessageQueue, Semaphore
from prong.state import Invalid

from .operations import disagree, sound

ROUNDS = 5

CASES = {
    "barriers of other parties": (
        ("Barrier", (1,), "wait", {}),
        ("Barrier", (3,), "wait", {"timeout": 0}),
        r"\d parties",
    ),
    "semaphores of other values": (
        ("Semaphore", (2,), "acquire", {"timeout": 0}),
        ("Semaphore", (3,), "acquire", {"timeout": 0}),
        "as it was made",
    ),
    "a semaphore that is bounded, or not": (
        ("Semaphore", (2,), "acquire", {"timeout": 0}),
        ("BoundedSemaphore", (2,), "acquire", {"timeout": 0}),
        "as it was made",
    ),
    "queues of another discipline": (
        ("MessageQueue", (), "put", {"item": 1}, {"discipline": "fifo"}),
        ("MessageQueue", (), "put", {"item": 2}, {"discipline": "lifo"}),
        "holds messages that were put so",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_of_two_who_differ_is_refused(processes, store, clock, case):
    """Race: both make it at one moment.  Several rounds under other names; each must end with one refusal."""
    one, other, words = CASES[case]
    ada, bob = processes("ada"), processes("bob")
    for n in range(ROUNDS):
        moment = clock.now() + 1
        for process, (kind, arguments, method, options, *more) in ((ada, one), (bob, other)):
            process.start_running(disagree, moment, kind, (f"x{n}", *arguments), dict(*more), method, options)
        clock.advance(1)
        refusals = [said for said in (ada.result(), bob.result()) if isinstance(said, Invalid)]
        assert len(refusals) == 1, n
        assert f"x{n}" in str(refusals[0])
        assert re.search(words, refusals[0].expected)
    assert sound(store)


def test_the_bound_of_a_queue_is_what_was_said_last(member):
    """It says so: a queue is set up by whoever says something of it, and never refused for that."""
    MessageQueue(member, "q", 5).put(1)
    MessageQueue(member, "q", 9).put(1)
    assert MessageQueue(member, "q").maxsize == 9


def test_who_was_refused_changes_nothing(people_two):
    ada, bob = people_two
    assert Semaphore(ada, "s", 2).acquire(timeout=0)
    with pytest.raises(Invalid, match=r"Semaphore\('s', 3\); use Semaphore\('s', 2\), as it was made"):
        Semaphore(bob, "s", 3).release()
    assert Semaphore(ada, "s", 2).statistics().value == 1
    Barrier(ada, "b", 2).abort()
    with pytest.raises(Invalid, match="2 parties"):
        Barrier(bob, "b", 3).reset()
    assert Barrier(ada, "b", 2).broken


@pytest.fixture
def people_two(people):
    return people("ada", "bob")
