"""How calls that wait are answered, without any process that waits for it."""

import json

import pytest

from prong.harness import approvals
from prong.harness.approvals import NotWaiting, UnknownApproval, approve, deny, find, waiting
from prong.harness.permissions import policies
from prong.harness.permissions.permission import judge, parts_of
from prong.harness.rules.rules import Permissions
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state import Invalid, Member, Membership, Store
from prong.state.errors import WaitInsideAtomic
from prong.state.member import LEASE_S, enlist

ASK = Permissions(ask=("bash(git push*)", "create_task"))


@pytest.fixture
def store(tmp_path):
    """A task with an agent, whose calls of git push and create_task are asked about."""
    store = Store(tmp_path)
    with store.transaction(None) as tx:
        create_task(tx, Plan(title="one", prompt="one"))
        tasks.claim(tx, 1, enlist(tx, "task 1", pid=None, task=1, state="running", lease_s=LEASE_S))
        policies.set_rules(tx, policies.FILE, ASK)
    return store


def ask(store, key, tool="bash", **given):
    """Write the question down, as a call does; whoever waits for the answer is ended before it comes."""
    policy = policies.policy_of(policies.rows_for(store, ""))
    judgement = judge(policy, parts_of(tool, given, store.directory / "workspaces/1"))
    assert judgement.effect == "ask"
    member = Membership(store, Member(1, 1, 1), _leaves)
    try:
        return approvals.ask(member, key=key, tool=tool, given=given, judgement=judgement)
    except KeyboardInterrupt:
        return "interrupted"


def _leaves(_ticket):
    raise KeyboardInterrupt


def test_a_repeated_call_finds_its_question_and_its_answer(store):
    assert ask(store, "1:0", command="git push") == "interrupted"
    assert ask(store, "1:0", command="git push") == "interrupted"
    [one] = waiting(store)
    assert (one.id, one.task, one.agent, one.tool, one.rule) == (1, 1, 1, "bash", "bash(git push*)")
    assert (one.input, one.always, one.text) == ({"command": "git push"}, ("bash(git push)",), "git push")
    assert approve(store, [1]).tasks == (1,)
    assert ask(store, "1:0", command="git push") is None
    assert ask(store, "1:1", command="git push") == "interrupted"  # another call
    deny(store, [2], "  not now ")
    assert "says: not now\n" in ask(store, "1:1", command="git push")
    for wrong in (1, 2):
        with pytest.raises(NotWaiting):
            approve(store, [wrong])
    with pytest.raises(UnknownApproval):
        find(store, 3)


def test_always_adds_the_narrowest_rule_and_answers_all_that_it_is_about(store):
    for place, command in enumerate(("git push a", "git push b", "git push a && git push b")):
        ask(store, f"1:{place}", command=command)
    answered = approve(store, [1, 2], always=[])
    assert answered.rules == ("bash(git push a)", "bash(git push b)")
    assert answered.approvals == (1, 2, 3)
    assert waiting(store) == []
    with pytest.raises(AssertionError):
        ask(store, "1:3", command="git push a")  # is not asked about any more


def test_a_wider_rule_can_be_given(store):
    ask(store, "1:0", command="git push a")
    ask(store, "1:1", "create_task", title="t", prompt="p")
    assert approve(store, [1], always=["bash(git push *)"]).approvals == (1,)
    assert [one.tool for one in waiting(store)] == ["create_task"]
    with pytest.raises(Invalid):
        approve(store, None, always=["bash("])
    assert len(waiting(store)) == 1
    assert approve(store, None).approvals == (2,)
    assert approve(store, None).approvals == ()


def test_what_is_asked_of_a_task_that_has_ended_is_void(store):
    ask(store, "1:0", command="git push \ud83d", more={"deep": [1, None]})
    assert waiting(store)[0].input["command"] == "git push \ud83d"
    with store.transaction(None) as tx:
        tasks.cancel(tx, 1, reason="no need")
    assert waiting(store) == []
    with pytest.raises(NotWaiting, match="void, since task 1 is cancelled"):
        approve(store, [1])


def test_answers_are_bounded_and_events_say_who_gave_them(store):
    ask(store, "1:0", command="git push")
    with pytest.raises(Invalid):
        deny(store, [1], "x" * 4_001)
    deny(store, [1], "half a pair \ud83d")
    row = store.row("select data from event where kind = 'command.deny'")
    told = json.loads(row["data"])
    assert (told["reason"], bool(told["user"]), told["pid"] > 0) == ("half a pair ?", True, True)


def test_who_cannot_wait_is_not_let_through(store):
    member = Membership(store, Member(1, 1, 1))
    judgement = judge(policies.policy_of(policies.rows_for(store, "")), parts_of("create_task", {}, store.directory))
    with pytest.raises(WaitInsideAtomic), member.atomic():
        approvals.ask(member, key="1:0", tool="create_task", given={}, judgement=judgement)
