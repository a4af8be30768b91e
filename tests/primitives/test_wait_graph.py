"""Deadlocks of real processes: found, told to the victim in words and logged; and no alarm where somebody can go on.

The sleepers themselves keep the watch and look; the tests look, too, so that none depends on who does it first.
"""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import json
import threading
import time
from contextlib import contextmanager

import pytest

from prong.primitives import Barrier, Lock, MessageQueue, Plan, create_task, task, wait_tasks
from prong.primitives.condition import Condition
from prong.primitives.errors import Deadlock
from prong.primitives.semaphore import BoundedSemaphore, Semaphore
from prong.primitives.wait_graph import Search, find, read
from prong.state import Member, Membership
from prong.state.member import enlist

# What the processes do.


def acquire(here, name, **options):
    return bool(Lock(here.member, name).acquire(**options))


def release(here, name):
    Lock(here.member, name).release()


def acquire_permit(here, name, *, bounded):
    return (BoundedSemaphore if bounded else Semaphore)(here.member, name).acquire()


def wait_at(here, name, lock):
    condition = Condition(here.member, name, Lock(here.member, lock))
    with condition:
        return condition.wait()


def notify(here, name, lock):
    Condition(here.member, name, Lock(here.member, lock)).notify_all()


def get(here, name):
    return MessageQueue(here.member, name).get()


def join_queue(here, name):
    MessageQueue(here.member, name).join()


def acquire_beside_a_thread(here, name):
    """Wait for a lock while another thread of this process has something to do."""
    done = threading.Event()
    beside = threading.Thread(target=done.wait)
    beside.start()
    try:
        return bool(Lock(here.member, name).acquire())
    finally:
        done.set()
        beside.join()


def become_agent(here, number):
    """From now on an agent of a task, which is parked while it waits."""
    store = here.store
    with store.transaction(None) as tx:
        agent = enlist(tx, f"task {number}", pid=None, task=number, state="running", lease_s=None)
        task.claim(tx, number, agent)
        tx.execute("update agent set ended_at = :now where id = :me", now=tx.now, me=here.member.me.agent)

    @contextmanager
    def parking(_ticket):
        park(store, agent, number, "parked")
        try:
            yield
        finally:
            park(store, agent, number, "running")

    here.member = Membership(store, Member(agent, 1, number), parking)
    return agent


def park(store, agent, number, state):
    with store.transaction(None) as tx:
        tx.execute("update agent set state = :state where id = :agent", state=state, agent=agent)
        tx.execute("update task set state = :state where id = :task and agent is not null", state=state, task=number)
        tx.event(f"task.{state}", object=str(number), task=number)


def wait_for_tasks(here, numbers, **options):
    return [one.state for one in wait_tasks(here.member, numbers, **options)]


def arrive(here, name, point):
    return Barrier(here.member, name, siblings=point).meet(party=str(here.member.me.task)).round


# What the tests say.


@pytest.fixture
def ada(processes):
    return processes("ada")


@pytest.fixture
def bob(processes):
    return processes("bob")


@pytest.fixture
def look(store):
    """Look for deadlocks once, as whoever keeps the watch does."""

    def look():
        with store.transaction(None) as tx:
            return find(tx)

    return look


@pytest.fixture
def made(member):
    """Makes ready tasks, or blocked ones, and says their numbers."""

    def made(count, **more):
        with member.transaction() as tx:
            return [create_task(tx, Plan(title=f"n{n}", prompt="do", **more))[0].id for n in range(count)]

    return made


@pytest.fixture
def agent(processes):
    def agent(number):
        process = processes(f"p{number}")
        process.agent = process.run(become_agent, number)
        return process

    return agent


@pytest.fixture
def alone(member, store):
    """The test itself is no member any more, so that nobody is left who could do anything."""

    def alone():
        with store.transaction(None) as tx:
            tx.execute("update agent set ended_at = :now where id = :me", now=tx.now, me=member.me.agent)

    return alone


@pytest.fixture
def supervised(store, alone):
    """A swarm that its supervisor looks after: nobody comes but the agents of its tasks."""

    def supervised():
        alone()
        with store.transaction(None) as tx:
            tx.execute(
                "insert into swarm (id, goal, repository, base_commit, branch, model, slots, options, state,"
                " supervisor_pid, started_at) values ('s', '', '', '', '', '', 1, '{}', 'running', 1, :now)",
                now=tx.now,
            )

    return supervised


