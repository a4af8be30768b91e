"""The condition: nobody misses a notification, nobody goes on without the lock, and nothing is left of who leaves."""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import itertools
import math
import os
import pickle
import threading
import unittest

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from prong.primitives import Lock, NotHeld
from prong.primitives.condition import Condition, NotAcquired
from prong.primitives.joined import join as join_program
from prong.state import Deposed, Invalid, Store, join
from prong.state.bell import SLOTS, slot_of
from prong.state.errors import WaitInsideAtomic

try:
    from test import lock_tests
except ImportError:
    lock_tests = None


def wait(here, timeout=None, depth=1, kind="RLock"):
    """Wait with the lock; what `wait` returned, who held the lock then, and how deep."""
    condition = made(here.member, kind)
    for _ in range(depth):
        condition.acquire()
    notified = condition.wait(timeout)
    row = here.store.row("select holder, depth from lock where name = 'changed'")
    for _ in range(depth):
        condition.release()
    return notified, row["holder"], row["depth"]


def made(member, kind="RLock"):
    return Condition(member, "changed", Lock(member, "changed") if kind == "Lock" else None)


def consume(here, path, times):
    """Take so many lines from the front of a plain file, one by one, and return them."""
    condition, got = made(here.member), []
    for _ in range(times):
        with condition:
            condition.wait_for(path.read_text)
            first, _, rest = path.read_text().partition("\n")
            path.write_text(rest)
            got.append(int(first))
            condition.notify_all()
    return got


def produce(here, path, numbers):
    """Put numbers at the end of a plain file that never holds more than two."""
    condition = made(here.member)
    for number in numbers:
        with condition:
            condition.wait_for(lambda: path.read_text().count("\n") < 2)
            with path.open("a") as file:
                file.write(f"{number}\n")
            condition.notify_all()


@pytest.fixture
def condition(member):
    return made(member)


@pytest.fixture
def waiting(processes, in_line):
    """Processes that wait for the condition, in the order of their names."""

    def waiting(*names, **how):
        crowd = []
        for n, name in enumerate(names, 1):
            crowd.append(processes(name))
            crowd[-1].start_running(wait, **how)
            in_line("condition", n)
        return crowd

    return waiting


@pytest.fixture
def holder(store):
    return lambda: store.row("select holder, depth from lock where name = 'changed'")["holder"]


@pytest.fixture
def rows(store):
    return lambda: [tuple(row) for row in store.rows("select agent, kind, state from waiter order by id")]


# As threading has it.


