"""What is told of requests: lines of the log, figures, spans; and what is never told."""

from __future__ import annotations

import gzip
import json
import logging
import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from clinic import logs, tracing
from clinic.embedded import Cluster
from tests import given, running
from tests.conftest import SETTINGS
from tests.running import Service, soon
from wsgi import create_app

TOKEN = "t" * 32
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CANARIES = ("Канарейкина", "+79990001122", "canary@example.ru", "канарейка", "cb_canary")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged, as the lines are written."""
    caplog.handler.setFormatter(logs.Lines())
    caplog.set_level(logging.INFO, logger="clinic")
    return caplog


def told(lines):
    return [json.loads(line) for line in lines.text.splitlines()]


# ---- The log ----


def test_a_request_is_one_line_that_says_what_was_asked_by_whom_and_how_it_ended(clinic, lines):
    answer = clinic.get("/v1/quotes?patient=P-1")
    (line,) = told(lines)
    assert line["request_id"] == answer.headers["X-Request-Id"]
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/quotes", 200)
    assert line["actor"].startswith("key:") and line["ms"] >= 0 and line["level"] == "info"


def test_machines_that_ask_all_day_are_told_of_only_when_they_fail(front, lines):
    assert front.get("/v1/prices").status_code == 200
    assert front.get("/health/live").status_code == 200
    assert told(lines) == []


def test_what_nobody_serves_has_no_route(clinic, lines):
    clinic.get("/v1/канарейка")
    assert told(lines)[-1]["route"] == "none"
    assert "канарейка" not in lines.text


def personal_requests(clinic):
    name, phone, email, word, token = CANARIES
    person = {"id": "P-9", "name": name, "phone": phone, "email": email}
    quote = {"lines": [given.line("MRI-ABD-RP")], "patient": person, "comment": word}
    yield clinic.post("/v1/quotes", quote)
    yield clinic.post("/v1/quotes", quote | {"kind": word})
    yield clinic.get(f"/v1/services?q={word}")
    yield clinic.get(f"/v1/quotes?status={word}")
    yield clinic.get("/v1/quotes", Authorization=f"Bearer {token}")
    yield clinic.app.test_client().post("/sign-in", data={"login": word, "password": phone})
    yield clinic.app.test_client().get(f"/prices?q={word}")


def test_s38_no_line_holds_what_a_person_typed(clinic, lines):
    """Domain rule 71."""
    statuses = {answer.status_code for answer in personal_requests(clinic)}
    assert {201, 422, 200} <= statuses
    assert len(told(lines)) >= 7
    assert not [each for each in CANARIES if each in lines.text]


def test_s38_nor_does_a_500(clinic, lines, monkeypatch):
    def broken(_change, _days, wanted):
        raise RuntimeError(str(wanted))

    monkeypatch.setattr("billing.quoting.create", broken)
    answer = next(personal_requests(clinic))
    assert answer.status_code == 500
    defect, line = told(lines)
    assert (defect["error"], line["status"]) == ("RuntimeError", 500)
    assert "broken" in defect["where"] and defect["request_id"] == answer.headers["X-Request-Id"]
    assert not [each for each in CANARIES if each in lines.text]


def test_of_what_libraries_say_only_numbers_are_kept(lines):
    logging.getLogger("gunicorn.error").error("Error handling request %s by %d", "/desk?q=канарейка", 7)
    logging.getLogger("psycopg.pool").error("100%% of %r", "канарейка")
    assert [each["message"] for each in told(lines)] == ["Error handling request … by 7", "100% of '…'"]


def test_a_failure_that_a_library_logs_loses_its_text(lines):
    logs.request.set(logs.Request("the-last-request"))
    try:
        raise ValueError("канарейка")
    except ValueError:
        logging.getLogger("gunicorn.error").exception("Error handling request")
    (line,) = told(lines)
    assert (line["error"], line["request_id"]) == ("ValueError", "the-last-request")
    assert "канарейка" not in json.dumps(line["message"], ensure_ascii=False) and "text" not in line


# ---- Whose trace ----


def test_the_trace_of_the_caller_names_the_request_where_the_caller_does_not(clinic, lines):
    header = f"00-{TRACE}-{PARENT}-01"
    assert clinic.get("/v1/quotes", traceparent=header).headers["X-Request-Id"] == TRACE
    both = clinic.post(
        "/v1/quotes", {"lines": [given.line("MRI-ABD-RP")]}, traceparent=header, X_Request_Id="by-hand-1"
    )
    assert both.headers["X-Request-Id"] == "by-hand-1"
    assert [each["trace_id"] for each in told(lines)] == [TRACE, TRACE]


@pytest.mark.parametrize(
    "wrong",
    [
        "", "00", f"00-{TRACE}-{PARENT}", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01\n",
    ],
)  # fmt: skip
def test_a_trace_of_another_form_is_none(wrong):
    assert tracing.read(wrong) is None


def test_a_later_version_of_the_form_is_read():
    assert tracing.read(f"01-{TRACE}-{PARENT}-01-more") == tracing.Context(TRACE, PARENT, "01")


def test_a_trace_is_passed_on_with_a_place_of_our_own():
    passed = tracing.read(tracing.header(TRACE)["traceparent"])
    assert passed is not None
    assert (passed.trace_id, passed.parent_id != PARENT) == (TRACE, True)
    assert tracing.header("from-the-caller-1") == tracing.header(None) == {}


# ---- Figures ----


def figures(text):
    """(name, labels) -> number."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_s42_figures_are_there_only_where_a_token_is_set_and_shown(app):
    assert app.test_client().get("/metrics").status_code == 404
    measured = create_app(SETTINGS.__class__(secret_key="k" * 32, metrics_token=TOKEN)).test_client()
    for wrong in (
        {},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer ё"},
    ):
        refused = measured.get("/metrics", headers=wrong)
        assert (refused.status_code, refused.get_json()["code"]) == (401, "unauthorized")
    assert measured.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