@pytest.fixture
def story(store, until):
    """What the log tells of the only deadlock there was."""

    def story():
        rows = until(lambda: store.rows("select * from event where kind = 'deadlock.found'"), "a deadlock")
        assert len(rows) == 1
        return json.loads(rows[0]["data"])

    return story


def refused(process):
    with pytest.raises(Deadlock) as error:
        process.result()
    return error.value


def test_two_processes_that_cross_two_locks_are_parted(ada, bob, in_line, look, story, waiters):
    ada.run(acquire, "a")
    bob.run(acquire, "b")
    ada.start_running(acquire, "b")
    in_line("lock")
    bob.start_running(acquire, "a")
    look()
    error = refused(bob)
    assert (error.who, error.waits_for, error.reason) == ("bob", "lock 'a'", "your wait is the youngest")
    assert error.story == (
        "bob holds lock 'b' and waits for lock 'a', which ada holds; ada holds lock 'a' and waits for lock 'b', which"
        " bob holds"
    )
    assert ada.busy()
    bob.run(release, "b")
    assert ada.result()
    told = story()
    assert (told["story"], told["victim"], told["waiting_for"]) == (error.story, bob.agent, "lock")
    assert [(one["agent"], one["object"]) for one in told["waits"]] == [(bob.agent, "a"), (ada.agent, "b")]
    assert waiters() == []


def test_the_sleepers_find_it_by_themselves_within_a_second(ada, bob, in_line):
    ada.run(acquire, "a")
    bob.run(acquire, "b")
    ada.start_running(acquire, "b")
    in_line("lock")
    began = time.monotonic()
    bob.start_running(acquire, "a")
    assert refused(bob)
    assert time.monotonic() - began < 1.5


def test_two_who_share_a_lock_and_both_want_it_alone_are_both_refused(ada, bob, look):
    """A lock is not re-entrant: each waits for its own share as well, whether the other gives way or not."""
    for one in (ada, bob):
        one.run(acquire, "a", shared=True)
    ada.start_running(acquire, "a")
    bob.start_running(acquire, "a")
    look()
    assert "ada holds lock 'a' in shared mode and waits for lock 'a', which" in refused(ada).story
    assert "bob holds lock 'a' in shared mode and waits for lock 'a', which" in refused(bob).story


def test_a_bounded_semaphore_of_one_and_a_lock(ada, bob, in_line, look):
    ada.run(acquire_permit, "s", bounded=True)
    bob.run(acquire, "a")
    ada.start_running(acquire, "a")
    in_line("lock")
    bob.start_running(acquire_permit, "s", bounded=True)
    look()
    assert "waits for a permit of semaphore 's', whose permits ada holds" in refused(bob).story


def test_a_semaphore_of_one_and_a_lock_where_nobody_else_is_there(ada, bob, in_line, look, alone, waiters, until):
    ada.run(acquire_permit, "s", bounded=False)
    bob.run(acquire, "a")
    ada.start_running(acquire, "a")
    bob.start_running(acquire_permit, "s", bounded=False)
    in_line("semaphore")
    in_line("lock")
    assert look() == []  # the test itself might release one
    assert len(waiters()) == 2
    alone()
    look()
    until(lambda: not (ada.busy() and bob.busy()), "one is refused")
    assert "which nobody else is left to release" in refused(ada if bob.busy() else bob).story


def test_who_joins_a_queue_whose_reader_waits_for_its_lock(ada, bob, member, in_line, look):
    MessageQueue(member, "q").put("work")
    ada.run(acquire, "a")
    bob.run(get, "q")
    ada.start_running(join_queue, "q")
    in_line("joined")
    bob.start_running(acquire, "a")
    look()
    assert "whose messages bob holds" in refused(bob).story


def test_who_was_notified_and_waits_for_the_lock_again(ada, bob, in_line, look):
    ada.run(acquire, "a")
    ada.start_running(wait_at, "changed", "guard")
    in_line("condition")
    bob.run(acquire, "guard")
    bob.run(notify, "changed", "guard")
    in_line("lock")
    bob.start_running(acquire, "a")
    look()
    assert "ada holds lock 'a' and waits for lock 'guard', which bob holds" in refused(bob).story


