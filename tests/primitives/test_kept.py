"""What belongs to a task rather than to its agent, and what keeps tasks from waiting or dying for ever."""

import itertools

import pytest

from prong.primitives import Lock, NotHeld, Plan, create_task, holdings, lock, wait_tasks
from prong.primitives import task as tasks
from prong.state import Invalid, Member, Membership
from prong.state.member import enlist

names = itertools.count(1)


@pytest.fixture
def work(store):
    """Makes an agent that has claimed a task: a new one, or one that is ready."""

    def claim(task=None, **plan):
        with store.transaction(None) as tx:
            if task is None:
                task = create_task(tx, Plan(title=f"work {next(names)}", prompt="do it", **plan))[0].id
            agent = enlist(tx, f"agent {next(names)}", pid=None, task=task, state="running", lease_s=None)
            assert tasks.claim(tx, task, agent) is not None
        return Membership(store, Member(agent, 1, task))

    return claim


def die(store, member):
    with store.transaction(None) as tx:
        holdings.bury(tx, member.me.agent, state="dead", reason="killed", task=member.me.task)
        tasks.give_back(tx, member.me.task, agent=member.me.agent, reason="killed")


def kept_by(member):
    kept = Lock(member, "index")
    kept.acquire(timeout=0)
    kept.keep()
    return kept


def test_a_kept_lock_waits_for_its_tasks_next_agent_and_is_named_meanwhile(store, clock, work):
    ada, bob = work(), work()
    kept_by(ada)
    die(store, ada)
    clock.advance(1_000_000)
    assert Lock(bob, "index").acquire(timeout=0) is False
    assert Lock(bob, "index").statistics().holder == f"task {ada.me.task}"
    with pytest.raises(NotHeld, match=f"task {ada.me.task} holds it now"):
        Lock(bob, "index").release()


def test_the_next_agent_inherits_it_under_a_fence_of_its_own(store, work):
    ada, bob = work(), work()
    kept_by(ada)
    die(store, ada)
    heir = work(ada.me.task)
    with heir.transaction() as tx:
        lock.inherit(tx, heir.me.task, heir.me.agent)
    assert Lock(heir, "index").held().fence == 2
    assert Lock(bob, "index").acquire(timeout=0) is False
    Lock(heir, "index").release()
    assert Lock(bob, "index").acquire(timeout=0)
    assert Lock(bob, "index").held().fence == 3


def test_a_kept_lock_is_free_when_its_task_ends(store, work):
    ada, bob = work(), work()
    kept_by(ada)
    die(store, ada)
    with store.transaction(None) as tx:
        tasks.cancel(tx, ada.me.task, reason="no more")
    assert Lock(bob, "index").acquire(timeout=0)


def test_a_lock_that_is_not_kept_goes_with_its_agent(store, work):
    ada, bob = work(), work()
    Lock(ada, "index").acquire(timeout=0)
    die(store, ada)
    assert Lock(bob, "index").acquire(timeout=0)


def test_what_was_kept_once_is_not_kept_for_the_next_holder(store, work):
    ada, bob = work(), work()
    kept_by(ada).release()
    Lock(bob, "index").acquire(timeout=0)
    die(store, bob)
    assert Lock(ada, "index").acquire(timeout=0)


def test_nobody_waits_for_a_task_that_needs_his_own(work):
    ada = work()
    with ada.transaction() as tx:
        child, _ = create_task(tx, Plan(title="child", prompt="later", needs=[ada.me.task]))
        free, _ = create_task(tx, Plan(title="free", prompt="now"))
    with pytest.raises(Invalid, match="needs or waits for"):
        wait_tasks(ada, [child.id, free.id], timeout=0)
    assert [task.state for task in wait_tasks(ada, [child.id, free.id], mode="any", timeout=0)]


def test_a_task_that_wears_out_agent_after_agent_fails(store, work):
    ada = work()
    with store.transaction(None) as tx:
        tx.execute("update task set attempt = :many", many=tasks.WORN_OUT * 2)  # which pauses have made of it
    for _ in range(tasks.WORN_OUT - 1):
        with store.transaction(None) as tx:
            tx.execute("update task set stalled = 0")  # as if every agent had got a message further
        die(store, ada)
        ada = work(ada.me.task)
    die(store, ada)
    row = store.row("select state, error from task where id = :task", task=ada.me.task)
    assert row["state"] == "failed"
    assert f"{tasks.WORN_OUT} times" in row["error"]
