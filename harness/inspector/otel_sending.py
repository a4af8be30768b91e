"""Sending a swarm's spans to a collector of OpenTelemetry, all at once or as they end; needs the extra `otel`.

Where to, and with which headers, is said as for every program that speaks OpenTelemetry: `OTEL_EXPORTER_OTLP_ENDPOINT`
and its like.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
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


class NotSent(ProngError):
    """Spans could not be sent."""

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


def exporter(endpoint: str | None) -> SpanExporter:
    """What sends to an endpoint such as http://localhost:4318/v1/traces, or to where the environment says."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  an extra
    except ImportError:
        raise NotSent("sending spans needs the extra otel; install it with: pip install 'prong[otel]'") from None
    return OTLPSpanExporter(endpoint=endpoint)


def send(store: Store, to: SpanExporter, *, follow: bool, told: Callable[[int], None] = lambda _number: None) -> int:
    """Send all spans that have ended, and where it shall `follow` go on until the swarm ends; returns how many.

    `told` is called with the number sent so far.  Raises `NotSent`.
    """
    sent: set[str] = set()
    while True:
        over = not follow or not is_supervised(store)
        with closing(connect(store.path)) as connection:
            found = trace(connection, whole=over)
        fresh = [one for one in found.spans if one.id not in sent]
        for start in range(0, len(fresh), BATCH):
            _send(to, found, fresh[start : start + BATCH])
        sent.update(one.id for one in fresh)
        if fresh:
            told(len(sent))
        if over:
            return len(sent)
        time.sleep(LOOK_S)


def _send(to: SpanExporter, found: Trace, spans: list[OtelSpan]) -> None:
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415  an extra

    if to.export([_readable(found, one) for one in spans]) is not SpanExportResult.SUCCESS:
        raise NotSent(
            "the collector did not take the spans; see that it listens where OTEL_EXPORTER_OTLP_ENDPOINT says"
        )


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
