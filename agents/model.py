"""Asking the model: one request, streamed, tried again while the fault is a passing one.

The SDK's own retries are off: they neither cover a stream that breaks nor tell anybody that they wait, and every
process would make its own.  When to try again is for the governor to say, which all processes share; a model without
one pauses by itself.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import anthropic
import httpx2

from prong.agents.conversation import Block, Message
from prong.agents.governor.file import Identity
from prong.agents.governor.governor import Governor, Priority, Wait, family
from prong.agents.governor.turn import Pause, Turn, alone
from prong.agents.models import Usage
from prong.state import Clock, ProngError

OUTAGE_S = 1_800.0
"""For how long one request is tried again, in seconds: an outage of that length costs waiting, and no task.

What counts is the time of its own failed attempts and of the pauses behind them, and that during which the provider
answered nobody; standing in line while others are answered does not count.
"""

CHARACTERS_A_TOKEN = 4
"""What an estimate of new input is made with."""

Kind = Literal["provider", "request", "auth", "spend"]

_PASSING_STATUS = frozenset({408, 409, 429})
_SERVER_FAULTS = 500
_STATUS_OF_EVENT = {"overloaded_error": 529, "rate_limit_error": 429}
_KIND_OF_STATUS: Mapping[int, Kind] = {401: "auth", 402: "spend", 403: "auth"}
_SPEND_CODES = frozenset({"enforced_spend_limit_reached"})

_MARK = {"cache_control": {"type": "ephemeral"}}


class ModelUnavailable(ProngError):
    """The endpoint refused the request for good, or failed for too long.

    `kind` says what would help: "provider", its faults should pass and outlasted our patience; "request", it would be
    refused alike again; "auth", the key is missing, wrong, or may not do this; "spend", the money is used up.
    """

    def __init__(self, problem: str, attempts: int, kind: Kind = "provider") -> None:
        self.problem = problem
        self.attempts = attempts
        self.kind = kind

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
    `max_tokens` bounds this one answer; None: as the endpoint has it.
    """

    system: Sequence[Block]
    tools: Sequence[Block]
    messages: Sequence[Message]
    fork_point: int | None = None
    max_tokens: int | None = None

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


_FAULTS = (
    anthropic.APIError,
    anthropic.CredentialsError,
    httpx2.HTTPError,
    ValueError,
    TruncatedStream,
)


class Model:
    """A client for one endpoint.  It connects when it first asks, so it may be made before a fork and used after it.

    `governed_in` is the directory of the governor that it obeys, whose files are shared by all models with the same
    address, key and family; see `governor.default_directory`.
    """

    def __init__(self, endpoint: Endpoint, clock: Clock, *, governed_in: Path | None = None) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._client = anthropic.Anthropic(api_key=endpoint.api_key, base_url=endpoint.base_url, max_retries=0)
        self.governor = None if governed_in is None else Governor(governed_in, self._identity())

    def ask(self, request: Request, listener: Listener, *, priority: Priority = 0) -> Answer:
        """Send the request until it is answered; raises `ModelUnavailable`.

        Where calls have to wait, the one of the highest `priority` goes first: a number, or a function that tells it.
        """
        body = {
            "model": self.endpoint.model,
            "max_tokens": request.max_tokens or self.endpoint.max_tokens,
            **request.wire(),
        }
        new_tokens = _new_tokens(request)
        since: float | None = None
        asked_at, lost_s, own_failures = self._clock.now(), 0.0, 0
        for attempt in itertools.count(1):
            teller = _Teller(listener, after_failure=attempt > 1)
            with self._turn(priority, new_tokens, own_failures, since, teller) as turn:
                since, began = turn.since, self._clock.now()
                try:
                    return self._ask_once(body, listener, turn)
                except TypeError as error:
                    if "authentication" not in str(error):
                        raise
                    raise ModelUnavailable(str(error), attempt, "auth") from error
                except _FAULTS as error:
                    kind = _kind_of_final(error)
                    if kind is not None:
                        raise ModelUnavailable(_in_words(error), attempt, kind) from error
                    pause = _told(turn, error)
                    now = self._clock.now()
                    lost_s += now - began + pause.seconds
                    if max(lost_s, min(pause.outage_s, now - asked_at)) > OUTAGE_S:
                        raise ModelUnavailable(_in_words(error), attempt) from error
                    listener.waits(_in_words(error), pause.seconds)
            own_failures += pause.own_s > 0
            time.sleep(pause.own_s)
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _identity(self) -> Identity:
        key = self._client.api_key or self._client.auth_token or ""
        return Identity(str(self._client.base_url), key, family(self.endpoint.model))

    def _turn(
        self, priority: Priority, new_tokens: int, own_failures: int, since: float | None, teller: _Teller
    ) -> AbstractContextManager[Turn]:
        if self.governor is None:
            return alone(self._clock, own_failures=own_failures, since=since)
        return self.governor.turn(
            priority=priority, input_tokens=new_tokens, own_failures=own_failures, since=since, waits=teller.tell
        )

    def _ask_once(self, body: Mapping[str, Any], listener: Listener, turn: Turn) -> Answer:
        started_at = first_byte_at = self._clock.now()
        with self._client.messages.stream(**body) as stream:
            turn.heard(stream.response.headers)
            for event in stream:
                if event.type == "message_start":
                    first_byte_at = self._clock.now()
                    listener.began()
            message = stream.get_final_message()
        if message.stop_reason is None:
            raise TruncatedStream
        usage = Usage.from_wire(message.usage.to_dict(mode="json"))
        turn.answered(usage=usage)
        return Answer(
            content=[block.to_dict(mode="json") for block in message.content],
            stop_reason=message.stop_reason,
            usage=usage,
            started_at=started_at,
            first_byte_at=first_byte_at,
            ended_at=self._clock.now(),
        )


