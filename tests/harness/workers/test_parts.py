"""What workers print, what becomes of it, and what they are started with: each part by itself."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prong.agents.conversation import Message
from prong.agents.models import Usage
from prong.harness.rules.rules import RulesInvalid, parse
from prong.harness.swarms import Offline, Options
from prong.harness.workers import sessions, telling
from prong.harness.workers.ending import Spent, WorkerFailed, result_of
from prong.harness.workers.heard import Asks, Began, Ended, Lines, Reader, Results, Said, Used
from prong.harness.workers.kinds import KINDS, Start, command_line
from prong.harness.workers.line import worker_offers
from prong.harness.workers.running import Ran, installed_in
from prong.harness.workers.settings import workers_settings

RECORDED = Path(__file__).with_name("recorded")


def heard(kind):
    """All that a recorded run tells."""
    reader = Reader()
    found = [one for line in (RECORDED / f"{kind}.jsonl").read_bytes().splitlines() for one in reader.read(line)]
    return reader, found


def usages(found):
    return [one.usage for one in found if isinstance(one, Used)]


def test_claude_code_tells_each_call_of_its_model_exactly_and_its_sum_says_the_same():
    reader, found = heard("claude-code")
    began, first, *_ = found
    assert isinstance(began, Began)
    assert began.model == "claude-sonnet-5-5"
    assert first == Said(first.id, [{"type": "text", "text": "I make a file."}])
    assert usages(found) == [Usage(1604, 0, 27210, 22), Usage(0, 27210, 1695, 6)]
    assert [block["content"] for one in found if isinstance(one, Results) for block in one.content] == ["hi"]
    ended = reader.finish()
    assert ended.result == "Done at turn 1, 1 calls"
    assert ended.models["claude-sonnet-5-5"].usage == Usage(1604, 27210, 28905, 28)


def test_codex_counts_whole_sessions():
    reader, found = heard("codex")
    assert isinstance(found[0], Began)
    [call] = [block for one in found if isinstance(one, Said) for block in one.content if block["type"] == "tool_use"]
    assert call["name"] == "command_execution"
    [used] = [one for one in found if isinstance(one, Used)]
    assert (used.usage, used.total) == (Usage(20313, 0, 0, 20), True)
    assert reader.finish() == Ended("All done.")


def test_opencode_tells_steps():
    reader, found = heard("opencode")
    assert usages(found) == [Usage(0, 0, 7608, 31), Usage(0, 7608, 144, 6)]
    assert [one.stop_reason for one in found if isinstance(one, Used)] == ["tool_use", "end_turn"]
    assert reader.finish() == Ended("Done at turn 1, 1 calls")


@pytest.mark.parametrize("kind", ["claude-code", "codex", "opencode"])
@given(cut=st.lists(st.integers(0, 9_000), max_size=20))
def test_where_the_pieces_of_an_output_end_makes_no_difference(kind, cut):
    data = (RECORDED / f"{kind}.jsonl").read_bytes().rstrip(b"\n")
    whole, places = [], sorted({0, len(data), *(min(one, len(data)) for one in cut)})
    lines = Lines(whole.append)
    for begin, end in itertools.pairwise(places):
        lines.write(data[begin:end])
    lines.end()
    assert whole == data.split(b"\n")


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f'{{"type": "assistant", {text}'.encode()))
def test_no_line_breaks_the_reader(line):
    Reader().read(line)


@pytest.mark.parametrize("line", [
    b'{"type": "assistant"}', b'{"type": "assistant", "message": {"id": 1, "content": 3}}', b'{"type": "result"}',
    b'{"type": "stream_event", "event": []}', b'{"type": "item.completed", "item": {"type": "x"}}', b"[]", b"{}",
    b'{"type": "turn.completed", "usage": {"input_tokens": "many"}}', b'{"type": "step_finish", "part": null}',
    b'{"type": ["a"]}', b'{"type": "error"}', b"[" * 100_000,
])  # fmt: skip
def test_an_event_that_is_not_as_it_should_be_is_no_error(line):
    assert all(isinstance(one, object) for one in Reader().read(line))


def test_a_question_for_permission_is_heard():
    line = b'{"type": "control_request", "request": {"subtype": "can_use_tool", "tool_name": "Bash"}}'
    assert list(Reader().read(line)) == [Asks("Bash")]


CLAUDE = KINDS["claude-code"]
WELL = Ended("all good")


@pytest.mark.parametrize(
    ("ran", "failure", "told"),
    [
        (Ran(137, None, "", "", killed=True), "crash", "was killed"),
        (Ran(1, None, "", "", problem="it worked too long"), "tool", "too long"),
        (Ran(1, None, "", "", asks="Bash"), "request", "permission (Bash)"),
        (Ran(2, None, "what?", "oops"), "tool", "oops"),
        (Ran(0, None, "so many words", ""), "tool", "so many words"),
        (Ran(0, Ended(" "), "", ""), "model", "without a word"),
        (Ran(1, Ended("", problem="Overloaded", status=529), "", ""), "provider", "Overloaded"),
        (Ran(1, Ended("", problem="API Error: Connection error"), "", ""), "provider", "Connection"),
        (Ran(1, Ended("", problem="Not logged in · Please run /login"), "", ""), "request", "CLAUDE_CODE_OAUTH_TOKEN"),
        (Ran(1, Ended("", problem="denied", status=401), "", ""), "request", "ANTHROPIC_API_KEY"),
        (Ran(1, Ended("", problem="no such model", status=404), "", ""), "request", "no such model"),
        (Ran(1, Ended("", problem="error_max_turns"), "", ""), "model", "error_max_turns"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_told_by_its_kind(ran, failure, told):
    with pytest.raises(WorkerFailed) as caught:
        result_of(ran, CLAUDE, is_command=False)
    assert caught.value.failure == failure
    assert told in str(caught.value)


def test_what_goes_well_is_the_result():
    assert result_of(Ran(0, WELL, "noise", "noise"), CLAUDE, is_command=False) == "all good"
    assert result_of(Ran(0, None, " words ", ""), KINDS["command"], is_command=True) == "words"
    with pytest.raises(Spent):
        result_of(Ran(1, Ended("", problem="spent", spent=True), "", ""), CLAUDE, is_command=False)


def start(tmp_path, **more):
    given = {"home": Path("/seen/home"), "own_home": tmp_path, "workspace": Path("/seen/w"), "words": Path("/seen/in")}
    return Start(**{**given, "text": "Do {model} it", "mcp": ["python3", "bridge.py"], "closed": True, **more})


def test_each_kind_goes_on_with_a_session_and_forks_it_as_its_own_command_line_has_it(tmp_path):
    one = {"session": "s1", "model": "m"}
    claude = command_line(CLAUDE, start(tmp_path, **one, forks=True), command=None, more=["--x"])
    assert claude[0] == "claude"
    assert claude[-4:] == ["--resume", "s1", "--fork-session", "--x"]
    assert (tmp_path / "mcp.json").exists()
    assert "--fork-session" not in command_line(CLAUDE, start(tmp_path, **one), command=None, more=[])
    codex = command_line(KINDS["codex"], start(tmp_path, **one, forks=True), command="/opt/codex", more=["-c", "a=1"])
    assert codex[:3] == ["/opt/codex", "exec", "fork"]
    assert codex[-4:] == ["s1", "-c", "a=1", "-"]
    assert "resume" in command_line(KINDS["codex"], start(tmp_path, **one), command=None, more=[])
    assert command_line(KINDS["codex"], start(tmp_path), command=None, more=[])[:2] == ["codex", "exec"]
    opencode = command_line(KINDS["opencode"], start(tmp_path, **one), command=None, more=[])
    assert opencode[-2:] == ["--session", "s1"]


def test_opencode_asks_where_it_is_told_to_in_its_own_words(tmp_path):
    here = start(tmp_path, model="prong-emulator", base_url="http://127.0.0.1:1/")
    words = command_line(KINDS["opencode"], here, command=None, more=[])
    assert words[words.index("-m") + 1] == "anthropic/prong-emulator"
    provider = json.loads((tmp_path / "opencode.json").read_text())["provider"]["anthropic"]
    assert provider["options"] == {"baseURL": "http://127.0.0.1:1/v1"}
    assert list(provider["models"]) == ["prong-emulator"]
    command_line(KINDS["opencode"], start(tmp_path, model="openai/gpt-5.1"), command=None, more=[])
    assert "provider" not in json.loads((tmp_path / "opencode.json").read_text())


def test_outside_of_a_sandbox_a_worker_may_less(tmp_path):
    inside, outside = (
        command_line(CLAUDE, start(tmp_path, closed=closed), command=None, more=[]) for closed in (True, False)
    )
    assert "bypassPermissions" in inside
    assert "bypassPermissions" not in outside
    command_line(KINDS["codex"], start(tmp_path, closed=False), command=None, more=[])
    assert 'sandbox_mode = "workspace-write"' in (tmp_path / "config.toml").read_text()


def test_what_stands_for_words_is_put_in_as_it_is(tmp_path):
    words = command_line(KINDS["command"], start(tmp_path), command="go '{prompt}' --at={workspace} '{other}'", more=[])
    assert words == ["go", "Do {model} it", "--at=/seen/w", "{other}"]


def test_a_session_is_kept_for_forks_as_it_was(tmp_path):
    home, fork = tmp_path / "home", tmp_path / "fork"
    file = home / "projects/-w/s1.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("as it was")
    assert sessions.keep(tmp_path, 7, home, CLAUDE, "s1")
    assert not sessions.keep(tmp_path, 8, home, CLAUDE, "s2")
    file.write_text("later")
    sessions.restore(tmp_path, 7, fork)
    assert (fork / "projects/-w/s1.jsonl").read_text() == "as it was"


def say(role, *blocks):
    return Message(1, role, list(blocks))


def text(words):
    return {"type": "text", "text": words}


def test_a_session_that_goes_on_reads_only_what_is_new():
    result = {"type": "tool_result", "tool_use_id": "a", "content": [text("hi")]}
    messages = [
        say("user", text("The task.")),
        say("assistant", text("Done.")),
        say("user", result, text("A conflict.")),
    ]
    assert telling.words(messages, resumes=True, prose="", roles={}) == "A conflict."
    assert "interrupted" in telling.words(messages[:2], resumes=True, prose="", roles={})
    anew = telling.words(messages, resumes=False, prose="Be brief.", roles={})
    assert all(part in anew for part in ("Be brief.", "The task.", "A conflict.", "interrupted"))


def test_a_fork_reads_what_it_is_told_of_itself_and_not_of_its_siblings():
    told = [
        {"type": "tool_result", "tool_use_id": name, "content": [text(words)]}
        for name, words in (("a", "Your parent's: it is running elsewhere."), ("b", "You are task 4: B."))
    ]
    messages = [say("user", text("The goal.")), say("assistant"), say("user", *told)]
    assert telling.words(messages, resumes=True, prose="", roles={}) == "You are task 4: B."


def test_a_worker_is_offered_tasks_with_forks_and_every_primitive():
    offered = {offer.name: offer for offer in worker_offers()}
    assert {"create_task", "wait_tasks", "cancel_task", "lock", "barrier", "resume_wait"} <= set(offered)
    assert "claim_task" not in offered
    assert "context" in offered["create_task"].input_schema["properties"]
    assert "keep" not in offered["lock"].input_schema["properties"]


def test_keys_reach_only_whom_they_are_for():
    roles = parse("---\nroles:\n  a: {kind: codex, environment: [MINE]}\n  b: {model: m}\n---\n", "PRONG.md").roles
    ours = {"OPENAI_API_KEY": "1", "ANTHROPIC_API_KEY": "2", "MINE": "3", "OTHER": "4"}
    options = Options(goal="g", model="m", slots=1, roles=roles)
    assert workers_settings(options, ours, None)["workers_environment"] == {"OPENAI_API_KEY": "1", "MINE": "3"}
    offline = workers_settings(replace(options, offline=Offline()), ours, "http://127.0.0.1:1")["workers_environment"]
    assert offline == {"MINE": "3", "ANTHROPIC_BASE_URL": "http://127.0.0.1:1", "ANTHROPIC_API_KEY": "offline"}
    none = Options(goal="g", model="m", slots=1, offline=Offline())
    assert workers_settings(none, ours, "http://127.0.0.1:1")["workers_environment"] == {}


def test_what_a_program_belongs_to_is_in_sight(tmp_path):
    program = tmp_path / "node_modules/.bin/claude"
    real = tmp_path / "node_modules/@anthropic-ai/claude-code/bin/claude"
    for path in (program, real):
        path.parent.mkdir(parents=True)
    real.touch()
    program.symlink_to(real)
    assert installed_in(program) == [program.parent, tmp_path / "node_modules"]


@pytest.mark.parametrize(
    ("role", "told"),
    [
        ("{kind: command}", "has no command"),
        ("{command: x}", "has command and no kind"),
        ("{timeout: 5}", "has timeout and no kind"),
        ("{kind: codex, tools: [read]}", "has a kind and tools"),
        ('{kind: codex, command: "a \'b"}', "a command line (no closing quotation)"),
        ("{kind: codex, environment: [A=b]}", "not its value"),
        ("{kind: cursor}", "one of claude-code, codex, opencode, command"),
    ],
)
def test_a_role_that_does_not_go_together_is_refused(role, told):
    with pytest.raises(RulesInvalid, match=r"PRONG.md:3: roles.a") as caught:
        parse(f"---\nroles:\n  a: {role}\n---\n", "PRONG.md")
    assert told in str(caught.value)
