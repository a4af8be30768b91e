"""The conversation tree: immutable messages, forks that share all rows, appends under a fence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prong.agents.conversation import Conversation, Message, child_results, insert, load, prefix_hash
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state import Store, TaskLost

text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    scalars | text, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner), max_leaves=10
)


@pytest.fixture(scope="module")
def one_task(tmp_path_factory):
    """A database with one task, for all examples of a test."""
    store = Store(tmp_path_factory.mktemp("json"))
    with store.transaction(None) as tx:
        create_task(tx, Plan(title="t", prompt="p"))
    yield store
    store.close()


def say(conversation, role, text):
    return conversation.say(role, [{"type": "text", "text": text}])


def test_a_conversation_reads_back_as_it_was_said(claimed):
    member, task, fence = claimed()
    conversation = Conversation(member, task, fence)
    say(conversation, "user", "héllo\n\N{SNOWMAN}")
    conversation.say(
        "assistant", [{"type": "thinking", "thinking": "", "signature": "s"}, {"type": "text", "text": "x"}]
    )
    again = Conversation(member, task, fence)
    assert again.messages == conversation.messages
    assert [message.role for message in again.messages] == ["user", "assistant"]


@given(JSON)
def test_any_json_comes_back_the_same(one_task, value):
    with one_task.transaction(None) as tx:
        head = insert(tx, parent=None, role="user", content=[{"value": value}], task=1)
    assert load(one_task, head)[0].content == [{"value": value}]


def test_a_fork_shares_every_row_and_costs_one(store, claimed):
    member, task, fence = claimed()
    parent = Conversation(member, task, fence)
    for number in range(50):
        say(parent, "user" if number % 2 == 0 else "assistant", f"message {number}")
    rows = store.row("select count(*) as n from message")["n"]
    with store.transaction(None) as tx:
        child = insert(tx, parent=parent.last.id, role="user", content=[{"type": "text", "text": "you"}], task=task)
    assert store.row("select count(*) as n from message")["n"] == rows + 1
    assert load(store, child)[:-1] == parent.messages


def test_whoever_lost_the_task_adds_nothing(store, claimed):
    member, task, fence = claimed()
    conversation = Conversation(member, task, fence)
    say(conversation, "user", "one")
    with store.transaction(None) as tx:
        tasks.give_back(tx, task, agent=member.me.agent, reason="it died")
    rows = store.row("select count(*) as n from message")["n"]
    with pytest.raises(TaskLost) as refused:
        say(conversation, "assistant", "two")
    assert f"task {task}" in str(refused.value)
    assert store.row("select count(*) as n from message")["n"] == rows
    assert len(conversation.messages) == 1


def test_only_the_childs_own_call_tells_it_who_it_is():
    uses = [{"type": "tool_use", "id": f"call-{n}", "name": "create_task", "input": {}} for n in range(3)]
    turn = Message(4, "assistant", [{"type": "text", "text": "I divide"}, *uses])
    results = child_results(turn, "call-1", "You are task 7")
    assert [block["tool_use_id"] for block in results] == ["call-0", "call-1", "call-2"]
    texts = [block["content"][0]["text"] for block in results]
    assert texts[1] == "You are task 7"
    assert "elsewhere" in texts[0]
    assert texts[0] == texts[2]


def test_the_prefix_hash_names_all_that_a_cache_compares():
    messages = [Message(1, "user", [{"type": "text", "text": "x"}])]
    base = prefix_hash("model", [{"type": "text", "text": "s"}], [{"name": "bash"}], messages)
    assert base == prefix_hash("model", [{"text": "s", "type": "text"}], [{"name": "bash"}], messages)
    others = [
        prefix_hash("other", [{"type": "text", "text": "s"}], [{"name": "bash"}], messages),
        prefix_hash("model", [{"type": "text", "text": "t"}], [{"name": "bash"}], messages),
        prefix_hash("model", [{"type": "text", "text": "s"}], [{"name": "grep"}], messages),
        prefix_hash("model", [{"type": "text", "text": "s"}], [{"name": "bash"}], []),
    ]
    assert len({base, *others}) == 5
