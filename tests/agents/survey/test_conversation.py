"""The whole conversation of root and children, with every call really done."""

import json
import re

import pytest

from prong.agents.emulator.script import Request, ToolUse, choose
from prong.agents.emulator.survey import SCRIPTS

FILES = {
    "README.md": "# Sample\n",
    "pyproject.toml": '[build-system]\nrequires = []\n\n[project]\nname = "sample"\n',
    "src/sample/__init__.py": "from sample.core import work\n",
    "src/sample/core.py": "import os\n\n\ndef work():\n    # TODO: more\n    return os.getpid()\n",
    "src/sample/sub/__init__.py": "",
    "src/sample/sub/deep.py": "from .. import core\nfrom ..core import work\n\nLIMIT = 3\n",
    "tests/test_core.py": "from sample import core\n\n\ndef test_it():\n    assert core.work()\n",
    "tests/test_deep.py": "import sample.sub.deep as deep\n\n\ndef test_it():\n    assert deep.LIMIT\n",
    "docs/index.md": "Nothing.\nFIXME\nTODO TODO",
    "broken.py": "def (\n",
}


@pytest.fixture(scope="module")
def swarm(make_repository, make_swarm):
    """A swarm that has surveyed the sample."""
    swarm = make_swarm(make_repository(FILES))
    swarm.run()
    return swarm


def calls_of(agent):
    """The calls of each turn that an agent made itself, in short."""
    turns = [message["content"] for message in agent.messages if message["role"] == "assistant"]
    if agent.task != 1:
        turns = turns[2:]
    return [[short(block) for block in turn if block["type"] == "tool_use"] for turn in turns]


def short(use):
    what = use["input"].get("op") or use["input"].get("command", "").rpartition("\n")[2].partition('py" ')[2][:5]
    return f"{use['name']} {what}".strip()


def test_the_script_is_chosen_whatever_the_goal_says():
    request = Request(body={}, messages=[{"role": "user", "content": "Überrasche mich\n"}])
    assert choose(SCRIPTS, request).name == "survey"


def test_root_and_children_survey_a_repository_together(swarm):
    root = swarm.agents[1]
    assert {agent.state for agent in swarm.agents.values()} == {"done"}
    assert root.result.startswith("SURVEY.md tells of 4 of 4 parts: 10 files, 31 lines. 4 parts sent a message")
    assert (root.clone / "SURVEY.md").read_text().startswith("# Survey of `sample`\n")
    index = (swarm.shared / "index.md").read_text().splitlines()
    assert sorted(line.partition(". ")[0] for line in index) == ["1", "2", "3", "4"]


def test_the_root_makes_all_tasks_in_one_turn_and_a_child_works_in_five(swarm):
    root = swarm.agents[1]
    assert calls_of(root) == [
        ["bash list"],
        ["create_task"] * 4,
        ["wait_tasks"],
        ["message_queue get", "shared_map items", "shared_map items", "bash", *["shared_map get"] * 4],
        ["str_replace_based_edit_tool"],
        [],
    ]
    children = [agent for agent in swarm.agents.values() if agent is not root]
    assert len(children) == 4
    for child in children:
        assert calls_of(child) == [
            ["bash part", "grep"],
            ["shared_map put", "shared_map put"],
            ["lock acquire", "bash index", "lock release"],
            ["barrier wait", "shared_map items"],
            ["shared_map put", "message_queue put"],
            [],
        ]


def test_only_the_root_changes_its_clone_and_only_by_the_survey(swarm, git):
    root = swarm.agents[1]
    for agent in swarm.agents.values():
        assert git(agent.clone, "status", "--porcelain") == (b"?? SURVEY.md\n" if agent is root else b"")


def test_the_same_repository_gives_the_same_survey_and_the_old_survey_counts_for_nothing(
    swarm, make_repository, make_swarm
):
    text = (swarm.agents[1].clone / "SURVEY.md").read_text()
    again = make_swarm(make_repository({**FILES, "SURVEY.md": text + "TODO\n"}, name="again")).run("Do it again")
    assert (again.clone / "SURVEY.md").read_text() == text


