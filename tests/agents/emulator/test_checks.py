"""What the emulator refuses, as the API does, and what it must not refuse."""

import anthropic
import pytest

CALL = {"type": "tool_use", "id": "toolu_a", "name": "look", "input": {}}
OTHER_CALL = {**CALL, "id": "toolu_b"}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_a", "content": "seen"}
OTHER_RESULT = {**RESULT, "tool_use_id": "toolu_b"}
TEXT = {"type": "text", "text": "and now?"}
LOOK = {"name": "look", "input_schema": {"type": "object"}}
AT_ONCE = {"type": "input_tokens", "value": 1}
SCHEMA = {"type": "json_schema", "schema": {"type": "object", "properties": {}, "additionalProperties": False}}


@pytest.fixture
def talk(play):
    """A conversation that begins with a playable text."""

    def make(*messages):
        first = {"role": "user", "content": play([{"text": "fine"}])}
        return [first, *({"role": role, "content": content} for role, content in messages)]

    return make


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": "10"}, "max_tokens: Input should be a valid integer"),
        ({"colour": 1}, "colour: Extra inputs are not permitted"),
        ({"temperature": 0.5}, "temperature: Extra inputs are not permitted"),
        ({"messages": {}}, "messages: Input should be a valid list"),
        ({"messages": ["hi"]}, "messages.0: Input should be an object"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
            "messages.0.content.0.tool_result.tool_use_id: Field required",
        ),
        (
            {"system": [{**TEXT, "cache_control": {"type": "ephemeral", "ttl": "2h"}}]},
            "system.0.cache_control.ttl: Input should be '5m' or '1h'",
        ),
    ],
)
def test_a_request_of_the_wrong_shape_is_refused_with_the_place(caller, change, message):
    assert caller.refusal(**change) == (400, message)


def test_an_unknown_role_and_an_unknown_block_are_refused(caller):
    assert "messages.0: Input tag 'robot'" in caller.refusal(messages=[{"role": "robot", "content": "hi"}])[1]
    unknown = [{"role": "user", "content": [{"type": "smell"}]}]
    assert "messages.0.content.0: Input tag 'smell'" in caller.refusal(messages=unknown)[1]


def test_older_clients_may_send_sampling_parameters(caller):
    old = {"anthropic-version": "2023-06-01"}
    body = {"model": "claude-haiku-4-5", "max_tokens": 9, "temperature": 0.5, "top_p": 1, "top_k": 3}
    body["messages"] = [{"role": "user", "content": 'play {"turns": [[{"text": "fine"}]]}'}]
    assert caller.http.post("/v1/messages", json=body, headers=old).status_code == 200
    body["temperature"] = 2
    assert caller.http.post("/v1/messages", json=body, headers=old).status_code == 400


def test_what_claude_code_sends_is_accepted(caller, talk):
    marked = {"cache_control": {"type": "ephemeral"}}
    response = caller.post(
        system=[{"type": "text", "text": "x-anthropic-billing-header: cc_version=2"}, {**TEXT, **marked}],
        messages=[*talk(("system", "the environment")), {"role": "user", "content": [{**TEXT, **marked}]}],
        tools=[LOOK],
        metadata={"user_id": '{"device_id": "d"}'},
        thinking={"type": "adaptive", "display": "updates"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        output_config={"effort": "high"},
        stream=True,
    )
    assert response.status_code == 200, response.text


def test_a_system_message_may_be_empty(caller, talk):
    assert caller.post(messages=talk(("system", []))).status_code == 200


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (
            [("assistant", [CALL])],
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after",
        ),
        ([("assistant", [CALL]), ("user", [TEXT])], "messages.1: `tool_use` ids were found without `tool_result`"),
        ([("assistant", [CALL]), ("user", [TEXT, RESULT])], "messages.1: `tool_use` ids were found without"),
        ([("assistant", [CALL, OTHER_CALL]), ("user", [RESULT])], "immediately after: toolu_b. Each"),
        ([("assistant", [TEXT]), ("user", [RESULT])], "messages.2.content.0: unexpected `tool_use_id` found"),
        ([("user", [RESULT])], "unexpected `tool_use_id` found in `tool_result` blocks: toolu_a"),
        ([("assistant", [CALL]), ("user", [RESULT, RESULT])], "messages.2: each tool_use must have a single result"),
        ([("assistant", [CALL, CALL]), ("user", [RESULT])], "messages.1: `tool_use` ids must be unique"),
        (
            [("assistant", [CALL]), ("user", [RESULT]), ("assistant", [CALL]), ("user", [RESULT])],
            "messages.3: `tool_use` ids must be unique",
        ),
        ([("user", [CALL])], "messages.1.content.0: `tool_use` blocks can only be in assistant messages"),
        ([("assistant", [RESULT]), ("user", "x")], "`tool_result` blocks can only be in user messages"),
        ([("assistant", "So")], "This model does not support assistant message prefill"),
        ([("user", "")], "messages.1: all messages must have non-empty content"),
        ([("user", [])], "messages.1: all messages must have non-empty content"),
        ([("user", [{"type": "text", "text": ""}])], "messages.1.content.0: text content blocks must be non-empty"),
        ([("user", " \n")], "messages.1.content.0: text content blocks must contain non-whitespace text"),
        ([("assistant", "a"), ("system", "b"), ("user", "c")], "role 'system' must follow a user message"),
    ],
)
def test_a_conversation_that_cannot_be_is_refused(caller, talk, messages, message):
    status, told = caller.refusal(messages=talk(*messages), tools=[LOOK])
    assert status == 400
    assert message in told


