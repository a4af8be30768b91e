"""The primitives as a model meets them: words and data, refusals that help, and no harm from a repeated call."""

import itertools
import json

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prong.agents.conversation import Message, insert
from prong.agents.tools.tool import ToolCall, ToolError
from prong.harness.tools import catalogue, definitions
from prong.harness.tools.tasks import ForkSource, TaskTools
from prong.harness.tools.toolbox import PrimitiveTools
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state import Member, Membership, ProngError, Store
from prong.state.member import enlist

numbers = itertools.count()

UNTIMED = ("create_task", "list_tasks", "cancel_task", "atomic")


class Agent:
    """An agent's tools, called by name."""

    def __init__(self, store, name="ada"):
        with store.transaction(None) as tx:
            task, _ = create_task(tx, Plan(title=name, prompt="do it"))
            agent = enlist(tx, name, pid=None, task=task.id, state="running", lease_s=None)
            tasks.claim(tx, task.id, agent)
            self.turn = Message(insert(tx, parent=None, role="assistant", content=[], task=task.id), "assistant", [])
        self.task = task.id
        self.member = Membership(store, Member(agent, 1, task.id))
        self.primitives = PrimitiveTools(self.member, siblings=None)
        source = ForkSource(snapshot=lambda _ignored: "0" * 40, prefix_hash=lambda _turn: "hash")
        self.task_tools = TaskTools(self.member, source)
        self.task_tools.begin_turn(self.turn)
        self.tools = {tool.name: tool for tool in (*self.primitives.tools(), *self.task_tools.tools())}

    def call(self, name, call_id=None, /, **inputs):
        answer = self.tools[name].run(ToolCall("toolu", name, inputs, key=call_id or f"call-{next(numbers)}"))
        data = json.loads(str(answer).splitlines()[-1])
        jsonschema.validate(data, catalogue.record(name).output_schema)
        return data


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("swarm"))
    yield store
    store.close()


@pytest.fixture
def ada(store):
    return Agent(store)


@pytest.fixture
def bob(store):
    return Agent(store, "bob")


def test_a_lock_is_given_back_when_the_turn_ends_unless_it_is_kept(ada, bob):
    ada.call("lock", op="acquire", name="short")
    ada.call("lock", op="acquire", name="long", keep=True)
    ada.primitives.end_turn()
    assert bob.call("lock", op="acquire", name="short", timeout=0)["fence"] == 2
    with pytest.raises(ToolError, match=r"ada holds it \(fence 1\)"):
        bob.call("lock", op="acquire", name="long", timeout=0)
    ada.call("lock", op="release", name="long")
    assert bob.call("lock", op="status", name="long")["holder"] is None


def test_a_lock_that_is_asked_for_again_is_still_there(ada):
    granted = ada.call("lock", "call a", op="acquire", name="again")
    for call_id in ("call a", "call b"):
        assert ada.call("lock", call_id, op="acquire", name="again") == granted


def test_releasing_what_another_holds_is_refused_with_its_name(ada, bob):
    ada.call("lock", op="acquire", name="hers")
    with pytest.raises(ProngError, match="ada holds it now"):
        bob.call("lock", op="release", name="hers")
    ada.primitives.end_turn()


def test_every_change_of_a_map_that_is_repeated_is_made_once(ada):
    for _ in range(3):
        assert ada.call("shared_map", "one add", op="add", map="m", key="n", value=2)["value"] == 2
        assert ada.call("shared_map", "one put", op="put", map="m", key="k", value=[1], if_version=0)["version"] == 1
    assert ada.call("shared_map", op="items", map="m") == {"items": {"k": [1], "n": 2}, "count": 2}
    for _ in range(3):
        assert ada.call("shared_map", "one delete", op="delete", map="m", key="k")["deleted"]
    assert ada.call("shared_map", op="keys", map="m") == {"keys": ["n"], "count": 1}


def test_a_write_over_another_version_is_refused_with_the_version_that_is_there(ada):
    ada.call("shared_map", op="put", map="v", key="k", value=1)
    with pytest.raises(ProngError, match="at version 1, not 0"):
        ada.call("shared_map", op="put", map="v", key="k", value=2, if_version=0)


def test_a_map_too_big_for_one_result_says_how_much_is_left_out(ada):
    for number in range(5):
        ada.call("shared_map", op="put", map="big", key=str(number), value="x" * 90_000)
    answer = ada.call("shared_map", op="items", map="big")
    assert len(answer["items"]) == 2
    assert answer["count"] == 5


