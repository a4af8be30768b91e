"""The wall clock is set back an hour, or forward a day: leases, timeouts and order take no notice."""

import ast
import itertools
import time

import pytest

from prong.primitives import Atomic, Event, Lock, MessageQueue, Semaphore, SharedMap, holdings
from prong.state import FileClock, Store, join

from ..checkout import ROOT  # noqa: TID252  tests are no package that has a name
from .operations import WRITES, sound

CLOCKS = {"time", "time_ns", "ctime", "gmtime", "localtime", "now", "utcnow", "today", "fromtimestamp"}
SQL_CLOCKS = ("datetime(", "julianday(", "unixepoch(", "strftime(", "current_timestamp", "current_time")


class Jumping(FileClock):
    """A clock that somebody sets while it runs: what people see jumps, the swarm's own time does not."""

    off_by = 0.0

    def wall(self):
        return self.now() + self.off_by


@pytest.fixture
def clock(tmp_path):
    return Jumping(tmp_path / "clock")


@pytest.fixture(params=[-3_600.0, 86_400.0], ids=["back an hour", "forward a day"])
def jump(request, clock):
    def jump():
        clock.off_by = request.param

    return jump


def test_every_primitive_writes_on_and_the_log_keeps_its_order(member, clock, jump):
    for n, (prepare, write) in enumerate(WRITES.values()):
        made = prepare(member)
        clock.advance(0.1)
        if n == len(WRITES) // 2:
            jump()
        write(made)
    rows = member.store.rows("select seq, at from event order by seq")
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    leaps = [after["at"] - before["at"] for before, after in itertools.pairwise(rows)]
    assert sum(abs(leap) > 3_000 for leap in leaps) == 1  # what people read tells of it
    assert sound(member.store)


def test_leases_last_as_long_as_they_were_given(store, people, clock, jump):
    ada, bob = people("ada", "bob")
    lock, semaphore, queue = Lock(ada, "l"), Semaphore(ada, "s"), MessageQueue(ada, "q", lease_s=60)
    assert lock.acquire(lease_s=60)
    assert semaphore.acquire(lease_s=60)
    queue.put("a")
    assert queue.get() == "a"
    jump()
    for _ in range(2):
        with store.transaction(None) as tx:
            holdings.expire(tx)
        assert not Lock(bob, "l").acquire(timeout=0)
        assert not Semaphore(bob, "s").acquire(timeout=0)
        assert MessageQueue(bob, "q").empty()
        clock.advance(59 / 2)
    clock.advance(2)
    with store.transaction(None) as tx:
        holdings.expire(tx)
    assert Lock(bob, "l").acquire(timeout=0)
    assert Semaphore(bob, "s").acquire(timeout=0)
    assert MessageQueue(bob, "q").get(timeout=0) == "a"


def test_a_heartbeat_renews_from_the_swarms_own_time(member, clock, jump):
    lock = Lock(member, "l")
    assert lock.acquire(lease_s=60)
    jump()
    clock.advance(10)
    with member.transaction() as tx:
        holdings.renew(tx)
    assert lock.grant.expires_at == clock.now() + 60


def test_a_timeout_is_over_when_it_would_have_been(people, during, clock, jump):
    ada, bob = people("ada", "bob")
    assert Lock(ada, "l").acquire()

    def later():
        jump()
        clock.advance(1)

    began = clock.now()
    assert not Lock(during(bob, asleep=later), "l").acquire(timeout=1)
    assert not Event(during(bob, asleep=later), "e").wait(timeout=1)
    assert clock.now() - began == 2


def test_history_is_in_the_order_of_the_writes(member, jump):
    entries, number = SharedMap(member, "m"), Atomic(member, "n")
    entries["k"] = 1
    number.add(1)
    jump()
    entries["k"] = 2
    number.add(1)
    assert [change.value for change in entries.history("k")] == [2, 1]
    assert number.statistics().version == 2


@pytest.mark.parametrize("seconds", [-3_600, 86_400])
def test_who_opens_the_swarm_after_the_wall_clock_was_set_has_the_time_of_the_others(tmp_path, seconds):
    """The shift is written down once per boot; another wall clock at a later opening must not make another time."""
    first = Store(tmp_path / "swarm")
    with first.transaction(None) as tx:  # as if the wall clock had been set since the first opening
        tx.execute("update boot set offset_s = offset_s - :seconds", seconds=seconds)
    first.close()
    ada, bob = join(Store(first.directory), "ada"), join(Store(first.directory), "bob")
    assert Lock(ada, "l").acquire(lease_s=60)
    assert not Lock(bob, "l").acquire(timeout=0)
    assert abs(ada.store.clock.now() - bob.store.clock.now()) < 1
    assert abs(ada.store.clock.now() - (time.time() - seconds)) < 5
    for member in (ada, bob):
        member.store.close()


def test_nothing_but_the_clock_reads_the_time():
    for path in sorted([*(ROOT / "primitives").rglob("*.py"), *(ROOT / "state").rglob("*.py")]):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                reads = owner in ("time", "datetime", "date") and node.func.attr in CLOCKS
                assert not reads or path.name == "clock.py", f"{path}:{node.lineno}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not any(clock in node.value.lower() for clock in SQL_CLOCKS), f"{path}:{node.lineno}"