class Collector(HTTPServer):
    """What an OpenTelemetry collector on this machine was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Sent)
        self.sent: list[ExportTraceServiceRequest] = []

    def spans(self) -> list[Span]:
        return [
            span
            for sent in self.sent
            for resource in sent.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Sent(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.sent.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not into the tests' output."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture(scope="module")
def service(cluster: Cluster, collector: Collector) -> Iterator[Service]:
    """A server that is measured and traced."""
    url = f"http://127.0.0.1:{collector.server_port}/v1/traces"
    with (
        running.new_database(cluster) as urls,
        running.service(urls, CLINIC_METRICS_TOKEN=TOKEN, CLINIC_OTLP_URL=url) as service,
    ):
        yield service


def scraped(service):
    answer = running.Caller(service.server.port, TOKEN).get("/metrics")
    assert answer.status == 200
    return figures(answer.raw.decode())


def number(found, name, **labels):
    return sum(value for (of, given_), value in found.items() if of == name and labels.items() <= dict(given_).items())


@pytest.mark.xdist_group("server")
class TestOfTwoProcesses:
    def test_their_figures_add_up_also_when_one_has_died(self, service):
        desk = service.branch()
        before = scraped(service)
        for _ in range(10):
            service.server.with_each_worker(lambda: running.made(desk.invoice(desk.quote())))
        os.kill(service.server.workers()[0], signal.SIGKILL)
        assert soon(lambda: len(service.server.workers()) == 2)
        after = scraped(service)

        def grown(name, **labels):
            return number(after, name, **labels) - number(before, name, **labels)

        invoicing = {"method": "POST", "route": "/v1/quotes/<uuid:quote_id>/invoice"}
        assert grown("clinic_requests_total", **invoicing, status="201") == 20
        assert grown("clinic_request_seconds_count", **invoicing) == 20
        assert grown("clinic_changes_total", type="invoice.issued") == 20
        assert number(after, "clinic_documents", branch=desk.branch, kind="invoice") == 20
        assert grown("clinic_journal_position") >= 80
        assert grown("clinic_pool_wait_seconds_count") >= 40
        assert number(after, "clinic_database_up") == 1
        assert number(after, "clinic_jobs", status="queued") == 0

    def test_a_request_is_a_span_of_its_callers_trace_and_says_nothing_personal(self, service, collector):
        caller = service.caller()
        caller.get("/v1/services?q=%D0%BA%D0%B0%D0%BD%D0%B0%D1%80%D0%B5%D0%B9%D0%BA%D0%B0")
        caller.call("GET", "/v1/quotes?patient=P-canary", None, {"traceparent": f"00-{TRACE}-{PARENT}-01"})
        assert soon(lambda: any(span.trace_id.hex() == TRACE for span in collector.spans()), 15)
        ours = [span for span in collector.spans() if span.trace_id.hex() == TRACE]
        (request,) = (span for span in ours if span.name == "GET /v1/quotes")
        assert request.parent_span_id.hex() == PARENT
        assert {span.name for span in ours if span.parent_span_id == request.span_id} == {"transaction"}
        assert "canary" not in str(collector.sent) and "канарейка" not in str(collector.sent)
