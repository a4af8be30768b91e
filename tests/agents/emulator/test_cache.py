"""The prompt cache as callers see it: in the usage of their replies."""

import threading

import pytest

TOOL = {"name": "look", "input_schema": {"type": "object"}}
SYSTEM = "You are one of many, and all of you share this long prompt. " * 50
MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def marked(text, control=MARK):
    return {"type": "text", "text": text, "cache_control": control}


@pytest.fixture
def usage(caller, play):
    """The usage of one call: (uncached input, read, written)."""

    def call(**body):
        body.setdefault("system", [marked(SYSTEM)])
        body.setdefault("messages", [{"role": "user", "content": play([{"text": "fine"}])}])
        used = caller.post(**body).json()["usage"]
        return used["input_tokens"], used["cache_read_input_tokens"], used["cache_creation_input_tokens"]

    return call


def test_what_one_request_writes_the_next_one_reads(usage):
    rest, read, written = usage()
    assert read == 0
    assert written > 512
    assert usage() == (rest, written, 0)


def test_without_a_breakpoint_nothing_is_cached(usage):
    usage(system=SYSTEM)
    assert usage(system=SYSTEM)[1:] == (0, 0)


def test_a_prefix_below_the_models_minimum_is_silently_not_cached(usage):
    short = [marked("short " * 100)]
    assert usage(system=short)[1:] == usage(system=short)[1:] == (0, 0)
    long = [marked("x" * 4000)]
    assert usage(system=long, model="claude-haiku-4-5")[2] == 0
    assert usage(system=long, model="claude-opus-5-5")[2] > 0


def test_a_growing_conversation_reads_what_it_had_and_writes_what_is_new(usage, play):
    messages = [{"role": "user", "content": play([{"text": "fine"}])}]
    first = usage(messages=messages, cache_control=MARK)
    assert first[:2] == (0, 0)
    messages += [{"role": "assistant", "content": "fine"}, {"role": "user", "content": "and now?"}]
    second = usage(messages=messages, cache_control=MARK)
    assert second[:2] == (0, first[2])
    assert 0 < second[2] < 100


def test_forks_read_the_prefix_that_they_share(usage, play):
    common = [
        {"role": "user", "content": play([{"text": "fine"}])},
        {"role": "assistant", "content": "fine"},
    ]
    parent = usage(
        messages=[*common, {"role": "user", "content": [marked("x" * 4000), {"type": "text", "text": "you are a"}]}]
    )
    for child in ("you are b", "you are c"):
        text = {"type": "text", "text": child}
        fork = usage(messages=[*common, {"role": "user", "content": [marked("x" * 4000), text]}])
        assert fork == (parent[0], parent[2], 0)


