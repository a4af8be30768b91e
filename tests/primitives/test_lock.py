"""The lock: one holder at a time, first come first served, and nothing that a death or an interrupt leaves behind."""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import itertools
import math
import os
import pickle
import threading
import time

import pytest

from prong.primitives import Lock, NotHeld, holdings
from prong.primitives import joined as swarms
from prong.primitives.any_lock import LEASE_S
from prong.state import Deposed, Invalid, Store, TaskLost, join


def add_one(here, path, times):
    """Read, add and write a number in a plain file, with nothing but the lock against others."""
    for _ in range(times):
        with here.object:
            number = int(path.read_text())
            os.sched_yield()
            path.write_text(str(number + 1))


def hand_to_and_fro(here, times):
    """Acquire and release; the longest wait, in seconds, and the fences in the order in which they came."""
    longest, fences = 0.0, []
    for _ in range(times):
        began = time.monotonic()
        here.object.acquire()
        longest = max(longest, time.monotonic() - began)
        fences.append(here.object.grant.fence)
        here.object.release()
    return longest, fences


def at_once(here):
    return fence_of(here.object)


def grant_of(here):
    return here.object.grant


def fence_of(lock):
    """The fence under which the lock is granted at once, or None."""
    return lock.grant.fence if lock.acquire(timeout=0) else None


def granted(process):
    """The fence under which the process got what it waited for."""
    assert process.result() is True
    return process.run(grant_of).fence


@pytest.fixture
def lock(member):
    return Lock(member, "index")


@pytest.fixture
def spawn(processes):
    return lambda name: processes(name, ("prong.primitives", "Lock", ("index",), {}))


@pytest.fixture
def holder(lock):
    return lambda: lock.statistics().holder


# Exclusion.


def test_a_held_lock_is_refused_to_others_until_it_is_released(lock, spawn):
    ada = spawn("ada")
    assert ada.run(at_once) == 1
    assert lock.acquire(timeout=0) is False
    ada.do("release")
    assert fence_of(lock) == 2


def test_locks_of_other_names_are_other_locks(lock, member):
    assert lock.acquire(timeout=0)
    assert Lock(member, "other").acquire(timeout=0)
    Lock(member, "other").release()
    assert lock.statistics().holder == "test"


def test_processes_that_add_to_a_plain_file_under_the_lock_lose_nothing(spawn, tmp_path):
    path = tmp_path / "number"
    path.write_text("0")
    crowd = [spawn(f"p{n}") for n in range(8)]
    for process in crowd:
        process.start_running(add_one, path, 25)
    for process in crowd:
        process.result()
    assert path.read_text() == "200"


def test_no_hand_over_waits_for_the_slow_look_and_every_fence_is_new(spawn):
    crowd = [spawn(f"p{n}") for n in range(3)]
    for process in crowd:
        process.start_running(hand_to_and_fro, 60)
    waits, fences = zip(*[process.result() for process in crowd], strict=True)
    assert max(waits) < 0.9
    assert sorted(itertools.chain(*fences)) == list(range(1, 181))
    assert all(list(own) == sorted(own) for own in fences)


def test_a_repeated_call_finds_its_grant_and_changes_nothing(lock, member, clock, events):
    assert lock.acquire(timeout=0, lease_s=10, key="call 1")
    first = lock.grant
    clock.advance(5)
    again = Lock(member, "index")
    assert again.acquire(timeout=0, lease_s=99, key="call 1")
    assert again.grant == first
    assert events("lock") == [("lock.acquired", "index")]
    lock.release()
    with pytest.raises(NotHeld):
        lock.release()


def test_a_key_is_its_members_and_of_one_grant(lock, people, clock):
    (ada,) = people("ada")
    assert lock.acquire(timeout=0, key="call 1")
    assert not Lock(ada, "index").acquire(timeout=0, key="call 1")
    assert not lock.acquire(timeout=0, key="call 2")
    clock.advance(LEASE_S)
    assert lock.acquire(timeout=0, key="call 1")
    assert lock.grant.fence == 2


def test_who_acquires_what_he_holds_waits_for_himself(lock, member):
    assert lock.acquire(timeout=0)
    assert not lock.acquire(timeout=0)
    assert not Lock(member, "index").acquire(blocking=False)