def test_who_waits_at_a_condition_whose_lock_waits_for_it(ada, bob, in_line, look):
    ada.run(acquire, "a")
    ada.start_running(wait_at, "changed", "guard")
    in_line("condition")
    bob.run(acquire, "guard")
    assert look() == []
    bob.start_running(acquire, "a")
    look()
    assert "waits for condition 'changed', whose lock 'guard' bob holds" in refused(bob).story


def test_agents_that_wait_for_each_others_tasks(agent, made, in_line, look, story):
    one, two = made(2)
    with_lock, other = agent(one), agent(two)
    with_lock.run(acquire, "a")
    with_lock.start_running(wait_for_tasks, [two])
    in_line("tasks")
    other.start_running(acquire, "a")
    look()
    assert "waits for task 2" in refused(other).story
    assert story()["reason"] == "your wait is the youngest"


def test_an_agent_that_waits_for_a_task_that_comes_to_need_its_own(agent, made, member, in_line, look, story):
    """The wait itself refuses a circle that is there when it begins; this one closes later."""
    (one,), (after,), (free,) = made(1), made(1), made(1)
    process = agent(one)
    with member.transaction() as tx:
        tx.execute("update task set state = 'blocked' where id = :task", task=after)
        tx.execute("insert into task_need (task, need) values (:task, :need)", task=after, need=free)
    process.start_running(wait_for_tasks, [after])
    in_line("tasks")
    assert look() == []
    with member.transaction() as tx:
        tx.execute("update task_need set need = :need where task = :task", task=after, need=one)
        tx.event("task.changed")
    look()
    assert story()["story"] == "task 1 waits for task 2, where task 2 needs task 1"


def test_siblings_at_a_barrier_and_at_a_lock(agent, made, member, in_line, look):
    with member.transaction() as tx:
        tx.execute("insert into message (id, role, content, created_at) values (7, 'assistant', '[]', 0)")
    one, two = made(2, fork_point=7, context="fork")
    with_lock, other = agent(one), agent(two)
    with_lock.run(acquire, "a")
    with_lock.start_running(arrive, "door", 7)
    in_line("barrier")
    assert look() == []
    other.start_running(acquire, "a")
    look()
    assert "at barrier 'door', where task 2 has not arrived" in refused(other).story
    other.start_running(arrive, "door", 7)
    assert (with_lock.result(), other.result()) == (1, 1)


def test_a_lock_and_a_queue_in_a_swarm_where_nobody_else_comes(agent, made, in_line, look, supervised):
    one, two = made(2)
    with_lock, other = agent(one), agent(two)
    supervised()
    with_lock.run(acquire, "a")
    with_lock.start_running(get, "orders")
    in_line("queue")
    assert look() == []
    other.start_running(acquire, "a")
    look()
    assert "a message in queue 'orders', where nobody is left to put one" in refused(other).story


def test_the_victim_is_whose_task_counts_least(agent, made, in_line, look):
    (low,), (high,) = made(1, priority=1), made(1, priority=2)
    first, second = agent(low), agent(high)
    first.run(acquire, "a")
    second.run(acquire, "b")
    first.start_running(acquire, "b")
    in_line("lock")
    second.start_running(acquire, "a")
    look()
    assert refused(first).reason == "your priority (1) is the lowest"


def test_the_victim_is_who_has_spent_least_among_tasks_of_one_priority(agent, made, in_line, look, store):
    one, two = made(2)
    with store.transaction(None) as tx:
        for number, tokens in ((one, 5), (one, 6), (two, 400)):
            tx.execute(
                "insert into model_call (task, agent, model, stop_reason, input_tokens, cache_read_tokens,"
                " cache_write_tokens, output_tokens, prefix_hash, started_at, first_byte_at, ended_at)"
                " values (:task, 1, 'm', 'end_turn', 0, 0, 0, :tokens, '', 0, 0, 0)",
                task=number,
                tokens=tokens,
            )
    first, second = agent(one), agent(two)
    first.run(acquire, "a")
    second.run(acquire, "b")
    first.start_running(acquire, "b")
    in_line("lock")
    second.start_running(acquire, "a")
    look()
    assert refused(first).reason == "you have spent the least (11 output tokens)"


