"""A lease on paths keeps the work of others out of them: in the editor, and where their work is merged."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.harness.repository.merging_swarm import Tasks
from tests.harness.swarming import eventually

from prong.agents.tools.tool import ToolCall
from prong.harness.agent.guard import Guard
from prong.harness.repository import leasing
from prong.primitives import Lock
from prong.state import Membership
from prong.state.transaction import Member


@pytest.fixture
def made(root):
    swarm = Tasks(root, attempts=2)
    yield swarm
    swarm.close()


def member_of(made, task):
    row = made.row(task)
    agent = made.store.row("select incarnation from agent where id = :agent", agent=row["agent"])
    return Membership(made.store, Member(row["agent"], agent["incarnation"], task))


def lease(made, task, pattern):
    lock = Lock(member_of(made, task), f"path:{pattern}")
    lock.acquire(timeout=0)
    return lock


def edit(made, task, **given):
    guard = Guard(member_of(made, task), role="", workspace=made.swarm.directory / "workspaces" / str(task))
    call = ToolCall(key=f"{task}-1", id="call", name="str_replace_based_edit_tool", input=given)
    return guard._leased(call)  # what `permit` asks once the rules let the call through


def merge_once(made):
    """One round in a thread, which leaves no connection."""
    made.queue.merge_next()
    made.store.close()


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("src/**", "src/a/b.py", True),
        ("src/", "src/a.py", True),
        ("./src", "src/a.py", True),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/a/b.py", False),
        ("**/test_?.py", "deep/er/test_1.py", True),
        ("**/test_?.py", "test_1.py", True),
        ("a.b", "aXb", False),
        ("[x]", "x", False),
        ("**", "anything/at all\n", True),
    ],
)
def test_a_pattern_covers_what_its_words_say(pattern, path, covered):
    assert leasing.covers(pattern, path) is covered


def test_the_editor_of_others_refuses_to_write_and_says_who_holds_it(made):
    holder, other = made.task("holder"), made.task("other")
    lock = lease(made, holder, "src/**")
    told = edit(made, other, command="create", path="src/a.py", file_text="x")
    assert f"task {holder} holds the lock 'path:src/**' (fence 1" in told
    assert edit(made, other, command="view", path="src/a.py") is None
    assert edit(made, other, command="create", path="docs/a.md", file_text="x") is None
    assert f"task {holder}" in edit(made, other, command="insert", path="docs/../src/b", insert_line=0, insert_text="x")
    assert edit(made, holder, command="create", path="src/a.py", file_text="x") is None
    [event] = [one for one in made.events("lease.refused") if one["lease"] == "src/**"][:1]
    assert event["holder"] == holder
    lock.release()
    assert edit(made, other, command="create", path="src/a.py", file_text="x") is None


def test_work_in_leased_files_comes_back_and_is_merged_when_they_are_free(made):
    holder, other = made.task("holder"), made.task("other")
    lock = lease(made, holder, "src")
    made.hand_in(other, {"src/a.py": "mine\n"})
    made.merge()
    assert made.delivery(other)["state"] == "returned"
    assert "src/a.py: task 2 holds the lock 'path:src'" in made.messages(other)[-1]
    assert (made.swarm.directory / "workspaces" / str(other) / "src/a.py").read_text() == "mine\n"
    lock.release()
    made.hand_in(other, {"b": "more\n"})
    made.merge()
    assert made.merged() == [other]


def test_a_lease_that_is_acquired_while_the_check_runs_counts_as_well(root, tmp_path):
    go = tmp_path / "go"
    made = Tasks(root, check=f"touch {go}ing; until test -e {go}; do sleep 0.05; done")
    try:
        holder, other = made.task("holder"), made.done("other", {"src/a.py": "mine\n"})
        with ThreadPoolExecutor(1) as pool:
            merging = pool.submit(merge_once, made)
            eventually((tmp_path / "going").exists, "the check to run")
            lock = lease(made, holder, "src")
            go.touch()
            merging.result()
        made.merge()
        assert (made.merged(), made.delivery(other)["state"]) == ([], "returned")
        assert made.row(other)["merged_commit"] is None
        lock.release()
        made.hand_in(other, {"b": "more\n"})
        made.merge()
        assert made.merged() == [other]
    finally:
        made.close()


def test_whoever_insists_is_kept_and_asks_no_resolver(made):
    holder, other = made.task("holder"), made.task("other")
    lease(made, holder, "src")
    for n in range(2):
        made.hand_in(other, {"src/a.py": f"{n}\n"})
        made.merge()
    assert made.row(other)["kept_branch"] == f"{made.swarm.branch}-task-{other}"
    assert made.delivery(other)["resolver"] is None
    assert made.merged() == []


def test_a_holder_merges_into_its_own_files(made):
    holder = made.task("holder")
    lease(made, holder, "src")
    made.hand_in(holder, {"src/a.py": "mine\n"})
    made.merge()
    assert made.merged() == [holder]
