"""POST /v1/messages: check, count, look up, play, and send.

    shape -> meaning -> thinking -> fault? -> limits -> script -> cache -> (wait) -> first byte: cache readable -> rest

What a request reads from the cache is decided when it arrives, and what it wrote can be read once its answer begins, so
requests that arrive together pay for the same prefix each.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prong.agents.emulator import checks, compaction, thinking
from prong.agents.emulator.cache import Accounting
from prong.agents.emulator.connection import parse
from prong.agents.emulator.emulator import Emulator
from prong.agents.emulator.endpoint import Exchange
from prong.agents.emulator.errors import ApiError, bad_request, played
from prong.agents.emulator.prompt import Prompt, render
from prong.agents.emulator.reply import Message, Writer, new_id, usage_on_wire
from prong.agents.emulator.script import Fault, Reply, Request, Script, choose
from prong.agents.emulator.stream import Pace, send_stream, send_whole
from prong.agents.models import Model

LONGEST_QUOTED_TEXT = 60


@dataclass(frozen=True, slots=True)
class _Call:
    """A request that has passed all checks; `body` is what counts, without the thinking that was dropped."""

    body: Mapping[str, Any]
    model: Model
    prompt: Prompt
    request: Request
    dropped: Sequence[Mapping[str, Any]]


async def create(exchange: Exchange) -> None:
    """Answer one request for a message."""
    emulator, entry = exchange.emulator, exchange.entry
    api_key = exchange.authenticate()
    call = await _read(exchange, api_key)
    drawn = emulator.draw_fault()
    _raise_status(exchange, drawn)
    reply = _play(exchange, call)
    fault = reply.fault or drawn
    _raise_status(exchange, reply.fault)
    cache = emulator.cache_of(api_key)
    accounting = cache.account(call.prompt, min_tokens=call.model.min_cacheable_tokens, now=entry.arrived)
    limit_headers = _limit(emulator, call, accounting)
    message = _write(call, reply, accounting)
    _note(exchange, message, fault)
    first_byte_s = emulator.options.first_token_s + reply.first_token_s
    pace = _pace(emulator, message, first_byte_s)
    is_streamed = bool(call.body.get("stream"))
    await exchange.connection.wait(first_byte_s if is_streamed else first_byte_s + pace.seconds)
    # Nothing is awaited between these lines and the first byte: who reads that byte finds the cache written.
    cache.publish(accounting, now=emulator.clock.now())
    emulator.limits.spend_output(call.model.line, message.tokens, emulator.clock.now())
    exchange.mark_first_byte()
    headers = {**exchange.headers, **limit_headers}
    if is_streamed:
        await send_stream(exchange.connection, message, headers, fault, pace)
    else:
        await send_whole(exchange.connection, message, headers, fault)


async def count_tokens(exchange: Exchange) -> None:
    """Answer one request for a token count."""
    exchange.authenticate()
    body = parse(await exchange.connection.read())
    schema = await exchange.emulator.schema()
    problem = schema.count_problem(body) or schema.tools_problem(body.get("tools") or ())
    if problem:
        raise bad_request(problem)
    model = checks.model_of(body)
    exchange.entry.model = body["model"]
    checks.check_prompt(body, model)
    checked = thinking.check(body, model, _betas(exchange))
    exchange.mark_first_byte()
    await exchange.connection.answer(200, {"input_tokens": render(checked.body).tokens}, exchange.headers)


async def _read(exchange: Exchange, api_key: str) -> _Call:
    """Read a request and check it in every way; raises the API's errors."""
    entry, connection = exchange.entry, exchange.connection
    data = await connection.read()
    exchange.emulator.journal.keep(entry, data)
    body = parse(data)
    schema = await exchange.emulator.schema()
    problem = schema.problem(body, version=connection.headers["anthropic-version"])
    problem = problem or schema.tools_problem(body.get("tools") or ())
    if problem:
        raise bad_request(problem)
    entry.model, entry.stream = body["model"], bool(body.get("stream"))
    model = checks.model_of(body, exchange.emulator.options.window_tokens)
    checks.check_create(body, model)
    compaction.check(body, model, _betas(exchange))
    checked = thinking.check(body, model, _betas(exchange))
    prompt = render(checked.body)
    checks.check_length(prompt.tokens, model)
    checks.check_edits(body, prompt.tokens)
    request = Request(body, body["messages"], seen=exchange.emulator.count_seen(api_key, prompt.key))
    entry.turn = request.turn
    entry.meet(request.first_text)
    return _Call(checked.body, model, prompt, request, checked.dropped)