def test_any_object_of_the_name_releases_what_the_member_holds(lock, member):
    assert lock.acquire()
    other = Lock(member, "index")
    assert (other.grant, other.held()) == (None, lock.grant)
    other.release()
    assert (lock.grant, lock.held(), lock.locked()) == (None, None, False)


def test_a_holder_whose_lease_ran_out_acquires_anew_under_a_new_fence(lock, clock):
    lock.acquire(timeout=0, lease_s=10)
    clock.advance(10)
    assert (lock.grant, lock.locked()) == (None, False)
    assert lock.acquire(timeout=0, lease_s=10)
    assert (lock.grant.fence, lock.grant.expires_at) == (2, clock.now() + 10)


# The line.


def test_those_who_wait_are_served_first_come_first_served(lock, spawn, in_line, holder):
    lock.acquire(timeout=0)
    crowd = [spawn(name) for name in ("ada", "bob", "eve")]
    for n, process in enumerate(crowd, 1):
        process.start("acquire")
        in_line("lock", n)
    lock.release()
    for n, process in enumerate(crowd):
        assert granted(process) == n + 2
        assert holder() == process.name
        assert all(other.busy() for other in crowd[n + 1 :])
        process.do("release")
    assert holder() is None


def test_nobody_overtakes_the_line(lock, people, spawn, in_line):
    ada = spawn("ada")
    lock.acquire(timeout=0)
    ada.start("acquire")
    in_line("lock")
    (bob,) = people("bob")
    lock.release()
    assert Lock(bob, "index").acquire(timeout=0) is False
    assert lock.acquire(timeout=0) is False
    assert granted(ada) == 2


def test_the_lock_is_granted_in_the_transaction_that_releases_it(lock, spawn, in_line, holder, waiters, store):
    """The heir stands still, so that only the releaser can have decided."""
    ada = spawn("ada")
    lock.acquire(timeout=0)
    ada.start("acquire", lease_s=30)
    in_line("lock")
    ada.stop()
    lock.release()
    assert holder() == "ada"
    assert store.row("select agent, state from waiter")["state"] == "granted"
    ada.go_on()
    assert granted(ada) == 2
    assert waiters() == []


def test_a_grant_lasts_as_long_as_its_heir_asked_for_from_the_hand_over_on(lock, spawn, in_line, clock):
    ada = spawn("ada")
    lock.acquire(timeout=0)
    ada.start("acquire", lease_s=30)
    in_line("lock")
    clock.advance(7)
    lock.release()
    assert ada.result()
    assert ada.run(grant_of).expires_at == clock.now() + 30


def test_who_waits_for_a_time_gives_up_then_and_leaves_the_line(lock, spawn, in_line, clock, waiters, holder):
    ada = spawn("ada")
    lock.acquire(timeout=0, lease_s=1000)
    ada.start("acquire", timeout=60)
    in_line("lock")
    clock.advance(59.9)
    assert ada.busy()
    clock.advance(0.2)
    assert ada.result() is False
    assert waiters() == []
    lock.release()
    assert holder() is None


def test_the_lock_passes_over_a_waiter_whose_time_is_up(lock, spawn, people, in_line, clock, holder):
    ada = spawn("ada")
    lock.acquire(timeout=0)
    ada.start("acquire", timeout=10)
    in_line("lock")
    ada.stop()
    clock.advance(10)
    lock.release()
    assert holder() is None
    (bob,) = people("bob")
    assert fence_of(Lock(bob, "index")) == 2
    ada.go_on()
    assert ada.result() is False


def test_a_grant_that_comes_just_when_time_is_up_is_kept(member, people, during, clock, waiters, holder):
    (bob,) = people("bob")
    other = Lock(bob, "index")
    other.acquire(timeout=0)

    def granted_first_then_late():
        other.release()
        clock.advance(5)

    late = Lock(during(member, granted_first_then_late), "index")
    assert late.acquire(timeout=5)
    assert late.grant.fence == 2
    assert (holder(), waiters()) == ("test", [])


def test_who_waits_for_another_lock_keeps_nobody_from_this_one(lock, member, spawn, in_line, processes):
    other = Lock(member, "other")
    other.acquire(timeout=0)
    processes("ada", ("prong.primitives", "Lock", ("other",), {})).start("acquire")
    in_line("lock")
    assert lock.acquire(timeout=0)
    lock.release()
    assert spawn("bob").do("acquire", timeout=0)


# Death.