@pytest.mark.parametrize(
    "messages",
    [
        [("user", "more"), ("user", "and more")],
        [("assistant", [CALL]), ("user", [RESULT, TEXT])],
        [("assistant", [CALL, OTHER_CALL]), ("user", [OTHER_RESULT, RESULT])],
        [("assistant", [CALL, OTHER_CALL]), ("user", [RESULT]), ("user", [OTHER_RESULT, TEXT])],
        [("assistant", [CALL]), ("assistant", [OTHER_CALL]), ("user", [RESULT, OTHER_RESULT])],
        [("assistant", [CALL]), ("user", [RESULT]), ("system", "be quick")],
        [("assistant", [CALL]), ("user", [{**RESULT, "content": ""}])],
        [("assistant", [CALL]), ("user", [{"type": "tool_result", "tool_use_id": "toolu_a"}])],
    ],
)
def test_a_conversation_that_can_be_is_answered(caller, talk, messages):
    response = caller.post(messages=talk(*messages), tools=[LOOK])
    assert response.status_code == 200, response.text


def test_an_empty_text_inside_a_tool_result_is_refused(caller, talk):
    empty = {**RESULT, "content": [{"type": "text", "text": ""}]}
    told = caller.refusal(messages=talk(("assistant", [CALL]), ("user", [empty])), tools=[LOOK])[1]
    assert told == "messages.2.content.0.tool_result.content.0: text content blocks must be non-empty"


def test_the_first_message_is_the_users(caller):
    messages = [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "hi"}]
    assert caller.refusal(messages=messages) == (400, 'messages: first message must use the "user" role')
    assert caller.refusal(messages=[]) == (400, "messages: at least one message is required")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tools": [LOOK, LOOK]}, "tools: Tool names must be unique."),
        ({"tools": [{**LOOK, "name": "look up"}]}, "tools.0.custom.name: String should match pattern"),
        ({"tools": [{**LOOK, "input_schema": {"type": "array"}}]}, "tools.0.custom.input_schema.type: Input should be"),
        (
            {"tools": [{**LOOK, "input_schema": {"type": "object", "properties": {"a": {"type": "text"}}}}]},
            "tools.0.custom.input_schema: JSON schema is invalid.",
        ),
        (
            {"context_management": {"edits": [{"type": "clear_tool_uses_20250919", "trigger": AT_ONCE}]}},
            "context_management.edits.0: the emulator does not play clear_tool_uses_20250919",
        ),
        ({"tool_choice": {"type": "auto"}}, "tool_choice may only be specified while providing tools"),
        (
            {"tools": [LOOK], "tool_choice": {"type": "any"}},
            'tool_choice: type "tool" and "any" are not supported for this model.',
        ),
        (
            {"tools": [LOOK], "tool_choice": {"type": "tool", "name": "touch"}, "model": "claude-opus-4-8"},
            "tool_choice: Tool 'touch' not found in provided tools",
        ),
        ({"max_tokens": 128_001}, "max_tokens: 128001 > 128000, which is the maximum allowed number of output tokens"),
        ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
        ({"thinking": {"type": "disabled"}}, "thinking cannot be disabled on prong-emulator"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 10}},
            "budget_tokens: Input should be greater than or equal",
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "`max_tokens` must be greater than"),
        ({"container": "c"}, "container: the emulator does not play this parameter"),
        ({"system": [{"type": "text", "text": ""}]}, "system.0: text content blocks must be non-empty"),
    ],
)
def test_a_parameter_that_the_model_does_not_take_is_refused(caller, change, message):
    status, told = caller.refusal(**change)
    assert status == 400
    assert message in told


def test_an_older_model_takes_a_forced_tool_choice(caller, play):
    reply = caller.ask(
        messages=[{"role": "user", "content": play([{"tool": "look"}])}],
        model="claude-opus-4-8",
        tools=[LOOK],
        tool_choice={"type": "tool", "name": "look"},
    )
    assert reply.stop_reason == "tool_use"


def test_sonnet_5_takes_no_system_messages(caller, talk):
    told = caller.refusal(messages=talk(("system", "be quick")), model="claude-sonnet-5")
    assert told == (400, "messages.1.role: role 'system' is not supported on claude-sonnet-5")


