"""Asking the model: one request, streamed, tried again while the fault is a passing one.

The SDK's own retries are off: they neither cover a stream that breaks nor tell anybody that they wait, and every
process would make its own.  When to try again is for the governor to say, which all processes share; a model without
one pauses by itself.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anthropic
import httpx2

from prong.agents.conversation import Block
from prong.agents.governor.file import Identity
from prong.agents.governor.governor import Governor, Priority, Wait, family
from prong.agents.governor.turn import Pause, Turn, alone
from prong.agents.model_faults import FAULTS, STATUS_OF_EVENT, ModelUnavailable, in_words, kind_of_final
from prong.agents.models import Usage
from prong.agents.request import Request, new_tokens
from prong.agents.stream import Assembly, DamagedStream, ErrorEvent, ignored
from prong.state import Clock

OUTAGE_S = 1_800.0
"""For how long one request is tried again, in seconds: an outage of that length costs waiting, and no task.

What counts is the time of its own failed attempts and of the pauses behind them, and that during which the provider
answered nobody; standing in line while others are answered does not count.
"""

MOST_DAMAGED = 12
"""So many streams of one request may be damaged: each was paid for, and what spoils them all is no passing fault."""

FACTS_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the model is and what it is called; `max_tokens` bounds one answer."""

    model: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    max_tokens: int = 32_000


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
class ModelFacts:
    """What an endpoint says of a model: how long its window is, and whether it compacts conversations itself."""

    context_tokens: int | None = None
    compacts: bool = False

    @classmethod
    def from_wire(cls, info: Mapping[str, Any]) -> ModelFacts:
        """The record of an answer to `GET /v1/models/ID`; whatever is missing or strange counts as not known."""
        window = info.get("max_input_tokens")
        capabilities = info.get("capabilities")
        compaction = capabilities.get("compaction") if isinstance(capabilities, dict) else None
        return cls(
            window if isinstance(window, int) and window > 0 else None,
            isinstance(compaction, dict) and bool(compaction.get("supported")),
        )


@dataclass(frozen=True, slots=True)
class Listener:
    """Whom to tell: that the response has begun, with how its prompt is paid, and that a fault makes us wait.

    The latter with its text and the seconds.  `calls` is told the name of each tool whose call has begun in the stream.
    """

    began: Callable[[Usage], None]
    waits: Callable[[str, float], None]
    calls: Callable[[str], object] = ignored