# No alarm.


@pytest.fixture
def quiet(look, in_line, waiters):
    """Asserts that all of them wait on after a look."""

    def quiet(count, kind="lock"):
        in_line(kind, count)
        before = waiters()
        assert look() == []
        assert waiters() == before

    return quiet


def test_no_alarm_where_a_wait_ends_by_itself(ada, bob, quiet):
    ada.run(acquire, "a")
    bob.run(acquire, "b")
    ada.start_running(acquire, "b", timeout=1000)
    bob.start_running(acquire, "a")
    quiet(2)


def test_no_alarm_where_another_thread_of_the_process_runs(ada, bob, quiet):
    ada.run(acquire, "a")
    bob.run(acquire, "b")
    ada.start_running(acquire_beside_a_thread, "b")
    bob.start_running(acquire, "a")
    quiet(2)


def test_no_alarm_for_a_queue_that_a_program_may_still_fill(ada, bob, quiet, in_line, alone):
    ada.run(acquire, "a")
    ada.start_running(get, "q")
    in_line("queue")
    bob.start_running(acquire, "a")
    alone()
    quiet(1)


def test_no_alarm_for_siblings_one_of_whom_has_not_started(agent, made, member, quiet, supervised, in_line):
    with member.transaction() as tx:
        tx.execute("insert into message (id, role, content, created_at) values (7, 'assistant', '[]', 0)")
    one, two, _later = made(3, fork_point=7, context="fork")
    first, second = agent(one), agent(two)
    supervised()
    for n, process in enumerate((first, second), 1):
        process.start_running(arrive, "door", 7)
        in_line("barrier", n)
    quiet(2, "barrier")


def test_no_alarm_for_a_task_that_has_not_started(agent, made, quiet, supervised):
    one, later = made(2)
    process = agent(one)
    supervised()
    process.start_running(wait_for_tasks, [later])
    quiet(1, "tasks")


def test_no_alarm_for_a_lock_whose_lease_has_run_out(ada, bob, clock, in_line, look):
    ada.run(acquire, "a", lease_s=5)
    bob.run(acquire, "b")
    ada.start_running(acquire, "b")
    in_line("lock")
    ada.stop()
    bob.stop()
    clock.advance(6)
    bob.go_on()
    bob.start_running(acquire, "a")
    assert bob.result()
    assert look() == []


# What is read.


def fill(tx, table, *rows, **same):
    for row in rows:
        values = same | row
        tx.execute(f"insert into {table} ({', '.join(values)}) values (:{', :'.join(values)})", **values)


@pytest.fixture
def living(store):
    """Five members of whom the last is dead; a message to fork from; tasks 1 to 6."""
    with store.transaction(None) as tx:
        fill(
            tx, "agent", {"process": "p"}, {"process": "-"}, {"task": 3, "state": "parked"}, {},
            {"ended_at": 1.0}, name="n", state="running", beat_at=0.0, started_at=0.0,
        )  # fmt: skip
        fill(tx, "message", {"id": 7}, role="assistant", content="[]", created_at=0.0)
        fill(
            tx, "task", {"state": "done"}, {"state": "blocked"}, {"state": "parked", "agent": 3, "priority": 4},
            {"state": "ready"}, {"state": "ready"}, {"state": "blocked"},
            title="t", prompt="p", context="fresh", created_at=0.0,
        )  # fmt: skip
        fill(tx, "task_need", {"task": 2, "need": 1}, {"task": 2, "need": 3}, {"task": 3, "need": 5})
        yield tx


def awaits(tx, *kinds, name="x", **more):
    fill(tx, "waiter", *({"kind": kind} for kind in kinds), **{
        "agent": 1, "object": name, "wants": "{}", "state": "waiting", "since_at": 0.0, **more
    })  # fmt: skip


def taken(tx, *, now=100.0):
    return read(tx, now=now)


def test_living_members_are_read(living):
    assert taken(living).members == [
        (1, "n", "p", None, False), (2, "n", None, None, False), (3, "n", None, 3, True), (4, "n", None, None, False)
    ]  # fmt: skip


