"""The lock in shared mode: many read or one writes, nobody is starved, and changes are bound to a grant."""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import itertools
import os
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from prong.primitives import Lock, NotHeld, Plan, SharedMap, create_task, holdings, lock_line
from prong.primitives import task as tasks
from prong.primitives.any_lock import LEASE_S
from prong.primitives.lock import _MOVABLE, expire, inherit
from prong.state import FileClock, Member, Membership, Store, join
from prong.state.member import enlist


def share(here, **options):
    return here.object.acquire(shared=True, **options)


def fence(here):
    return here.object.grant.fence


def read_and_write(here, path, times):
    """Every third turn adds one to two numbers in a plain file; the others read them, and count where they differ."""
    torn = 0
    for n in range(times):
        if n % 3 == 0:
            with here.object:
                left, right = map(int, path.read_text().split())
                path.write_text(f"{left + 1} {right}")
                os.sched_yield()
                path.write_text(f"{left + 1} {right + 1}")
        else:
            with here.object.shared():
                left, right = map(int, path.read_text().split())
                torn += left != right
    return torn


@pytest.fixture
def lock(member):
    return Lock(member, "index")


@pytest.fixture
def spawn(processes):
    return lambda name: processes(name, ("prong.primitives", "Lock", ("index",), {}))


@pytest.fixture
def sharing(lock):
    return lambda: list(lock.statistics().shared_by)


@pytest.fixture
def locks(people):
    return lambda *names: [Lock(member, "index") for member in people(*names)]


@pytest.fixture
def expired(store):
    """One round of what the watch does for locks."""

    def expired():
        with store.transaction(None) as tx:
            expire(tx)

    return expired


# Exclusion.


def test_many_share_it_and_keep_out_who_wants_it_alone(lock, locks, sharing):
    ada, bob = locks("ada", "bob")
    assert ada.acquire(timeout=0, shared=True)
    assert bob.acquire(timeout=0, shared=True)
    assert sharing() == ["ada", "bob"]
    assert lock.acquire(timeout=0) is False
    ada.release()
    assert lock.acquire(timeout=0) is False
    bob.release()
    assert lock.acquire(timeout=0) is True
    assert sharing() == []
    assert ada.acquire(timeout=0, shared=True) is False
    lock.release()
    assert ada.acquire(timeout=0, shared=True) is True


def test_locks_of_other_names_are_other_locks(lock, member):
    assert lock.acquire(timeout=0, shared=True)
    other = Lock(member, "other")
    assert other.acquire(timeout=0)
    lock.release()
    assert other.held()


def test_readers_never_see_half_a_write(spawn, tmp_path):
    path = tmp_path / "numbers"
    path.write_text("0 0")
    crowd = [spawn(f"p{n}") for n in range(6)]
    for process in crowd:
        process.start_running(read_and_write, path, 30)
    assert [process.result() for process in crowd] == [0] * 6
    assert path.read_text() == "60 60"


def test_every_grant_has_a_fence_of_its_own_from_one_counter(lock, locks):
    ada, bob = locks("ada", "bob")
    fences = []
    lock.acquire(timeout=0)
    fences.append(lock.grant.fence)
    lock.release()
    for one in (ada, bob):
        one.acquire(timeout=0, shared=True)
        fences.append(one.grant.fence)
        assert one.grant.shared
    ada.release()
    bob.release()
    lock.acquire(timeout=0)
    assert [*fences, lock.grant.fence] == [1, 2, 3, 4]


def test_threads_of_one_member_share_it_each_with_a_share_of_its_own(lock, sharing):
    with lock.shared() as outer, lock.shared() as inner:
        assert (outer.fence, inner.fence, sharing()) == (1, 2, ["test", "test"])
    assert sharing() == []


def test_a_block_gives_back_its_own_share(lock, member, sharing, store):
    with lock.shared() as grant:
        lock.acquire(shared=True)
        assert grant.fence == 1
    assert store.row("select fence from lock_share")["fence"] == 2
    Lock(member, "index").release()
    assert sharing() == []
    with pytest.raises(NotHeld, match="nobody holds it"):
        lock.release()