def test_a_killed_holder_keeps_the_lock_until_its_lease_expires(lock, spawn, clock, holder):
    ada = spawn("ada")
    ada.do("acquire", timeout=0)
    ada.kill()
    clock.advance(LEASE_S - 0.1)
    assert lock.acquire(timeout=0) is False
    assert holder() == "ada"
    clock.advance(0.2)
    assert fence_of(lock) == 2


def test_a_holder_that_is_declared_dead_frees_the_lock_for_the_first_in_line(spawn, in_line, bury, events, holder):
    ada, bob = spawn("ada"), spawn("bob")
    ada.do("acquire", timeout=0)
    bob.start("acquire")
    in_line("lock")
    ada.kill()
    bob.stop()
    assert bury(ada)
    assert holder() == "bob"
    bob.go_on()
    assert granted(bob) == 2
    assert [kind for kind, _ in events("lock")][-2:] == ["lock.released", "lock.acquired"]
    assert not bury(ada)


def test_those_who_wait_find_out_themselves_that_the_lease_ran_out(spawn, in_line, clock):
    ada, bob = spawn("ada"), spawn("bob")
    ada.do("acquire", timeout=0)
    ada.kill()
    bob.start("acquire")
    in_line("lock")
    clock.advance(LEASE_S)
    assert granted(bob) == 2


def test_a_waiter_that_died_costs_the_others_one_lease_at_most(lock, spawn, in_line, clock, holder):
    """Nobody declares the dead waiter dead, and nobody else waits: whoever asks gets the line moving all the same."""
    ada, bob = spawn("ada"), spawn("bob")
    ada.do("acquire", timeout=0)
    bob.start("acquire", lease_s=30)
    in_line("lock")
    ada.kill()
    bob.kill()
    clock.advance(LEASE_S)
    assert lock.acquire(timeout=0) is False
    assert holder() == "bob"
    clock.advance(30)
    assert fence_of(lock) == 3


def test_a_waiter_that_is_declared_dead_leaves_the_line(lock, spawn, in_line, bury, holder):
    ada, bob = spawn("ada"), spawn("bob")
    lock.acquire(timeout=0)
    for n, process in enumerate((ada, bob), 1):
        process.start("acquire")
        in_line("lock", n)
    ada.kill()
    bury(ada)
    lock.release()
    assert granted(bob) == 2
    assert holder() == "bob"


def test_a_waiter_that_dies_with_the_grant_unread_gives_it_up(lock, spawn, in_line, bury, holder, waiters):
    ada, bob = spawn("ada"), spawn("bob")
    lock.acquire(timeout=0)
    for n, process in enumerate((ada, bob), 1):
        process.start("acquire")
        in_line("lock", n)
    ada.stop()
    lock.release()
    assert holder() == "ada"
    ada.kill()
    bury(ada)
    assert granted(bob) == 3
    assert (holder(), waiters()) == ("bob", [])


def test_a_heartbeat_renews_all_that_its_member_holds_and_nothing_else(lock, people, member, clock):
    (bob,) = people("bob")
    other = Lock(bob, "other")
    lock.acquire(timeout=0, lease_s=10)
    Lock(member, "second").acquire(timeout=0, lease_s=20)
    Lock(member, "expired").acquire(timeout=0, lease_s=1)
    other.acquire(timeout=0, lease_s=10)
    clock.advance(5)
    with member.transaction() as tx:
        holdings.renew(tx)
    now = clock.now()
    assert lock.statistics().expires_at == now + 10
    assert Lock(member, "second").statistics().expires_at == now + 20
    assert Lock(member, "expired").statistics().expires_at == now - 4
    assert other.statistics().expires_at == now + 5


def test_a_stopped_holder_that_lost_the_lock_is_told_so_when_it_goes_on(lock, spawn, clock):
    ada = spawn("ada")
    ada.do("acquire", timeout=0)
    ada.stop()
    clock.advance(LEASE_S)
    assert fence_of(lock) == 2
    ada.go_on()
    with pytest.raises(NotHeld, match=r"test holds it now \(fence 2\)"):
        ada.do("release")
    assert lock.statistics().holder == "test"


def test_the_dead_cannot_acquire(spawn, bury, holder):
    ada = spawn("ada")
    bury(ada)
    with pytest.raises(Deposed):
        ada.do("acquire", timeout=0)
    assert holder() is None


