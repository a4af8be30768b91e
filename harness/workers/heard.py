"""What a command line agent tells on its standard output, read line by line into records that are the same for all.

    {"type": "assistant", …}      Claude Code                Began, Said, Results, Used, Asks, Told, Ended
    {"type": "item.completed"}    Codex            --Reader-->
    {"type": "step_finish", …}    opencode
    anything else                 words                      the last of them are the result where nothing else is

The three speak of different types, so that nobody has to say which it is.  A line that is no JSON, or is of a type that
nobody knows, is not wrong: it is kept with the other words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prong.agents.models import Usage

WORDS_CHARACTERS = 30_000
"""How much is kept of what a command prints that is no event, in characters."""

LINE_BYTES = 16 * 2**20
"""The longest line, in bytes; the rest of a longer one is left out."""

MOST_TOKENS = 10**12
"""The most tokens, and dollars, that one call can have taken; who tells of more is not believed."""

# It becomes an argument of the next run and a part of file names.
_SESSION = re.compile(r"\w[\w.:-]{0,199}", re.ASCII)

Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Began:
    """It has begun, under the name by which its session can be resumed."""

    session: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """Blocks of an answer; those with the same `id` are one answer."""

    id: str
    content: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Results:
    """What came of calls of tools."""

    content: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Used:
    """What calls of a model took.  `total`: not one call, but all of the session so far; `id` is the answer's."""

    usage: Usage
    id: str = ""
    model: str | None = None
    usd: float | None = None
    stop_reason: str = "end_turn"
    total: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """Something that people may want to know, such as that it waits for its provider."""

    text: str