@pytest.mark.parametrize(
    "change",
    [
        {"stream": True},
        {"output_config": {"format": SCHEMA}},
        {"tools": [LOOK], "tool_choice": {"type": "any"}, "model": "claude-opus-4-8"},
    ],
)
def test_warming_the_cache_excludes_streams_schemas_and_forced_tools(caller, change):
    status, told = caller.refusal(max_tokens=0, **change)
    assert (status, told[:35]) == (400, "max_tokens: 0 is not supported with")


def test_a_thread_is_refused_in_the_way_that_makes_the_sdk_fall_back(caller):
    response = caller.post(thread={"type": "create"})
    assert response.status_code == 400
    assert response.json()["error"]["details"] == {"error_code": "thread_unsupported_request"}


def test_errors_have_the_apis_shape_and_the_sdk_knows_them(caller):
    with pytest.raises(anthropic.NotFoundError) as raised:
        caller.ask([{"text": "hi"}], model="claude-unheard-of")
    error = raised.value.body
    assert error["type"] == "error"
    assert error["error"] == {"type": "not_found_error", "message": "model: claude-unheard-of"}
    assert error["request_id"] == raised.value.response.headers["request-id"]


def test_a_request_without_a_key_is_refused_with_401(caller):
    response = caller.http.post("/v1/messages", json={}, headers={"x-api-key": ""})
    assert (response.status_code, response.json()["error"]["type"]) == (401, "authentication_error")


def test_a_key_may_come_in_either_header(caller):
    for headers in ({"x-api-key": "k"}, {"authorization": "Bearer k", "x-api-key": ""}):
        assert caller.http.get("/v1/models", headers=headers).status_code == 200


def test_a_request_without_a_valid_version_is_refused(caller):
    for version in ("", "yesterday"):
        response = caller.http.post("/v1/messages", json={}, headers={"anthropic-version": version})
        assert response.status_code == 400
        assert "anthropic-version" in response.json()["error"]["message"]


@pytest.mark.parametrize("data", [b"", b"{", b'{"max_tokens": NaN}', b"[" * 100_000, b'"\xff"'])
def test_a_body_that_is_no_json_is_refused(caller, data):
    response = caller.http.post("/v1/messages", content=data)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("The request body is not valid JSON")


def test_half_a_surrogate_pair_is_refused(caller):
    data = b'{"model": "prong-emulator", "max_tokens": 9, "messages": [{"role": "user", "content": "\\ud800"}]}'
    response = caller.http.post("/v1/messages", content=data)
    assert response.status_code == 400, response.text
    assert "surrogate" in response.json()["error"]["message"]


def test_a_body_of_more_than_32_mb_is_refused_with_413(caller):
    response = caller.http.post("/v1/messages", content=b" " * (32 * 1024 * 1024 + 1))
    assert (response.status_code, response.json()["error"]["type"]) == (413, "request_too_large")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/messages", 405), ("POST", "/v1/poems", 404)])
def test_a_wrong_route_or_method_is_refused_in_the_apis_shape(caller, method, path, status):
    response = caller.http.request(method, path)
    assert response.status_code == status
    assert response.json()["type"] == "error"


def test_a_prompt_beyond_the_context_window_is_refused(caller):
    long = [{"role": "user", "content": "word " * 200_000}]
    status, told = caller.refusal(messages=long, model="claude-haiku-4-5")
    assert status == 400
    assert told.startswith("prompt is too long: ")
    assert told.endswith("> 200000 maximum")


def test_the_root_answers_whoever_looks(caller):
    assert caller.http.head("/").status_code == 200
    assert caller.http.get("/").json()["name"] == "prong emulator"


def test_models_are_listed_in_pages_and_shown_one_by_one(caller):
    first = caller.sdk.models.list(limit=2)
    assert [model.id for model in first.data] == ["prong-emulator", "claude-fable-5-2"]
    assert len(list(first)) > 10
    shown = caller.sdk.models.retrieve("claude-haiku-4-5")
    assert (shown.max_input_tokens, shown.max_tokens) == (200_000, 64_000)
    with pytest.raises(anthropic.NotFoundError):
        caller.sdk.models.retrieve("claude-unheard-of")


def test_the_token_count_is_what_the_message_is_billed(caller, play):
    prompt = {
        "model": "prong-emulator",
        "system": "Be kind.",
        "tools": [LOOK],
        "messages": [{"role": "user", "content": play([{"text": "fine"}])}],
    }
    counted = caller.sdk.messages.count_tokens(**prompt).input_tokens
    assert counted == caller.sdk.messages.create(max_tokens=9, **prompt).usage.input_tokens
    assert caller.http.post("/v1/messages/count_tokens", json={**prompt, "max_tokens": 9}).status_code == 400
