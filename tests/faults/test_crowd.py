"""Ten thousand wait for one thing: the right one gets it, as fast as alone, and nobody's memory grows with them."""

import json
import time

import pytest

from prong.primitives import Barrier, Condition, Event, Future, Lock, MessageQueue, Semaphore, SharedMap, holdings
from prong.primitives.lock_line import Wanted
from prong.primitives.watch import Round
from prong.state import join

from .operations import acquire, memory, sound, wait_for_kind

CROWD = 10_000

ONE_S = 0.02
"""How much of a processor one hand-over may take, in seconds, which is some twenty times what it takes alone."""

WANTS = {
    "lock": Wanted(shared=False, lease_s=60, thread=1).as_dict(),
    "semaphore": {"bounded": False, "lease_s": 60, "key": None},
    "queue": {"count": 1, "delivery": None, "for_good": False},
    "condition": {"lock": "c"} | Wanted(shared=False, lease_s=60, thread=1, depth=1).as_dict(),
}


@pytest.fixture
def crowd(store):
    """Has ten thousand members wait for an object; their numbers, first come first."""

    def crowd(kind, name, *, wants=None):
        with store.transaction(None) as tx:
            tx.execute(
                "with recursive n (i) as (select 1 union all select i + 1 from n where i < :count)"
                " insert into agent (name, state, beat_at, started_at) select 'one of many', 'running', :now, :now"
                " from n",
                count=CROWD,
                now=tx.now,
            )
            tx.execute(
                "insert into waiter (agent, kind, object, wants, state, since_at)"
                " select id, :kind, :name, :wants, 'waiting', :now from agent where name = 'one of many' order by id",
                kind=kind,
                name=name,
                wants=json.dumps(WANTS.get(kind, {}) if wants is None else wants),
                now=tx.now,
            )
        rows = store.rows("select agent from waiter where state = 'waiting' and kind = :kind order by id", kind=kind)
        return [row["agent"] for row in rows]

    return crowd


@pytest.fixture
def granted(store):
    return lambda: [row[0] for row in store.rows("select agent from waiter where state = 'granted' order by id")]


def duration(call, times):
    began = time.thread_time()  # what others do on this machine does not count
    for _ in range(times):
        call()
    return (time.thread_time() - began) / times


def test_a_lock_goes_from_one_to_the_next(store, crowd, granted):
    first = join(store, "ada")
    lock = Lock(first, "l")
    assert lock.acquire()
    line = crowd("lock", "l")
    assert duration(lock.release, 1) < ONE_S
    assert granted() == line[:1]
    assert lock.statistics().waiting == CROWD - 1
    assert duration(lambda: lock.acquire(timeout=0), 20) < ONE_S  # it is refused, and joins no line
    assert lock.statistics().fence == 2


def test_a_lock_passes_a_hundred_times_from_death_to_death(store, crowd, granted, bury_many):
    lock = Lock(join(store, "ada"), "l")
    assert lock.acquire()
    line = crowd("lock", "l")
    lock.release()
    assert duration(lambda: bury_many(1), 100) < ONE_S * 2
    assert store.row("select holder from lock")["holder"] == line[100]
    assert granted() == line[100:101]


@pytest.fixture
def bury_many(store):
    def bury_many(count):
        for row in store.rows("select holder from lock where name = 'l'")[:count]:
            with store.transaction(None) as tx:
                holdings.bury(tx, row["holder"], state="dead", reason="killed", task=None)

    return bury_many


def test_permits_go_to_as_many_as_there_are(member, crowd, granted):
    semaphore = Semaphore(member, "s", 0)
    semaphore.release()
    assert semaphore.acquire(timeout=0)
    line = crowd("semaphore", "s")
    assert duration(semaphore.release, 100) < ONE_S
    assert granted() == line[:100]
    began = time.perf_counter()
    semaphore.release(900)
    assert time.perf_counter() - began < 5
    assert granted() == line[:1_000]
    assert semaphore.statistics().value == 0


