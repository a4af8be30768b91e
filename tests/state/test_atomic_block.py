"""An atomic block: all that it does happens, or nothing; and nobody is kept out longer than it takes."""
# ruff: noqa: PT012  a whole block is what is tested

import pytest

from prong.state import Deposed, WaitInsideAtomic, join, waiter
from prong.state.bell import slot_of
from prong.state.member import end


def say(member, what):
    with member.transaction() as tx:
        tx.event(what)
        return tx


def test_what_a_block_does_is_one_transaction(member, events, store):
    with member.atomic():
        say(member, "one")
        assert store.inside_atomic
        say(member, "two")
        assert [kind for kind, _ in events("")][-2:] == ["one", "two"]  # the thread itself sees what it did
    assert not store.inside_atomic
    assert [kind for kind, _ in events("")][-2:] == ["one", "two"]


def test_a_block_that_fails_did_nothing(member, events):
    with pytest.raises(ZeroDivisionError), member.atomic():
        say(member, "one")
        1 / 0  # noqa: B018
    assert events("one") == []


def test_a_part_that_fails_is_undone_alone_where_the_block_goes_on(member, events):
    with member.atomic():
        say(member, "one")
        with pytest.raises(ZeroDivisionError), member.transaction() as tx:
            tx.event("two")
            1 / 0  # noqa: B018
        assert tx.undone
        say(member, "three")
    assert [kind for kind, _ in events("")][-2:] == ["one", "three"]


def test_a_block_inside_a_block_is_a_part_of_it(member, events):
    with member.atomic():
        with pytest.raises(ZeroDivisionError), member.atomic():
            say(member, "one")
            1 / 0  # noqa: B018
        say(member, "two")
    assert events("one") == []
    assert len(events("two")) == 1


def test_whoever_was_granted_something_is_rung_after_the_block_and_not_by_a_part_that_was_undone(member, store):
    with member.transaction() as tx:
        kept = waiter.enrol(tx, "thing", "a", timeout=None)
        undone = waiter.enrol(tx, "thing", "b", timeout=None)
    bells = store.bells
    before = bells.read(slot_of(kept.waiter)), bells.read(slot_of(undone.waiter))
    with member.atomic():
        with member.transaction() as tx:
            waiter.grant(tx, kept.waiter)
        with pytest.raises(ZeroDivisionError), member.transaction() as tx:
            waiter.grant(tx, undone.waiter)
            1 / 0  # noqa: B018
        assert bells.read(slot_of(kept.waiter)) == before[0]
    assert (bells.read(slot_of(kept.waiter)), bells.read(slot_of(undone.waiter))) == (before[0] + 1, before[1])


def test_nobody_waits_inside_a_block(member, store):
    with pytest.raises(WaitInsideAtomic, match=r"wait for thing 'a' inside an atomic block"), member.atomic():
        say(member, "one")
        with waiter.Place(member) as place:
            with member.transaction() as tx:
                place.enrol(tx, "thing", "a", timeout=None)
            place.wait()
    assert store.rows("select 1 from waiter") == []


def test_a_dead_member_does_nothing_inside_anothers_block(member, store):
    other = join(store, "other")
    with store.transaction(None) as tx:
        end(tx, other.me.agent, state="dead", reason="killed")
    with pytest.raises(Deposed), member.atomic():
        say(other, "one")


def test_others_wait_until_the_block_ends(processes, member, events):
    ada = processes("ada")
    with member.atomic():
        ada.start_running(told)
        say(member, "mine")
        assert ada.busy()
    ada.result()
    assert [kind for kind, _ in events("")][-2:] == ["mine", "told"]


def told(here):
    say(here.member, "told")
