"""The event: who waits goes on when it is set, whoever set it, and whatever became of him."""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import itertools
import math
import pickle
import threading
import unittest

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from prong.primitives.event import Event
from prong.primitives.joined import join as join_file
from prong.state import Deposed, Invalid, Store, TaskLost, join, waiter

try:
    from test import lock_tests
except ImportError:
    lock_tests = None


def wait_for_all(here, names):
    """Wait for one event after the other, as a runner waits for each station."""
    return [Event(here.member, name).wait() for name in names]


@pytest.fixture
def ready(member):
    return Event(member, "ready")


@pytest.fixture
def spawn(processes):
    return lambda name: processes(name, ("prong.primitives.event", "Event", ("ready",), {}))


# As threading has it.


@pytest.mark.skipif(lock_tests is None, reason="this interpreter comes without test.lock_tests")
class TestEventAgainstCPythonsOwnTests(lock_tests.EventTests if lock_tests else unittest.TestCase):
    # The first is about a private attribute; the second hopes that five threads wait after 50 ms.  What it is about is
    # tested below, with a thread that does.
    test_at_fork_reinit = None
    test_set_and_clear = None

    @pytest.fixture(autouse=True)
    def _names(self, tmp_path):
        store = Store(tmp_path / "swarm")
        member = join(store, "test")
        names = itertools.count()
        self.eventtype = lambda: Event(member, f"event {next(names)}")
        yield
        store.close()


class Flags(RuleBasedStateMachine):
    """An event against one of `threading`, used by two members in turn."""

    def __init__(self, store):
        super().__init__()
        name = f"event {store.row('select count(*) as n from event')['n']}"
        self.ours = [Event(join(store, who), name) for who in ("ada", "bob")]
        self.theirs = threading.Event()

    @rule(who=st.integers(0, 1), call=st.sampled_from(["set", "clear"]))
    def change(self, who, call):
        assert getattr(self.ours[who], call)() is getattr(self.theirs, call)()

    @rule(who=st.integers(0, 1), timeout=st.sampled_from([0, 0.0, -1, -math.inf]))
    def wait_no_time(self, who, timeout):
        assert self.ours[who].wait(timeout) is self.theirs.wait(0)

    @rule(who=st.integers(0, 1))
    def wait_for_ever(self, who):
        if self.theirs.is_set():
            assert self.ours[who].wait() is self.theirs.wait()

    @invariant()
    def both_are_the_same(self):
        for event in self.ours:
            assert event.is_set() is self.theirs.is_set()


def test_an_event_does_what_threadings_does(store):
    run_state_machine_as_test(
        lambda: Flags(store), settings=settings(max_examples=20, stateful_step_count=25, deadline=None)
    )


# Waking.


def test_all_who_wait_go_on_and_each_of_them_once(ready, spawn, in_line, waiters, events):
    crowd = [spawn(name) for name in ("ada", "bob", "eve")]
    for n, process in enumerate(crowd, 1):
        process.start("wait")
        in_line("event", n)
    assert all(process.busy() for process in crowd)
    ready.set()
    assert [process.result() for process in crowd] == [True] * 3
    assert waiters() == []
    assert [process.do("wait") for process in crowd] == [True] * 3
    assert events("event.") == [("event.waiting", "ready")] * 3 + [("event.set", "ready")]


def test_all_are_granted_in_the_transaction_that_sets_it(ready, spawn, in_line, waiters, store):
    """They stand still, so that only the setter can have decided; and though it is cleared they go on."""
    crowd = [spawn(name) for name in ("ada", "bob")]
    for n, process in enumerate(crowd, 1):
        process.start("wait")
        in_line("event", n)
        process.stop()
    ready.set()
    assert waiters() == []
    assert [row["state"] for row in store.rows("select state from waiter")] == ["granted"] * 2
    ready.clear()
    for process in crowd:
        process.go_on()
        assert process.result() is True
    assert not ready.is_set()


def test_who_waits_goes_on_though_the_event_is_cleared_right_after(member, people, during):
    (ada,) = people("ada")
    hers = Event(ada, "ready")

    def set_and_cleared():
        hers.set()
        hers.clear()

    assert Event(during(member, set_and_cleared), "ready").wait() is True
    assert Event(member, "ready").wait(0) is False


def test_who_comes_after_it_was_cleared_waits(ready, spawn, in_line):
    ready.set()
    ready.clear()
    ada = spawn("ada")
    ada.start("wait")
    in_line("event")
    ready.set()
    assert ada.result() is True


def test_one_that_is_set_between_the_look_and_the_wait_is_not_missed(store):
    """Goal: no lost wake-up.  Method: set it after the look without a transaction, before the one that would wait."""

    class SetAfterTheFirstLook(Event):
        def is_set(self):
            found = super().is_set()
            self.set()
            return found

    assert SetAfterTheFirstLook(join(store, "ada"), "ready").wait(timeout=0.5) is True
    assert store.row("select 1 from waiter") is None