def test_requests_at_once_all_pay_and_later_ones_read(caller, play):
    text = play([{"text": "fine"}], first_token_s=0.5)
    usages = []

    def call():
        message = caller.sdk.messages.create(
            model="prong-emulator",
            max_tokens=99,
            system=[marked(SYSTEM)],
            messages=[{"role": "user", "content": text}],
        )
        usages.append((message.usage.cache_read_input_tokens, message.usage.cache_creation_input_tokens))

    together = [threading.Thread(target=call) for _ in range(3)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    call()
    written = usages[0][1]
    assert usages == [(0, written)] * 3 + [(written, 0)]


def test_an_entry_can_be_read_as_soon_as_the_writers_stream_has_begun(slow_caller):
    body = {"system": [marked(SYSTEM)], "max_tokens": 99}
    with slow_caller.stream([{"text": "x" * 256}], **body) as writer:
        written = next(iter(writer)).message.usage.cache_creation_input_tokens
        assert slow_caller.entries()[-1]["end"] is None
        with slow_caller.stream([{"text": "x" * 4}], **body) as reader:
            assert next(iter(reader)).message.usage.cache_read_input_tokens == written > 0


def test_an_entry_lives_five_minutes_from_the_start_of_the_last_request_that_used_it(usage, emulator):
    written = usage()[2]
    emulator.advance_clock(290)
    assert usage()[1] == written
    emulator.advance_clock(290)
    assert usage()[1] == written
    emulator.advance_clock(301)
    assert usage()[1:] == (0, written)


def test_an_entry_may_live_an_hour(caller, emulator, play):
    body = {"system": [marked(SYSTEM, HOUR)], "messages": [{"role": "user", "content": play([{"text": "fine"}])}]}
    creation = caller.post(**body).json()["usage"]["cache_creation"]
    assert creation["ephemeral_5m_input_tokens"] == 0
    written = creation["ephemeral_1h_input_tokens"]
    emulator.advance_clock(3590)
    assert caller.post(**body).json()["usage"]["cache_read_input_tokens"] == written > 0
    emulator.advance_clock(3601)
    assert caller.post(**body).json()["usage"]["cache_read_input_tokens"] == 0


def test_lifetimes_may_be_mixed_the_longer_first(caller):
    system = [marked(SYSTEM, HOUR), marked(SYSTEM + "again")]
    usage = caller.post(system=system).json()["usage"]
    assert usage["cache_creation"]["ephemeral_1h_input_tokens"] > 0
    assert usage["cache_creation"]["ephemeral_5m_input_tokens"] > 0
    status, told = caller.refusal(system=system[::-1])
    assert (status, told) == (
        400,
        "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block",
    )


def test_a_request_has_at_most_four_breakpoints_the_automatic_one_included(caller):
    four = [marked(f"part {number}") for number in range(4)]
    assert caller.post(system=four).status_code == 200
    expected = (400, "A maximum of 4 blocks with cache_control may be provided. Found 5.")
    assert caller.refusal(system=four, cache_control=MARK) == expected
    assert caller.refusal(system=[*four, marked("part 5")]) == expected


def test_the_automatic_breakpoint_agrees_with_one_that_is_there(caller, play):
    messages = [{"role": "user", "content": [marked(play([{"text": "fine"}]))]}]
    assert caller.post(messages=messages, cache_control=MARK).status_code == 200
    assert "different ttl" in caller.refusal(messages=messages, cache_control=HOUR)[1]


def test_caches_of_different_keys_are_apart(usage, call_with, emulator, play):
    written = usage()[2]
    body = {"system": [marked(SYSTEM)], "messages": [{"role": "user", "content": play([{"text": "fine"}])}]}
    other = call_with(emulator).post(**body).json()["usage"]
    assert (other["cache_read_input_tokens"], other["cache_creation_input_tokens"]) == (0, written)


BASE = {"tools": [{**TOOL, "cache_control": MARK, "description": SYSTEM}], "system": [marked(SYSTEM)]}
SMALL_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}}


@pytest.mark.parametrize(
    ("change", "tiers_read"),
    [
        ({}, 3),
        ({"metadata": {"user_id": "somebody"}}, 3),
        ({"max_tokens": 77}, 3),
        ({"stream": False}, 3),
        ({"tool_choice": {"type": "auto"}}, 3),
        ({"tool_choice": {"type": "none"}}, 2),
        ({"thinking": {"type": "adaptive"}}, 2),
        ({"output_config": {"effort": "low"}}, 2),
        ({"speed": "fast"}, 1),
        ({"system": [marked(SYSTEM + "!")]}, 1),
        ({"tools": [{**TOOL, "cache_control": MARK, "description": "!" + SYSTEM}]}, 0),
        ({"model": "claude-opus-5-5"}, 0),
    ],
)
def test_a_change_invalidates_its_tier_and_those_behind_it(caller, play, change, tiers_read):
    messages = [{"role": "user", "content": [marked(play([{"text": "fine"}]))]}]
    tools_only = caller.post(tools=BASE["tools"], messages=[{"role": "user", "content": play([{"text": "x"}])}]).json()
    with_system = caller.post(**BASE).json()
    whole = caller.post(**BASE, messages=messages).json()
    tiers = [0, tools_only["usage"]["cache_creation_input_tokens"]]
    tiers.append(tiers[1] + with_system["usage"]["cache_creation_input_tokens"])
    tiers.append(tiers[2] + whole["usage"]["cache_creation_input_tokens"])
    read = caller.post(**{**BASE, "messages": messages, **change}).json()["usage"]["cache_read_input_tokens"]
    assert read == tiers[tiers_read]
    assert len(set(tiers)) == 4


