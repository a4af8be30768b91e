"""What was granted is told by shared memory, and only ever to the one whom it concerns."""
# ruff: noqa: PT012  a block is what is tested

import pytest

from prong.state import Deposed, Store, waiter
from prong.state.bell import FutexBells, slot_of
from prong.state.member import end
from prong.state.told import RECORD_BYTES, RECORDS, Told


@pytest.fixture
def told(tmp_path):
    return Told(tmp_path / "told")


def place(member, kind="thing"):
    """A place in line that was just taken."""
    taken = waiter.Place(member)
    with member.transaction() as tx:
        taken.enrol(tx, kind, "a", timeout=None)
    return taken


def decide(store, how, place, **data):
    with store.transaction(None) as tx:
        how(tx, place._ticket.waiter, **data)


def test_a_waiter_reads_what_it_was_told_and_nobody_else_does(told):
    told.awake(7)
    assert told.read(7) is None
    assert told.tell(7, '{"n":"ä"}')
    assert told.read(7) == '{"n":"ä"}'
    assert told.read(7 + RECORDS) is None


def test_who_sleeps_is_not_taken_for_awake(told):
    told.awake(7)
    told.asleep(7)
    assert not told.tell(7, "{}")
    assert told.read(7) == "{}"


def test_who_falls_asleep_just_when_it_is_told_keeps_what_it_was_told(told):
    told.awake(7)
    told.tell(7, "{}")
    told.asleep(7)
    assert told.read(7) == "{}"


def test_a_number_of_an_older_database_tells_nothing(told):
    """A file that was left behind when its database was made anew knows the same numbers."""
    told.tell(7, '{"old":1}')
    told.awake(7)
    assert told.read(7) is None


def test_what_is_too_long_for_a_record_is_left_to_the_row(told):
    told.awake(7)
    assert told.tell(7, "x" * RECORD_BYTES)
    assert told.read(7) is None


def test_a_torn_record_is_left_to_the_row(tmp_path, told):
    told.tell(7, '{"fence":1}')
    whole = (tmp_path / "told").read_bytes()
    for at in range(7 * RECORD_BYTES, 7 * RECORD_BYTES + 16 + len('{"fence":1}')):
        torn = bytearray(whole)
        torn[at] ^= 1
        (tmp_path / "torn").write_bytes(torn)
        assert Told(tmp_path / "torn").read(7) is None


def test_a_grant_is_heard_without_a_look_at_the_row(member, store):
    """Method: the row is taken away behind the waiter's back; what it was told says the same."""
    taken = place(member)
    decide(store, waiter.grant, taken, n=1)
    with store.transaction(None) as tx:
        tx.execute("delete from waiter")
    assert taken.wait() == waiter.Outcome("granted", {"n": 1})


def test_a_grant_that_is_undone_is_told_to_nobody(member, store):
    taken = place(member)
    with pytest.raises(ZeroDivisionError), store.transaction(None) as tx:
        waiter.grant(tx, taken._ticket.waiter)
        1 / 0  # noqa: B018
    assert store.told.read(taken._ticket.waiter) is None


def test_a_part_of_an_atomic_block_that_is_undone_tells_nobody(member, store):
    kept, undone = place(member), place(member)
    with store.atomic(None):
        decide(store, waiter.grant, kept)
        with pytest.raises(ZeroDivisionError), store.transaction(None) as tx:
            waiter.grant(tx, undone._ticket.waiter)
            1 / 0  # noqa: B018
        assert store.told.read(kept._ticket.waiter) is None
    assert store.told.read(kept._ticket.waiter) == "{}"
    assert store.told.read(undone._ticket.waiter) is None


def test_who_is_granted_something_and_buried_in_one_transaction_is_told_nothing(member, store):
    taken = place(member)
    with store.transaction(None) as tx:
        waiter.grant(tx, taken._ticket.waiter)
        end(tx, member.me.agent, state="dead", reason="silence")
    assert store.told.read(taken._ticket.waiter) is None


def test_who_was_granted_something_and_buried_before_it_looked_does_not_get_it(member, store):
    """It may be another's by then."""
    taken = place(member)
    decide(store, waiter.grant, taken)
    with store.transaction(None) as tx:
        end(tx, member.me.agent, state="dead", reason="silence")
    assert store.told.read(taken._ticket.waiter) == "{}"
    with pytest.raises(Deposed):
        taken.wait()


def test_all_who_wait_are_told_and_each_bell_rings_once(member, store):
    rung = []

    class Counting(FutexBells):
        def ring(self, slot):
            rung.append(slot)
            return super().ring(slot)

    other = Store(store.directory, clock=store.clock, bells=Counting)
    crowd = [place(member, "barrier") for _ in range(3)]
    with other.transaction(None) as tx:
        assert waiter.grant_all(tx, "barrier", "a", round=1) == 3
    assert rung == [crowd[0]._ticket.slot]
    assert [one.wait().data for one in crowd] == [{"round": 1}] * 3
    other.close()


def test_the_scheduler_hears_of_a_waiter_that_may_have_no_process_and_not_of_one_that_is_awake(member, store):
    def rings(taken):
        before = store.bells.read(0)
        decide(store, waiter.grant, taken)
        return store.bells.read(0) - before

    awake, left = place(member), place(member)
    store.told.asleep(left._ticket.waiter)
    assert (rings(awake), rings(left)) == (0, 1)
    assert slot_of(awake._ticket.waiter) != 0