def test_waits_are_read_with_what_matters_of_them(living):
    awaits(living, "lock", wants='{"shared":true}', running=2)
    awaits(living, "event", until_at=5.0)
    awaits(living, "room", state="granted", outcome="{}", wants='{"body":"long"}')
    awaits(living, "condition", state="granted", outcome='{"waiter":1}')
    awaits(living, "condition", state="granted", outcome='{"waiter":3}')
    assert taken(living).waits == [
        (1, 1, "lock", "x", 2, False, {"shared": True}),
        (2, 1, "event", "x", 0, True, {}),
        (3, 1, "room", "x", 0, True, {}),
        (5, 1, "condition", "x", 0, True, {}),
    ]


def test_locks_are_read_that_somebody_waits_for_and_somebody_holds(living):
    awaits(living, "lock", name="waited")
    awaits(living, "lock", name="kept")
    awaits(living, "condition", wants='{"lock":"guard"}')
    fill(
        living, "lock",
        {"name": "waited", "holder": 2, "expires_at": 101.0}, {"name": "over", "holder": 2, "expires_at": 100.0},
        {"name": "other", "holder": 2, "expires_at": 101.0}, {"name": "x", "holder": None, "expires_at": None},
        {"name": "kept", "holder": None, "task": 4, "kept": 1, "expires_at": None},
        {"name": "guard", "holder": 4, "expires_at": 101.0},
        fence=1, lease_s=60.0,
    )  # fmt: skip
    awaits(living, "lock", name="over")
    awaits(living, "lock")
    fill(
        living, "lock_share",
        {"lock": "x", "expires_at": 101.0, "fence": 2}, {"lock": "x", "expires_at": 100.0, "fence": 3},
        {"lock": "x", "holder": None, "task": 5, "expires_at": None}, {"lock": "other", "expires_at": 101.0},
        holder=3, fence=1, lease_s=60.0, acquired_at=0.0,
    )  # fmt: skip
    assert sorted(taken(living).holds, key=repr) == [
        ("lock", "guard", 4, None, False), ("lock", "kept", None, 4, False), ("lock", "waited", 2, None, False),
        ("lock", "x", 3, None, True), ("lock", "x", None, 5, True),
    ]  # fmt: skip


def test_permits_are_read_and_whether_all_are_lent(living):
    names = ["lent", "more", "free", "signal", "extra"]
    for name in names:
        awaits(living, "semaphore", name=name)
    fill(
        living, "semaphore", {"name": "lent", "initial": 1}, {"name": "more", "initial": 2},
        {"name": "free", "initial": 1, "value": 1}, {"name": "signal", "initial": 0}, {"name": "extra", "initial": 1},
        {"name": "other", "initial": 1}, bounded=0, value=0,
    )  # fmt: skip
    fill(
        living, "permit", *({"semaphore": name} for name in ("lent", "more", "other")),
        {"semaphore": "more", "number": 2, "expires_at": 100.0}, {"semaphore": "more", "number": 3, "expired": 1},
        {"semaphore": "extra", "number": 1}, {"semaphore": "extra", "number": 2},
        holder=2, number=1, lease_s=60.0, acquired_at=0.0, expires_at=101.0,
    )  # fmt: skip
    snapshot = taken(living)
    assert sorted(hold.object for hold in snapshot.holds) == ["extra", "extra", "lent", "more"]
    assert (snapshot.free, snapshot.lent) == ({"free"}, {"lent"})


def test_deliveries_are_read_and_whether_more_is_queued(living):
    for name in ("full", "read", "dead"):
        awaits(living, "joined", name=name)
    fill(
        living, "queue_message", {"queue": "full"}, {"queue": "read", "holder": 2, "holder_task": 4},
        {"queue": "dead", "dead_at": 1.0}, {"queue": "dead", "holder": 1, "dead_at": 1.0},
        {"queue": "other", "holder": 2}, body="1", put_at=0.0,
    )  # fmt: skip
    snapshot = taken(living)
    assert snapshot.holds == [("queue", "read", 2, 4, False)]
    assert snapshot.queued == {"full"}