def _betas(exchange: Exchange) -> Sequence[str]:
    return [beta.strip() for beta in exchange.connection.headers.get("anthropic-beta", "").split(",")]


def _raise_status(exchange: Exchange, fault: Fault | None) -> None:
    """Answer with the error that a fault asks for; a broken stream comes later."""
    if fault is None:
        return
    exchange.entry.fault = fault.stream or str(fault.status)
    if fault.status != 200:  # noqa: PLR2004 - HTTP's OK
        raise played(fault.status, fault.retry_after_s)
    if fault.stream == "error_event" and not exchange.entry.stream:
        # Without a stream there is no event; the same trouble is then an error response.
        raise played(529, fault.retry_after_s)


def _play(exchange: Exchange, call: _Call) -> Reply:
    """What the script answers; raises the API's errors where there is no script or the script fails."""
    if call.body["max_tokens"] == 0:
        # A request that only warms the cache is not answered by anybody.
        return Reply([], stop_reason="max_tokens")
    scripts = exchange.emulator.options.scripts
    script = choose(scripts, call.request)
    if script is None:
        raise bad_request(_no_script(scripts, call.request.first_text))
    exchange.entry.script = script.name
    try:
        reply = script.play(call.request)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        message = f"the script {script.name!r} raised {type(error).__name__}: {error}"
        raise ApiError(500, message) from error
    if not isinstance(reply, Reply):
        message = f"the script {script.name!r} answered with {type(reply).__name__} instead of a Reply"
        raise ApiError(500, message)
    return reply


def _no_script(scripts: Sequence[Script], first_text: str) -> str:
    known = ", ".join(f"{script.name} (/{script.match}/)" for script in scripts) or "no script at all"
    text = first_text if len(first_text) <= LONGEST_QUOTED_TEXT else first_text[:LONGEST_QUOTED_TEXT] + "..."
    return f"no script of this emulator matches the first user text {text!r}; it has {known}"


def _limit(emulator: Emulator, call: _Call, accounting: Accounting) -> dict[str, str]:
    """Take the request from the rate limits; the headers tell what is left."""
    now, line = emulator.clock.now(), call.model.line
    uncached = accounting.usage.prompt - accounting.usage.cache_read
    try:
        emulator.limits.admit(line, input_tokens=uncached, now=now)
    except ApiError as error:
        error.headers = emulator.limits.headers(line, now)
        raise
    return emulator.limits.headers(line, now)


def _write(call: _Call, reply: Reply, accounting: Accounting) -> Message:
    message = Message(new_id("msg"), call.body["model"], usage_on_wire(accounting.usage))
    writer = Writer(call.body, message, context_left=call.model.context_tokens - call.prompt.tokens)
    if call.body.get("compaction"):
        writer.compact(reply)
    else:
        writer.write(reply)
    if call.dropped:
        message.extras["input_transformations"] = list(call.dropped)
    if call.body.get("context_management"):
        # What would be edited was refused.
        message.extras["context_management"] = {"applied_edits": []}
    if call.body.get("diagnostics"):
        message.extras["diagnostics"] = {"cache_miss_reason": {"type": "unavailable"}}
    return message


def _note(exchange: Exchange, message: Message, fault: Fault | None) -> None:
    entry = exchange.entry
    entry.message_id, entry.usage, entry.stop_reason = message.id, message.usage, message.stop_reason
    entry.tools = tuple(part.whole["name"] for part in message.parts if part.whole["type"] == "tool_use")
    entry.fault = fault.stream if fault else None


def _pace(emulator: Emulator, message: Message, first_byte_s: float) -> Pace:
    options = emulator.options
    writing_s = max(0.0, options.latency_s - first_byte_s, options.per_token_s * message.tokens)
    return Pace(writing_s, options.ping_s)
