"""Workers that mean no good: what they put in the place of files, what they tell, and what they print of our keys."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prong.agents.conversation import Conversation
from prong.harness.budgets import AccountPurse
from prong.harness.workers import files, sessions
from prong.harness.workers.heard import Began, Reader, Used
from prong.harness.workers.kinds import KINDS, Start
from prong.harness.workers.recording import Recording
from prong.harness.workers.running import Clock, run
from prong.harness.workers.settings import with_workers
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state import Member, Membership
from prong.state.member import LEASE_S, enlist

CLAUDE = KINDS["claude-code"]


@pytest.fixture
def secret(tmp_path):
    """A file that the sandbox keeps from workers."""
    file = tmp_path / "secret.jsonl"
    file.write_text("hunter2")
    return file


@pytest.fixture
def home(tmp_path):
    made = tmp_path / "scratch" / "worker"
    made.mkdir(parents=True)
    return made


def test_no_session_is_read_through_a_link_or_a_pipe(tmp_path, home, secret):
    (home / "projects/a").mkdir(parents=True)
    (home / "projects/a/s1.jsonl").symlink_to(secret)
    (home / "projects/b").symlink_to(tmp_path)
    os.mkfifo(home / "projects/a/s2.jsonl")
    for session in ("s1", "secret", "s2"):
        assert not sessions.keep(tmp_path, 7, home, CLAUDE, session)
    assert not (tmp_path / sessions.FOLDER).exists()


def test_nothing_is_written_through_a_link(tmp_path, home, secret):
    home.rmdir()
    home.symlink_to(tmp_path)
    files.own_folder(home)
    (home / "mcp.json").symlink_to(secret)
    start = Start(home, home, tmp_path, tmp_path, "", ["mcp"], closed=True)
    start.write("mcp.json", "{}")
    assert (home / "mcp.json").read_text() == "{}"
    (home / "words.txt").mkdir()
    (home / "words.txt" / "x").touch()
    start.write("words.txt", "Do it")
    assert (home / "words.txt").read_text() == "Do it"
    kept = tmp_path / sessions.FOLDER / "7" / "projects" / "s1.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_text("kept")
    (home / "projects").symlink_to(tmp_path)
    sessions.restore(tmp_path, 7, home)
    assert (home / "projects/s1.jsonl").read_text() == "kept"
    assert not (tmp_path / "s1.jsonl").exists()
    assert secret.read_text() == "hunter2"


@pytest.mark.parametrize("trick", ["ln -s {secret}", "mkfifo", "mkdir"])
def test_what_stands_in_the_place_of_its_errors_is_not_read(tmp_path, home, secret, trick):
    words, scratch = tmp_path / "words", home.parent
    words.touch()
    ran = run(
        ["sh", "-c", f'n=$(echo {scratch}/errors-*); echo said >&2; rm "$n"; {trick.format(secret=secret)} "$n"'],
        words=words, scratch=scratch, workspace=tmp_path, environment=dict(os.environ), sandbox=None,
        seen=lambda path: path, clock=Clock(60), take=print, heed=lambda: None, hide=str,
    )  # fmt: skip
    assert (ran.exit_code, ran.errors) == (0, "said")
    assert not list(scratch.glob("errors-*"))


@pytest.mark.parametrize("session", ["../../../x", "*", "-p", "a\0b", "a b", "x" * 300, ".", "\ud800"])
def test_a_session_that_is_no_name_is_none(session):
    assert Reader().read(json.dumps({"type": "thread.started", "thread_id": session}).encode()) == []
    assert Reader().read(b'{"type": "thread.started", "thread_id": "ses_1-a"}') == [Began("ses_1-a")]


HUGE = st.sampled_from([-(10**9), 10**30, float("inf"), float("nan"), -1.5, "7", None, True, [], {}])


@given(st.dictionaries(st.sampled_from([
    "input_tokens", "cached_input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
]), HUGE))  # fmt: skip
def test_nothing_that_a_worker_counts_gives_its_budget_back(usage):
    reader, message = Reader(), {"id": 1, "model": None, "usage": usage}
    events = [
        {"type": "turn.completed", "usage": usage},
        {"type": "stream_event", "event": {"type": "message_start", "message": message}},
        {"type": "stream_event", "event": {"type": "message_delta", "usage": usage}},
        {"type": "stream_event", "event": {"type": "message_stop"}},
        {"type": "result", "modelUsage": {"m": {"inputTokens": usage.get("input_tokens"), "costUSD": -1}}},
    ]
    found = [one for event in events for one in reader.read(json.dumps(event).encode())]
    ended = reader.finish()
    found += ended.models.values() if ended is not None else ()
    for used in (one for one in found if isinstance(one, Used)):
        told = used.usage
        assert all(type(one) is int and 0 <= one < 2**62 for one in (told.input, told.cache_read, told.output))
        assert used.usd is None
        assert used.model is None or isinstance(used.model, str)


@pytest.fixture
def recording(store):
    with store.transaction(None) as tx:
        task, _ = create_task(tx, Plan("Do", "Do it."))
        agent = enlist(tx, "task 1", pid=None, task=task.id, state="running", lease_s=LEASE_S)
        fence = tasks.claim(tx, task.id, agent)
    member = Membership(store, Member(agent, 1, task.id))
    conversation = Conversation(member, task.id, fence)
    return Recording(member, conversation, AccountPurse(member, account=None), kind="claude-code", model=None)


def test_whatever_a_worker_prints_can_be_written_down(store, recording):
    blocks = [
        {"type": "tool_use"}, {"type": "tool_use", "id": 7, "name": ["x"], "input": "odd", "more": "left out"},
        {"type": "text", "text": "\ud800\0 5"}, {"type": "text", "text": 5}, {"type": "thinking"}, 3,
    ]  # fmt: skip
    lines = [{"type": "assistant", "message": {"id": n, "content": [block]}} for n, block in enumerate(blocks)]
    lines.append({"type": "user", "message": {"content": [{"type": "tool_result", "content": {"a": 1}}]}})
    lines.append({"type": "turn.completed", "usage": {"input_tokens": 10**30, "output_tokens": -5}})
    lines.append({"type": "result", "result": "\ud800", "session_id": "\ud800", "modelUsage": {"\ud800": {}}})
    reader = Reader()
    for line in lines:
        for heard in reader.read(json.dumps(line).encode()):
            recording.take(heard)
    recording.flush()
    contents = [json.loads(row["content"]) for row in store.rows("select content from message order by id")]
    assert {"type": "tool_use", "id": "7", "name": "['x']", "input": {}} in [block for one in contents for block in one]


def test_whatever_a_worker_is_given_of_the_users_is_hidden_where_it_prints_it():
    given_ = {"ANTHROPIC_CUSTOM_HEADERS": "x-key: abcdefgh", "PEM": "line one\nline two", "A_BASE_URL": "http://here:1"}
    settings = with_workers({"secrets": ["known-before"]}, {"workers_environment": given_, "workers_model": None})
    assert {"known-before", "x-key: abcdefgh", "line one\nline two", "line one\\nline two"} <= set(settings["secrets"])
    assert "http://here:1" not in settings["secrets"]
