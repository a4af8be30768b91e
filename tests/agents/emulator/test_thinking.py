"""Thinking blocks belong to the conversation that they were made in."""

import copy

import pytest

MODEL = "claude-sonnet-5-5"
TOOL = {"name": "look", "input_schema": {"type": "object"}}
OTHER_TOOL = {**TOOL, "name": "touch"}
DROP = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
DROP_BETA = {"anthropic-beta": "other-beta, thinking-binding-controls-2026-08-01"}
TURNS = (
    [{"thinking": "I should look."}, {"text": "I look."}, {"tool": "look"}],
    [{"thinking": "I have seen it."}, {"text": "Seen."}],
    [{"text": "Goodbye."}],
)


@pytest.fixture
def conversation(caller, play):
    """Two thinking turns with a tool call, as a body that can be sent on."""
    body = {
        "model": MODEL,
        "system": "Be kind.",
        "tools": [TOOL, OTHER_TOOL],
        "messages": [{"role": "user", "content": play(*TURNS)}],
    }
    for say in (lambda call: [{"type": "tool_result", "tool_use_id": call, "content": "a tree"}], lambda _: "Bye."):
        reply = caller.post(**body).json()
        body["messages"].append({"role": "assistant", "content": reply["content"]})
        body["messages"].append({"role": "user", "content": say(reply["content"][-1].get("id"))})
    return body


def edit_tool_result(body):
    body["messages"][2]["content"][0]["content"] = "a bush"


def edit_system(body):
    body["system"] = "Be rude."


def remove_tool(body):
    del body["tools"][1]


def remove_head(body):
    body["messages"][0:3] = [{"role": "user", "content": body["messages"][0]["content"] + "\nsummary"}]


def insert_reminder(body):
    body["messages"].insert(1, {"role": "user", "content": "Do not forget."})


def edit_text_before(body):
    body["messages"][1]["content"][1]["text"] = "I watch."


@pytest.mark.parametrize(
    "edit", [edit_tool_result, edit_system, remove_tool, remove_head, insert_reminder, edit_text_before]
)
def test_an_edited_history_is_refused(caller, conversation, edit):
    edit(conversation)
    status, told = caller.refusal(**conversation)
    assert status == 400
    assert "Invalid `signature` in `thinking` block. The block is bound to a different conversation." in told


def nothing(body):
    pass


def mark_for_caching(body):
    body["messages"][2]["content"][0]["cache_control"] = {"type": "ephemeral"}
    body["cache_control"] = {"type": "ephemeral"}


def list_instead_of_string(body):
    body["system"] = [{"type": "text", "text": "Be kind.  "}]
    body["messages"][2]["content"][0]["content"] = [{"type": "text", "text": " a tree"}]


def reorder(body):
    body["tools"].reverse()
    call = body["messages"][1]["content"][2]
    body["messages"][1]["content"][2] = dict(reversed(call.items()))


def add_deferred_tool(body):
    body["tools"].append({**TOOL, "name": "smell", "defer_loading": True})


def change_parameters(body):
    body["max_tokens"] = 77


def drop_all_thinking(body):
    for message in body["messages"][1::2]:
        message["content"] = [block for block in message["content"] if block["type"] != "thinking"]


def drop_leading_thinking(body):
    del body["messages"][1]["content"][0]


def branch(body):
    body["messages"][-1]["content"] = "Something else."


def rewind(body):
    del body["messages"][3:]


@pytest.mark.parametrize(
    "edit",
    [
        nothing,
        mark_for_caching,
        list_instead_of_string,
        reorder,
        add_deferred_tool,
        change_parameters,
        drop_all_thinking,
        drop_leading_thinking,
        branch,
        rewind,
    ],
)
def test_what_leaves_the_history_as_it_was_is_accepted(caller, conversation, edit):
    edit(conversation)
    response = caller.post(**conversation)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("field", ["signature", "thinking"])
def test_a_forged_block_is_refused_by_every_model(caller, conversation, field):
    conversation["messages"][1]["content"][0][field] += "!"
    for model in (MODEL, "claude-opus-4-8"):
        status, told = caller.refusal(**{**conversation, "model": model})
        assert (status, told) == (400, "messages.1.content.0: Invalid `signature` in `thinking` block")


def test_a_mismatch_is_dropped_where_the_request_asks_for_it(caller, conversation):
    edit_tool_result(conversation)
    response = caller.http.post(
        "/v1/messages", json={**conversation, "max_tokens": 99, "thinking": DROP}, headers=DROP_BETA
    )
    assert response.status_code == 200, response.text
    # The first block stands before the edit and stays.
    assert response.json()["input_transformations"] == [
        {"type": "thinking_dropped", "path": "messages.3.content.0", "reason": "prefix_binding_mismatch"}
    ]


def test_asking_to_drop_needs_its_beta_header(caller, conversation):
    status, told = caller.refusal(**conversation, thinking=DROP)
    assert status == 400
    assert "thinking-binding-controls-2026-08-01" in told


def test_another_model_drops_the_thinking_and_does_not_bill_it(caller, conversation):
    without = copy.deepcopy(conversation)
    drop_all_thinking(without)
    reply = caller.post(**{**conversation, "model": "claude-opus-5-5"}).json()
    assert [dropped["reason"] for dropped in reply["input_transformations"]] == ["model_binding_mismatch"] * 2
    billed = caller.post(**{**without, "model": "claude-opus-5-5"}).json()["usage"]
    assert reply["usage"] == billed


def test_thinking_that_is_not_to_be_shown_still_has_a_signature_that_holds(caller, play):
    body = {"model": MODEL, "thinking": {"type": "adaptive", "display": "omitted"}}
    messages = [{"role": "user", "content": play([{"thinking": "secret"}, {"text": "hi"}])}]
    reply = caller.post(**body, messages=messages).json()
    assert reply["content"][0]["thinking"] == ""
    messages += [{"role": "assistant", "content": reply["content"]}, {"role": "user", "content": "and?"}]
    assert caller.post(**body, messages=messages).status_code == 200


def test_a_model_that_was_told_not_to_think_does_not(caller):
    reply = caller.ask([{"thinking": "hm"}, {"text": "hi"}], model=MODEL, thinking={"type": "disabled"})
    assert [block.type for block in reply.content] == ["text"]


def test_thinking_between_calls_is_bound_to_what_stands_before_it(caller, play):
    turn = [{"thinking": "a"}, {"text": "one"}, {"thinking": "b"}, {"text": "two"}]
    messages = [{"role": "user", "content": play(turn)}]
    content = caller.post(model=MODEL, messages=messages).json()["content"]
    messages += [{"role": "assistant", "content": content}, {"role": "user", "content": "and?"}]
    assert caller.post(model=MODEL, messages=messages).status_code == 200
    content[1]["text"] = "eins"
    status, told = caller.refusal(model=MODEL, messages=messages)
    assert (status, told[:21]) == (400, "messages.1.content.2:")
