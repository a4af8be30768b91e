"""What people say to agents is heard, once, by whoever works on the task."""

import json

import pytest

from prong.agents import conversation
from prong.harness import messages
from prong.harness.messages import Ears, Unheard, check_heard, inbox, send
from prong.primitives import MessageQueue, Plan, create_task
from prong.primitives import task as tasks
from prong.primitives.errors import UnknownTask, WrongTaskState
from prong.state import Invalid, Member, Membership, Store
from prong.state.member import LEASE_S, enlist

from .swarming import eventually, logs, start
from .test_approvals import SCRIPTS, Swarm


@pytest.fixture
def store(tmp_path):
    """Two tasks, of which the first has an agent."""
    store = Store(tmp_path)
    with store.transaction(None) as tx:
        for title in ("one", "two"):
            create_task(tx, Plan(title=title, prompt=title))
        agent = enlist(tx, "task 1", pid=None, task=1, state="running", lease_s=LEASE_S)
        tasks.claim(tx, 1, agent)
    return store


@pytest.fixture
def member(store):
    return Membership(store, Member(1, 1, 1))


def test_a_message_to_a_task_to_its_agent_and_to_all(store):
    assert [(one.task, one.hears) for one in send(store, "hello", task=1)] == [(1, "at its next turn")]
    assert [(one.task, one.hears) for one in send(store, "hello", task=2)] == [(2, "when it starts")]
    assert [one.task for one in send(store, "hello", agent=1)] == [1]
    assert [one.task for one in send(store, "to all")] == [1, 2]
    assert messages.unheard(store, 2) == ["hello", "to all"]
    kinds = [row["kind"] for row in store.rows("select kind from event where kind = 'command.send'")]
    assert len(kinds) == 4


def test_what_nobody_can_hear_is_refused(store):
    with pytest.raises(UnknownTask):
        send(store, "hello", task=7)
    with pytest.raises(Invalid, match="agent 9"):
        send(store, "hello", agent=9)
    with pytest.raises(Invalid, match="agent 0"):
        send(store, "hello", agent=0)
    for text in ("", "  ", "a\0b", "x" * 20_001):
        with pytest.raises(Invalid):
            send(store, text, task=1)
    with store.transaction(None) as tx:
        tasks.cancel(tx, 1, reason="no need")
        tasks.cancel(tx, 2, reason="no need")
    with pytest.raises(WrongTaskState, match="task 1 is cancelled, not still open"):
        send(store, "hello", task=1)
    with pytest.raises(Invalid, match="no task is open"):
        send(store, "hello")


def test_a_task_does_not_end_before_its_agent_has_heard(store):
    with store.transaction(None) as tx:
        check_heard(tx, 1)
    send(store, "wait", task=1)
    with pytest.raises(Unheard), store.transaction(None) as tx:
        check_heard(tx, 1)


def test_what_is_told_is_told_once(store, member):
    ears = Ears(member, 1)
    assert ears.people() is None
    assert ears.inbox() is None
    send(store, "first", task=1)
    send(store, "second", task=1)
    MessageQueue(member, inbox(1)).put("for you")
    said, waits = ears.people(), ears.inbox()
    assert (said.urgent, waits.urgent) == (True, False)
    assert said.text.index("first") < said.text.index("second")
    send(store, "third", task=1)  # while the others are being told
    with member.transaction() as tx:
        number = conversation.insert(tx, parent=None, role="system", content=[], task=1)
        said.told(tx, number)
        waits.told(tx, number)
    assert messages.unheard(store, 1) == ["third"]
    assert ears.inbox() is None
    MessageQueue(member, inbox(1)).put("for you, too")
    assert ears.inbox().text.startswith("2 messages wait in your inbox")


@pytest.mark.long
def test_who_has_come_to_an_end_hears_what_was_said_meanwhile_and_goes_on(root, tmp_path):
    process = start("run", "--offline", "--script", SCRIPTS, f"Listen in {tmp_path} please", cwd=root)
    eventually((tmp_path / "asked-0").exists, "the first question to the model")
    swarm = Swarm(root)
    send(swarm.store, "Half a pair \ud83d is heard, too", task=1)
    (tmp_path / "go-0").touch()
    eventually((tmp_path / "asked-1").exists, f"a second question\n{logs(root)}")
    (tmp_path / "go-1").touch()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err + logs(root)
    assert json.loads(swarm.task(1)["result"]) == ["Half a pair ? is heard, too"]
    assert len(swarm.events("message.heard")) == 1