def test_the_script_is_a_function_of_the_conversation(swarm):
    """Every reply of every agent is given again for the messages that came before it."""
    for agent in swarm.agents.values():
        for i, message in enumerate(agent.messages):
            if message["role"] == "assistant":
                reply = swarm.play(Request(body={}, messages=agent.messages[:i]))
                uses = [dict(block.input) for block in reply.blocks if isinstance(block, ToolUse)]
                assert uses == [block["input"] for block in message["content"] if block["type"] == "tool_use"]


def test_a_nudge_after_the_end_gets_the_same_last_words(swarm):
    root = swarm.agents[1]
    nudged = [*root.messages, {"role": "user", "content": "Go on."}]
    (text,) = swarm.play(Request(body={}, messages=nudged)).blocks
    assert text.text == root.result


def test_a_task_of_another_kind_is_a_root_even_in_a_forked_conversation(make_swarm, tmp_path):
    use = {"type": "tool_use", "id": "a", "name": "create_task", "input": {"title": "Look", "prompt": "Look around"}}
    told = 'You are task 3: Look. Work.\n{"task": 3, "you": true}'
    messages = [
        {"role": "user", "content": "Look"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": told}]},
    ]
    reply = make_swarm(tmp_path).play(Request(body={}, messages=messages))
    assert [block.name for block in reply.blocks if isinstance(block, ToolUse)] == ["bash"]


@pytest.mark.parametrize(("count", "parts"), [(1, 1), (3, 1), (7, 3), (8, 4)])
def test_a_small_repository_has_a_part_for_every_two_files_and_from_eight_on_at_least_four(
    make_repository, make_swarm, count, parts
):
    swarm = make_swarm(make_repository({f"{name}.txt": f"{name}\n" for name in "abcdefgh"[:count]}))
    root = swarm.run()
    assert root.result.startswith(f"SURVEY.md tells of {parts} of {parts} parts: {count} files, {count} lines.")


def test_a_repository_without_files_is_told_so(make_repository, make_swarm):
    root = make_swarm(make_repository({})).run()
    assert root.result == "Git tracks no files here, so there is nothing to survey."


def test_a_module_of_the_repository_never_stands_in_for_pythons_own(make_repository, make_swarm):
    trap = dict.fromkeys(["json.py", "ast.py", "re.py", "subprocess.py", "sitecustomize.py"], "raise SystemExit(9)\n")
    root = make_swarm(make_repository({**trap, **FILES})).run()
    assert "15 files" in root.result


def test_the_conversations_stay_small(swarm):
    assert max(len(json.dumps(agent.messages)) for agent in swarm.agents.values()) < 45_000


def test_suffixes_without_a_row_are_counted_as_other(make_repository, make_swarm):
    root = make_swarm(make_repository({f"{i:02}.x{i}": "x\n" * (i + 1) for i in range(60)})).run()
    page = (root.clone / "SURVEY.md").read_text()
    rows = re.findall(r"(?m)^\| (`\.x\d+`|\*other\*) \| (\d+) \| (\d+) \|$", page)
    assert [name for name, *_ in rows] == [*(f"`.x{i}`" for i in range(59, 44, -1)), "*other*"]
    assert (rows[-1][1], rows[-1][2]) == ("45", str(sum(range(1, 46))))


def test_the_page_tells_who_imports_from_whom_and_what_no_test_touches(swarm):
    root = swarm.agents[1]
    page = (root.clone / "SURVEY.md").read_text()
    parts = dict(re.findall(r"(?m)^\| (\d) \| `([^`]+)` \| \d+ \| \d+ \|", page))
    assert len(parts) == 4
    assert "by no model" in page
    assert "- `broken.py`: SyntaxError in line 1" in page
    assert "| 2 | `docs/index.md` |" not in page
    assert "| 3 | `docs/index.md` |" in page
