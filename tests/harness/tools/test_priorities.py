"""Priorities by the names that the repository's rules give them."""

import pytest

from prong.agents.tools.tool import ToolError

from .test_primitives import Agent


@pytest.fixture
def ada(store, tmp_path):
    with store.transaction(None) as tx:
        tx.execute(
            "insert into swarm (id, goal, repository, base_commit, branch, model, slots, options, state, started_at)"
            " values ('s', 'g', :root, 'c', 'b', 'm', 1, '{}', 'running', 0)",
            root=str(tmp_path),
        )
    return Agent(store)


def test_a_task_is_made_with_a_priority_by_name_as_the_file_says_now(ada, tmp_path, store):
    given = {"title": "t", "prompt": "p", "context": "fresh"}
    for number in (20, 30):
        (tmp_path / "PRONG.md").write_text(f"---\npriorities: {{urgent: {number}}}\n---\n")
        made = ada.call("create_task", priority="urgent", **given)
        assert store.row("select priority from task where id = :task", task=made["task"])["priority"] == number
    with pytest.raises(ToolError, match=r"did you mean urgent\?"):
        ada.call("create_task", priority="urgnet", **given)
    with pytest.raises(ToolError, match="whole number"):
        ada.call("create_task", priority=1.5, **given)