def test_waiting_for_one_event_is_not_waiting_for_another(member, spawn, in_line):
    ada = spawn("ada")
    ada.start("wait")
    in_line("event")
    Event(member, "other").set()
    assert ada.busy()
    assert not Event(member, "ready").is_set()


def test_runners_pass_station_after_station_together(member, spawn):
    names = [f"station {n}" for n in range(25)]
    crowd = [spawn(f"p{n}") for n in range(4)]
    for process in crowd:
        process.start_running(wait_for_all, names)
    for name in names:
        Event(member, name).set()
    assert [process.result() for process in crowd] == [[True] * 25] * 4


def test_threads_of_one_member_all_wake(ready, in_line):
    results = []
    threads = [threading.Thread(target=lambda: results.append(ready.wait())) for _ in range(5)]
    for thread in threads:
        thread.start()
    in_line("event", 5)
    ready.set()
    for thread in threads:
        thread.join()
    assert results == [True] * 5


def test_many_waiters_are_granted_by_one_statement(ready, member, store):
    """Two hundred waiters cost the setter no more statements than two do."""

    def statements(count):
        with member.transaction() as tx:
            for _ in range(count):
                waiter.enrol(tx, "event", "ready", timeout=None)
        seen = []
        store.enter().connection.set_trace_callback(seen.append)
        ready.set()
        store.enter().connection.set_trace_callback(None)
        ready.clear()
        return len(seen)

    assert statements(200) <= statements(2) <= 8


# Time.


@pytest.mark.parametrize("timeout", [0, 0.0, -1, -0.001, -math.inf])
def test_no_time_to_wait_means_a_look(ready, timeout, store):
    before = store.row("select count(*) as n from event")["n"]
    assert ready.wait(timeout) is False
    assert store.row("select count(*) as n from event")["n"] == before
    ready.set()
    assert ready.wait(timeout) is True


def test_who_waits_for_a_time_gives_up_then(spawn, in_line, clock, waiters):
    ada = spawn("ada")
    ada.start("wait", 10)
    in_line("event")
    clock.advance(9.9)
    assert ada.busy()
    clock.advance(0.2)
    assert ada.result() is False
    assert waiters() == []


def test_an_event_that_is_set_just_when_time_is_up_is_seen(member, people, during, clock):
    (ada,) = people("ada")

    def set_first_then_late():
        Event(ada, "ready").set()
        clock.advance(5)

    assert Event(during(member, set_first_then_late), "ready").wait(5) is True


def test_an_endless_timeout_waits_for_ever(ready, spawn, in_line, store):
    ada = spawn("ada")
    ada.start("wait", math.inf)
    in_line("event")
    assert store.row("select until_at from waiter")["until_at"] is None
    ready.set()
    assert ada.result() is True


@pytest.mark.parametrize("timeout", [math.nan, True])
def test_a_timeout_that_is_none_is_refused(ready, timeout):
    with pytest.raises(Invalid, match="a timeout of"):
        ready.wait(timeout)


# Death and interrupts.


def test_it_stays_set_when_its_setter_and_everybody_else_is_gone(directory, clock, spawn, bury, store):
    ada = spawn("ada")
    ada.do("set")
    ada.kill()
    bury(ada)
    store.close()
    later = Store(directory, clock=clock)
    assert Event(join(later, "eve"), "ready").wait() is True
    later.close()


@pytest.mark.parametrize(("when", "is_set"), [("before", False), ("after", True)])
def test_set_killed_at_its_commit(ready, spawn, in_line, waiters, when, is_set):
    ada, bob = spawn("ada"), spawn("bob")
    bob.start("wait")
    in_line("event")
    bob.stop()
    ada.die(1, when)
    ada.start("set").gone()
    assert ready.is_set() is is_set
    assert len(waiters()) == (0 if is_set else 1)
    bob.go_on()
    if not is_set:
        ready.set()
    assert bob.result() is True


@pytest.mark.parametrize(("when", "is_set"), [("before", True), ("after", False)])
def test_clear_killed_at_its_commit(ready, spawn, when, is_set):
    ready.set()
    ada = spawn("ada")
    ada.die(1, when)
    ada.start("clear").gone()
    assert ready.is_set() is is_set


@pytest.mark.parametrize(("when", "left"), [("before", []), ("after", ["waiting"])])
def test_wait_killed_at_its_commit(spawn, waiters, bury, when, left):
    ada = spawn("ada")
    ada.die(1, when)
    ada.start("wait").gone()
    assert [state for _, state in waiters()] == left
    bury(ada)
    assert waiters() == []


def test_an_interrupted_wait_leaves_no_row(ready, spawn, in_line, waiters):
    ada = spawn("ada")
    ada.start("wait")
    in_line("event")
    ada.interrupt()
    with pytest.raises(KeyboardInterrupt):
        ada.result()
    assert waiters() == []
    ready.set()
    assert ada.do("wait") is True