def test_a_repeated_get_reads_the_same_messages_and_a_repeated_put_adds_none(ada, bob):
    for _ in range(2):
        ada.call("message_queue", "one put", op="put", queue="q", message={"n": 1})
    ada.call("message_queue", op="put", queue="q", message={"n": 2})
    first = bob.call("message_queue", "one get", op="get", queue="q", timeout=0)
    assert first == {"messages": [{"message": {"n": 1}, "from": f"task {ada.task}"}]}
    assert bob.call("message_queue", "one get", op="get", queue="q", timeout=0) == first
    assert bob.call("message_queue", op="get", queue="q", count=9, timeout=0)["messages"][0]["message"] == {"n": 2}
    assert bob.call("message_queue", op="get", queue="q", timeout=0) == {"messages": []}


def test_a_repeated_create_task_makes_one_task(ada, store):
    made = {
        ada.call("create_task", "one create", title="part", prompt="do a part", context="fresh")["task"] for _ in "ab"
    }
    assert len(made) == 1
    row = store.row("select parent, context, state from task where id = :task", task=made.pop())
    assert tuple(row) == (ada.task, "fresh", "ready")


def test_nobody_waits_for_a_task_that_he_is_part_of(ada):
    with pytest.raises(ProngError, match="are part of"):
        ada.call("wait_tasks", tasks=[ada.task])


def test_waiting_for_an_unknown_task_is_refused(ada):
    with pytest.raises(ProngError, match="no task 99999"):
        ada.call("wait_tasks", tasks=[99999], timeout=0)


anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=300)
    | st.lists(st.integers(), max_size=3)
)
keys = st.sampled_from(
    ["op", "name", "map", "list", "index", "since", "shared", "permits", "expected", "topic", "reason", "task", "state",
     "of", "key", "value", "queue", "message", "count", "timeout", "parties", "tasks", "title", "prompt",
     "needs", "priority", "context", "keep", "if_version", "prefix", "mode", "nonsense"]
)  # fmt: skip
ops = st.sampled_from(
    ["acquire", "release", "status", "reset", "get", "put", "add", "delete", "keys", "items", "size", "wait", "set",
     "clear", "min", "max", "compare_and_set", "watch", "history", "append", "read", "insert", "pop", "length",
     "publish", "subscribe", "promise", "fail", "cancel"]
)  # fmt: skip