def test_release_gives_back_the_share_that_the_object_got_last(lock, member, store):
    lock.acquire(shared=True)
    Lock(member, "index").acquire(shared=True)
    lock.release()
    assert store.row("select fence from lock_share")["fence"] == 2


def test_a_share_cannot_be_released_by_somebody_else(lock, locks):
    (ada,) = locks("ada")
    ada.acquire(timeout=0, shared=True)
    with pytest.raises(NotHeld, match="ada holds it now"):
        lock.release()
    assert ada.held()


def test_who_shares_it_cannot_have_it_alone_as_well(lock):
    lock.acquire(shared=True)
    assert lock.acquire(timeout=0) is False


def test_a_repeated_call_finds_its_share(lock, member, sharing):
    lock.acquire(timeout=0, shared=True, key="call 1")
    lock.acquire(timeout=0, shared=True, key="call 2")
    again = Lock(member, "index")
    assert again.acquire(timeout=0, shared=True, key="call 1")
    assert (again.grant.fence, again.grant.shared) == (1, True)
    assert sharing() == ["test", "test"]


# The line.


def test_a_reader_queues_behind_a_writer_that_waits(lock, spawn, in_line, locks):
    lock.acquire(timeout=0, shared=True)
    writer, reader = spawn("writer"), spawn("reader")
    writer.start("acquire")
    in_line("lock", 1)
    (ada,) = locks("ada")
    assert ada.acquire(timeout=0, shared=True) is False
    reader.start_running(share)
    in_line("lock", 2)
    lock.release()
    assert writer.result() is True
    assert reader.busy()
    writer.do("release")
    assert reader.result() is True


def test_readers_that_stand_together_are_granted_together_by_who_releases(lock, spawn, in_line, sharing, waiters):
    """They stand still, so that only the releaser can have decided."""
    lock.acquire(timeout=0)
    first, second, writer, last = (spawn(name) for name in ("first", "second", "writer", "last"))
    for n, (process, how) in enumerate([(first, share), (second, share), (writer, None), (last, share)], 1):
        if how is None:
            process.start("acquire")
        else:
            process.start_running(how)
        in_line("lock", n)
    for process in (first, second, writer, last):
        process.stop()
    lock.release()
    assert sharing() == ["first", "second"]
    assert [agent for agent, _ in waiters()] == [writer.agent, last.agent]
    for process in (first, second, writer, last):
        process.go_on()
    assert (first.result(), second.result()) == (True, True)
    assert (first.run(fence), second.run(fence)) == (2, 3)
    first.do("release")
    assert writer.busy()
    second.do("release")
    assert writer.result()
    assert last.busy()
    writer.do("release")
    assert last.result()
    assert last.run(fence) == 5


def test_a_writer_that_gives_up_lets_the_readers_behind_it_in(lock, spawn, in_line, clock, sharing):
    lock.acquire(timeout=0, shared=True, lease_s=1000)
    writer, reader = spawn("writer"), spawn("reader")
    writer.start("acquire", timeout=60)
    in_line("lock", 1)
    reader.start_running(share)
    in_line("lock", 2)
    clock.advance(60)
    assert writer.result() is False
    assert reader.result() is True
    assert sharing() == ["test", "reader"]


def test_a_writer_that_is_interrupted_lets_the_readers_behind_it_in(lock, spawn, in_line):
    lock.acquire(timeout=0, shared=True)
    writer, reader = spawn("writer"), spawn("reader")
    writer.start("acquire")
    in_line("lock", 1)
    reader.start_running(share)
    in_line("lock", 2)
    writer.interrupt()
    with pytest.raises(KeyboardInterrupt):
        writer.result()
    assert reader.result() is True


