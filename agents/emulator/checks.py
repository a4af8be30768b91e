"""What the API refuses beyond a request's shape, in its own words where they are known.

Consecutive messages of one role are one turn to the API, so tool calls and their results are paired after turns were
combined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from typing import Any

from prong.agents.emulator.errors import ApiError, bad_request
from prong.agents.emulator.script import blocks_of
from prong.agents.models import Model, lookup

Json = Mapping[str, Any]

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
MIN_THINKING_BUDGET_TOKENS = 1024
MAX_MESSAGES = 100_000
# The size from which the API edits a conversation where the request names none.
FIRST_EDIT_TOKENS = 100_000
FORCED = frozenset({"any", "tool"})
BELONGS_TO = {
    "tool_use": "assistant",
    "thinking": "assistant",
    "redacted_thinking": "assistant",
    "compaction": "assistant",
    "tool_result": "user",
    "image": "user",
    "document": "user",
}


def model_of(body: Json, window_tokens: int | None = None) -> Model:
    """The model that a request names, with another window where one is given, or the API's 404."""
    model = lookup(body["model"])
    if model is None:
        raise ApiError(404, f"model: {body['model']}")
    return model if window_tokens is None else replace(model, context_tokens=window_tokens)


def check_create(body: Json, model: Model) -> None:
    """Check a request for a message; its shape has been checked before."""
    _check_max_tokens(body, model)
    _check_thinking(body, model)
    _check_not_played(body)
    check_prompt(body, model)


def check_prompt(body: Json, model: Model) -> None:
    """Check what a request for a message and one for a token count have in common."""
    _check_tools(body.get("tools") or ())
    _check_tool_choice(body, model)
    _check_roles(body["messages"], model)
    _check_texts(body)
    _check_pairs(list(_turns(body["messages"])))
    if body["messages"][-1]["role"] == "assistant" and not _was_paused(body["messages"][-1]):
        raise bad_request(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )


def _was_paused(message: Json) -> bool:
    """Whether a turn waits for a tool of the server's own, so that it goes back as it is."""
    blocks = list(blocks_of(message["content"]))
    return bool(blocks) and blocks[-1]["type"] == "server_tool_use"


def check_length(tokens: int, model: Model) -> None:
    """Refuse a prompt that does not fit the model's context window."""
    if tokens > model.context_tokens:
        message = f"prompt is too long: {tokens} tokens > {model.context_tokens} maximum"
        raise bad_request(message)


def check_edits(body: Json, tokens: int) -> None:
    """Refuse a request whose conversation the API would edit before it is read, because the emulator does not."""
    for index, edit in enumerate((body.get("context_management") or {}).get("edits") or ()):
        if edit["type"] == "clear_thinking_20251015" and edit.get("keep") == "all":
            continue
        trigger = edit.get("trigger") or {"type": "input_tokens", "value": FIRST_EDIT_TOKENS}
        if trigger["type"] != "input_tokens" or tokens >= trigger["value"]:
            text = (
                f"context_management.edits.{index}: the emulator does not play {edit['type']}, which would apply here"
            )
            raise bad_request(text)


def _check_max_tokens(body: Json, model: Model) -> None:
    wanted, most = body["max_tokens"], model.max_output_tokens
    if wanted < 0:
        raise bad_request("max_tokens: Input should be greater than or equal to 0")
    if wanted > most:
        message = f"max_tokens: {wanted} > {most}, which is the maximum allowed number of output tokens for {model.id}"
        raise bad_request(message)
    if wanted > 0:
        return
    if body.get("stream"):
        raise bad_request("max_tokens: 0 is not supported with stream")
    if (body.get("output_config") or {}).get("format"):
        raise bad_request("max_tokens: 0 is not supported with structured output")
    if _choice(body) in FORCED:
        raise bad_request("max_tokens: 0 is not supported with a forced tool_choice")


def _check_thinking(body: Json, model: Model) -> None:
    thinking = body.get("thinking") or {}
    kind = thinking.get("type")
    if kind == "disabled" and "disabled_thinking" in model.refuses:
        message = f"thinking.type: thinking cannot be disabled on {model.id}"
        raise bad_request(message)
    if kind != "enabled":
        return
    if thinking["budget_tokens"] < MIN_THINKING_BUDGET_TOKENS:
        message = (
            f"thinking.enabled.budget_tokens: Input should be greater than or equal to {MIN_THINKING_BUDGET_TOKENS}"
        )
        raise bad_request(message)
    if thinking["budget_tokens"] >= body["max_tokens"]:
        raise bad_request("`max_tokens` must be greater than `thinking.budget_tokens`")
    if _choice(body) in FORCED:
        raise bad_request("Thinking may not be enabled when tool_choice forces tool use.")


def _check_not_played(body: Json) -> None:
    """Refuse aloud what the emulator does not play: an answer that ignored it would be believed."""
    if body.get("thread"):
        raise bad_request("thread: not supported by this server", error_code="thread_unsupported_request")
    for name in ("container", "mcp_servers", "fallbacks", "fallback_credit_token"):
        if body.get(name):
            message = f"{name}: the emulator does not play this parameter"
            raise bad_request(message)


def _check_tools(tools: Sequence[Json]) -> None:
    names: set[str] = set()
    for index, tool in enumerate(tools):
        name = tool.get("name")
        if name is None:
            continue
        if not TOOL_NAME.fullmatch(name):
            message = f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            raise bad_request(message)
        if name in names:
            raise bad_request("tools: Tool names must be unique.")
        names.add(name)
        if "input_schema" in tool and tool["input_schema"].get("type") != "object":
            message = f"tools.{index}.custom.input_schema.type: Input should be 'object'"
            raise bad_request(message)