@dataclass(frozen=True, slots=True)
class Asks:
    """It asks whether it may do something, and nobody is there to answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """It says that it is done.  `problem` where that is not well; `status` is the provider's, where it is about that.

    `models` is what it counted for each model, as far as it tells; `denied` what it was not allowed to do.
    """

    result: str
    problem: str = ""
    status: int | None = None
    models: Mapping[str, Used] = field(default_factory=dict)
    denied: Sequence[str] = ()
    spent: bool = False


Heard = Began | Said | Results | Used | Told | Asks | Ended


_READS: Mapping[str, str] = {
    "system": "_system", "assistant": "_assistant", "user": "_user", "stream_event": "_stream", "result": "_result",
    "control_request": "_control", "thread.started": "_thread", "turn.started": "_nothing", "item.started": "_item",
    "item.updated": "_nothing", "item.completed": "_item", "turn.completed": "_turn", "turn.failed": "_turn_failed",
    "error": "_turn_failed", "step_start": "_part", "text": "_part", "tool_use": "_part", "step_finish": "_part",
}  # fmt: skip
"""The types of events, and which method of `Reader` reads them."""


class Reader:
    r"""Reads one run's output.

    >>> reader = Reader()
    >>> reader.read(b'{"type": "thread.started", "thread_id": "a1"}'), reader.read(b"Hello")
    ([Began(session='a1', model=None)], ())
    >>> reader.words
    'Hello\n'
    """

    def __init__(self) -> None:
        self.words = ""
        self.said = ""
        self._usage: dict[str, dict[str, Any]] = {}
        self._session = ""
        self._count = 0
        self._ended: Ended | None = None
        self._failed = ""

    def read(self, line: bytes) -> Sequence[Heard]:
        """What one line tells; nothing where it is of no use."""
        text = line.decode(errors="replace").strip()
        try:
            event = json.loads(text) if text.startswith("{") else {}
            read = _READS.get(str(event.get("type")))
            if read is not None:
                return list(getattr(self, read)(event))
        except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError):
            pass  # an event that is not as it should be is words, too
        if text:
            self.words = f"{self.words}{text}\n"[-WORDS_CHARACTERS:]
        return ()

    def finish(self) -> Ended | None:
        """How it ended by its own account; None where it gave none."""
        if self._ended is None and self._failed:
            return Ended("", problem=self._failed)
        return self._ended

    def _nothing(self, _event: Mapping[str, Any]) -> list[Heard]:
        return []

    def _begin(self, session: object, model: object = None) -> list[Heard]:
        if not isinstance(session, str) or session == self._session or not _SESSION.fullmatch(session):
            return []
        self._session = session
        return [Began(session, model if isinstance(model, str) else None)]

    def _new_id(self) -> str:
        self._count += 1
        return f"said {self._count}"

    def _system(self, event: Mapping[str, Any]) -> list[Heard]:
        kind = event.get("subtype")
        if kind == "init":
            return self._begin(event.get("session_id"), event.get("model"))
        return [Told(json.dumps(event, ensure_ascii=False)[:500])] if kind == "api_retry" else []

    def _assistant(self, event: Mapping[str, Any]) -> list[Heard]:
        message = event["message"]
        content = [block for block in message["content"] if isinstance(block, dict)]
        if event.get("parent_tool_use_id"):  # a part of it that it started: its costs come with the end
            return []
        shown = [one for block in content if (one := _shown(block)) is not None]
        self.said = "\n".join(block["text"] for block in shown if block["type"] == "text") or self.said
        return [Said(str(message["id"]), shown)] if shown else []

    def _user(self, event: Mapping[str, Any]) -> list[Heard]:
        content = event["message"]["content"]
        if event.get("parent_tool_use_id") or not isinstance(content, list):
            return []
        results = [block for block in content if isinstance(block, dict) and block.get("type") == "tool_result"]
        return [Results(results)] if results else []

    def _stream(self, event: Mapping[str, Any]) -> list[Heard]:
        """Only where one answer begins and ends: there stands what it took."""
        if event.get("parent_tool_use_id"):
            return []
        inner = event["event"]
        if inner["type"] == "message_start":
            message = inner["message"]
            self._usage["now"] = {"id": message["id"], "model": message["model"], "usage": dict(message["usage"])}
        elif inner["type"] == "message_delta" and "now" in self._usage:
            now = self._usage["now"]
            now["usage"] |= {name: value for name, value in inner.get("usage", {}).items() if value is not None}
            now["stop_reason"] = (inner.get("delta") or {}).get("stop_reason")
        elif inner["type"] == "message_stop" and "now" in self._usage:
            now = self._usage.pop("now")
            told = now["usage"]
            usage = Usage(
                _count(told.get("input_tokens")), _count(told.get("cache_read_input_tokens")),
                _count(told.get("cache_creation_input_tokens")), _count(told.get("output_tokens")),
                _count((told.get("cache_creation") or {}).get("ephemeral_1h_input_tokens")),
            )  # fmt: skip
            return [Used(usage, str(now["id"]), str(now["model"]), stop_reason=now.get("stop_reason") or "end_turn")]
        return []

    def _result(self, event: Mapping[str, Any]) -> list[Heard]:
        said = event.get("result")
        text = said if isinstance(said, str) else self.said
        kind = str(event.get("subtype") or "success")
        problem = ""
        if event.get("is_error") or kind != "success":
            errors = event.get("errors") or []
            problem = (said if isinstance(said, str) else "") or "; ".join(map(str, errors)) or kind
        status = event.get("api_error_status")
        self._ended = Ended(
            text,
            problem=problem,
            status=status if isinstance(status, int) else None,
            models=_models(event.get("modelUsage")),
            denied=[str(one.get("tool_name")) for one in event.get("permission_denials") or ()],
            spent=kind == "error_max_budget_usd",
        )
        return [*self._begin(event.get("session_id")), self._ended]

    def _control(self, event: Mapping[str, Any]) -> list[Heard]:
        request = event.get("request") or {}
        what = request.get("tool_name") or request.get("subtype") or "something"
        return [Asks(str(what))]

    def _thread(self, event: Mapping[str, Any]) -> list[Heard]:
        return self._begin(event.get("thread_id"))

    def _item(self, event: Mapping[str, Any]) -> list[Heard]:
        item, done = event["item"], event["type"] == "item.completed"
        kind = item.get("type")
        if kind == "agent_message":
            self.said = str(item.get("text", ""))
            return [Said(self._new_id(), [{"type": "text", "text": self.said}])] if done and self.said else []
        if kind in ("error", "reasoning", "todo_list", None):
            return [Told(str(item.get("message")))] if kind == "error" and done else []
        if kind == "mcp_tool_call":
            name, given = f"mcp__{item.get('server')}__{item.get('tool')}", item.get("arguments")
        else:
            name, given = str(kind), {key: item[key] for key in ("command", "changes", "query") if key in item}
        call = _call(item["id"], name, given)
        said: list[Heard] = []
        if str(item["id"]) not in self._usage:  # whichever of the two comes first
            self._usage[str(item["id"])] = {}
            said.append(Said(self._new_id(), [call]))
        if done:
            failed = item.get("status") == "failed" or bool(item.get("exit_code"))
            said.append(Results([_tool_result(str(item["id"]), _output(item), is_error=failed)]))
        return said

    def _turn(self, event: Mapping[str, Any]) -> list[Heard]:
        usage = event.get("usage") or {}
        cached, written = _count(usage.get("cached_input_tokens")), _count(usage.get("cache_write_input_tokens"))
        fresh = max(0, _count(usage.get("input_tokens")) - cached - written)
        self._ended = Ended(self.said)
        return [Used(Usage(fresh, cached, written, _count(usage.get("output_tokens"))), total=True), self._ended]

    def _turn_failed(self, event: Mapping[str, Any]) -> list[Heard]:
        error = event.get("error")
        told = error.get("message") if isinstance(error, dict) else error
        data = error.get("data") if isinstance(error, dict) else None
        told = told or (data.get("message") if isinstance(data, dict) else None) or event.get("message")
        self._failed = str(told or "it failed and does not say why")
        return [Told(self._failed)]

    def _part(self, event: Mapping[str, Any]) -> list[Heard]:
        part, began = event["part"], self._begin(event.get("sessionID"))
        if event["type"] == "text":
            self.said = str(part["text"])
            return [*began, Said(str(part["messageID"]), [{"type": "text", "text": self.said}])]
        if event["type"] == "tool_use":
            state = part["state"]
            call = _call(part["callID"], part["tool"], state.get("input"))
            failed = state.get("status") == "error"
            output = str(state.get("error" if failed else "output") or "")
            result = _tool_result(str(part["callID"]), output, is_error=failed)
            return [*began, Said(str(part["messageID"]), [call]), Results([result])]
        if event["type"] == "step_finish":
            tokens, cache = part["tokens"], part["tokens"].get("cache") or {}
            answered = _count(tokens.get("output")) + _count(tokens.get("reasoning"))
            usage = Usage(_count(tokens.get("input")), _count(cache.get("read")), _count(cache.get("write")), answered)
            if part.get("reason") != "tool-calls":
                self._ended = Ended(self.said)
            usd = _dollars(part.get("cost"))
            goes_on = part.get("reason") == "tool-calls"
            return [
                *began,
                Used(usage, str(part["messageID"]), usd=usd, stop_reason="tool_use" if goes_on else "end_turn"),
            ]
        return list(began)


class Lines:
    """Takes bytes as they come, and gives each whole line to somebody; what `watch` of a process writes into."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self._rest = bytearray()

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._add(line)
            whole, self._rest = bytes(self._rest), bytearray()
            self._take(whole)
        self._add(rest)

    def end(self) -> None:
        """What came after the last end of a line is a line, too."""
        whole, self._rest = bytes(self._rest), bytearray()
        if whole:
            self._take(whole)

    def _add(self, data: bytes) -> None:
        self._rest += data[: max(0, LINE_BYTES - len(self._rest))]