@pytest.mark.parametrize(("n", "when", "left"), [(1, "before", (None, 0)), (1, "after", ("ada", 1))])
def test_acquire_killed_at_its_commit(lock, spawn, n, when, left):
    ada = spawn("ada")
    ada.die(n, when)
    ada.start("acquire", timeout=0).gone()
    assert (lock.statistics().holder, lock.statistics().fence) == left


@pytest.mark.parametrize(("when", "left"), [("before", []), ("after", ["waiting"])])
def test_a_waiting_acquire_killed_at_its_commit(lock, spawn, bury, waiters, when, left):
    ada = spawn("ada")
    lock.acquire(timeout=0)
    ada.die(1, when)
    ada.start("acquire").gone()
    found = lock.statistics()
    assert (found.holder, found.fence, [state for _, state in waiters()]) == ("test", 1, left)
    bury(ada)
    assert waiters() == []
    assert lock.statistics().holder == "test"


@pytest.mark.parametrize(("when", "left"), [("before", ("ada", 1)), ("after", ("bob", 2))])
def test_release_killed_at_its_commit(lock, spawn, in_line, when, left):
    ada, bob = spawn("ada"), spawn("bob")
    ada.do("acquire", timeout=0)
    bob.start("acquire")
    in_line("lock")
    ada.die(1, when)
    ada.start("release").gone()
    assert (lock.statistics().holder, lock.statistics().fence) == left


# Interrupts.


def test_an_interrupted_wait_leaves_no_row_and_no_lock(lock, spawn, in_line, waiters, holder):
    ada = spawn("ada")
    lock.acquire(timeout=0)
    ada.start("acquire")
    in_line("lock")
    ada.interrupt()
    with pytest.raises(KeyboardInterrupt):
        ada.result()
    assert waiters() == []
    lock.release()
    assert holder() is None
    assert ada.run(at_once) == 2


def test_a_grant_that_comes_just_before_an_interrupt_goes_to_the_next_in_line(
    member, people, during, spawn, in_line, waiters, holder, events
):
    (ada,) = people("ada")
    held = Lock(ada, "index")
    held.acquire(timeout=0)
    bob = spawn("bob")

    def hers_by_now():
        bob.start("acquire")
        in_line("lock", 2)
        held.release()
        assert holder() == "test"

    def lost():
        raise TaskLost(1, 1, "cancelled", 2)

    with pytest.raises(TaskLost):
        Lock(during(member, hers_by_now, lost), "index").acquire()
    assert granted(bob) == 3
    assert waiters() == []
    kinds = [kind for kind, _ in events("lock")]
    assert kinds[-4:] == ["lock.released", "lock.acquired", "lock.released", "lock.acquired"]


def test_an_interrupt_takes_nothing_that_another_call_of_the_member_got(
    member, people, during, interrupt, holder, waiters, clock
):
    """The same member waits twice, as two threads of an agent may; the call that came first has the lock."""
    (ada,) = people("ada")
    held = Lock(ada, "index")
    held.acquire(timeout=0)

    def the_first_is_granted():
        held.release()
        clock.advance(5)

    def the_second_is_interrupted():
        with pytest.raises(KeyboardInterrupt):
            Lock(during(member, the_first_is_granted, interrupt), "index").acquire(timeout=5)
        assert holder() == "test"

    first = Lock(during(member, the_second_is_interrupted), "index")
    assert first.acquire()
    assert first.grant.fence == 2
    assert (holder(), waiters()) == ("test", [])


@pytest.mark.parametrize("again", [True, False])
def test_an_interrupt_undoes_its_own_grant_and_no_later_one(member, people, during, clock, events, again):
    """The grant is lost and perhaps made anew by another call of the member before the interrupt is dealt with."""
    (ada,) = people("ada")
    held, mine = Lock(ada, "index"), Lock(member, "index")
    held.acquire(timeout=0)

    def lost():
        if again:
            clock.advance(LEASE_S)
            assert fence_of(mine) == 3
        else:
            mine.release()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Lock(during(member, held.release, lost), "index").acquire()
    assert mine.statistics().holder == ("test" if again else None)
    assert len(events("lock.released")) == (1 if again else 2)


