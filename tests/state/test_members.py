"""Membership: a row that says who lives, until when, and what became of the dead."""

import os

import pytest

from prong.state import join
from prong.state.member import beat, end, enlist


def pid(here):
    return os.getpid(), here.store.row("select pid from agent where id = :id", id=here.member.me.agent)["pid"]


def test_a_member_is_the_process_that_joined(processes):
    own, written = processes("ada").run(pid)
    assert own == written


def test_a_member_without_a_lease_lives_until_it_is_ended(store, member, clock):
    clock.advance(1e9)
    with member.transaction() as tx:
        tx.event("alive")
    assert store.row("select expires_at, state from agent")["expires_at"] is None


def test_a_heartbeat_extends_the_lease_of_its_member_alone(store, clock):
    ada, bob = join(store, "ada", lease_s=15), join(store, "bob", lease_s=15)
    began = clock.now()
    clock.advance(10)
    with ada.transaction() as tx:
        beat(tx, lease_s=15)
    rows = store.rows("select beat_at, expires_at from agent order by id")
    assert [tuple(row) for row in rows] == [(began + 10, began + 25), (began, began + 15)]
    assert bob.me.agent == 2


@pytest.mark.parametrize("state", ["ended", "dead"])
def test_the_end_of_a_member_is_written_once_with_its_reason(store, clock, state):
    with store.transaction(None) as tx:
        agent = enlist(tx, "ada", pid=None, task=None, state="starting", lease_s=1)
    clock.advance(3)
    with store.transaction(None) as tx:
        assert end(tx, agent, state=state, reason="why")
    row = store.row("select * from agent")
    assert (row["state"], row["ended_at"], row["reason"]) == (state, clock.now(), "why")
