"""The re-entrant lock: it belongs to a thread of a member, which may acquire it again."""

import itertools
import math
import pickle
import threading

import pytest

from prong.primitives import Lock, NotHeld
from prong.primitives.any_lock import LEASE_S
from prong.primitives.joined import join
from prong.primitives.rlock import RLock
from prong.state import Invalid


@pytest.fixture
def lock(member):
    return RLock(member, "index")


@pytest.fixture
def spawn(processes):
    return lambda name: processes(name, ("prong.primitives.rlock", "RLock", ("index",), {}))


@pytest.fixture
def holder(lock):
    return lambda: lock.statistics().holder


@pytest.fixture
def depth(store):
    return lambda: store.row("select iif(holder is null, 0, depth) as depth from lock")["depth"]


def in_a_thread(call):
    """What a call returns or raises in another thread."""
    outcome = []

    def run():
        try:
            outcome.append(call())
        except Exception as error:  # noqa: BLE001  it is handed to the test
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome[0]


def test_the_thread_that_holds_it_goes_deeper_at_once_under_the_same_fence(lock, depth, events):
    with lock as outer, lock as inner:
        assert (outer.fence, inner.fence, depth()) == (1, 1, 2)
        assert lock.acquire(blocking=False)
        assert lock.acquire(timeout=0)
        assert depth() == 4
        lock.release()
        lock.release()
        assert depth() == 2
    assert depth() == 0
    kinds = [kind.removeprefix("lock.") for kind, _ in events("lock")]
    assert kinds == ["acquired", "entered", "entered", "entered", "left", "left", "left", "released"]


def test_another_object_of_the_name_is_the_same_lock(lock, member, depth):
    lock.acquire()
    again = RLock(member, "index")
    assert again.acquire(blocking=False)
    again.release()
    assert depth() == 1
    again.release()
    assert depth() == 0


def test_another_thread_of_the_member_is_somebody_else(lock, holder):
    lock.acquire()
    assert in_a_thread(lambda: lock.acquire(blocking=False)) is False
    assert isinstance(in_a_thread(lock.release), NotHeld)
    assert holder() == "test"
    lock.release()
    assert in_a_thread(lambda: lock.acquire(blocking=False)) is True
    with pytest.raises(RuntimeError):
        lock.release()


def test_another_process_waits_until_the_last_release(lock, spawn, in_line, store):
    ada = spawn("ada")
    with lock:
        lock.acquire()
        ada.start("acquire")
        in_line("lock")
        lock.release()
        assert len(in_line("lock")) == 1
    assert ada.result() is True
    assert ada.do("acquire", timeout=0) is True
    assert lock.acquire(timeout=0) is False
    ada.do("release")
    assert lock.acquire(timeout=0) is False
    ada.do("release")
    assert lock.acquire(timeout=0) is True
    assert store.row("select fence from lock")["fence"] == 3


def test_nobody_in_line_keeps_the_holder_from_going_deeper(lock, spawn, in_line):
    lock.acquire()
    spawn("ada").start("acquire")
    in_line("lock")
    assert lock.acquire(timeout=0)


def test_a_lock_of_the_name_keeps_it_out_and_is_kept_out(lock, member):
    plain = Lock(member, "index")
    lock.acquire()
    assert not plain.acquire(timeout=0)
    assert not plain.acquire(timeout=0, shared=True)
    with pytest.raises(NotHeld):
        plain.release()
    lock.release()
    for shared in (False, True):
        assert plain.acquire(timeout=0, shared=shared)
        assert not lock.acquire(timeout=0)
        with pytest.raises(NotHeld):
            lock.release()
        plain.release()


def test_release_too_often_is_refused(lock):
    lock.acquire()
    lock.release()
    for _ in range(2):
        with pytest.raises(NotHeld, match="nobody holds it") as caught:
            lock.release()
        assert isinstance(caught.value, RuntimeError)


def test_a_lease_that_ran_out_ends_every_level(lock, people, clock, depth):
    lock.acquire(lease_s=10)
    lock.acquire(lease_s=10)
    clock.advance(10)
    with pytest.raises(NotHeld):
        lock.release()
    assert lock.acquire(lease_s=10)
    assert (depth(), lock.grant.fence) == (1, 2)
    clock.advance(10)
    (ada,) = people("ada")
    assert RLock(ada, "index").acquire(timeout=0)
    with pytest.raises(NotHeld, match="ada holds it now"):
        lock.release()


