"""How a script's answer goes out: whole and streamed, cut, stopped, and at its pace."""

import json
import time

import anthropic
import pytest

LOOK = {"name": "look", "input_schema": {"type": "object"}}
LONG = "All work and no play makes a dull test. " * 20
ALL_KINDS = (
    {"thinking": "Let me see."},
    {"text": LONG},
    {"tool": "look", "input": {"at": LONG, "deep": {"é": [1, None]}}},
)


def without_ids(content):
    return [block.model_dump(exclude={"id", "citations"}) for block in content]


def test_a_stream_ends_in_the_same_message_as_a_call_without_one(caller):
    whole = caller.ask(ALL_KINDS, tools=[LOOK])
    with caller.stream(ALL_KINDS, tools=[LOOK]) as stream:
        streamed = stream.get_final_message()
    assert without_ids(streamed.content) == without_ids(whole.content)
    assert streamed.stop_reason == whole.stop_reason == "tool_use"
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert streamed.content[2].input == ALL_KINDS[2]["input"]


def test_the_events_of_a_stream_come_in_the_apis_order(caller):
    body = caller.post(
        stream=True,
        tools=[LOOK],
        messages=[{"role": "user", "content": 'play {"turns": [[{"text": "hi"}, {"tool": "look"}]]}'}],
    )
    names = [line.removeprefix("event: ") for line in body.text.splitlines() if line.startswith("event: ")]
    assert names == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    data = [json.loads(line.removeprefix("data: ")) for line in body.text.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in data] == names
    assert data[0]["message"]["content"] == []
    assert data[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}


def test_every_tool_call_has_an_id_of_its_own(caller):
    calls = [{"tool": "look"}] * 3
    content = caller.ask(calls, tools=[LOOK]).content + caller.ask(calls, tools=[LOOK]).content
    assert len({block.id for block in content}) == 6
    assert all(block.id.startswith("toolu_") for block in content)


@pytest.mark.parametrize("reason", ["refusal", "pause_turn", "stop_sequence", "max_tokens"])
def test_a_script_may_name_its_stop_reason(caller, reason):
    assert caller.ask([{"text": "no"}], plan_more={"stop_reason": reason}).stop_reason == reason


def test_max_tokens_cuts_a_text_and_says_so(caller):
    reply = caller.ask([{"text": LONG}, {"tool": "look"}], tools=[LOOK], max_tokens=10)
    assert [block.text for block in reply.content] == [LONG[:40]]
    assert (reply.stop_reason, reply.usage.output_tokens) == ("max_tokens", 10)


def test_max_tokens_never_cuts_a_character_in_two(caller):
    reply = caller.ask([{"text": "é" * 100}], max_tokens=5)
    assert reply.content[0].text == "é" * 10


def test_max_tokens_cuts_a_tool_call_so_that_it_has_no_input(caller):
    with caller.stream([{"tool": "look", "input": {"at": LONG}}], tools=[LOOK], max_tokens=10) as stream:
        deltas = [event.delta.partial_json for event in stream if event.type == "content_block_delta"]
        streamed = stream.get_final_message()
    whole = caller.ask([{"tool": "look", "input": {"at": LONG}}], tools=[LOOK], max_tokens=10)
    assert "".join(deltas) == json.dumps({"at": LONG})[:40]
    assert streamed.stop_reason == whole.stop_reason == "max_tokens"
    assert whole.content[0].input == {}


def test_a_reply_that_fits_exactly_is_not_cut(caller):
    reply = caller.ask([{"text": "four" * 10}], max_tokens=10)
    assert (reply.stop_reason, reply.content[0].text) == ("end_turn", "four" * 10)


def test_a_block_for_which_no_token_is_left_is_left_out(caller):
    reply = caller.ask([{"text": "four" * 10}, {"text": "more"}], max_tokens=10)
    assert (reply.stop_reason, len(reply.content)) == ("max_tokens", 1)


def test_a_reply_beyond_the_context_window_is_cut_there(caller, play):
    text = play([{"text": LONG * 100}]) + "\n" + "word " * 140_000
    room = {"messages": [{"role": "user", "content": text}], "model": "claude-haiku-4-5"}
    with caller.stream(max_tokens=64_000, **room) as stream:
        reply = stream.get_final_message()
    assert reply.stop_reason == "model_context_window_exceeded"
    assert reply.usage.input_tokens + reply.usage.output_tokens == 200_000


