"""What a member holds, over all kinds: renewed together while it lives, and given back together, once, when it dies."""

import pytest

from prong.primitives import Barrier, Lock, MessageQueue, SharedMap, holdings
from prong.state import Deposed, join
from prong.state.member import LEASE_S


def test_a_death_gives_back_everything_and_is_written_once(member, people, dying, bury, events):
    (ada, bob) = people("ada", "bob")
    Lock(ada, "a").acquire(timeout=0)
    Lock(ada, "b").acquire(timeout=0)
    MessageQueue(member, "mail").put("hello")
    MessageQueue(ada, "mail").take()
    SharedMap(ada, "notes")["k"] = 1
    with pytest.raises(Deposed):
        Barrier(dying(bob), "door", 2).wait()
    assert bury(ada, reason="killed by signal 9")
    assert [Lock(member, name).statistics().holder for name in "ab"] == [None, None]
    assert MessageQueue(member, "mail").qsize() == 1
    assert SharedMap(member, "notes")["k"] == 1
    assert Barrier(member, "door", 2).statistics().broken is None
    assert not bury(ada)
    assert events("agent.dead")[-1] == ("agent.dead", str(ada.me.agent))
    assert len(events("lock.released")) == 2


def test_the_second_death_of_an_agent_takes_nothing_from_others(member, people, bury):
    (ada,) = people("ada")
    bury(ada)
    Lock(member, "a").acquire(timeout=0)
    assert not bury(ada)
    assert Lock(member, "a").statistics().holder == "test"


def test_a_death_takes_no_lock_from_others(member, people, bury):
    ada, bob = people("ada", "bob")
    Lock(ada, "a").acquire(timeout=0)
    Lock(bob, "b").acquire(timeout=0)
    bury(ada)
    assert [Lock(member, name).statistics().holder for name in "ab"] == [None, "bob"]


def test_a_heartbeat_extends_the_life_of_its_member(store, clock):
    ada = join(store, "ada", lease_s=1)
    clock.advance(0.5)
    with ada.transaction() as tx:
        holdings.renew(tx)
    assert store.row("select expires_at from agent")["expires_at"] == clock.now() + LEASE_S