def _models(given: object) -> Mapping[str, Used]:
    found = {}
    for model, one in given.items() if isinstance(given, dict) else ():
        usage = Usage(
            _count(one.get("inputTokens")), _count(one.get("cacheReadInputTokens")),
            _count(one.get("cacheCreationInputTokens")), _count(one.get("outputTokens")),
        )  # fmt: skip
        found[str(model)] = Used(usage, model=str(model), usd=_dollars(one.get("costUSD")))
    return found


def _count(told: object) -> int:
    """A number of tokens.  Below 0 it would give a budget back, and a row holds no more than that."""
    return max(0, min(MOST_TOKENS, int(told))) if isinstance(told, int | float) else 0


def _dollars(told: object) -> float | None:
    return float(told) if isinstance(told, int | float) and 0 <= told <= MOST_TOKENS else None


def _shown(block: Block) -> Block | None:
    """A block of an answer as it is kept; None where it is of another type."""
    if block.get("type") == "text":
        return {"type": "text", "text": str(block["text"])}
    return _call(block["id"], block["name"], block.get("input")) if block.get("type") == "tool_use" else None


def _call(id_: object, name: object, given: object) -> Block:
    return {"type": "tool_use", "id": str(id_), "name": str(name), "input": given if isinstance(given, dict) else {}}


def _tool_result(call: str, text: str, *, is_error: bool) -> Block:
    return {
        "type": "tool_result", "tool_use_id": call, "content": [{"type": "text", "text": text}], "is_error": is_error,
    }  # fmt: skip


def _output(item: Mapping[str, Any]) -> str:
    if "aggregated_output" in item:
        return str(item["aggregated_output"] or "")
    result = item.get("result") or item.get("error") or item.get("status") or ""
    parts = result.get("content") if isinstance(result, dict) else None
    if isinstance(parts, list):
        return "\n".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