def test_a_stop_sequence_ends_the_message_before_itself(caller):
    reply = caller.ask([{"text": "one, two, three"}, {"text": "four"}], stop_sequences=["three", "two"])
    assert [block.text for block in reply.content] == ["one, "]
    assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", "two")


def test_a_script_that_says_nothing_gives_an_empty_message(caller):
    with caller.stream([]) as stream:
        assert stream.get_final_message().content == []
    assert caller.ask([]).stop_reason == "end_turn"


def test_the_turn_of_a_script_is_the_number_of_assistant_messages(caller, play):
    messages = [
        {"role": "user", "content": play([{"text": "first"}], [{"text": "second"}])},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": "go on"},
    ]
    assert caller.ask(messages=messages[:1]).content[0].text == "first"
    assert caller.ask(messages=messages).content[0].text == "second"


def test_a_script_that_raises_gives_an_api_error_that_names_it(caller):
    with pytest.raises(anthropic.InternalServerError) as raised:
        caller.ask(messages=[{"role": "user", "content": "raise"}])
    assert "the script 'raising' raised LookupError: this script is broken on purpose" in str(raised.value)


def test_a_script_that_answers_with_something_else_gives_an_api_error(caller):
    told = caller.refusal(messages=[{"role": "user", "content": "answer with a string"}])
    assert told == (500, "the script 'stringly' answered with str instead of a Reply")


@pytest.mark.parametrize(
    ("turn", "body", "message"),
    [
        ([{"tool": "touch"}], {"tools": [LOOK]}, "the script calls 'touch', but the request offers look"),
        ([{"tool": "look"}], {}, "the script calls 'look', but the request offers none"),
        ([{"tool": "look"}], {"tools": [LOOK], "tool_choice": {"type": "none"}}, "tool_choice is none"),
        (
            [{"tool": "look"}, {"tool": "look"}],
            {"tools": [LOOK], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            "disables parallel tool use",
        ),
        ([{"text": " "}], {}, "the script answers with an empty text block"),
        ([{"text": "\ud800"}], {}, "the script answers with text that is not valid Unicode"),
    ],
)
def test_a_script_may_not_answer_what_no_model_would(caller, play, turn, body, message):
    status, told = caller.refusal(messages=[{"role": "user", "content": play(turn)}], **body)
    assert status == 500
    assert message in told


def test_where_no_script_matches_the_error_says_which_there_are(caller):
    status, told = caller.refusal(messages=[{"role": "user", "content": "Good morning"}])
    assert status == 400
    assert "'Good morning'" in told
    assert "play (/^play /), raising (/^raise/)" in told


def test_a_stream_begins_after_the_first_token_and_ends_after_the_latency(slow_caller):
    began = time.monotonic()
    with slow_caller.stream([{"text": "x" * 64}]) as stream:
        times = {event.type: time.monotonic() - began for event in stream}
    assert times["message_start"] >= 0.1
    assert times["message_stop"] > times["message_start"]
    assert times["message_stop"] >= 0.3
    arrived, first, end = (slow_caller.entries()[-1][name] for name in ("arrived", "first_byte", "end"))
    assert first - arrived >= 0.1
    assert end - arrived >= 0.29


def test_a_call_without_a_stream_takes_the_whole_latency(slow_caller):
    began = time.monotonic()
    slow_caller.ask([{"text": "x"}])
    assert time.monotonic() - began >= 0.3


def test_a_slow_stream_is_kept_alive_by_pings(slow_caller, play):
    messages = [{"role": "user", "content": play([{"text": "x" * 128}])}]
    body = slow_caller.post(stream=True, messages=messages)
    assert body.text.count("event: ping") > 2


def test_a_script_may_delay_its_first_token(caller):
    began = time.monotonic()
    caller.ask([{"text": "late"}], plan_more={"first_token_s": 0.1})
    assert time.monotonic() - began >= 0.1


def test_slow_calls_run_beside_each_other(slow_caller):
    entered = [slow_caller.stream([{"text": "x" * 512}]).__enter__() for _ in range(3)]
    assert [stream.get_final_message().stop_reason for stream in entered] == ["end_turn"] * 3
    entries = slow_caller.entries()[-3:]
    assert max(entry["arrived"] for entry in entries) < min(entry["end"] for entry in entries)


def test_a_client_that_leaves_is_noticed(slow_caller):
    with slow_caller.stream([{"text": LONG * 10}], max_tokens=10_000) as stream:
        assert next(iter(stream)).type == "message_start"
    deadline = time.monotonic() + 5
    while not (gone := slow_caller.entries()[-1]["client_gone"]) and time.monotonic() < deadline:
        pass
    assert gone