def test_a_writer_that_dies_in_line_lets_the_readers_behind_it_in(lock, spawn, in_line, bury, sharing):
    lock.acquire(timeout=0, shared=True)
    writer, reader = spawn("writer"), spawn("reader")
    writer.start("acquire")
    in_line("lock", 1)
    reader.start_running(share)
    in_line("lock", 2)
    reader.stop()
    writer.kill()
    bury(writer)
    assert sharing() == ["test", "reader"]
    reader.go_on()
    assert reader.result() is True


def test_a_writer_that_stands_still_past_its_time_keeps_no_reader_out(lock, spawn, in_line, clock, expired, sharing):
    lock.acquire(timeout=0, shared=True, lease_s=1000)
    writer, reader = spawn("writer"), spawn("reader")
    writer.start("acquire", timeout=10)
    in_line("lock", 1)
    reader.start_running(share)
    in_line("lock", 2)
    writer.stop()
    reader.stop()
    clock.advance(10)
    expired()
    assert sharing() == ["test", "reader"]
    writer.go_on()
    reader.go_on()
    assert (writer.result(), reader.result()) == (False, True)


# Leases and death.


def test_a_share_lasts_as_long_as_its_lease(lock, locks, clock, events):
    (ada,) = locks("ada")
    ada.acquire(timeout=0, shared=True, lease_s=10)
    clock.advance(9.9)
    assert ada.locked()
    assert not lock.acquire(timeout=0)
    clock.advance(0.1)
    assert (ada.locked(), ada.held(), ada.grant) == (False, None, None)
    with pytest.raises(NotHeld):
        ada.release()
    assert lock.acquire(timeout=0)
    assert events("lock.expired") == [("lock.expired", "index")]


def test_one_share_that_ran_out_takes_none_from_the_others(lock, locks, clock, sharing):
    ada, bob = locks("ada", "bob")
    ada.acquire(timeout=0, shared=True, lease_s=10)
    bob.acquire(timeout=0, shared=True, lease_s=20)
    clock.advance(10)
    assert not lock.acquire(timeout=0)
    clock.advance(10)
    assert lock.acquire(timeout=0)
    assert sharing() == []


def test_the_watch_takes_back_what_ran_out_and_hands_it_on(lock, spawn, in_line, clock, expired, sharing, events):
    for how in ({}, {"shared": True}):
        lock.acquire(timeout=0, lease_s=10, **how)
        reader = spawn(f"reader {how}")
        if how:
            reader.start("acquire")
        else:
            reader.start_running(share)
        in_line("lock")
        reader.stop()
        expired()
        in_line("lock")
        clock.advance(10)
        expired()
        assert (sharing() or [lock.statistics().holder]) == [reader.name]
        reader.go_on()
        assert reader.result() is True
        reader.do("release")
    assert [kind for kind, _ in events("lock.expired")] == ["lock.expired"] * 2


def test_the_watch_leaves_alone_what_nobody_waits_for(lock, member, clock, expired, events):
    lock.acquire(timeout=0)
    Lock(member, "other").acquire(timeout=0, shared=True)
    before = events()
    clock.advance(LEASE_S)
    expired()
    assert events() == before
    assert lock.acquire(timeout=0)


def test_a_heartbeat_renews_shares(lock, member, locks, clock, store):
    (ada,) = locks("ada")
    lock.acquire(timeout=0, shared=True, lease_s=10)
    ada.acquire(timeout=0, shared=True, lease_s=10)
    clock.advance(5)
    with member.transaction() as tx:
        holdings.renew(tx)
        assert holdings.shortest_lease(tx) == 10
    ends = [row["expires_at"] - clock.now() for row in store.rows("select expires_at from lock_share order by fence")]
    assert ends == [10, 5]
    clock.advance(5)
    assert (lock.held() is not None, ada.held()) == (True, None)
    clock.advance(5)
    with member.transaction() as tx:
        holdings.renew(tx)
    assert lock.held() is None