@given(
    name=st.sampled_from([definition["name"] for definition in definitions.PRIMITIVES]),
    inputs=st.dictionaries(keys, anything, max_size=6),
    op=ops,
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_whatever_a_model_sends_it_gets_a_result_or_a_refusal(ada, name, inputs, op):
    try:
        ada.call(name, **{"op": op, **inputs, "timeout": 0} if name not in UNTIMED else inputs)
    except (ToolError, ProngError) as refusal:
        assert str(refusal)  # noqa: PT017 - any other exception fails the test
    finally:
        ada.primitives.end_turn()


def test_a_shared_lock_lets_readers_in_and_keeps_a_writer_out(ada, bob):
    assert ada.call("lock", op="acquire", name="doc", shared=True)["shared"]
    assert bob.call("lock", op="acquire", name="doc", shared=True)["shared"]
    with pytest.raises(ToolError, match=r"You share lock 'doc'.*Release it first"):
        ada.call("lock", op="acquire", name="doc")
    ada.primitives.end_turn()
    with pytest.raises(ToolError, match=r"bob holds it"):
        ada.call("lock", op="acquire", name="doc", timeout=0)
    bob.primitives.end_turn()
    bob.call("lock", op="acquire", name="doc")
    with pytest.raises(ToolError, match=r"bob holds it .* until it is released, or for 60 s more if it falls silent"):
        ada.call("lock", op="acquire", name="doc", timeout=0)
    bob.primitives.end_turn()
    assert not ada.call("lock", op="acquire", name="doc", timeout=0)["shared"]
    ada.primitives.end_turn()


def test_permits_are_given_back_when_the_turn_ends_unless_they_are_kept(ada, bob):
    for _ in range(2):
        ada.call("semaphore", "one acquire", op="acquire", name="gpu", permits=2)
    ada.call("semaphore", op="acquire", name="gpu", keep=True)
    with pytest.raises(ToolError, match="ada hold them all and 0 wait"):
        bob.call("semaphore", op="acquire", name="gpu", timeout=0)
    ada.primitives.end_turn()
    bob.call("semaphore", op="acquire", name="gpu", timeout=0)
    with pytest.raises(ToolError):
        bob.call("semaphore", op="acquire", name="gpu", timeout=0)
    ada.call("semaphore", op="release", name="gpu")
    bob.primitives.end_turn()
    assert bob.call("semaphore", op="status", name="gpu")["value"] == 2


def test_an_event_that_is_set_lets_everybody_pass(ada, bob):
    assert bob.call("event", op="wait", name="decided", timeout=0) == {"name": "decided", "is_set": False}
    ada.call("event", "one set", op="set", name="decided")
    assert bob.call("event", op="wait", name="decided")["is_set"]
    bob.call("event", op="clear", name="decided")
    ada.call("event", "one set", op="set", name="decided")  # the same call after a restart
    assert not ada.call("event", op="status", name="decided")["is_set"]


def test_an_atomic_value_tells_what_it_was(ada, bob):
    for _ in range(2):
        assert ada.call("atomic", "one add", op="add", name="n", value=2)["new"] == 2
    assert bob.call("atomic", op="max", name="n", value=9)["old"] == 2
    assert not bob.call("atomic", op="compare_and_set", name="n", expected=1, value=5)["changed"]
    assert bob.call("atomic", op="set", name="n", value={"best": "bob"})["old"] == 9
    assert ada.call("atomic", op="get", name="n") == {"name": "n", "value": {"best": "bob"}}
    with pytest.raises(ToolError, match="`value` must be a number"):
        ada.call("atomic", op="add", name="n", value="2")


def test_a_value_too_deep_to_be_read_again_is_refused(ada):
    value = []
    for _ in range(101):
        value = [value]
    with pytest.raises(ToolError, match="nested more than 100 levels deep"):
        ada.call("atomic", op="set", name="deep", value=value)
    ada.call("atomic", op="set", name="deep", value=value[0])


def test_a_list_is_read_from_where_one_left_off(ada, bob):
    for _ in range(2):
        assert ada.call("shared_list", "one append", op="append", list="l", value="a")["index"] == 0
    read = bob.call("shared_list", op="read", list="l")
    assert read == {"items": ["a"], "next": 1}
    ada.call("shared_list", op="append", list="l", value="b")
    assert bob.call("shared_list", op="read", list="l", index=read["next"]) == {"items": ["b"], "next": 2}
    assert bob.call("shared_list", op="read", list="l", index=2, timeout=0)["items"] == []
    for _ in range(2):
        assert bob.call("shared_list", "one pop", op="pop", list="l", index=0)["value"] == "a"
    bob.call("shared_list", op="set", list="l", index=0, value="c")
    with pytest.raises(ToolError, match="has 1 items, so there is no item 7"):
        bob.call("shared_list", op="set", list="l", index=7, value="c")
    assert bob.call("shared_list", op="length", list="l")["length"] == 1


def test_what_is_published_comes_to_every_subscriber(ada, bob):
    bob.call("message_queue", op="subscribe", queue="bobs", topic="news")
    ada.call("message_queue", op="subscribe", queue="adas", topic="news")
    for _ in range(2):
        assert ada.call("message_queue", "one publish", op="publish", queue="news", message="x")["queues"] == 2
    for agent, queue in ((ada, "adas"), (bob, "bobs")):
        got = agent.call("message_queue", op="get", queue=queue, count=9, timeout=0)
        assert [one["message"] for one in got["messages"]] == ["x"]


def test_a_future_is_promised_set_and_read(ada, bob):
    ada.call("future", op="promise", name="api")
    with pytest.raises(ToolError, match="was not set in time"):
        bob.call("future", op="get", name="api", timeout=0)
    for _ in range(2):
        ada.call("future", "one set", op="set", name="api", value=[1])
    assert bob.call("future", op="get", name="api")["value"] == [1]
    ada.call("future", op="fail", name="other", reason="no time")
    with pytest.raises(ToolError, match=r"failed: .*no time"):
        bob.call("future", op="get", name="other")
    ada.call("future", op="cancel", name="third")
    with pytest.raises(ToolError, match="was cancelled"):
        bob.call("future", op="get", name="third")


def test_a_watch_misses_nothing_between_two_calls(ada, bob):
    seen = bob.call("shared_map", op="watch", map="w", since=0, timeout=0)
    ada.call("shared_map", op="put", map="w", key="k", value=1)
    changed = bob.call("shared_map", op="watch", map="w", since=seen["version"])
    assert [entry["key"] for entry in changed["entries"]] == ["k"]
    ada.call("shared_map", op="put", map="w", key="k", value=2)
    past = bob.call("shared_map", op="history", map="w", key="k")["history"]
    assert [one["value"] for one in past] == [2, 1]


def test_tasks_are_listed_and_only_ones_own_are_cancelled(ada, bob):
    mine = ada.call("create_task", title="part", prompt="do a part", context="fresh")["task"]
    listed = ada.call("list_tasks")
    assert [(one["task"], one["state"]) for one in listed["tasks"]] == [(mine, "ready")]
    assert bob.call("list_tasks") == {"tasks": [], "count": 0}
    assert mine in [one["task"] for one in bob.call("list_tasks", of="all", state="ready")["tasks"]]
    with pytest.raises(ToolError, match="not yours to cancel"):
        bob.call("cancel_task", task=mine, reason="in my way")
    assert ada.call("cancel_task", task=mine, reason="not needed") == {"cancelled": [mine]}
    assert ada.call("list_tasks", state="cancelled")["tasks"][0]["error"] == f"task {ada.task} cancelled it: not needed"
    with pytest.raises(ProngError, match="no task 99999"):
        ada.call("cancel_task", task=99999, reason="x")