def test_an_interrupt_at_any_line_of_an_acquire_leaves_no_row_and_no_lock(
    member, people, during, interrupt_at, waiters
):
    """Goal: between grant and look nothing is lost.  Method: raise at the n-th line of the waiting code for every n."""
    (ada,) = people("ada")
    for n in itertools.count(1):
        held = Lock(ada, f"lock {n}")
        held.acquire(timeout=0)
        heir = Lock(during(member, held.release), f"lock {n}")
        interrupted = interrupt_at(n, lambda lock=heir: lock.acquire())
        assert waiters() == []
        if not interrupted:
            break
        assert held.statistics().holder in (None, "ada")
    assert n > 50


@pytest.mark.parametrize("held", [False, True])
def test_an_interrupt_right_behind_the_commit_of_acquire_leaves_no_row_and_no_lock(lock, spawn, waiters, holder, held):
    """Its process goes on, so nobody else would ever take back what the call had got when it was interrupted."""
    ada = spawn("ada")
    if held:
        lock.acquire(timeout=0)
    ada.die(1, "interrupted")
    ada.start("acquire")
    with pytest.raises(KeyboardInterrupt):
        ada.result()
    assert waiters() == []
    assert holder() == ("test" if held else None)
    assert ada.do("acquire", timeout=0) is not held


def test_an_interrupt_at_any_line_of_an_acquire_at_once_leaves_no_lock(member, interrupt_at):
    for n in itertools.count(1):
        lock = Lock(member, f"lock {n}")
        if not interrupt_at(n, lock.acquire):
            break
        assert lock.statistics().holder is None
    assert n > 20


# Names, bounds, words.


def test_with_releases_at_the_end_also_of_a_failure(lock, holder):
    def fail_under_the_lock():
        with lock as grant:
            assert (grant.name, grant.fence, holder()) == ("index", 1, "test")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail_under_the_lock()
    assert holder() is None


def test_release_without_holding_says_who_does(lock, people):
    with pytest.raises(NotHeld, match="nobody holds it"):
        lock.release()
    (ada,) = people("ada")
    Lock(ada, "index").acquire(timeout=0)
    with pytest.raises(NotHeld, match=r"ada holds it now \(fence 1\)") as caught:
        lock.release()
    assert (caught.value.name, caught.value.holder, caught.value.fence) == ("index", "ada", 1)


def test_statistics_tell_who_holds_and_how_many_wait(lock, spawn, in_line, clock):
    assert lock.statistics().holder is None
    lock.acquire(timeout=0)
    grant = lock.grant
    spawn("ada").start("acquire")
    in_line("lock")
    found = lock.statistics()
    assert (found.name, found.holder, found.task, found.fence, found.waiting) == ("index", "test", None, 1, 1)
    assert (
        (found.acquired_at, found.expires_at) == (clock.now(), grant.expires_at) == (clock.now(), clock.now() + LEASE_S)
    )


def test_statistics_of_a_free_lock_name_no_time(lock):
    lock.acquire(timeout=0)
    lock.release()
    found = lock.statistics()
    assert (found.holder, found.acquired_at, found.expires_at, found.fence, found.waiting) == (None, None, None, 1, 0)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ({"timeout": -2}, ValueError),
        ({"timeout": -0.001}, ValueError),
        ({"timeout": math.nan}, ValueError),
        ({"timeout": -math.inf}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"timeout": None}, TypeError),
        ({"blocking": False, "timeout": 0}, ValueError),
        ({"blocking": False, "timeout": 1}, ValueError),
        ({"blocking": False, "timeout": None}, TypeError),
    ],
    ids=str,
)
def test_what_threading_refuses_is_refused_alike(lock, call, error, holder):
    """One thing differs: an endless timeout downwards is a ValueError and none upwards is an OverflowError."""
    if call != {"timeout": -math.inf}:
        with pytest.raises(error):
            threading.Lock().acquire(**call)
    with pytest.raises(error):
        lock.acquire(**call)
    assert holder() is None


@pytest.mark.parametrize("call", [(), (True,), (False,), (False, -1), (False, -1.0), (True, 0), (True, -1), (1, True)])
def test_what_threading_grants_is_granted_alike(lock, call):
    assert threading.Lock().acquire(*call) is lock.acquire(*call) is True
    assert not lock.acquire(False)


def test_an_infinite_timeout_waits_for_ever(lock, spawn, in_line, store):
    lock.acquire(timeout=0, lease_s=86_400)
    ada = spawn("ada")
    ada.start("acquire", timeout=math.inf)
    in_line("lock")
    assert store.row("select until_at from waiter")["until_at"] is None
    lock.release()
    assert granted(ada) == 2