def test_messages_go_to_the_first_in_line(member, crowd, granted):
    queue = MessageQueue(member, "q")
    queue.put("first")
    queue.get()
    line = crowd("queue", "q")
    numbers = []
    assert duration(lambda: numbers.append(queue.put("a")), 100) < ONE_S
    assert granted() == line[:100]
    rows = member.store.rows("select id, holder from queue_message where holder <> :me order by id", me=member.me.agent)
    assert [tuple(row) for row in rows] == list(zip(numbers, line, strict=False))


def test_an_event_wakes_all_of_them_and_real_ones_among_them(member, processes, in_line_at, crowd, granted):
    ada, bob = processes("ada"), processes("bob")
    ada.start_running(wait_for_kind, "event")
    in_line_at(1)
    crowd("event", "e")
    bob.start_running(wait_for_kind, "event")
    in_line_at(CROWD + 2)
    began = time.perf_counter()
    Event(member, "e").set()
    assert time.perf_counter() - began < 2
    assert ada.result()
    assert bob.result()
    assert len(granted()) >= CROWD
    assert Event(member, "e").statistics().waiting == 0


@pytest.fixture
def in_line_at(store, until):
    count = "select count(*) from waiter where state = 'waiting'"
    return lambda n: until(lambda: store.row(count)[0] == n, f"{n} wait")


def test_a_barrier_opens_for_all_of_them(member, crowd, granted):
    barrier = Barrier(member, "b", 10_000)
    with member.transaction() as tx:
        tx.execute("insert into barrier (name, parties, arrived) values ('b', 10000, 9999)")
    crowd("barrier", "b", wants={"index": 0})
    began = time.perf_counter()
    assert barrier.wait() == 9_999
    assert time.perf_counter() - began < 2
    assert len(granted()) == CROWD
    assert barrier.statistics().round == 1


def test_a_condition_moves_one_or_all_of_them_to_the_lock(member, crowd, granted):
    condition = Condition(member, "c")
    with condition:
        line = crowd("condition", "c")
        assert duration(condition.notify, 5) < ONE_S * 2
        assert granted() == line[:5]
        began = time.perf_counter()
        condition.notify_all()
        assert time.perf_counter() - began < 1
    assert len(granted()) == CROWD + 1  # and the first of them has the lock
    assert condition.lock.statistics().waiting == CROWD - 1


def test_a_map_wakes_only_who_watches_the_key(member, crowd, granted):
    entries = SharedMap(member, "m")
    line = crowd("map", "m", wants={"key": "other"})
    watching = 'update waiter set wants = \'{"key":"k"}\' where agent = :agent'
    with member.transaction() as tx:
        tx.execute(watching, agent=line[5_000])
    assert duration(lambda: entries.put("k", 1), 5) < ONE_S * 5
    assert granted() == line[5_000:5_001]


def test_a_future_tells_all_of_them(member, crowd, granted):
    crowd("future", "f")
    began = time.perf_counter()
    Future(member, "f").set_result(1)
    assert time.perf_counter() - began < 2
    assert len(granted()) == CROWD


def test_real_processes_in_the_middle_of_them_get_what_is_theirs(member, processes, crowd, in_line_at, store):
    ada, bob = processes("ada"), processes("bob")
    lock = Lock(member, "l")
    assert lock.acquire()
    ada.start_running(acquire)
    in_line_at(1)
    crowd("lock", "l")
    bob.start_running(acquire, timeout=0)
    assert not bob.result()
    lock.release()
    assert ada.result()
    assert lock.statistics().holder == "ada"
    assert ada.run(memory) < 200_000_000
    assert sound(store)


def test_a_round_of_the_watch_over_them_takes_no_time(store, member, crowd):
    assert Lock(member, "l").acquire()
    crowd("lock", "l")
    look = Round(store)
    look()
    assert duration(look, 5) < 0.25
