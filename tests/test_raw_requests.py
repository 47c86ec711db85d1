"""Requests no client library sends: where one message ends is never in doubt, or it is refused."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
from gunicorn.http.errors import InvalidResponseHeader
from werkzeug.wrappers import Response

from clinic import logs, web_worker
from clinic.embedded import Cluster
from tests import running
from tests.conftest import SETTINGS
from tests.test_security_headers import wrong
from wsgi import create_app

pytestmark = pytest.mark.xdist_group("server")
SMUGGLED = b"GET /v1/branches HTTP/1.1\r\nHost: smuggled\r\nX-Request-Id: smuggled-request\r\n\r\n"


@pytest.fixture(scope="module")
def service(cluster: Cluster) -> Iterator[running.Service]:
    with running.new_database(cluster) as urls, running.service(urls) as service:
        yield service


@pytest.fixture(scope="module")
def port(service: running.Service) -> int:
    return service.server.port


@pytest.fixture(scope="module")
def secure_port(service: running.Service) -> Iterator[int]:
    """Of a server whose public address is an https one."""
    with running.Server(service.urls, CLINIC_PUBLIC_URL="https://clinic.example") as server:
        yield server.port


def said(port: int, words: bytes) -> bytes:
    """All that the server answers to these bytes until it closes, or is silent for a second."""
    with socket.create_connection(("127.0.0.1", port), timeout=1) as sent:
        sent.sendall(words)
        heard = b""
        end = time.monotonic() + 8
        try:
            while time.monotonic() < end and (more := sent.recv(65536)):
                heard += more
        except (TimeoutError, ConnectionResetError):
            pass
        return heard


def post(*headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST /v1/quotes HTTP/1.1", b"Host: clinic", *headers, b"", b""]) + body


def statuses(heard: bytes) -> list[int]:
    return [int(each[:3]) for each in heard.split(b"HTTP/1.1 ")[1:]]


def check_refused(heard: bytes) -> None:
    """Refused by the web server, with nothing after it read as a request of its own."""
    assert b"smuggled-request" not in heard
    assert len(statuses(heard)) == 1
    assert set(statuses(heard)) <= {400, 501}, heard


def test_s34_a_request_that_is_whole_is_read_as_one(port):
    heard = said(port, post(b"Content-Length: 2", b"Content-Type: application/json", body=b"{}"))
    assert statuses(heard) == [401]


def test_s34_two_requests_one_after_the_other_are_two(port):
    # The oracle of the other tests: a request that was smuggled would be answered, and be seen.
    first = b"GET /v1/branches HTTP/1.1\r\nHost: clinic\r\n\r\n"
    heard = said(port, first + SMUGGLED)
    assert statuses(heard) == [401, 401]
    assert b"smuggled-request" in heard


def test_s34_length_and_chunks_at_once_are_refused(port):
    body = b"0\r\n\r\n" + SMUGGLED
    for headers in (
        (b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(body)),
    ):
        check_refused(said(port, post(*headers, body=body)))


def test_s34_chunks_that_a_short_length_cuts_off_are_refused(port):
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    check_refused(said(port, post(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=body)))


@pytest.mark.parametrize(
    "lengths",
    [(b"0", b"%d"), (b"%d", b"0"), (b"%d", b"%d"), (b"0, %d",), (b"+%d",), (b"-1",), (b"0x10",), (b"1_0",), (b"",)],
)
def test_s34_a_length_said_twice_or_wrongly_is_refused(port, lengths):
    size = b"%d" % len(SMUGGLED)
    headers = [b"Content-Length: " + each.replace(b"%d", size) for each in lengths]
    check_refused(said(port, post(*headers, body=SMUGGLED)))


@pytest.mark.parametrize(
    "coding",
    [
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity, chunked, chunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"X-Any: any\r\n Transfer-Encoding: chunked",
        b"Transfer_Encoding: chunked\r\nContent-Length: 0, 0",
        b"X-Any: any\nTransfer-Encoding: chunked",
    ],
)
def test_s34_a_disguised_coding_is_refused(port, coding):
    check_refused(said(port, post(coding, body=b"0\r\n\r\n" + SMUGGLED)))


@pytest.mark.parametrize(
    "folded", [b"X-Any: one\r\n two", b"X-Any: one\r\n\ttwo", b"Content-Length:\r\n 2", b" X-Any: one"]
)
def test_s34_a_folded_header_is_refused(port, folded):
    check_refused(said(port, post(folded, body=b"")))


@pytest.mark.parametrize("size", [b"-1", b"0x5", b"+5", b"5_0", b"zz", b"", b"5 ;\n"])
def test_s34_a_chunk_of_no_clear_size_is_refused(port, size):
    chunks = size + b"\r\n{}   \r\n0\r\n\r\n"
    heard = said(port, post(b"Transfer-Encoding: chunked", b"Content-Type: application/json", body=chunks + SMUGGLED))
    assert b"smuggled-request" not in heard


# ---- What is no request is refused in our own form ----

CANARY = b"Canary<script>"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (b"GET /" + CANARY + b" HTTP/1.1 more\r\n\r\n", 400),
        (b"g\x7ft / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: clinic\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nAuthorization : " + CANARY + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nAuthorization: " + CANARY + b"\x00\r\n\r\n", 400),
        (b"GET /prices?q=" + CANARY * 400 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"X-Any: Canary\r\n" * 61 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nExpect: " + CANARY + b"\r\n\r\n", 417),
        (post(b"Transfer-Encoding: xchunked"), 501),
    ],
)
@pytest.mark.parametrize("over_https", [False, True])
def test_s15_what_is_no_request_is_refused_with_the_headers_too(port, secure_port, over_https, words, status):
    heard = said(secure_port if over_https else port, words)
    assert statuses(heard) == [status]
    head, _, body = heard.partition(b"\r\n\r\n")
    lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
    answer = Response(body, status, [(name, text) for name, text in lines])
    assert wrong(answer, "/", over_https=over_https) == []
    told = json.loads(body)
    assert (answer.content_type, told["status"], told["code"]) == (
        "application/problem+json", status, "unreadable_request",
    )  # fmt: skip
    assert told["request_id"] == answer.headers["X-Request-Id"]
    assert b"Canary" not in heard


def test_s38_no_line_of_the_log_repeats_what_is_no_request(service):
    for words in (b"GET /Canary\r\n\r\n", b"Canary / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nCanary\r\n\r\n"):
        heard = said(service.server.port, words)
        lines = [json.loads(each) for each in service.server.words().splitlines() if "no request" in each]
        assert json.loads(heard.partition(b"\r\n\r\n")[2])["request_id"] == lines[-1]["request_id"]
    assert "Canary" not in service.server.words()
    assert "127.0.0.1" not in service.server.words()


def test_s39_a_failure_outside_the_application_tells_its_code_alone(caplog):
    worker = object.__new__(web_worker.Worker)
    worker.wsgi = create_app(SETTINGS)
    caplog.handler.setFormatter(logs.Lines())
    ours, callers = socket.socketpair()
    with ours, callers:
        for failure in (RuntimeError("Canary"), InvalidResponseHeader("Canary")):
            worker.handle_error(None, ours, ("192.0.2.7", 1), failure)
            heard = callers.recv(65536)
            assert statuses(heard) == [500]
            told = json.loads(heard.partition(b"\r\n\r\n")[2])
            assert (told["code"], told["status"]) == ("internal_error", 500)
            assert b"Canary" not in heard
    assert "a defect" in caplog.text
    assert "Canary" not in caplog.text


def test_s34_afterwards_the_server_serves(port):
    assert running.Caller(port).get("/health/ready").status == 200
