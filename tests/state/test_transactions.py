"""A transaction is all or nothing, whoever dies when; and only the living write."""

import json
import sqlite3
import threading

import pytest

from prong.state import Deposed, Member, Membership, Store, join
from prong.state.bell import slot_of
from prong.state.member import end


def write_three(here):
    """An operation of three transactions, each of two rows."""
    for n in range(3):
        with here.member.transaction() as tx:
            tx.event("step.begun", n=n)
            tx.event("step.ended", n=n)


def write(here, kind):
    with here.member.transaction() as tx:
        tx.event(kind)


def fail_after(member, step):
    with member.transaction() as tx:
        step(tx)
        _ = 1 / 0


def write_and_die_with_the_gate(here):
    with here.member.transaction() as tx:
        tx.event("half")
        here.die(1, "before")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_process_killed_at_its_nth_commit_leaves_whole_transactions(processes, events, n, when):
    ada = processes("ada")
    ada.die(n, when)
    ada.start_running(write_three).gone()
    whole = n if when == "after" else n - 1
    assert [kind for kind, _ in events("step")] == ["step.begun", "step.ended"] * whole


def test_the_next_writer_goes_on_at_once_after_a_writer_was_killed(processes, member, events):
    ada = processes("ada")
    ada.start_running(write_and_die_with_the_gate).gone()
    with member.transaction() as tx:
        tx.event("whole")
    assert events("half") == []
    assert events("whole") == [("whole", None)]


def test_an_exception_undoes_the_transaction_and_passes_through(member, events):
    with pytest.raises(ZeroDivisionError):
        fail_after(member, lambda tx: tx.event("never"))
    assert events("never") == []


def test_what_a_transaction_rings_is_rung_only_after_its_commit(store, member):
    slot = slot_of(7)
    before = store.bells.read(slot)
    with pytest.raises(ZeroDivisionError):
        fail_after(member, lambda tx: tx.ring(slot_of(7)))
    assert store.bells.read(slot) == before
    with member.transaction() as tx:
        tx.ring(slot_of(7))
        assert store.bells.read(slot) == before
    assert store.bells.read(slot) == before + 1


def test_bells_are_rung_although_the_caller_was_interrupted_after_the_commit(store, member):
    """An interrupt that strikes between commit and ring must not make the one who was granted something wait."""

    class Interrupted(Store):
        def _connect(self):
            return _Interrupting(super()._connect())

    with Interrupted(store.directory, clock=store.clock).transaction(member.me) as tx:
        tx.event("calm")
    slot = slot_of(7)
    before = store.bells.read(slot)
    loud = Interrupted(store.directory, clock=store.clock)

    def ring_and_be_interrupted():
        with loud.transaction(member.me) as tx:
            tx.ring(slot_of(7))
            tx._door.connection.interrupts = True

    with pytest.raises(KeyboardInterrupt):
        ring_and_be_interrupted()
    assert store.bells.read(slot) == before + 1
    loud.close()
    with member.transaction() as tx:
        tx.event("the gate is open")


class _Interrupting:
    """A connection whose commit is followed by Ctrl-C."""

    interrupts = False

    def __init__(self, connection):
        self._connection = connection

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, sql, *values):
        done = self._connection.execute(sql, *values)
        if sql == "commit" and self.interrupts:
            raise KeyboardInterrupt
        return done


def test_a_transaction_inside_another_one_of_the_same_thread_is_refused(member, events):
    with member.transaction() as tx:
        with pytest.raises(RuntimeError, match="inside another"), member.transaction():
            pass
        tx.event("outer")
    assert events("outer") == [("outer", None)]


def test_a_mistake_in_sql_stays_a_mistake_in_sql(member):
    with pytest.raises(sqlite3.OperationalError, match="no such table"), member.transaction() as tx:
        tx.execute("delete from recipe")


def test_now_is_one_moment_for_the_whole_transaction(member, clock):
    with member.transaction() as tx:
        before = tx.now
        clock.advance(5)
        assert tx.now == before


def test_threads_of_one_process_share_a_store(member, events):
    def write_some():
        for _ in range(20):
            with member.transaction() as tx:
                count = tx.value("select count(*) from event where kind = 'thread'")
                tx.event("thread", object=str(count))

    threads = [threading.Thread(target=write_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [count for _, count in events("thread")] == [str(n) for n in range(80)]


def test_a_member_that_was_declared_dead_can_never_write_again(store, events):
    bob = join(store, "bob")
    with store.transaction(None) as tx:
        end(tx, bob.me.agent, state="dead", reason="its heart stopped")
    with pytest.raises(Deposed, match="no member any more: its heart stopped"), bob.transaction() as tx:
        tx.event("ghost")
    assert events("ghost") == []


def test_a_process_that_was_stopped_and_declared_dead_is_refused_when_it_goes_on(processes, store, events):
    ada = processes("ada")
    ada.stop()
    with store.transaction(None) as tx:
        end(tx, ada.agent, state="dead", reason="no sign of life")
    ada.start_running(write, "ghost").go_on()
    with pytest.raises(Deposed, match="no sign of life"):
        ada.result()
    assert events("ghost") == []


@pytest.mark.parametrize("me", [Member(99, 1), Member(1, 2), Member(1, 0)])
@pytest.mark.usefixtures("member")
def test_a_stranger_and_another_incarnation_cannot_write(store, events, me):
    with pytest.raises(Deposed), Membership(store, me).transaction() as tx:
        tx.event("ghost")
    assert events("ghost") == []


def test_a_member_dies_once(store, member, events):
    with store.transaction(None) as tx:
        assert end(tx, member.me.agent, state="ended", reason="done")
        assert not end(tx, member.me.agent, state="dead", reason="again")
    assert store.row("select state, reason from agent")["reason"] == "done"
    assert events("agent.") == [("agent.joined", "test"), ("agent.ended", "1")]


def test_the_log_can_only_grow(store, member):
    with member.transaction() as tx:
        tx.event("first", object="one", answer=42)
    for sql in ("update event set kind = 'other'", "delete from event", "replace into event select * from event"):
        with pytest.raises(sqlite3.Error), member.transaction() as tx:
            tx.execute(sql)
    row = store.row("select * from event where kind = 'first'")
    assert (row["object"], row["data"], row["agent"]) == ("one", '{"answer":42}', member.me.agent)


@pytest.mark.parametrize(
    ("text", "read"), [("a\0b", "a\0b"), ("caf\udce9", "caf\ufffd"), ("😀" * 1000, "😀" * 1000)], ids=ascii
)
def test_the_log_takes_any_text(store, member, text, read):
    with member.transaction() as tx:
        tx.event("odd", object=text, text=text)
    (row,) = store.rows("select object, data, json_extract(data, '$.text') from event where kind = 'odd'")
    assert row["object"] == json.loads(row["data"])["text"] == read


def test_a_snapshot_sees_one_moment(store, member, directory, clock):
    other = Store(directory, clock=clock)
    with store.snapshot() as snapshot:
        before = snapshot.row("select count(*) as n from event")["n"]
        with other.transaction(member.me) as tx:
            tx.event("meanwhile")
        assert snapshot.row("select count(*) as n from event")["n"] == before
    assert store.row("select count(*) as n from event")["n"] == before + 1
    other.close()
