"""Rules for calls of tools: which calls they are about, and which of them counts."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prong.harness.permissions.permission import EDITOR, MAIN_ARGUMENT, Policy, Rule, judge, parts_of
from prong.harness.permissions.policies import FILE, add_always, policy_of, rows_for, set_rules
from prong.harness.rules.rules import Permissions, Role, RulesInvalid, parse
from prong.harness.tools.catalogue import offered
from prong.state import Invalid, Store

WORKSPACE = Path("/w/space")


def rules(*texts):
    return tuple(Rule.read(text) for text in texts)


def effect(policy, tool, **given):
    return judge(policy, parts_of(tool, given, WORKSPACE)).effect


@pytest.mark.parametrize(
    ("tool", "given", "rule", "met"),
    [
        ("create_task", {"title": "t", "prompt": "p"}, "create_task", True),
        ("create_task", {"role": "reviewer"}, "create_task(reviewer)", True),
        ("create_task", {"title": "t"}, "create_task(reviewer)", False),
        ("lock", {"op": "acquire", "name": "db"}, "lock(db*)", True),
        ("wait_tasks", {"tasks": [1]}, "wait_*", True),
        ("wait_tasks", {"tasks": [1]}, "*", True),
        ("read", {"path": "a.py"}, "edit", False),
        ("read", {"path": "a.py"}, "read(*.py)", True),
        ("read", {"path": "src/deep/a.py"}, "read(*.py)", True),  # a name without a slash stands in any folder
        ("read", {"path": "src/deep/a.py"}, "read(src/*.py)", False),
        ("read", {"path": "src/deep/a.py"}, "read(src/**)", True),
        ("read", {"path": "src"}, "read(src/**)", True),
        ("read", {"path": "src"}, "read(src/)", True),
        ("read", {"path": "./src/../.env"}, "read(.env)", True),
        ("read", {"path": "/w/space/.env"}, "read(./.env)", True),
        ("read", {"path": "sub/.env"}, "read(./.env)", False),
        ("read", {"path": "/etc/passwd"}, "read(/etc/**)", True),
        ("read", {"path": "../../etc/passwd"}, "read(/etc/**)", True),
        ("grep", {"pattern": "x"}, "read(**)", True),
        ("grep", {"pattern": "x", "path": "src"}, "read(docs/**)", False),
        ("glob", {"pattern": "*"}, "read", True),
        (EDITOR, {"command": "view", "path": "a"}, "read(a)", True),
        (EDITOR, {"command": "view", "path": "a"}, "edit(a)", False),
        (EDITOR, {"command": "create", "path": "a"}, "edit(a)", True),
        (EDITOR, {"command": "anything", "path": "a"}, "edit(a)", True),
        ("bash", {"command": 5}, "bash(rm *)", True),  # what nobody can read may be anything
        ("bash", {"restart": True}, "bash(rm *)", False),
        ("bash", {"restart": True}, "bash", True),
    ],
)
def test_which_calls_a_rule_is_about(tool, given, rule, met):
    assert effect(Policy(deny=rules(rule)), tool, **given) == ("deny" if met else "allow")


def test_deny_beats_ask_and_ask_beats_allow_whichever_is_the_more_specific():
    policy = Policy(deny=rules("bash(git push --force*)"), ask=rules("bash(git push*)"), allow=rules("bash(git *)"))
    assert effect(policy, "bash", command="git status") == "allow"
    assert effect(policy, "bash", command="git push") == "ask"
    assert effect(policy, "bash", command="git push --force") == "deny"
    assert effect(Policy(deny=rules("bash"), allow=rules("bash(ls)")), "bash", command="ls") == "deny"
    assert effect(Policy(ask=rules("bash"), always=rules("bash(ls)")), "bash", command="ls") == "allow"
    assert effect(Policy(deny=rules("bash"), always=rules("bash(ls)")), "bash", command="ls") == "deny"
    assert effect(Policy(default="ask", allow=rules("read")), "bash", command="make") == "ask"
    assert effect(Policy(default="ask", allow=rules("read")), "read", path="x") == "allow"


def test_a_role_may_use_what_is_named_and_nothing_else():
    policy = Policy(only=rules("read", "bash(git log*)"))
    assert effect(policy, "read", path="x") == "allow"
    assert effect(policy, "grep", pattern="x") == "allow"
    assert effect(policy, "bash", command="git log | cat") == "deny"
    assert effect(policy, "bash", command="cd x && git log -p") == "allow"
    assert effect(policy, "create_task", title="x") == "deny"
    assert effect(Policy(only=()), "read", path="x") == "deny"


def test_a_link_counts_by_where_it_leads(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "w/link").symlink_to(tmp_path / "secret")
    parts = parts_of("read", {"path": "link"}, tmp_path / "w", resolve=os.path.realpath)
    assert judge(Policy(deny=rules(f"read({tmp_path}/secret)")), parts).effect == "deny"
    assert judge(Policy(default="ask", allow=rules("read(link)", "read(**)")), parts).effect == "ask"


@pytest.mark.parametrize(
    "command", ["make 'a b' && git push *", "echo \\* > out.txt", "ls", "rm -rf \\\\x", "cd x", "((", ""]
)
def test_the_rules_that_a_call_offers_let_it_through_and_not_others(command):
    parts = parts_of("bash", {"command": command}, WORKSPACE)
    offered_rules = rules(*(str(part.rule) for part in parts))
    assert judge(Policy(ask=rules("*"), always=offered_rules), parts).effect == "allow"
    other = parts_of("bash", {"command": f"{command} other; other"}, WORKSPACE)
    assert command == "" or judge(Policy(ask=rules("*"), always=offered_rules), other).effect == "ask"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    tool=st.sampled_from([*MAIN_ARGUMENT, "unknown"]),
    given_=JSON | st.dictionaries(st.sampled_from([*MAIN_ARGUMENT.values(), "command", "x"]), JSON),
)
def test_whatever_a_call_holds_a_rule_for_all_calls_is_about_it(tool, given_):
    assert judge(Policy(deny=rules("*")), parts_of(tool, given_, WORKSPACE)).effect == "deny"
    assert judge(Policy(only=()), parts_of(tool, given_, WORKSPACE)).effect == "deny"


@pytest.mark.parametrize("text", ["", "bash(", "bash()", "ba sh", "wait_tasks(x)", "(x)", "bash(x) y", "b" * 20_000])
def test_a_rule_that_is_none_is_refused(text):
    with pytest.raises(Invalid):
        Rule.read(text)


def test_a_tool_that_is_none_is_refused_with_the_list():
    names = [record.name for record in offered("agents")]
    with pytest.raises(Invalid, match="create_task"):
        Rule.read("bsh(x)", tools=names)
    assert Rule.read("shared_*", tools=names).tool == "shared_*"


def test_patterns_look_at_arguments_that_the_tools_have():
    definitions = {record.name: record.definition for record in offered("agents")}
    for tool, argument in MAIN_ARGUMENT.items():
        schema = definitions.get(tool, {}).get("input_schema")
        assert tool in definitions or tool == "edit"
        assert schema is None or argument in schema["properties"], tool


def test_the_rules_of_the_file_are_read_and_what_is_wrong_in_them_is_told():
    front = "permissions: {deny: 'bash(rm *)', ask: [create_task, 'edit(docs/**)'], default: ask}"
    read = parse(f"---\n{front}\nroles: {{r: {{tools: [read]}}}}\n---\n", "PRONG.md")
    assert read.permissions == Permissions((), ("create_task", "edit(docs/**)"), ("bash(rm *)",), "ask")
    assert read.roles["r"] == Role(tools=("read",))
    with pytest.raises(RulesInvalid, match=r"PRONG\.md:2: permissions\.deny"):
        parse("---\npermissions: {deny: 'bsh(rm *)'}\n---\n", "PRONG.md")
    with pytest.raises(RulesInvalid, match="allow, ask, deny"):
        parse("---\npermissions: {default: maybe}\n---\n", "PRONG.md")


def test_rules_are_kept_by_who_has_said_them_and_of_two_defaults_the_stricter_holds(tmp_path):
    store = Store(tmp_path)
    with store.transaction(None) as tx:
        set_rules(tx, FILE, Permissions(deny=("bash(rm *)",), default="ask"), {"r": Role(tools=("read",))})
        set_rules(tx, "the command line", Permissions(ask=("create_task",), default="deny"))
        add_always(tx, ["create_task", "create_task"], "ada")
    policy = policy_of(rows_for(store, "r"))
    assert policy == Policy(rules("bash(rm *)"), rules("create_task"), (), rules("create_task"), rules("read"), "deny")
    assert policy_of(rows_for(store, "other")).only is None
    with store.transaction(None) as tx:
        set_rules(tx, FILE, Permissions(), {"r": Role(tools=())})
    assert policy_of(rows_for(store, "r")) == Policy(
        ask=rules("create_task"), always=rules("create_task"), only=(), default="deny"
    )
