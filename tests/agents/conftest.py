import pytest

from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state import Member, Membership, Store
from prong.state.member import enlist


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "swarm")
    yield store
    store.close()


@pytest.fixture
def claimed(store):
    """Makes a task that an agent has claimed: its membership, the task's number and the fence."""

    def claim(title="a task", **more):
        with store.transaction(None) as tx:
            task, _ = create_task(tx, Plan(title=title, prompt="do it", **more))
            agent = enlist(tx, title, pid=None, task=task.id, state="running", lease_s=None)
            fence = tasks.claim(tx, task.id, agent)
        return Membership(store, Member(agent, 1, task.id)), task.id, fence

    return claim