def test_another_speed_invalidates_the_messages_also_where_there_is_no_system_prompt(usage, play):
    messages = [{"role": "user", "content": [marked(play([{"text": "fine"}]) + "\n" + SYSTEM)]}]
    written = usage(system="", messages=messages)[2]
    assert usage(system="", messages=messages)[1] == written > 0
    assert usage(system="", messages=messages, speed="fast")[1] == 0


def test_an_image_anywhere_in_the_prompt_invalidates_the_messages(usage, play):
    text = {"role": "user", "content": [marked(play([{"text": "fine"}]))]}
    system = usage(messages=[text])
    with_image = usage(messages=[text, {"role": "user", "content": [SMALL_IMAGE]}])
    assert 0 < with_image[1] < system[2]


def test_the_order_of_a_blocks_own_fields_does_not_matter_but_that_of_an_input_does(usage, play):
    def talk(call):
        return [
            {"role": "user", "content": play([{"text": "x"}])},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "cache_control": MARK}]},
        ]

    call = {"type": "tool_use", "id": "t", "name": "look", "input": {"a": 1, "b": 2}}
    written = usage(messages=talk(call), tools=[TOOL])[2]
    assert usage(messages=talk(dict(reversed(call.items()))), tools=[TOOL])[1] == written
    assert usage(messages=talk({**call, "input": {"b": 2, "a": 1}}), tools=[TOOL])[1] < written


def test_a_breakpoint_finds_an_entry_at_most_20_positions_back(usage, play):
    def talk(more):
        first = [{"type": "text", "text": play([{"text": "x"}])}, marked("y" * 4000)]
        later = [{"type": "text", "text": f"line {number}"} for number in range(more)]
        return [{"role": "user", "content": [*first, *later]}]

    def extended(more):
        messages = talk(more)
        del messages[0]["content"][1]["cache_control"]
        return usage(system="", messages=messages, cache_control=MARK)

    written = usage(system="", messages=talk(0))[2]
    assert extended(20)[1] == 0
    assert extended(19)[1] == written


def test_parallel_tool_calls_and_their_results_count_as_one_position_each(usage, play):
    calls = [{"type": "tool_use", "id": f"t{number}", "name": "look", "input": {}} for number in range(40)]
    results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "seen"} for call in calls]
    messages = [{"role": "user", "content": [marked(play([{"text": "x"}]))]}]
    written = usage(messages=messages, tools=[TOOL])[2]
    del messages[0]["content"][0]["cache_control"]
    messages += [{"role": "assistant", "content": calls}, {"role": "user", "content": results}]
    assert usage(system=SYSTEM, messages=messages, tools=[TOOL], cache_control=MARK)[1] == written


def test_a_request_for_no_tokens_warms_the_cache(caller, usage):
    reply = caller.post(system=[marked(SYSTEM)], max_tokens=0).json()
    assert (reply["content"], reply["stop_reason"], reply["usage"]["output_tokens"]) == ([], "max_tokens", 0)
    assert usage()[1] == reply["usage"]["cache_creation_input_tokens"] > 0


def test_a_request_that_is_refused_leaves_nothing_in_the_cache(caller, usage, play):
    failing = play([{"text": "fine"}], fault={"status": 529})
    assert caller.refusal(system=[marked(SYSTEM)], messages=[{"role": "user", "content": failing}])[0] == 529
    assert usage()[1] == 0