def test_a_death_gives_its_shares_back(lock, spawn, in_line, bury, sharing):
    ada, bob = spawn("ada"), spawn("bob")
    ada.run(share)
    lock.acquire(timeout=0, shared=True)
    bob.start("acquire")
    in_line("lock")
    ada.kill()
    bury(ada)
    assert sharing() == ["test"]
    assert bob.busy()
    lock.release()
    assert bob.result() is True


@pytest.mark.parametrize(("when", "left"), [("before", ([], 0)), ("after", (["ada"], 1))])
def test_sharing_killed_at_its_commit(lock, spawn, sharing, when, left):
    ada = spawn("ada")
    ada.die(1, when)
    ada.start_running(share).gone()
    assert (sharing(), lock.statistics().fence) == left


@pytest.mark.parametrize(("when", "left"), [("before", (["ada"], None)), ("after", ([], "bob"))])
def test_giving_a_share_back_killed_at_its_commit(lock, spawn, in_line, sharing, when, left):
    ada, bob = spawn("ada"), spawn("bob")
    ada.run(share)
    bob.start("acquire")
    in_line("lock")
    ada.die(1, when)
    ada.start("release").gone()
    assert (sharing(), lock.statistics().holder) == left


def test_an_interrupt_at_any_line_of_sharing_leaves_no_row_and_no_share(
    member, people, during, interrupt_at, waiters, store
):
    """Once at once and once from the line, interrupted at the n-th line of the code for every n."""
    (ada,) = people("ada")
    longest = 0
    for waits in (False, True):
        for n in itertools.count(1):
            held = Lock(ada, f"lock {waits} {n}")
            if waits:
                held.acquire(timeout=0)
            one = Lock(during(member, held.release) if waits else member, held.name)
            interrupted = interrupt_at(n, lambda lock=one: lock.acquire(shared=True))
            assert waiters() == []
            if not interrupted:
                break
            assert store.rows("select * from lock_share where lock = :name", name=held.name) == []
        longest = max(longest, n)
    assert longest > 50


def test_a_share_can_be_kept_and_inherited_and_ends_with_its_task(store, lock):
    """What is kept belongs to the task: test_kept has it for a lock that is held alone."""

    def agent_of(task):
        with store.transaction(None) as tx:
            agent = enlist(tx, f"agent of {task}", pid=None, task=task, state="running", lease_s=None)
            assert tasks.claim(tx, task, agent) is not None
        return Membership(store, Member(agent, 1, task))

    with store.transaction(None) as tx:
        task = create_task(tx, Plan(title="work", prompt="do it"))[0].id
    ada = agent_of(task)
    kept = Lock(ada, "index")
    kept.acquire(timeout=0, shared=True, key="call 1")
    kept.keep()
    with store.transaction(None) as tx:
        holdings.bury(tx, ada.me.agent, state="dead", reason="killed", task=task)
        tasks.give_back(tx, task, agent=ada.me.agent, reason="killed")
    assert lock.statistics().shared_by == (f"task {task}",)
    assert lock.locked()
    assert not lock.acquire(timeout=0)
    with pytest.raises(NotHeld):
        lock.check(1)
    heir = agent_of(task)
    with heir.transaction() as tx:
        inherit(tx, task, heir.me.agent)
    again = Lock(heir, "index")
    assert again.acquire(timeout=0, shared=True, key="call 1")
    assert (again.grant.fence, again.grant.shared, lock.statistics().fence) == (2, True, 2)
    with store.transaction(None) as tx:
        tasks.cancel(tx, task, reason="no more")
    assert lock.acquire(timeout=0)


# Guarded changes.


@pytest.fixture
def findings(member):
    return SharedMap(member, "findings")


