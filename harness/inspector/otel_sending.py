"""Sending a swarm's spans to a collector of OpenTelemetry, all at once or as they end; needs the extra `otel`.

Where to, and with which headers, is said as for every program that speaks OpenTelemetry: `OTEL_EXPORTER_OTLP_ENDPOINT`
and its like.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prong.harness.inspector.feed import connect
from prong.harness.inspector.otel import SCOPE, OtelSpan, Trace, trace
from prong.harness.status import is_supervised
from prong.state import ProngError, Store
from prong.state.secrets import masked

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

BATCH = 500
"""So many spans are sent at once."""

LOOK_S = 2.0
"""How often it is looked for spans that have ended, in seconds."""

LONGEST_PAUSE_S = 60.0
"""How long a collector that refuses is left alone at most before it is asked again, in seconds."""

PATIENCE_S = 120.0
"""How long it is tried to send the last spans of a swarm that has ended, in seconds."""

RESTS = 5
"""So many times as long as a round has taken it rests before the next."""


class NotSent(ProngError):
    """Spans could not be sent; `sent` were before."""

    def __init__(self, problem: str, sent: int = 0) -> None:
        self.problem = problem
        self.sent = sent

    def __str__(self) -> str:
        before = f" ({self.sent:,} it took before; the same command sends all again, each under its number)"
        return f"{self.problem}{before if self.sent else ''}"


def exporter(endpoint: str | None) -> SpanExporter:
    """What sends to an endpoint such as http://localhost:4318/v1/traces, or to where the environment says."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  an extra
    except ImportError:
        raise NotSent("sending spans needs the extra otel; install it with: pip install 'prong[otel]'") from None
    return OTLPSpanExporter(endpoint=endpoint)


@dataclass(slots=True)
class Progress:
    """How many spans the collector has; since when it refuses, by a clock of its own, and how long that lasts by now.

    `pause_s` is how long it is left alone then.
    """

    sent: int = 0
    refused_since: float | None = None
    pause_s: float = 0.0
    problem: str = ""


def send(
    store: Store, to: SpanExporter, *, follow: bool, told: Callable[[Progress], None] = lambda _progress: None,
    patience_s: float = PATIENCE_S,
) -> int:  # fmt: skip
    """Send all spans that have ended, and where it shall `follow` go on until the swarm ends; returns how many.

    Where it follows, a collector that refuses is asked again, later and later, as long as the swarm runs and
    `patience_s` beyond; what it has not taken is read from the log again and kept nowhere.  `told` is called when more
    was sent, and when it refuses.  Raises `NotSent`.
    """
    sent: set[str] = set()
    progress = Progress()
    ended_at = None
    while True:
        began = time.monotonic()
        over = not follow or not is_supervised(store)
        ended_at = began if over and ended_at is None else ended_at
        if _round(store, to, sent, progress, whole=over):
            told(progress)
        if over and progress.refused_since is None:
            return len(sent)
        if over and (not follow or ended_at is None or time.monotonic() - ended_at >= patience_s):
            raise NotSent(progress.problem, len(sent))
        # A long log is read again each time, and that shall not take the machine from the swarm.
        time.sleep(max(LOOK_S, progress.pause_s, RESTS * (time.monotonic() - began)))


def _round(store: Store, to: SpanExporter, sent: set[str], progress: Progress, *, whole: bool) -> bool:
    """Send what has ended since the last time; whether there is something to tell."""
    with closing(connect(store.path)) as connection:
        found = trace(connection, whole=whole)
    fresh = [one for one in found.spans if one.id not in sent]
    for start in range(0, len(fresh), BATCH):
        batch = fresh[start : start + BATCH]
        problem = _send(to, found, batch)
        if problem is not None:
            progress.problem = problem
            progress.refused_since = progress.refused_since or time.monotonic()
            progress.pause_s = min(LONGEST_PAUSE_S, max(LOOK_S, 2 * progress.pause_s) * random.uniform(0.8, 1.2))  # noqa: S311  no secret
            return True
        progress.refused_since, progress.pause_s = None, 0.0
        sent.update(one.id for one in batch)
        progress.sent = len(sent)
    return bool(fresh)


def _send(to: SpanExporter, found: Trace, spans: list[OtelSpan]) -> str | None:
    """Send one batch; what is wrong where the collector does not take it."""
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415  an extra

    if to.export([_readable(found, one) for one in spans]) is SpanExportResult.SUCCESS:
        return None
    return "the collector did not take the spans; see that it listens where OTEL_EXPORTER_OTLP_ENDPOINT says"


def _readable(found: Trace, one: OtelSpan) -> ReadableSpan:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  as above
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415  as above
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415  as above
    from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags  # noqa: PLC0415  as above

    def context(span: str) -> SpanContext:
        return SpanContext(
            int(found.id, 16), int(span, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
        )

    attributes: dict[str, Any] = {name: _masked(value) for name, value in one.attributes.items() if value is not None}
    if one.error is not None:
        attributes["error.type"] = masked(one.error[:200])
    return ReadableSpan(
        name=masked(one.name), context=context(one.id), parent=None if one.parent is None else context(one.parent),
        resource=Resource({"service.name": "prong", "service.instance.id": found.swarm}), attributes=attributes,
        links=[Link(context(link)) for link in one.links],
        kind=SpanKind.CLIENT if one.kind == "client" else SpanKind.INTERNAL,
        status=Status() if one.error is None else Status(StatusCode.ERROR, masked(one.error[:200])),
        start_time=one.start_ns, end_time=one.end_ns, instrumentation_scope=InstrumentationScope(SCOPE),
    )  # fmt: skip


def _masked(value: Any) -> Any:
    return masked(value) if isinstance(value, str) else value