def test_going_deeper_renews_the_lease(lock, clock):
    lock.acquire(lease_s=10)
    clock.advance(9)
    lock.acquire(lease_s=20)
    assert lock.grant.expires_at == clock.now() + 20
    lock.release()
    assert lock.statistics().expires_at == clock.now() + 20


def test_a_death_frees_every_level(lock, spawn, bury):
    ada = spawn("ada")
    ada.do("acquire")
    ada.do("acquire")
    ada.kill()
    bury(ada)
    assert lock.acquire(timeout=0)
    assert lock.grant.fence == 2


def test_an_interrupt_at_any_line_of_going_deeper_changes_nothing(member, interrupt_at, store):
    for n in itertools.count(1):
        lock = RLock(member, f"lock {n}")
        lock.acquire()
        if not interrupt_at(n, lock.acquire):
            break
        assert store.row("select depth, holder from lock where name = :name", name=lock.name)["depth"] == 1
    assert n > 20


def test_an_interrupt_at_any_line_of_an_acquire_leaves_no_row_and_no_lock(
    member, people, during, interrupt_at, waiters
):
    (ada,) = people("ada")
    for n in itertools.count(1):
        held = RLock(ada, f"lock {n}")
        held.acquire(timeout=0)
        heir = RLock(during(member, held.release), f"lock {n}")
        interrupted = interrupt_at(n, lambda lock=heir: lock.acquire())
        assert waiters() == []
        if not interrupted:
            break
        assert held.statistics().holder in (None, "ada")
    assert n > 50


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ({"timeout": -2}, ValueError),
        ({"timeout": math.nan}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"timeout": None}, TypeError),
        ({"blocking": False, "timeout": 0}, ValueError),
    ],
    ids=str,
)
def test_what_threading_refuses_is_refused_alike(lock, call, error, holder):
    for one in (threading.RLock(), lock):
        with pytest.raises(error):
            one.acquire(**call)
    assert holder() is None


def test_a_lease_that_is_none_is_refused(lock):
    with pytest.raises(Invalid, match="a lease of"):
        lock.acquire(lease_s=0)


def test_the_standard_librarys_own_condition_takes_it(lock, depth):
    """`threading.Condition` lets a lock go however deep it is held, and takes it again as deep."""
    condition = threading.Condition(lock)
    with pytest.raises(RuntimeError):
        condition.wait()
    done = []

    def other():
        with condition:
            done.append(depth())
            condition.notify()

    thread = threading.Thread(target=other)
    with condition, condition, condition:
        thread.start()
        assert condition.wait_for(lambda: done, timeout=20)
        assert (done, depth()) == ([1], 3)
    thread.join()
    assert depth() == 0


def test_let_go_frees_inside_the_callers_transaction_and_tells_what_to_wait_for(lock, member, depth):
    lock.acquire()
    lock.acquire()
    with member.transaction() as tx:
        wanted = lock.let_go(tx)
    assert (wanted.depth, depth()) == (2, 0)
    with member.transaction() as tx, pytest.raises(NotHeld):
        lock.let_go(tx)


def test_it_is_seen_as_what_it_is(lock, member, people):
    (ada,) = people("ada")
    assert lock == RLock(member, "index") == RLock(ada, "index")
    assert hash(lock) == hash(RLock(ada, "index"))
    assert lock not in (RLock(member, "other"), Lock(member, "index"), "index")
    assert repr(lock).startswith("<unlocked prong.primitives.rlock.RLock object 'index' ")
    with lock:
        assert repr(lock).startswith("<locked ")
        assert lock.locked()


def test_statistics_and_renewal_are_a_locks(lock, clock):
    with lock as grant:
        assert grant.expires_at == clock.now() + LEASE_S
        assert lock.renew(99).expires_at == clock.now() + 99
        lock.check(grant.fence)
        assert (lock.statistics().holder, lock.held().fence) == ("test", 1)
    with pytest.raises(NotHeld):
        lock.renew()


def test_it_crosses_a_pickle_without_what_it_was_granted(tmp_path):
    with join(tmp_path / "work.db") as swarm:
        lock = RLock(swarm, "index")
        lock.acquire()
        again = pickle.loads(pickle.dumps(lock))
        assert (again, again.grant) == (lock, None)
