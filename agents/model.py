"""Asking the model: one request, streamed, tried again while the fault is a passing one.

The SDK's own retries are off: they neither cover a stream that breaks nor tell anybody that they wait.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2

from prong.agents.conversation import Block, Message
from prong.agents.models import Usage
from prong.state import Clock, ProngError

OUTAGE_S = 1_800.0
"""For how long one request is tried again, in seconds: an outage of that length costs waiting, and no task."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
LONGEST_RETRY_AFTER_S = 300.0
"""The longest `retry-after` that is obeyed, in seconds; a longer one ends the attempt."""

_PASSING_STATUS = frozenset({200, 408, 409, 429})  # 200: an error event within a stream that had begun well

_MARK = {"cache_control": {"type": "ephemeral"}}


class ModelUnavailable(ProngError):
    """The endpoint refused the request for good, or failed too often in a row."""

    def __init__(self, problem: str, attempts: int) -> None:
        self.problem = problem
        self.attempts = attempts

    def __str__(self) -> str:
        tries = "at once" if self.attempts == 1 else f"after {self.attempts} attempts"
        return f"the model gave no answer ({tries}): {self.problem}"


class TruncatedStream(Exception):
    """A stream that ended without a stop reason, of which the SDK says nothing."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the model is and what it is called; `max_tokens` bounds one answer."""

    model: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    max_tokens: int = 32_000


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: everything that all agents of a swarm share, and one conversation.

    `fork_point` is the message up to which the conversation is its parent's: a cache breakpoint stands there.
    """

    system: Sequence[Block]
    tools: Sequence[Block]
    messages: Sequence[Message]
    fork_point: int | None = None

    def wire(self) -> dict[str, Any]:
        """The request's body, with breakpoints behind the system prompt, at the fork point and at the end."""
        last = len(self.messages) - 1
        return {
            "system": [*self.system[:-1], {**self.system[-1], **_MARK}],
            "tools": list(self.tools),
            "messages": [
                _marked(message) if place == last or message.id == self.fork_point else message.wire()
                for place, message in enumerate(self.messages)
            ],
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: blocks as they came over the wire, why it stopped, its usage, and when (seconds since 1970)."""

    content: Sequence[Block]
    stop_reason: str
    usage: Usage
    started_at: float
    first_byte_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class Listener:
    """Whom to tell: that the response has begun, and that a fault makes us wait (with its text and the seconds)."""

    began: Callable[[], None]
    waits: Callable[[str, float], None]


class Model:
    """A client for one endpoint.  It connects when it first asks, so it may be made before a fork and used after it."""

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._client = anthropic.Anthropic(api_key=endpoint.api_key, base_url=endpoint.base_url, max_retries=0)

    def ask(self, request: Request, listener: Listener) -> Answer:
        """Send the request until it is answered; raises `ModelUnavailable`."""
        body = {"model": self.endpoint.model, "max_tokens": self.endpoint.max_tokens, **request.wire()}
        began = self._clock.now()
        for attempt in itertools.count(1):
            try:
                return self._ask_once(body, listener)
            except (anthropic.APIError, httpx2.HTTPError, ValueError, TruncatedStream) as error:
                pause = _pause(error, attempt)
                if pause is None or self._clock.now() - began + pause > OUTAGE_S:
                    raise ModelUnavailable(_in_words(error), attempt) from error
                listener.waits(_in_words(error), pause)
                time.sleep(pause)
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask_once(self, body: Mapping[str, Any], listener: Listener) -> Answer:
        started_at = first_byte_at = self._clock.now()
        with self._client.messages.stream(**body) as stream:
            for event in stream:
                if event.type == "message_start":
                    first_byte_at = self._clock.now()
                    listener.began()
            message = stream.get_final_message()
        if message.stop_reason is None:
            raise TruncatedStream
        return Answer(
            content=[block.to_dict(mode="json") for block in message.content],
            stop_reason=message.stop_reason,
            usage=Usage.from_wire(message.usage.to_dict(mode="json")),
            started_at=started_at,
            first_byte_at=first_byte_at,
            ended_at=self._clock.now(),
        )


def _marked(message: Message) -> dict[str, Any]:
    *before, last = message.content
    return {"role": message.role, "content": [*before, {**last, **_MARK}]}


def _pause(error: Exception, attempt: int) -> float | None:
    """How long to wait before the next attempt, in seconds; None where another one would fail alike."""
    wished = None
    if isinstance(error, anthropic.APIStatusError):
        if error.status_code not in _PASSING_STATUS and error.status_code < 500:  # noqa: PLR2004  server faults
            return None
        wished = _retry_after(error.response.headers)
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * float(2 ** min(attempt - 1, 10)))
    backoff = longest * random.uniform(0.5, 1.0)  # noqa: S311  jitter, so that those refused together part
    if wished is None:
        return backoff
    return wished + backoff / 4 if wished <= LONGEST_RETRY_AFTER_S else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return float(headers["retry-after"])
    except (KeyError, ValueError):
        return None


def _in_words(error: Exception) -> str:
    if isinstance(error, TruncatedStream):
        return "the stream ended early"
    if isinstance(error, anthropic.APIStatusError):
        return f"HTTP {error.status_code} {error.type or ''}: {error.api_message or error}"[:500]
    return f"{type(error).__name__}: {error}"[:500]