class Model:
    """A client for one endpoint.  It connects when it first asks, so it may be made before a fork and used after it.

    `governed_in` is the directory of the governor that it obeys, whose files are shared by all models with the same
    address, key and family; see `governor.default_directory`.
    """

    def __init__(self, endpoint: Endpoint, clock: Clock, *, governed_in: Path | None = None) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._facts: ModelFacts | None = None
        self._client = anthropic.Anthropic(api_key=endpoint.api_key, base_url=endpoint.base_url, max_retries=0)
        self._asks = self._client.messages, self._client.models  # read now, for a fork must not read them again
        self.governor = None if governed_in is None else Governor(governed_in, self._identity())

    def ask(self, request: Request, listener: Listener, *, priority: Priority = 0) -> Answer:
        """Send the request until it is answered; raises `ModelUnavailable`.

        Where calls have to wait, the one of the highest `priority` goes first: a number, or a function that tells it.
        """
        most = self.endpoint.max_tokens if request.max_tokens is None else request.max_tokens
        body = request.body(model=self.endpoint.model, max_tokens=most)
        new_input = new_tokens(request)
        since: float | None = None
        asked_at, lost_s, own_failures, damaged = self._clock.now(), 0.0, 0, 0
        for attempt in itertools.count(1):
            teller = _Teller(listener, after_failure=attempt > 1)
            with self._turn(priority, new_input, own_failures, since, teller) as turn:
                since, began = turn.since, self._clock.now()
                try:
                    if not most:
                        return self._warm_once(request, listener, turn)
                    return self._ask_once(body, request.options()["extra_headers"], listener, turn)
                except TypeError as error:
                    if "authentication" not in str(error):
                        raise
                    raise ModelUnavailable(str(error), attempt, "auth") from error
                except FAULTS as error:
                    kind = kind_of_final(error)
                    if kind is not None:
                        status = getattr(error, "status_code", None)
                        raise ModelUnavailable(in_words(error), attempt, kind, status) from error
                    pause = _told(turn, error)
                    now = self._clock.now()
                    lost_s += now - began + pause.seconds
                    damaged += isinstance(error, DamagedStream | UnicodeDecodeError)
                    if max(lost_s, min(pause.outage_s, now - asked_at)) > OUTAGE_S or damaged > MOST_DAMAGED:
                        raise ModelUnavailable(in_words(error), attempt) from error
                    listener.waits(in_words(error), pause.seconds)
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

    def facts(self) -> ModelFacts:
        """What the endpoint says of its model, asked once; of one that cannot tell nothing is known."""
        if self._facts is None:
            try:
                # As the SDK's own `beta.models` asks; to have that, agents would read a thousand modules more.
                info = self._client.models.retrieve(
                    self.endpoint.model, extra_query={"beta": "true"}, timeout=FACTS_TIMEOUT_S
                ).to_dict()
            except FAULTS:
                info = {}
            self._facts = ModelFacts.from_wire(info)
        return self._facts

    def rehearse(self, request: Request) -> None:
        """Ask once without a connection, so that all that a first call imports and remembers is there before a fork."""
        from prong.agents.rehearsal import client  # noqa: PLC0415  only the process that forks others needs it

        with client() as answered:
            stage = copy.copy(self)
            stage.governor, stage._client = None, answered  # noqa: SLF001  it is one of us
            stage.ask(request, Listener(lambda _: None, lambda *_: None))

    def _warm_once(self, request: Request, listener: Listener, turn: Turn) -> Answer:
        """A request that nobody answers: the endpoint reads the prompt into its cache, and refuses to stream that."""
        started_at = self._clock.now()
        raw = self._client.messages.with_raw_response.create(
            model=self.endpoint.model, max_tokens=0, **request.wire(), **request.options()
        )
        turn.heard(raw.headers)
        usage = Usage.from_wire(raw.parse().usage.to_dict(mode="json"))
        turn.answered(usage=usage)
        ended_at = self._clock.now()
        listener.began(usage)
        return Answer((), "max_tokens", usage, started_at, ended_at, ended_at)

    def _ask_once(self, body: bytes, headers: Mapping[str, str], listener: Listener, turn: Turn) -> Answer:
        started_at = first_byte_at = self._clock.now()

        def began() -> None:
            nonlocal first_byte_at
            first_byte_at = self._clock.now()
            listener.began(Usage.from_wire(assembly.usage))

        assembly = Assembly(began, listener.calls)
        # As `messages.create` does, but for a body that is JSON already: it would copy each of its thousand parts.
        with self._client.post(
            "/v1/messages", cast_to=anthropic.types.Message, content=body, options={"headers": headers}, stream=True,
            stream_cls=anthropic.Stream[anthropic.types.RawMessageStreamEvent],
        ) as stream:  # fmt: skip
            turn.heard(stream.response.headers)
            try:
                for event in anthropic.Stream.raw_events(stream.response):
                    assembly.take(event)
            except (httpx2.HTTPError, httpx2.StreamError):
                if not assembly.is_whole:
                    raise
        assembly.finish()
        assert assembly.stop_reason is not None
        usage = Usage.from_wire(assembly.usage)
        turn.answered(usage=usage)
        return Answer(
            content=assembly.content,
            stop_reason=assembly.stop_reason,
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


def _told(turn: Turn, error: Exception) -> Pause:
    """Tell the governor of a passing fault, and learn what it costs."""
    if isinstance(error, anthropic.APIStatusError):
        return turn.refused(error.status_code, error.response.headers)
    status = STATUS_OF_EVENT.get(error.kind) if isinstance(error, ErrorEvent) else None
    return turn.failed() if status is None else turn.refused(status, {})
