"""Roles and schemas as create_task takes them: which names, which contexts, which schemas."""

import pytest

from prong.agents.tools.tool import ToolCall, ToolError
from prong.harness import prompt
from prong.harness.rules.rules import Role, Route
from prong.harness.tools.contexts import Planner
from prong.harness.tools.tasks import ForkSource, TaskTools
from prong.primitives import Plan, create_task
from prong.state import Invalid

from .test_primitives import Agent

SOURCE = ForkSource(snapshot=lambda _ignored: "0" * 40, prefix_hash=lambda _turn: "hash")


@pytest.fixture
def ada(store):
    """An agent in a repository that knows two roles, of which one asks a model of its own."""
    ada = Agent(store)
    planner = Planner(ada.member, "claude-opus-5-5", {"searcher": "claude-haiku-5-5", "twin": "claude-opus-5-5"})
    made = TaskTools(ada.member, SOURCE, planner=planner, roles=("reviewer", "searcher", "twin"))
    made.begin_turn(ada.turn)
    ada.tools |= {tool.name: tool for tool in made.tools()}
    return ada


def created(ada, **more):
    number = ada.call("create_task", title="part", prompt="do it", **more)["task"]
    return ada.member.store.row("select * from task where id = :task", task=number)


def test_an_unknown_role_is_refused_with_the_roles_and_the_one_that_was_meant(ada):
    with pytest.raises(ToolError, match=r"no role 'reviwer'\. Did you mean reviewer\? .* reviewer, searcher, twin"):
        created(ada, role="reviwer")
    with pytest.raises(ToolError, match=r"no role 'xyz'\. PRONG\.md has"):
        created(ada, role="xyz")
    assert created(ada, role=" reviewer ")["role"] == "reviewer"
    assert created(ada)["role"] == ""


def test_a_type_of_task_is_routed_to_a_role_unless_one_is_named(store):
    ada = Agent(store)
    made = TaskTools(
        ada.member, SOURCE, roles=("writer", "auditor"), route=Route({"docs": "writer"}, {"*holes*": "auditor"})
    )
    made.begin_turn(ada.turn)
    ada.tools |= {tool.name: tool for tool in made.tools()}
    assert [created(ada, **more)["role"] for more in ({"type": "docs"}, {"type": " docs ", "role": "auditor"})] == [
        "writer", "auditor",
    ]  # fmt: skip
    assert created(ada, type="nobody knows it")["role"] == ""


def test_where_the_rules_define_no_role_any_name_will_do(store):
    assert created(Agent(store), role="anything")["role"] == "anything"


def test_a_role_with_a_model_of_its_own_reads_a_summary_instead_of_being_forked(ada):
    row = created(ada, role="searcher", context="fork")
    assert (row["context"], row["brief_of"], row["fork_point"]) == ("brief", ada.turn.id, None)
    assert created(ada, role="searcher", context="fresh")["context"] == "fresh"
    assert [created(ada, role=name)["context"] for name in ("reviewer", "twin", "")] == ["fork"] * 3


def test_that_it_is_no_fork_is_told(ada):
    call = ToolCall("toolu", "create_task", {"title": "t", "prompt": "p", "role": "searcher"}, key="told once")
    told = str(ada.tools["create_task"].run(call))
    assert (
        "It is no fork, because the role searcher asks claude-haiku-5-5, which cannot read your prompt cache." in told
    )
    assert "starts with its prompt and a summary" in told


def test_a_schema_is_kept_with_the_task_and_a_wrong_one_is_refused_before_anything_is_made(ada):
    row = created(ada, result_schema={"type": "object"}, result_asks=0)
    assert (row["result_schema"], row["result_asks"]) == ('{"type":"object"}', 0)
    assert created(ada)["result_schema"] is None
    before = ada.member.store.row("select total from task_count")["total"]
    with pytest.raises(ToolError, match="`result_schema`: a result schema that is none: 'whole' is not valid"):
        created(ada, result_schema={"type": "whole"})
    with pytest.raises(ToolError, match="`result_schema`: a result schema that is no object"):
        created(ada, result_schema="{}")
    with pytest.raises(ToolError, match="`result_asks`"):
        created(ada, result_asks=11)
    assert ada.member.store.row("select total from task_count")["total"] == before


def test_what_a_role_may_use_is_told_at_the_start():
    assert prompt.of_role(Role(tools=("read", "bash(git log *)"))) == (
        "Of your tools tasks of your role may use only these; other calls are refused: read, bash(git log *)."
    )
    assert prompt.of_role(Role(prompt="Be strict.", tools=())).endswith("refused: none.")
    assert prompt.of_role(Role()) is prompt.of_role(None) is None


def test_a_plan_out_of_bounds_is_refused(member):
    for wrong in ({"result_schema": "x" * 20_000}, {"result_asks": 11}, {"result_asks": -1}):
        with pytest.raises(Invalid), member.transaction() as tx:
            create_task(tx, Plan("part", "do it", **wrong))