def _check_tool_choice(body: Json, model: Model) -> None:
    choice = _choice(body)
    if choice is None:
        return
    tools = body.get("tools") or ()
    if not tools:
        raise bad_request("tool_choice: tool_choice may only be specified while providing tools")
    if choice in FORCED and "forced_tool_choice" in model.refuses:
        raise bad_request('tool_choice: type "tool" and "any" are not supported for this model.')
    if choice == "tool":
        name = body["tool_choice"]["name"]
        if all(tool.get("name") != name for tool in tools):
            message = f"tool_choice: Tool '{name}' not found in provided tools"
            raise bad_request(message)


def _choice(body: Json) -> str | None:
    choice = body.get("tool_choice")
    return choice["type"] if choice else None


def _check_roles(messages: Sequence[Json], model: Model) -> None:
    if not messages:
        raise bad_request("messages: at least one message is required")
    if len(messages) > MAX_MESSAGES:
        text = f"messages: List should have at most {MAX_MESSAGES} items after validation, not {len(messages)}"
        raise bad_request(text)
    first = next(iter(blocks_of(messages[0]["content"])), {"type": None})
    if messages[0]["role"] != "user" and first["type"] != "compaction":
        raise bad_request('messages: first message must use the "user" role')
    for index, (before, message) in enumerate(pairwise(messages), start=1):
        if message["role"] != "system":
            continue
        if "system_messages" in model.refuses:
            text = f"messages.{index}.role: role 'system' is not supported on {model.id}"
            raise bad_request(text)
        if before["role"] != "user":
            text = f"messages.{index}.role: role 'system' must follow a user message"
            raise bad_request(text)


def _check_texts(body: Json) -> None:
    _check_blocks(body.get("system") or (), "system")
    for index, message in enumerate(body["messages"]):
        if not message["content"] and message["role"] != "system":
            text = f"messages.{index}: all messages must have non-empty content"
            raise bad_request(text)
        _check_blocks(message["content"], f"messages.{index}.content")
        for place, block in enumerate(blocks_of(message["content"])):
            if BELONGS_TO.get(block["type"], message["role"]) != message["role"]:
                text = (
                    f"messages.{index}.content.{place}: `{block['type']}` blocks can only be in"
                    f" {BELONGS_TO[block['type']]} messages"
                )
                raise bad_request(text)


def _check_blocks(content: str | Sequence[Json], path: str) -> None:
    for place, block in enumerate(blocks_of(content)):
        if block["type"] == "tool_result" and not isinstance(block.get("content") or "", str):
            _check_blocks(block["content"], f"{path}.{place}.tool_result.content")
        if block["type"] != "text" or block["text"].strip():
            continue
        fault = "contain non-whitespace text" if block["text"] else "be non-empty"
        text = f"{path}.{place}: text content blocks must {fault}"
        raise bad_request(text)


@dataclass(slots=True)
class _Turn:
    """Consecutive messages of one role; `first` and `last` are their places in the request."""

    role: str
    first: int
    last: int
    blocks: list[Json] = field(default_factory=list)


def _turns(messages: Sequence[Json]) -> Iterator[_Turn]:
    turn: _Turn | None = None
    for index, message in enumerate(messages):
        if turn is None or turn.role != message["role"]:
            if turn is not None:
                yield turn
            turn = _Turn(message["role"], index, index)
        turn.last = index
        turn.blocks.extend(blocks_of(message["content"]))
    if turn is not None:
        yield turn


def _check_pairs(turns: Sequence[_Turn]) -> None:
    seen: set[str] = set()
    for before, turn in zip(chain([None], turns), turns, strict=False):
        calls = [block["id"] for block in before.blocks if block["type"] == "tool_use"] if before else []
        _check_answered(calls, turn, before)
        new = [block["id"] for block in turn.blocks if block["type"] == "tool_use"]
        if len(set(new)) < len(new) or not seen.isdisjoint(new):
            text = f"messages.{turn.first}: `tool_use` ids must be unique"
            raise bad_request(text)
        seen.update(new)
    if any(block["type"] == "tool_use" for block in turns[-1].blocks):
        raise _unanswered(turns[-1], [block["id"] for block in turns[-1].blocks if block["type"] == "tool_use"])


def _check_answered(calls: Sequence[str], turn: _Turn, before: _Turn | None) -> None:
    """Judge a turn against the calls of the turn before it: each answered once, first thing, and nothing else."""
    answered = [block["tool_use_id"] for block in turn.blocks if block["type"] == "tool_result"]
    for place, block in enumerate(turn.blocks):
        if block["type"] == "tool_result" and block["tool_use_id"] not in calls:
            text = (
                f"messages.{turn.first}.content.{place}: unexpected `tool_use_id` found in `tool_result` blocks:"
                f" {block['tool_use_id']}. Each `tool_result` block must have a corresponding `tool_use` block in the"
                " previous message."
            )
            raise bad_request(text)
    if len(set(answered)) < len(answered):
        text = (
            f"messages.{turn.first}: each tool_use must have a single result. Found multiple `tool_result` blocks with"
            f" id: {next(call for call in answered if answered.count(call) > 1)}"
        )
        raise bad_request(text)
    results_come_first = all(block["type"] == "tool_result" for block in turn.blocks[: len(answered)])
    missing = [call for call in calls if call not in answered] if results_come_first else calls
    if missing and before is not None:
        raise _unanswered(before, missing)


def _unanswered(turn: _Turn, calls: Sequence[str]) -> ApiError:
    return bad_request(
        f"messages.{turn.last}: `tool_use` ids were found without `tool_result` blocks immediately after:"
        f" {', '.join(calls)}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )
