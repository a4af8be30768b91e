"""The journal: what was asked and answered, without any secret."""

import pytest

from prong.agents.emulator.journal import MAX_BODIES_BYTES, Journal, fingerprint


@pytest.fixture(scope="module")
def keeping(start):
    return start(keep_bodies=True, journal_entries=20)


def test_an_entry_tells_one_request_from_arrival_to_end(caller, play):
    text = play([{"tool": "look"}, {"tool": "look"}])
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    message = caller.ask(messages=[{"role": "user", "content": text}], tools=tools)
    (entry,) = caller.entries()
    assert entry["arrived"] <= entry["first_byte"] <= entry["end"]
    told = {
        name: entry[name] for name in ("method", "path", "status", "model", "script", "stop_reason", "turn", "tools")
    }
    assert told == {
        "method": "POST",
        "path": "/v1/messages",
        "status": 200,
        "model": "prong-emulator",
        "script": "play",
        "stop_reason": "tool_use",
        "turn": 0,
        "tools": ["look", "look"],
    }
    assert entry["usage"]["input_tokens"] == message.usage.input_tokens
    assert entry["message_id"] == message.id
    assert entry["first_text_key"] == fingerprint(text)
    assert text.startswith(entry["first_text"])


def test_a_refused_request_is_told_with_its_error(caller):
    caller.post(colour=1)
    (entry,) = caller.entries()
    assert entry["status"] == 400
    assert entry["error"] == "400 invalid_request_error: colour: Extra inputs are not permitted"


def test_a_request_that_is_still_running_is_in_the_journal(slow, slow_caller):
    with slow_caller.stream([{"text": "x" * 256}]) as stream:
        assert next(iter(stream)).type == "message_start"
        entry = slow_caller.entries()[-1]
        assert (entry["end"], entry["status"]) == (None, 200)
        assert slow.health()["in_flight"] == 1
    assert stream.response.is_closed


def test_no_key_ever_enters_the_journal(keeping, call_with):
    caller = call_with(keeping)
    caller.key = "sk-secret-of-mine"
    caller.http.post("/v1/messages", json={}, headers={"x-api-key": caller.key})
    caller.http.post("/v1/messages", json={}, headers={"authorization": f"Bearer {caller.key}", "x-api-key": ""})
    journal = keeping.journal(bodies=True)
    assert [entry["api_key"] for entry in journal[-2:]] == [fingerprint(caller.key)] * 2
    assert "secret" not in str(journal)


def test_bodies_are_kept_only_where_the_emulator_was_asked_to(emulator, keeping, call_with, play):
    messages = [{"role": "user", "content": play([{"text": "hi"}])}]
    call_with(keeping).post(messages=messages)
    assert keeping.journal(bodies=True)[-1]["body"]["messages"] == messages
    assert "body" not in keeping.journal()[-1]
    with pytest.raises(ValueError, match="start it with --keep-bodies"):
        emulator.journal(bodies=True)


def test_a_body_that_is_no_json_is_kept_as_text(keeping, call_with):
    call_with(keeping).http.post("/v1/messages", content=b"{oops")
    assert keeping.journal(bodies=True)[-1]["body"] == "{oops"


def test_the_journal_is_read_from_behind_an_entry(keeping, call_with):
    caller = call_with(keeping)
    caller.post()
    last = keeping.journal()[-1]["number"]
    caller.post()
    assert [entry["number"] for entry in keeping.journal(after=last)] == [last + 1]


def test_the_journal_keeps_the_latest_and_the_totals_of_all(keeping, call_with):
    caller = call_with(keeping)
    before = keeping.health()
    used = [caller.post().json()["usage"]["input_tokens"] for _ in range(25)]
    health = keeping.health()
    assert health["requests"] - before["requests"] == 25
    assert health["usage"]["input"] - before["usage"]["input"] == sum(used)
    assert health["statuses"]["200"] - before["statuses"].get("200", 0) == 25
    assert len(keeping.journal()) == 20


def test_the_bodies_together_have_a_bound():
    journal = Journal(max_entries=100, keep_bodies=True)
    third = b" " * (MAX_BODIES_BYTES // 3)
    entries = [journal.open("POST", "/", now=0.0) for _ in range(5)]
    for entry in entries:
        journal.keep(entry, third)
    assert [entry.body is not None for entry in entries] == [False, False, True, True, True]


def test_the_clock_only_goes_forward(caller):
    for seconds in (-1, "1", None, True):
        assert caller.http.post("/emulator/clock", json={"advance_s": seconds}).status_code == 400
    before = caller.http.post("/emulator/clock", json={"advance_s": 0}).json()
    after = caller.http.post("/emulator/clock", json={"advance_s": 10}).json()
    assert after["advanced_s"] == before["advanced_s"] + 10
    assert after["now"] >= before["now"] + 10
