"""Which call this is a part of: W3C Trace Context (https://www.w3.org/TR/trace-context/), and spans for a collector.

A caller's `traceparent` gives the request its id where the caller names none, so logs, the journal and what we send on
can be followed by it without any collector. With `CLINIC_OTLP_URL` each request and transaction is a span as well.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_TRACE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_tracer: Any = None


@dataclass(frozen=True)
class Context:
    """A caller's place in its trace."""

    trace_id: str
    parent_id: str
    flags: str


def read(header: str | None) -> Context | None:
    """What a `traceparent` says; None where it is missing or cannot be right, as the recommendation has it."""
    match = _FORM.fullmatch(header or "")
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    if not int(match[2], 16) or not int(match[3], 16):
        return None
    return Context(match[2], match[3], match[4])


def header(trace_id: str | None) -> dict[str, str]:
    """The `traceparent` for a call we make as a part of this trace; nothing where the id is of another form."""
    if trace_id is None or not _TRACE_ID.fullmatch(trace_id) or not int(trace_id, 16):
        return {}
    return {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}


# ---- Spans ----


def set_up(url: str | None) -> None:
    """Send this process's spans to the collector at `url`, OTLP over HTTP; after fork, since it starts a thread."""
    global _tracer
    if url is None:
        return
    # Loaded only where it is wanted: it takes as long as all the rest.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "clinic-billing"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=5)))
    _tracer = provider.get_tracer("clinic")


@contextmanager
def serving(trace: Context | None) -> Iterator[Any]:
    """The span of a request; None where no collector is set."""
    if _tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carried = {} if trace is None else {"traceparent": f"00-{trace.trace_id}-{trace.parent_id}-{trace.flags}"}
    parent = TraceContextTextMapPropagator().extract(carried)
    with _tracer.start_as_current_span(
        "request", context=parent, kind=SpanKind.SERVER, record_exception=False, set_status_on_exception=False
    ) as span:
        yield span


def describe(span: Any, name: str, attributes: Mapping[str, Any], *, failed: bool) -> None:
    """Say what a request's span was; nothing of it is personal."""
    if span is None:
        return
    from opentelemetry.trace import StatusCode

    span.update_name(name)
    span.set_attributes(dict(attributes))
    if failed:
        span.set_status(StatusCode.ERROR)


@contextmanager
def step(name: str) -> Iterator[None]:
    """A part of the work of a request, such as a transaction."""
    if _tracer is None:
        yield
        return
    with _tracer.start_as_current_span(name, record_exception=False):
        yield
