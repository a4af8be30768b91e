"""The primitives as a model meets them: words and data, refusals that help, and no harm from a repeated call."""

import itertools
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prong.agents.conversation import Message, insert
from prong.agents.tools.tool import ToolCall, ToolError
from prong.harness.primitive_tools import PrimitiveTools
from prong.harness.task_tools import ForkSource, TaskTools
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state import Member, Membership, ProngError, Store
from prong.state.member import enlist

numbers = itertools.count()


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
        source = ForkSource(snapshot=lambda: "0" * 40, prefix_hash=lambda _turn: "hash")
        self.task_tools = TaskTools(self.member, source)
        self.task_tools.begin_turn(self.turn)
        self.tools = {tool.name: tool for tool in (*self.primitives.tools(), *self.task_tools.tools())}

    def call(self, name, call_id=None, /, **inputs):
        text = self.tools[name].run(ToolCall("toolu", name, inputs, key=call_id or f"call-{next(numbers)}"))
        return json.loads(text.splitlines()[-1])


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
    ["op", "name", "map", "key", "value", "queue", "message", "count", "timeout", "parties", "tasks", "title", "prompt",
     "needs", "priority", "context", "keep", "if_version", "prefix", "mode", "nonsense"]
)  # fmt: skip
ops = st.sampled_from(["acquire", "status", "reset", "get", "put", "add", "delete", "keys", "items", "size"])


@given(
    name=st.sampled_from(["lock", "barrier", "shared_map", "message_queue", "create_task", "wait_tasks"]),
    inputs=st.dictionaries(keys, anything, max_size=6),
    op=ops,
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_whatever_a_model_sends_it_gets_a_result_or_a_refusal(ada, name, inputs, op):
    try:
        ada.call(name, **{"op": op, **inputs, "timeout": 0} if name != "create_task" else inputs)
    except (ToolError, ProngError) as refusal:
        assert str(refusal)  # noqa: PT017 - any other exception fails the test
    finally:
        ada.primitives.end_turn()
