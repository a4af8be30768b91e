"""Results by schema: whose last words do not fit is asked again, and fails in the end; what fits is kept as data."""

import json

import pytest

from prong.agents.conversation import Conversation, insert
from prong.harness.agent.result import TaskResult, Unfit
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.primitives.artifacts import loaded
from prong.state import Member, Membership, TaskLost
from prong.state.member import enlist

SCHEMA = '{"type":"object","properties":{"bugs":{"type":"integer"}},"required":["bugs"]}'


@pytest.fixture
def begin(store):
    """Has an agent work on a task; its result."""

    def begin(schema=SCHEMA, asks=2, task=None):
        with store.transaction(None) as tx:
            if task is None:
                task = create_task(tx, Plan("part", "do it", result_schema=schema, result_asks=asks))[0].id
                head = insert(tx, parent=None, role="user", content=[{"type": "text", "text": "do it"}], task=task)
                tx.execute("update task set head = :head where id = :task", head=head, task=task)
            agent = enlist(tx, "ada", pid=None, task=task, state="running", lease_s=None)
            fence = tasks.claim(tx, task, agent)
        member = Membership(store, Member(agent, 1, task))
        one = TaskResult(member, Conversation(member, task, fence), task, fence)
        one.task, one.fence = task, fence
        return one

    return begin


@pytest.fixture
def row(store):
    return lambda one: store.row("select * from task where id = :task", task=one.task)


def last_message(store, one):
    row = store.row("select role, content from message where task = :t order by id desc limit 1", t=one.task)
    return row["role"], json.loads(row["content"])[0]["text"]


def test_words_that_fit_are_handed_in_and_their_value_is_kept(begin, row):
    one = begin()
    assert one.taken('Two.\n```json\n{"bugs": 2}\n```') == 'Two.\n```json\n{"bugs": 2}\n```'
    assert json.loads(row(one)["result_value"]) == {"bugs": 2}
    assert row(one)["result_asked"] == 0
    assert SCHEMA in one.told()


def test_words_that_do_not_fit_go_back_with_what_is_wrong(begin, row, store):
    one = begin()
    assert one.taken('{"bugs": "two"}') is None
    role, text = last_message(store, one)
    assert role == "user"
    assert "at $.bugs: 'two' is not of type 'integer'" in text
    assert "2 tries left" in text
    assert one.taken("two bugs") is None
    assert "last time" in last_message(store, one)[1]
    assert one.taken('{"bugs": 2}') == '{"bugs": 2}'
    assert row(one)["result_asked"] == 2


def test_after_the_last_time_the_attempt_has_failed_and_what_was_said_is_kept(begin, row):
    one = begin(asks=1)
    assert one.taken("two") is None
    with pytest.raises(Unfit, match="although it was asked 1 times more: a result without a JSON value"):
        one.taken("two, I said")
    assert row(one)["result"] == "two, I said"
    with pytest.raises(Unfit, match=r"that it must fit: "):
        begin(asks=0).taken("two")


def test_another_agent_of_the_task_goes_on_counting_and_a_retry_begins_anew(begin, row, store):
    one = begin(asks=1)
    assert one.taken("two") is None
    with store.transaction(None) as tx:
        tasks.give_back(tx, one.task, agent=row(one)["agent"], reason="it died", blame=False)
    other = begin(task=one.task)
    with pytest.raises(TaskLost):
        one.taken("still two")
    with pytest.raises(Unfit):
        other.taken("two")
    with store.transaction(None) as tx:
        tasks.fail(tx, one.task, other.fence, error="it does not fit", failure="model")
        assert tasks.find(tx, one.task).state == "failed"
        tasks.retry(tx, one.task)
    assert begin(task=one.task).taken("two") is None


def test_without_a_schema_any_words_will_do_and_nothing_is_written(begin, store):
    one = begin(schema=None)
    before = store.row("select max(seq) as seq from event")["seq"]
    assert one.told() is None
    assert one.taken("done") == "done"
    assert store.row("select max(seq) as seq from event")["seq"] == before


def test_a_result_too_long_for_a_row_is_kept_whole_by_its_hash(begin, row, store):
    one, words = begin(schema=None), "ü" * 300_000
    handed_in = one.taken(words)
    assert len(handed_in.encode()) <= tasks.RESULT_BYTES
    assert row(one)["result_whole"].startswith("@artifact ")
    assert loaded(store, row(one)["result_whole"]) == words
    assert one.taken("shorter") == "shorter"  # it came back from the merge queue
    assert row(one)["result_whole"] is None


def test_a_value_too_long_for_a_row_is_kept_by_its_hash(begin, row, store):
    one = begin(schema='{"type":"array"}')
    value = ["x" * 1_000] * 400
    one.taken(json.dumps(value))
    assert row(one)["result_value"].startswith("@artifact ")
    assert loaded(store, row(one)["result_value"]) == value