@pytest.mark.parametrize("lease_s", [0, -1, math.nan, math.inf, 86_401, "60", True])
def test_a_lease_that_is_none_is_refused(lock, lease_s, holder):
    with pytest.raises(Invalid, match="a lease of"):
        lock.acquire(timeout=0, lease_s=lease_s)
    assert holder() is None


@pytest.mark.parametrize("name", ["", "a\0b", "caf\udce9", "x" * 201, 7, None, b"bytes"], ids=ascii)
def test_a_name_that_is_none_is_refused(member, name):
    with pytest.raises(Invalid, match="lock name"):
        Lock(member, name)


@pytest.mark.parametrize("name", ["x" * 200, "😀'\";--", " ", "ä"])
def test_any_other_name_is_a_name(member, name):
    with Lock(member, name):
        assert Lock(member, name).statistics().holder == "test"


def test_the_log_tells_of_every_grant_and_release(lock, spawn, in_line, store, clock):
    ada = spawn("ada")
    lock.acquire(timeout=0)
    ada.start("acquire")
    in_line("lock")
    clock.advance(3)
    lock.release()
    ada.result()
    rows = store.rows(
        "select kind, agent, json_extract(data, '$.fence') as fence, json_extract(data, '$.holder') as holder,"
        " json_extract(data, '$.waited_s') as waited_s"
        " from event where kind like 'lock.%' order by seq"
    )
    test = 1
    assert [tuple(row) for row in rows] == [
        ("lock.acquired", test, 1, None, None),
        ("lock.waiting", ada.agent, None, None, None),
        ("lock.released", test, 1, None, None),
        ("lock.acquired", test, 2, ada.agent, 3.0),
    ]


# What it is to Python.


def test_objects_of_one_name_in_one_store_are_equal(lock, member, people, tmp_path):
    (ada,) = people("ada")
    assert lock == Lock(member, "index") == Lock(ada, "index")
    assert {lock, Lock(ada, "index")} == {lock}
    elsewhere = Store(tmp_path / "elsewhere")
    assert lock not in (Lock(member, "other"), Lock(join(elsewhere, "test"), "index"), "index", None)
    elsewhere.close()


def test_its_repr_tells_whether_it_is_locked_and_never_fails(lock, store):
    name = "prong.primitives.lock.Lock object 'index' at 0x"
    assert repr(lock).startswith(f"<unlocked {name}")
    lock.acquire(shared=True)
    assert repr(lock).startswith(f"<locked {name}")
    store.close()
    store.path.write_bytes(b"no database")
    assert repr(lock).startswith(f"<unreadable {name}")


def test_a_lock_and_its_refusals_cross_a_pickle(tmp_path):
    with swarms.join(tmp_path / "work.db") as swarm:
        lock = swarm.Lock("index")
        lock.acquire()
        again = pickle.loads(pickle.dumps(lock))
        assert (again, again.grant) == (lock, None)
        assert not again.acquire(timeout=0)
        error = NotHeld("index", "ada", 3, 2)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        assert "under fence 2 any more: ada holds it now (fence 3)" in str(error)


def test_a_forked_child_holds_nothing_of_its_parents(tmp_path):
    with swarms.join(tmp_path / "work.db") as swarm:
        lock = swarm.Lock("index")
        lock.acquire()
        child = os.fork()
        if child == 0:
            free = lock.acquire(timeout=0)
            os._exit(1 if free or lock.grant is not None else 0)
        assert os.waitpid(child, 0)[1] == 0
        assert lock.grant.fence == 1
        lock.release()


def test_with_releases_only_what_its_own_thread_acquired(lock, clock):
    """The lease runs out within the block, and another thread of the member gets the lock."""

    def lose_it_meanwhile():
        with lock:
            clock.advance(LEASE_S)
            thread = threading.Thread(target=lock.acquire)
            thread.start()
            thread.join()

    with pytest.raises(NotHeld, match=r"test holds it now \(fence 2\)"):
        lose_it_meanwhile()
    assert lock.held().fence == 2


def test_a_block_may_release_and_acquire_in_between(lock, member, holder):
    with lock as grant:
        Lock(member, "index").release()
        assert holder() is None
        assert Lock(member, "index").acquire()
        assert (grant.fence, lock.held().fence) == (1, 2)
    assert holder() is None
