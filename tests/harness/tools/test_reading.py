"""What one task reads of others: heads that share a bound fairly, and all the rest one call away."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prong.agents.conversation import insert
from prong.agents.tools.tool import ToolError
from prong.harness.tools.reading import RESULT_CHARACTERS, RESULTS_CHARACTERS, shares, texts_of_needs
from prong.primitives import Plan, UnknownTask, create_task
from prong.primitives import task as tasks
from prong.primitives.artifacts import stored

from .test_primitives import Agent

lengths = st.lists(st.integers(0, 2_000), min_size=1, max_size=30)


@given(lengths, st.integers(0, 10_000), st.integers(1, 2_000))
def test_shares_stay_within_their_bounds_and_nobody_gets_less_than_others_who_have_as_much(lengths, total, most):
    found = shares(lengths, total=total, most=most)
    assert sum(found) <= total
    assert all(0 <= share <= min(length, most) for share, length in zip(found, lengths, strict=True))
    cut = [share for share, length in zip(found, lengths, strict=True) if share < min(length, most)]
    assert not cut or max(cut) - min(cut) <= 1
    assert not cut or max(found) - min(cut) <= 1


@pytest.fixture
def ada(store):
    return Agent(store)


@pytest.fixture
def ended(ada, store):
    """A task that has ended with this result, and perhaps a value."""

    def ended(result, *, value=None, state="done"):
        with ada.member.transaction() as tx:
            task, _ = create_task(tx, Plan("part", "do it"))
        text = stored(ada.member, "a value", value) if value is not None else None
        with store.transaction(None) as tx:
            tx.execute("update task set result_value = :text where id = :task", text=text, task=task.id)
            tasks.finish(tx, task.id, state, result=result, error=None if state == "done" else "it broke")
        return task.id

    return ended


def told(ada, *numbers):
    return ada.call("wait_tasks", tasks=list(numbers), timeout=0)["tasks"]


def test_a_value_comes_back_as_data_and_its_words_are_one_call_away(ada, ended):
    task = ended('Found.\n```json\n{"bugs": 2}\n```', value={"bugs": 2})
    (one,) = told(ada, task)
    assert (one["value"], one["result"], one["cut"]) == ({"bugs": 2}, None, False)
    assert ada.call("read_result", task=task)["text"].startswith("Found.")


def test_a_long_result_is_cut_and_can_be_read_to_its_end_page_by_page(ada, ended):
    text = "".join(f"line {number}\n" for number in range(3_000))
    task = ended(text)
    (one,) = told(ada, task)
    assert one["cut"]
    assert text.startswith(one["result"][:-1])
    assert len(one["result"]) == RESULT_CHARACTERS + 1
    pages, begin = [], 0
    while begin is not None:
        page = ada.call("read_result", **{"task": task, "from": begin, "count": 7_000})
        pages.append(page["text"])
        begin = page["next"]
    assert "".join(pages) == text
    assert page["characters"] == len(text)


def test_of_many_results_each_gets_its_fair_part(ada, ended):
    long = [ended("x" * 10_000) for _ in range(20)]
    short = ended("all is well")
    found = told(ada, *long, short)
    assert found[-1]["result"] == "all is well"
    assert {len(one["result"]) for one in found[:-1]} <= {1_999, 2_000, 2_001}
    assert sum(len(one["result"]) for one in found) < RESULTS_CHARACTERS + 100
    assert [one["cut"] for one in found] == [True] * 20 + [False]


def test_a_value_too_long_to_be_told_is_read_from_its_artifact(ada, ended, store):
    value = {"lines": ["x" * 100] * 4_000}
    task = ended(json.dumps(value)[:1_000], value=value)
    (one,) = told(ada, task)
    assert one["value"] is None
    assert one["cut"]
    with store.transaction(None) as tx:
        (text,) = texts_of_needs(store, [tasks.find(tx, task)])
    assert text.startswith('{"lines":["xxx')
    assert f"read_result: task {task}, from 0" in text


def test_tasks_that_need_others_read_values_words_and_failures(ended, store):
    numbers = [ended("{}", value={"bugs": 2}), ended("fine"), ended("half", state="failed")]
    with store.transaction(None) as tx:
        needs = [tasks.find(tx, number) for number in numbers]
    assert texts_of_needs(store, needs) == ['{"bugs":2}', "fine", "it broke"]


def test_the_transcript_is_what_its_agent_said_and_not_what_it_inherited(ada, store):
    with ada.member.transaction() as tx:
        task, _ = create_task(tx, Plan("part", "do it", context="fork", fork_point=ada.turn.id))
    use = {"type": "tool_use", "id": "t1", "name": "bash", "input": {"command": "ls"}}
    said = [
        ("user", [{"type": "text", "text": "You are task 2."}]),
        ("assistant", [{"type": "thinking", "thinking": "hm", "signature": "s"}, use]),
        ("user", [{"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": "y" * 50_000}]),
        ("assistant", [{"type": "text", "text": "There is nothing."}]),
    ]
    with store.transaction(None) as tx:
        head = ada.turn.id
        for role, content in said:
            head = insert(tx, parent=head, role=role, content=content, task=task.id)
        tx.execute("update task set head = :head where id = :task", head=head, task=task.id)
    text = ada.call("read_result", task=task.id, transcript=True)["text"]
    lines = text.split("\n\n")
    assert lines[0] == "[user] You are task 2."
    assert lines[1] == '[assistant] calls bash: {"command": "ls"}'
    assert lines[2].startswith("[user] error: yyy")
    assert len(lines[2]) < 2_100
    assert lines[3:] == ["[assistant] There is nothing."]


def test_read_result_refuses_what_it_cannot_read(ada, ended):
    with pytest.raises(UnknownTask):
        ada.call("read_result", task=12_345)
    with pytest.raises(ToolError, match="`count`"):
        ada.call("read_result", task=ended("x"), count=1_000_000)