@pytest.mark.parametrize("shared", [False, True])
def test_a_change_under_a_grant_in_force_is_made(lock, member, findings, shared):
    lock.acquire(shared=shared)
    with member.atomic():
        lock.check(lock.grant.fence)
        findings.put("src", 12)
    assert findings.get("src") == 12


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("end", ["released", "expired", "another's", "acquired anew", "never"])
def test_a_change_under_a_grant_that_is_over_is_refused_whole(lock, member, locks, clock, findings, shared, end):
    (ada,) = locks("ada")
    lock.acquire(timeout=0, shared=shared, lease_s=10)
    number = 99 if end == "never" else lock.grant.fence
    if end in ("released", "acquired anew"):
        lock.release()
    elif end in ("expired", "another's"):
        clock.advance(10)
    if end == "another's":
        ada.acquire(timeout=0, shared=shared)
    if end == "acquired anew":
        lock.acquire(timeout=0, shared=shared)

    def change():
        with member.atomic():
            findings.put("src", 12)
            lock.check(number)

    with pytest.raises(NotHeld, match=f"under fence {number} any more") as caught:
        change()
    assert (caught.value.name, caught.value.yours) == ("index", number)
    assert findings.get("src") is None


def test_a_fence_is_as_good_in_another_members_hands(lock, locks):
    """Whoever is handed a fence acts under that grant, for as long as it is in force."""
    (ada,) = locks("ada")
    lock.acquire()
    ada.check(lock.grant.fence)
    lock.release()
    with pytest.raises(NotHeld):
        ada.check(1)


def test_a_transaction_can_be_bound_to_a_grant_from_within(lock, member, store):
    lock.acquire()
    with member.transaction() as tx:
        lock_line.guard(tx, "index", 1)
        tx.event("test.done")
    lock.release()

    def change():
        with member.transaction() as tx:
            tx.event("test.undone")
            lock_line.guard(tx, "index", 1)

    with pytest.raises(NotHeld):
        change()
    assert [row["kind"] for row in store.rows("select kind from event where kind like 'test.%'")] == ["test.done"]


def test_a_renewal_is_for_as_long_as_before_or_as_asked(lock, clock):
    for shared in (False, True):
        lock.acquire(timeout=0, lease_s=10, shared=shared)
        clock.advance(5)
        assert lock.renew() == lock.grant
        assert (lock.grant.expires_at, lock.grant.shared) == (clock.now() + 10, shared)
        assert lock.renew(30).expires_at == clock.now() + 30
        clock.advance(30)
        with pytest.raises(NotHeld):
            lock.renew()


# What an operation costs.


@pytest.fixture
def statements(store):
    """The statements that a call runs, without those that begin and end its transaction."""

    def statements(call):
        seen = []
        connection = store._own.door.connection
        connection.set_trace_callback(seen.append)
        try:
            call()
        finally:
            connection.set_trace_callback(None)
        frame = ("begin", "commit", "select incarnation", "delete from waiter where id")
        return [sql.split()[0].lower() for sql in seen if not sql.lstrip().lower().startswith(frame)]

    return statements


def test_what_nobody_contends_costs_one_row_and_one_event(lock, statements):
    lock.acquire()
    lock.release()
    assert statements(lock.acquire) == ["insert", "insert"]
    assert statements(lock.release) == ["update", "insert"]
    assert statements(lambda: lock.acquire(shared=True)) == ["insert", "insert", "insert"]


def test_handing_over_costs_five_statements(lock, spawn, in_line, statements):
    lock.acquire()
    spawn("ada").start("acquire")
    in_line("lock")
    found = statements(lock.release)
    assert found == ["update", "select", "update", "insert", "update"]


def test_a_round_of_the_watch_reads_once_a_line_and_no_lock_that_nobody_waits_for(store, statements, expired):
    with store.transaction(None) as tx:
        tx.execute(
            "with recursive n (n) as (select 1 union all select n + 1 from n where n < 2000)"
            " insert into lock (name, fence, lease_s) select 'lock ' || n, 1, 60 from n"
        )
    assert statements(expired) == ["with"]
    plan = [row["detail"] for row in store.rows("explain query plan " + _MOVABLE, now=0)]
    assert not [step for step in plan if step.startswith(("SCAN waiter", "SCAN lock"))]