class _Teller:
    """Tells the listener of waits in line, but not again of a closing that its own refusal has told it of."""

    def __init__(self, listener: Listener, *, after_failure: bool) -> None:
        self._listener = listener
        self._after_failure = after_failure

    def tell(self, wait: Wait) -> None:
        if not (self._after_failure and wait.kind == "closed"):
            self._listener.waits(wait.reason, wait.seconds)


def _marked(message: Message) -> dict[str, Any]:
    *before, last = message.content
    return {"role": message.role, "content": [*before, {**last, **_MARK}]}


def _new_tokens(request: Request) -> int:
    """About how much of the prompt no cache holds: what came behind the last answer, and that answer."""
    roles = [message.role for message in request.messages]
    last = len(roles) - 1 - roles[::-1].index("assistant") if "assistant" in roles else 0
    new = [message.content for message in request.messages[last:]]
    return len(json.dumps(new, default=str)) // CHARACTERS_A_TOKEN


def _kind_of_final(error: Exception) -> Kind | None:
    """Of what kind an error is that another attempt would meet again; None for those that pass."""
    if isinstance(error, anthropic.CredentialsError):
        return "auth"
    if not isinstance(error, anthropic.APIStatusError):
        return None
    if error.error_code in _SPEND_CODES:
        return "spend"
    status = error.status_code
    if status in _KIND_OF_STATUS:
        return _KIND_OF_STATUS[status]
    # 200: an error event within a stream that had begun well.
    is_passing = status == 200 or status in _PASSING_STATUS or status >= _SERVER_FAULTS  # noqa: PLR2004  HTTP's OK
    return None if is_passing else "request"


def _told(turn: Turn, error: Exception) -> Pause:
    """Tell the governor of a passing fault, and learn what it costs."""
    if not isinstance(error, anthropic.APIStatusError):
        return turn.failed()
    if error.status_code != 200:  # noqa: PLR2004  HTTP's OK
        return turn.refused(error.status_code, error.response.headers)
    status = _STATUS_OF_EVENT.get(error.type or "")
    return turn.failed() if status is None else turn.refused(status, {})


def _in_words(error: Exception) -> str:
    if isinstance(error, TruncatedStream):
        return "the stream ended early"
    if isinstance(error, anthropic.APIStatusError):
        return f"HTTP {error.status_code} {error.type or ''}: {error.api_message or error}"[:500]
    return f"{type(error).__name__}: {error}"[:500]