@pytest.mark.skipif(lock_tests is None, reason="this interpreter comes without test.lock_tests")
class TestConditionAgainstCPythonsOwnTests(lock_tests.ConditionTests if lock_tests else unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _names(self, tmp_path):
        store = Store(tmp_path / "swarm")
        member, names = join(store, "test"), itertools.count()

        def condtype(lock=None):
            # The test of `acquire` brings a lock of threading's own, for which ours stands in.
            ours = Lock(member, f"lock {next(names)}") if lock is not None else None
            return Condition(member, f"condition {next(names)}", ours)

        self.condtype = condtype
        yield
        store.close()

    def test_acquire(self):
        condition = self.condtype()
        condition.acquire()
        condition.acquire()
        condition.release()
        condition.release()
        condition = self.condtype(threading.Lock())
        lock = condition.lock
        condition.acquire()
        self.assertFalse(lock.acquire(False))  # noqa: PT009  as CPython has it
        condition.release()
        self.assertTrue(lock.acquire(False))  # noqa: PT009  as above
        self.assertFalse(condition.acquire(False))  # noqa: PT009  as above
        lock.release()
        with condition:
            self.assertFalse(lock.acquire(False))  # noqa: PT009  as above


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
@pytest.mark.parametrize("what", ["wait", "notify", "notify_all"])
def test_whoever_does_not_hold_the_lock_is_refused(member, people, kind, what):
    (ada,) = people("ada")
    made(ada, kind).acquire()
    on = "wait" if what == "wait" else "notify"
    with pytest.raises(RuntimeError, match=f"^cannot {on} on un-acquired lock 'changed': ada holds it now") as refused:
        getattr(made(member, kind), what)()
    again = pickle.loads(pickle.dumps(refused.value))
    assert isinstance(again, NotHeld)
    assert (type(again), str(again)) == (NotAcquired, str(refused.value))
    made(ada, kind).release()
    with pytest.raises(RuntimeError, match="nobody holds it"):
        getattr(made(member, kind), what)()


def test_an_rlock_of_another_thread_is_not_ours(condition):
    held = threading.Thread(target=condition.acquire)
    held.start()
    held.join()
    with pytest.raises(NotAcquired):
        condition.notify()


def test_a_lock_that_is_only_shared_is_not_acquired(member):
    condition = made(member, "Lock")
    with condition.lock.shared() as grant:
        with pytest.raises(NotAcquired):
            condition.wait(0)
        assert condition.lock.held() == grant


@pytest.mark.parametrize("timeout", [0, -1, 5])
@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_who_waits_in_vain_has_the_lock_again_before_it_hears_so(member, during, clock, holder, kind, timeout, rows):
    seen = []

    def asleep():
        seen.append(holder())
        clock.advance(5)

    condition = made(during(member, asleep), kind)
    with condition:
        assert condition.wait(timeout) is False
        assert holder() == member.me.agent
    assert (seen, holder()) == ([None], None)
    assert rows() == []


def test_a_time_that_is_none_is_refused_and_the_lock_stays(condition, holder, member):
    with condition:
        for timeout in (math.nan, "1", True):
            with pytest.raises(Invalid):
                condition.wait(timeout)
        assert holder() == member.me.agent


@pytest.mark.parametrize(("n", "woken"), [(-1, 0), (0, 0), (1, 1), (2, 2), (10**30, 3)])
def test_as_many_are_notified_as_there_are_to_be(condition, waiting, n, woken):
    crowd = waiting("ada", "bob", "eve")
    with condition:
        condition.notify(n)
    for process in crowd[:woken]:
        assert process.result() == (True, process.agent, 1)
    assert condition.statistics().waiting == 3 - woken
    with pytest.raises(TypeError), condition:
        condition.notify("1")


def test_notifying_nobody_writes_nothing_down_and_is_not_remembered(condition, events, member, during, clock):
    with condition:
        condition.notify()
        condition.notify_all()
    assert events("condition") == []
    late = made(during(member, lambda: clock.advance(1)))
    with late:
        assert late.wait(1) is False


def test_wait_for_returns_what_the_predicate_did(condition):
    with condition:
        assert condition.wait_for(lambda: "now") == "now"
        assert condition.wait_for(list, timeout=0) == []
        assert condition.wait_for(list, -1) == []


def test_wait_for_asks_again_after_each_notification_until_its_time_is_up(member, people, during, clock):
    (ada,) = people("ada")
    hers, looks = made(ada), []

    def asleep():
        with hers:
            hers.notify()
        clock.advance(3)

    mine = made(during(member, asleep))
    with mine:
        assert mine.wait_for(lambda: looks.append(clock.now()), timeout=10) is None
    assert [look - looks[0] for look in looks] == [0, 3, 6, 9, 12]


def test_an_rlock_is_held_as_deep_as_before(waiting, condition):
    (ada,) = waiting("ada", depth=3)
    with condition:
        condition.notify()
    assert ada.result() == (True, ada.agent, 3)


def test_conditions_of_one_name_are_one(member, people):
    (ada,) = people("ada")
    assert Condition(member, "changed") == Condition(ada, "changed", Lock(ada, "other"))
    assert hash(Condition(member, "changed")) == hash(Condition(ada, "changed"))
    assert Condition(member, "changed") not in (Condition(member, "other"), "changed")


def test_a_condition_tells_who_waits(condition, waiting):
    waiting("ada", "bob")
    found = condition.statistics()
    assert (found.name, found.lock, found.waiting) == ("changed", "changed", 2)
    assert repr(condition) == f"<Condition 'changed' ({condition.lock!r}, 2)>"


def test_making_one_and_showing_it_needs_no_database(member, directory):
    member.store.close()
    (directory / "state.db").rename(directory / "gone")
    (directory / "state.db").mkdir()
    assert repr(made(member)).startswith("<Condition 'changed' (<unreadable")


def test_it_crosses_a_pickle_without_what_it_holds(tmp_path):
    with join_program(tmp_path / "work.db", "ada") as swarm:
        condition = swarm.Condition("changed", swarm.Lock("index"))
        with condition:
            again = pickle.loads(pickle.dumps(condition))
            assert again == condition
            assert (type(again.lock), again.lock.name, again.lock.grant) == (Lock, "index", None)


def test_a_forked_child_is_notified(tmp_path):
    with join_program(tmp_path / "work.db", "ada") as swarm:
        condition, told = swarm.Condition("changed"), swarm.SharedMap("told")
        child = os.fork()
        if not child:
            try:
                with condition:
                    os._exit(0 if condition.wait_for(lambda: "child" in told, timeout=20) else 1)
            finally:
                os._exit(99)
        with condition:
            told["child"] = True
            condition.notify_all()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# The two lines.


def test_those_who_are_notified_go_on_one_by_one_in_their_order(condition, waiting, in_line, holder, events):
    crowd = waiting("ada", "bob", "eve")
    condition.acquire()
    condition.notify_all()
    in_line("lock", 3)
    assert all(process.busy() for process in crowd)
    condition.release()
    assert [process.result() for process in crowd] == [(True, process.agent, 1) for process in crowd]
    assert holder() is None
    assert events("condition") == [("condition.waiting", "changed")] * 3 + [("condition.notified", "changed")]


def test_whoever_is_in_the_locks_line_already_goes_first(condition, waiting, processes, in_line, store):
    (ada,) = waiting("ada")
    condition.acquire()
    bob, eve = (processes(name, ("prong.primitives", "Lock", ("changed",), {})) for name in ("bob", "eve"))
    bob.start("acquire")
    in_line("lock", 1)
    condition.notify()
    in_line("lock", 2)
    eve.start("acquire")
    in_line("lock", 3)
    condition.release()
    assert bob.result()
    assert ada.busy()
    bob.do("release")
    assert ada.result()[0]
    assert eve.result()
    fences = store.rows("select json_extract(data, '$.holder') as holder from event where kind = 'lock.acquired'")
    assert [row["holder"] for row in fences if row["holder"]] == [bob.agent, ada.agent, eve.agent]


def test_the_places_in_the_locks_line_are_in_their_order_and_ring_their_bells(condition, waiting, store):
    crowd = waiting("ada", "bob")
    condition.acquire()
    before = {row["id"]: row["agent"] for row in store.rows("select id, agent from waiter")}
    condition.notify_all()
    moved = {row["id"]: row["agent"] for row in store.rows("select * from waiter where kind = 'lock' order by id")}
    assert list(moved.values()) == list(before.values())
    assert [slot_of(number) for number in moved] == [slot_of(number) for number in before]
    assert min(moved) > max(before)
    condition.release()
    assert [process.result()[0] for process in crowd] == [True, True]


@pytest.mark.parametrize("gap", [0, 1, SLOTS - 4, SLOTS - 3, SLOTS - 2, SLOTS - 1, 3 * SLOTS])
def test_the_second_row_rings_the_same_bell_whatever_was_numbered_between(condition, waiting, in_line, store, gap):
    (ada,) = waiting("ada")
    (first,) = in_line("condition")
    with store.transaction(None) as tx:
        tx.execute("update sqlite_sequence set seq = seq + :gap where name = 'waiter'", gap=gap)
    condition.acquire()
    condition.notify()
    (moved,) = in_line("lock")
    assert slot_of(moved["id"]) == slot_of(first["id"])
    assert moved["id"] > first["id"] + gap
    condition.release()
    assert ada.result()[0]


def test_a_waiter_that_turns_over_in_its_sleep_goes_on_waiting_for_the_lock(condition, waiting, in_line, store):
    (ada,) = waiting("ada")
    (first,) = in_line("condition")
    condition.acquire()
    condition.notify()
    store.bells.ring(slot_of(first["id"]))
    in_line("lock")
    assert ada.busy()
    condition.release()
    assert ada.result() == (True, ada.agent, 1)


def test_a_notification_that_comes_just_when_time_is_up_counts(member, people, during, clock):
    (ada,) = people("ada")
    hers = made(ada)

    def notified_and_late():
        with hers:
            hers.notify()
        clock.advance(5)

    mine = made(during(member, notified_and_late))
    with mine:
        assert mine.wait(5) is True


def test_who_has_no_time_left_is_passed_over(condition, waiting, processes, in_line, clock):
    (ada,) = waiting("ada", timeout=5)
    ada.stop()
    bob = processes("bob")
    bob.start_running(wait)
    in_line("condition", 2)
    clock.advance(5)
    with condition:
        condition.notify()
    assert bob.result()[0]
    ada.go_on()
    assert ada.result() == (False, ada.agent, 1)


def test_waiting_frees_the_lock_for_the_next_in_its_line(condition, processes, in_line, during, member):
    bob = processes("bob", ("prong.primitives", "Lock", ("changed",), {}))
    condition.acquire()
    bob.start("acquire")
    in_line("lock")

    def asleep():
        assert bob.result()
        bob.do("release")

    asleep_once = made(during(member, asleep))
    assert asleep_once.wait(0) is False


def test_a_buffer_between_processes_loses_nothing(processes, tmp_path):
    path = tmp_path / "buffer"
    path.touch()
    producers = [processes(f"producer {n}") for n in range(2)]
    consumers = [processes(f"consumer {n}") for n in range(3)]
    for process in consumers:
        process.start_running(consume, path, 20)
    for n, process in enumerate(producers):
        process.start_running(produce, path, range(n * 30, n * 30 + 30))
    for process in producers:
        process.result(60)
    assert sorted(itertools.chain(*(process.result(60) for process in consumers))) == list(range(60))


def test_it_cannot_wait_inside_an_atomic_block(condition, member, holder):
    with condition:
        with pytest.raises(WaitInsideAtomic), member.atomic():
            condition.wait(0)
        assert holder() == member.me.agent
        with member.atomic():
            condition.notify_all()


# Interrupts.


def test_an_interrupt_has_the_lock_again_before_it_goes_through(condition, processes, in_line, holder):
    ada = processes("ada")
    ada.run(acquire)
    ada.start_running(wait_only)
    in_line("condition")
    assert holder() is None
    condition.acquire()
    ada.interrupt()
    in_line("lock")
    assert ada.busy()
    condition.release()
    with pytest.raises(KeyboardInterrupt):
        ada.result()
    assert holder() == ada.agent
    ada.run(release)
    assert holder() is None


def acquire(here):
    made(here.member).acquire()


def release(here):
    made(here.member).release()


def wait_only(here):
    made(here.member).wait()


def test_a_second_interrupt_leaves_without_the_lock(condition, processes, in_line, holder, member):
    ada = processes("ada")
    ada.run(acquire)
    ada.start_running(wait_only)
    in_line("condition")
    condition.acquire()
    ada.interrupt()
    in_line("lock")
    with pytest.raises(KeyboardInterrupt):
        ada.interrupt().result()
    assert condition.lock.statistics().waiting == 0
    assert holder() == member.me.agent
    condition.release()
    assert holder() is None


def test_who_is_interrupted_behind_its_notification_passes_it_on(
    member, people, during, interrupt, processes, in_line, holder
):
    hers, bob = made(people("ada")[0]), processes("bob")

    def asleep():
        bob.start_running(wait)
        in_line("condition", 2)
        with hers:
            hers.notify()

    mine = made(during(member, asleep, interrupt))
    mine.acquire()
    with pytest.raises(KeyboardInterrupt):
        mine.wait()
    assert holder() == member.me.agent
    in_line("lock", 1)
    mine.release()
    assert bob.result() == (True, bob.agent, 1)


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_an_interrupt_at_any_line_leaves_the_lock_to_us_or_to_all(member, people, interrupt_at, kind, store, during):
    (ada,) = people("ada")
    for n in itertools.count(1):
        hers = made(ada, kind)

        def asleep(hers=hers):
            # In a thread of its own, which is not interrupted.
            thread = threading.Thread(target=notify_by, args=[hers])
            thread.start()
            thread.join()

        mine = made(during(member, asleep), kind)
        mine.acquire()
        interrupted = interrupt_at(n, mine.wait)
        assert store.rows("select * from waiter where state = 'waiting'") == []
        if mine.lock.held() is not None:
            mine.release()
        with hers:  # it is free, and nobody is in its line
            pass
        if not interrupted:
            break
    assert n > 50


# Death.


def test_a_notification_whose_receiver_is_dead_passes_to_the_next(condition, waiting, in_line, bury):
    ada, bob, eve = waiting("ada", "bob", "eve")
    condition.acquire()
    condition.notify()
    in_line("lock")
    ada.kill()
    bury(ada)
    in_line("lock")
    in_line("condition")
    condition.release()
    assert bob.result() == (True, bob.agent, 1)
    assert eve.busy()


def test_it_passes_on_although_the_lock_was_handed_to_the_dead(condition, waiting, bury):
    ada, bob = waiting("ada", "bob")
    ada.stop()
    with condition:
        condition.notify()
    ada.kill()
    bury(ada)
    assert bob.result() == (True, bob.agent, 1)


def test_it_passes_on_although_the_dead_had_turned_over_in_its_sleep(condition, waiting, bury, store):
    """Its first row is gone by then; the second, in the lock's line, tells of the notification."""
    ada, bob = waiting("ada", "bob")
    condition.acquire()
    condition.notify()
    with store.transaction(None) as tx:
        tx.execute("delete from waiter where kind = 'condition' and state = 'granted'")
    ada.kill()
    bury(ada)
    condition.release()
    assert bob.result() == (True, bob.agent, 1)


def test_as_many_pass_on_as_were_notified_and_none_to_the_dead_itself(member, people, in_line, bury, store):
    ada, bob, *_ = people("ada", "bob")
    hers, his, mine = made(ada), made(bob), made(member)
    crowd = [threading.Thread(target=swallow, args=[each], daemon=True) for each in (hers, hers, his, hers, his, his)]
    for n, thread in enumerate(crowd, 1):
        thread.start()
        in_line("condition", n)
    mine.acquire()
    mine.notify(2)
    bury(ada)
    rows = store.rows("select agent, kind from waiter where state = 'waiting' order by id")
    assert [tuple(row) for row in rows] == [(bob.me.agent, "condition"), *[(bob.me.agent, "lock")] * 2]
    mine.notify_all()
    mine.release()
    for thread in crowd:
        thread.join()


def swallow(condition):
    """Wait, and go on as a thread does whose member is dead."""
    try:
        with condition:
            condition.wait()
    except Deposed:
        pass


def test_who_dies_before_it_is_notified_swallows_nothing(condition, waiting, bury):
    ada, bob = waiting("ada", "bob")
    ada.kill()
    bury(ada)
    with condition:
        condition.notify()
    assert bob.result()[0]


def test_a_death_passes_on_nothing_that_was_heard(condition, waiting, bury, processes, in_line):
    (ada,) = waiting("ada")
    with condition:
        condition.notify()
    ada.result()
    bob = processes("bob")
    bob.start_running(wait)
    in_line("condition")
    ada.kill()
    bury(ada)
    in_line("condition")
    assert bob.busy()


@pytest.mark.parametrize(
    ("n", "when", "left"),
    [
        (1, "before", ("ada", [])),
        (1, "after", (None, ["condition"])),
        (2, "before", ("ada", [])),
        (2, "after", (None, [])),
    ],
)
def test_a_waiter_is_killed_at_each_commit(condition, processes, in_line, store, bury, n, when, left):
    """Its first commit lets the lock go; its second, after it was notified and had the lock, releases it."""
    ada = processes("ada")
    ada.run(acquire)
    ada.die(n, when)
    ada.start_running(wait_and_release)
    if n == 2:
        in_line("condition")
        with condition:
            condition.notify()
    ada.gone()
    row = store.row("select agent.name from lock join agent on agent.id = holder where lock.name = 'changed'")
    kinds = [row["kind"] for row in store.rows("select kind from waiter where state = 'waiting'")]
    assert (row and "ada", kinds) == left
    bury(ada)
    assert store.rows("select * from waiter") == []
    assert condition.acquire(timeout=0)


def wait_and_release(here):
    condition = made(here.member)
    condition.wait()
    condition.release()


@pytest.mark.parametrize(("when", "left"), [("before", ["condition"]), ("after", ["lock"])])
def test_a_notifier_is_killed_at_its_commit(waiting, processes, store, bury, when, left, condition):
    (ada,) = waiting("ada")
    bob = processes("bob")
    bob.run(acquire)
    bob.die(1, when)
    bob.start_running(notify).gone()
    assert [row["kind"] for row in store.rows("select kind from waiter where state = 'waiting'")] == left
    bury(bob)
    if when == "before":
        with condition:
            condition.notify()
    assert ada.result()[0]


def notify(here):
    made(here.member).notify()


def notify_by(condition):
    with condition:
        condition.notify()


class Lines(RuleBasedStateMachine):
    """The two lines against lists; who waits is a thread of its own member, and the test decides who has the lock."""

    def __init__(self, store, until):
        super().__init__()
        self.until = until
        self.name = f"changed {store.row('select count(*) as n from event')['n']}"
        self.store, self.numbers = store, itertools.count()
        self.mine = Condition(join(store, "test"), self.name)
        self.mine.acquire()
        self.waiting, self.notified, self.woken, self.threads = [], [], [], []

    def waiters(self, kind):
        rows = self.store.rows(
            "select name from waiter join agent on agent.id = agent where kind = :kind and object = :name"
            " and waiter.state = 'waiting' order by waiter.id",
            kind=kind,
            name=self.name,
        )
        return [row["name"] for row in rows]

    @precondition(lambda self: len(self.waiting) + len(self.notified) < 6)
    @rule()
    def begin_to_wait(self):
        name = f"{self.name} {next(self.numbers)}"
        condition = Condition(join(self.store, name), self.name)

        def wait():
            with condition:
                condition.wait()
                self.woken.append(name)

        self.threads.append(threading.Thread(target=wait))
        self.threads[-1].start()
        self.until(lambda: name in self.waiters("lock"), "the new one waits for the lock")
        self.mine.release()  # which lets all who were notified before it go first
        self.until(lambda: name in self.waiters("condition"), "the new one waits")
        self.mine.acquire()
        self.waiting.append(name)
        self.went_on()

    @rule(n=st.integers(min_value=-1, max_value=4))
    def notify(self, n):
        self.mine.notify(n)
        self.notified += self.waiting[: max(n, 0)]
        self.waiting = self.waiting[max(n, 0) :]

    @rule()
    def notify_all(self):
        self.mine.notify_all()
        self.notified, self.waiting = self.notified + self.waiting, []

    @rule()
    def let_them_have_the_lock(self):
        self.mine.release()
        self.until(lambda: len(self.woken) == len(self.notified), "all who were notified have had the lock")
        self.mine.acquire()
        self.went_on()

    def went_on(self):
        assert self.woken == self.notified
        self.woken, self.notified = [], []

    @invariant()
    def lines_agree(self):
        assert self.waiters("condition") == self.waiting
        assert self.waiters("lock") == self.notified
        assert self.mine.statistics().waiting == len(self.waiting)

    def teardown(self):
        self.mine.notify_all()
        self.mine.release()
        for thread in self.threads:
            thread.join()


def test_a_condition_agrees_with_its_model(store, until):
    run_state_machine_as_test(
        lambda: Lines(store, until), settings=settings(max_examples=15, stateful_step_count=15, deadline=None)
    )