def test_the_siblings_are_read_that_have_not_arrived(living):
    awaits(living, "barrier", name="group")
    awaits(living, "barrier", name="number")
    living.execute("update task set fork_point = 7 where id in (1, 2, 3, 4)")
    fill(
        living, "barrier", {"name": "group", "siblings": 7}, {"name": "number", "siblings": None},
        {"name": "x", "siblings": 7}, parties=4, round=2,
    )  # fmt: skip
    fill(
        living, "barrier_arrival", {"task": 2, "round": 1}, {"task": 3, "round": 2},
        barrier="group", place=0, agent=3,
    )  # fmt: skip
    assert taken(living).missing == {"group": [2, 4]}
    living.execute("update task set state = 'done' where id in (2, 4)")
    assert taken(living).missing == {"group": []}


def test_promises_are_read_that_nobody_can_cancel(living):
    for name in ("begun", "claimed", "free"):
        awaits(living, "future", name=name)
    fill(
        living, "future", {"name": "begun", "state": "running", "owner": 2},
        {"name": "claimed", "state": "pending", "owner": 2}, {"name": "free", "state": "running", "owner": None},
        {"name": "other", "state": "running", "owner": 2},
    )  # fmt: skip
    assert taken(living).owners == {"begun": 2}


def test_tasks_are_read_that_a_wait_leads_to_and_one_that_is_ready(living):
    assert taken(living).tasks == [(4, "ready", None, [], 0, 0)]
    awaits(living, "tasks", wants='{"mode":"all","tasks":[1,2]}')
    assert sorted(taken(living).tasks) == [
        (2, "blocked", None, [1, 3], 0, 0), (3, "parked", 3, [], 4, 0), (4, "ready", None, [], 0, 0)
    ]  # fmt: skip
    awaits(living, "event", agent=3)
    assert 3 in [one.id for one in taken(living).tasks]


def test_a_world_is_closed_where_a_supervisor_runs_and_only_agents_of_tasks_live(living):
    assert not taken(living).closed
    fill(
        living, "swarm", {"id": "s"}, goal="", repository="", base_commit="", branch="", model="", slots=1,
        options="{}", state="running", supervisor_pid=1, started_at=0.0,
    )  # fmt: skip
    assert not taken(living).closed
    living.execute("update agent set ended_at = 1 where task is null")
    assert taken(living).closed
    living.execute("update swarm set supervisor_pid = null")
    assert not taken(living).closed
    living.execute("update swarm set supervisor_pid = 1, state = 'stopped'")
    assert not taken(living).closed


# What a look costs.


class Counting:
    """A store that counts what is read from it."""

    def __init__(self, store):
        self._store = store
        self.read = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    def rows(self, sql, /, **values):
        self.read += 1
        return self._store.rows(sql, **values)

    @contextmanager
    def snapshot(self):
        with self._store.snapshot():
            yield self


def test_a_look_reads_once_where_nobody_waits_for_ever_or_nothing_has_changed(store, ada, member, in_line):
    search, counting = Search(), Counting(store)
    assert search.look(counting) == []
    assert counting.read == 1
    Lock(member, "a").acquire()
    ada.start_running(acquire, "a")
    in_line("lock")
    ada.stop()  # so that it keeps no watch of its own meanwhile
    search.look(counting)
    assert counting.read > 2
    counting.read = 0
    search.look(counting)
    assert counting.read == 1
    with store.transaction(None) as tx:
        tx.event("something.happened")
    search.look(counting)
    assert counting.read > 2


def test_a_look_at_ten_thousand_waiters_holds_up_no_writer_and_ends_soon(store, member):
    with store.transaction(None) as tx:
        for n in range(10_000):
            agent = enlist(tx, f"p{n}", pid=None, task=None, state="running", lease_s=None)
            tx.execute(
                "insert into waiter (agent, kind, object, wants, state, since_at) values"
                " (:agent, 'lock', 'a', '{\"shared\":false}', 'waiting', 0)",
                agent=agent,
            )
    Lock(member, "b").acquire()
    began = time.process_time()
    with store.snapshot() as source:
        assert len(read(source, now=0).waits) == 10_000
    assert Search().look(store) == []
    assert time.process_time() - began < 2