def test_an_interrupt_at_any_line_of_a_wait_leaves_no_row(member, people, during, interrupt_at, waiters):
    """Goal: however a wait ends, nothing stays of it.  Method: raise at the n-th line of the code for every n."""
    (ada,) = people("ada")
    for n in itertools.count(1):
        hers = Event(ada, f"event {n}")
        event = Event(during(member, hers.set), f"event {n}")
        interrupted = interrupt_at(n, event.wait)
        assert waiters() == []
        if not interrupted:
            break
    assert n > 30


def test_the_dead_can_neither_set_nor_clear(ready, spawn, bury):
    ada = spawn("ada")
    bury(ada)
    for call in ("set", "clear", "wait"):
        with pytest.raises(Deposed):
            ada.do(call)
    assert not ready.is_set()


# Words.


def test_it_tells_its_name_and_whether_it_is_set(ready):
    assert repr(ready) == "<prong.Event at 'ready': unset>"
    ready.set()
    assert repr(ready) == "<prong.Event at 'ready': set>"
    ready.clear()
    assert repr(ready) == "<prong.Event at 'ready': unset>"


def test_it_tells_its_name_where_the_database_cannot_be_read(directory, store, ready):
    store.close()
    directory.rename(directory.with_name("gone"))
    assert repr(ready) == "<prong.Event at 'ready': unknown>"


def test_the_same_name_in_the_same_place_is_the_same_event(member, people, tmp_path, ready):
    (ada,) = people("ada")
    assert ready == Event(ada, "ready")
    assert hash(ready) == hash(Event(ada, "ready"))
    assert ready != Event(member, "other")
    elsewhere = Store(tmp_path / "elsewhere")
    assert ready != Event(join(elsewhere, "test"), "ready")
    elsewhere.close()
    assert ready != "ready"


@pytest.mark.parametrize("name", ["", "a\0b", "caf\udce9", "x" * 201, 7, None], ids=ascii)
def test_a_name_that_is_none_is_refused(member, name):
    with pytest.raises(Invalid, match="event name"):
        Event(member, name)


def test_it_goes_to_another_process_in_a_pickle(tmp_path):
    with join_file(tmp_path / "work.db", "ada") as swarm:
        ready = Event(swarm, "ready")
        again = pickle.loads(pickle.dumps(ready))
        ready.set()
        assert again == ready
        assert again.is_set()


def test_statistics_tell_who_set_or_cleared_it_and_who_waits(ready, people, spawn, in_line, clock):
    found = ready.statistics()
    assert (found.name, found.is_set, found.updated_by, found.updated_at, found.waiting) == (
        ("ready", False, None, None, 0)
    )  # fmt: skip
    (ada,) = people("ada")
    Event(ada, "ready").set()
    set_at = clock.now()
    clock.advance(1)
    ready.set()
    found = ready.statistics()
    assert (found.is_set, found.updated_by, found.updated_at) == (True, "ada", set_at)
    ready.clear()
    spawn("bob").start("wait")
    in_line("event")
    found = ready.statistics()
    assert (found.is_set, found.updated_by, found.updated_at, found.waiting) == (False, "test", clock.now(), 1)


def test_statistics_count_those_alone_who_wait_for_this_event(ready, member):
    with member.transaction() as tx:
        for kind, name in [("event", "ready"), ("event", "other"), ("barrier", "ready")]:
            waiter.enrol(tx, kind, name, timeout=None)
        waiter.grant(tx, waiter.enrol(tx, "event", "ready", timeout=None).waiter)
    assert ready.statistics().waiting == 1


def test_statistics_tell_who_set_it_again(ready, people, clock):
    (ada,) = people("ada")
    ready.set()
    ready.clear()
    clock.advance(1)
    Event(ada, "ready").set()
    found = ready.statistics()
    assert (found.is_set, found.updated_by, found.updated_at) == (True, "ada", clock.now())


def test_to_set_or_clear_one_event_leaves_the_others(ready, member):
    other = Event(member, "other")
    ready.set()
    other.set()
    other.clear()
    assert ready.is_set()
    assert not other.is_set()
    assert not other.wait(timeout=0)
    assert (other.statistics().is_set, Event(member, "third").statistics().updated_by) == (False, None)


def test_who_waits_for_one_event_is_not_let_through_by_another(member, during, clock):
    Event(member, "set").set()
    late = during(member, asleep=lambda: clock.advance(6))
    assert not Event(late, "ready").wait(timeout=5)


def test_the_log_tells_of_every_change_and_of_nothing_else(ready, spawn, in_line, store):
    ready.clear()
    ada = spawn("ada")
    ada.start("wait")
    in_line("event")
    ready.set()
    ready.set()
    ada.result()
    ready.clear()
    ready.clear()
    rows = store.rows("select kind, agent, data from event where kind like 'event.%' order by seq")
    test = 1
    assert [tuple(row) for row in rows] == [
        ("event.waiting", ada.agent, "{}"),
        ("event.set", test, '{"woken":1}'),
        ("event.cleared", test, "{}"),
    ]


def test_several_operations_are_one_change(ready, member):
    def fail():
        with member.atomic():
            ready.set()
            assert ready.wait()
            raise TaskLost(1, 1, "cancelled", 2)

    with pytest.raises(TaskLost):
        fail()
    assert not ready.is_set()