# The model.


class Shared(RuleBasedStateMachine):
    """Three members with two threads' worth of calls each, none of which waits, against counts in memory."""

    def __init__(self):
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        path = Path(self.directory.name)
        self.clock = FileClock(path / "clock")
        self.store = Store(path / "swarm", clock=self.clock)
        self.members = [join(self.store, name) for name in ("ada", "bob", "eve")]
        self.locks = [Lock(member, "index") for member in self.members]
        self.grants = {}  # fence -> (who, shared, ends at)
        self.fence = 0

    def teardown(self):
        self.store.close()
        self.directory.cleanup()

    def in_force(self):
        return {number: grant for number, grant in self.grants.items() if grant[2] > self.clock.now()}

    @rule(who=st.integers(0, 2), shared=st.booleans(), lease_s=st.sampled_from([5, 50]))
    def acquire(self, who, shared, lease_s):
        others = self.in_force().values()
        free = not others or (shared and all(grant[1] for grant in others))
        assert self.locks[who].acquire(timeout=0, shared=shared, lease_s=lease_s) is free
        if free:
            self.fence += 1
            self.grants[self.fence] = (who, shared, self.clock.now() + lease_s)
            assert self.locks[who].grant.fence == self.fence

    @rule(who=st.integers(0, 2))
    def release(self, who):
        mine = [number for number, grant in self.in_force().items() if grant[0] == who]
        last = self.locks[who]._last
        if not mine:
            with pytest.raises(NotHeld):
                self.locks[who].release()
            return
        self.locks[who].release()
        del self.grants[last.fence if last.fence in mine else max(mine)]

    @rule(seconds=st.sampled_from([1, 5, 20]))
    def pass_time(self, seconds):
        self.clock.advance(seconds)

    @rule(who=st.integers(0, 2))
    def beat(self, who):
        before = self.store.rows("select fence, lease_s from lock union all select fence, lease_s from lock_share")
        leases = {row["fence"]: row["lease_s"] for row in before}
        with self.members[who].transaction() as tx:
            holdings.renew(tx)
        for number, grant in self.in_force().items():
            if grant[0] == who:
                self.grants[number] = (who, grant[1], self.clock.now() + leases[number])

    @rule()
    def watch(self):
        with self.store.transaction(None) as tx:
            expire(tx)

    @precondition(lambda self: len(self.members) < 6)
    @rule(who=st.integers(0, 2))
    def die(self, who):
        with self.store.transaction(None) as tx:
            holdings.bury(tx, self.members[who].me.agent, state="dead", reason="killed", task=None)
        self.grants = {number: grant for number, grant in self.grants.items() if grant[0] != who}
        self.members[who] = join(self.store, "again")
        self.locks[who] = Lock(self.members[who], "index")

    @invariant()
    def it_is_as_the_model_says(self):
        in_force = self.in_force()
        assert self.locks[0].locked() is bool(in_force)
        for number in range(1, self.fence + 1):
            try:
                self.locks[0].check(number)
                checked = True
            except NotHeld:
                checked = False
            assert checked is (number in in_force)
        for who, lock in enumerate(self.locks):
            mine = [number for number, grant in in_force.items() if grant[0] == who]
            found = lock.held()
            assert (found.fence if found else None) == (max(mine) if mine else None)


Shared.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestModel = Shared.TestCase


def test_threads_of_one_member_keep_each_other_out(tmp_path):
    """Readers and writers of one process add to a number that only the lock guards."""
    store = Store(tmp_path / "threads")
    member = join(store, "test")
    numbers = {"value": 0}

    def work():
        for n in range(20):
            if n % 2:
                with Lock(member, "index"):
                    seen = numbers["value"]
                    os.sched_yield()
                    numbers["value"] = seen + 1
            else:
                with Lock(member, "index").shared():
                    assert numbers["value"] >= 0
        store.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers["value"] == 60
    store.close()
