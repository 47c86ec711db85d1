"""One message to receivers that misbehave: five seconds in all, and nothing believed but what was looked at."""

from __future__ import annotations

import http.server
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from clinic import addresses, sending
from clinic.addresses import allowed
from tests.given_webhooks import HERE, Receiver, answered

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def post(url, ours=HERE, body=b"{}"):
    return sending.post(url, {"webhook-id": "1"}, body, allowed(ours), NOW)


@contextmanager
def peer(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a server that does as it likes with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                while True:
                    connection = listener.accept()[0]
                    threading.Thread(target=one, args=(connection,), daemon=True).start()
            except OSError:
                return

        def one(connection: socket.socket) -> None:
            with connection:
                try:
                    speak(connection)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def soon_over(monkeypatch):
    monkeypatch.setattr(sending, "WITHIN", 0.6)


def test_a_message_taken_is_delivered():
    with Receiver(answer=202) as receiver:
        outcome = post(receiver.url, body=b'{"a": 1}')
    assert (outcome.status, outcome.error, outcome.is_delivered) == (202, None, True)
    assert receiver.received[0].body == b'{"a": 1}'


@pytest.mark.parametrize(("status", "error"), [(200, None), (301, "redirected"), (410, "refused"), (500, "refused")])
def test_only_2xx_is_delivered(status, error):
    with Receiver(answer=status) as receiver:
        assert (post(receiver.url).status, post(receiver.url).error) == (status, error)


def test_nobody_there_is_no_connection():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert post(f"http://127.0.0.1:{port}/").error == "no_connection"


def hang(connection):
    connection.recv(65536)
    time.sleep(3)


def drip_headers(connection):
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(60):
        connection.sendall(b"X-A: b\r\n")
        time.sleep(0.05)


def drip_status(connection):
    connection.recv(65536)
    for byte in b"HTTP/1.1 200 " + b"O" * 60:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def never_read(connection):
    time.sleep(3)


@pytest.mark.parametrize("speak", [hang, drip_headers, drip_status, never_read])
def test_s30_no_receiver_takes_longer_than_the_time_in_all(soon_over, speak):
    with peer(speak) as url:
        began = time.monotonic()
        outcome = post(url, body=b"x" * 4_000_000 if speak is never_read else b"{}")
        assert 0.5 < time.monotonic() - began < 1.5
    assert (outcome.status, outcome.error) == (None, "timed_out")


def test_s30_an_answer_without_an_end_is_read_for_64_kib_and_no_more():
    sent = []

    def pour(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(200):
            connection.sendall(b"x" * 65536)
            sent.append(65536)

    with peer(pour) as url:
        began = time.monotonic()
        assert post(url).is_delivered
        assert time.monotonic() - began < 3
    # What the buffers of both sides swallow, and not the ten megabytes.
    time.sleep(0.2)
    assert sum(sent) < 8_000_000


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (b"", "bad_answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "bad_answer"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "bad_answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", "bad_answer"),
        (b"HTTP/1.1 200 " + b"O" * 70000, "bad_answer"),
    ],
)
def test_words_that_make_no_sense_are_no_delivery(words, error):
    def speak(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(words)

    with peer(speak) as url:
        outcome = post(url)
    assert not outcome.is_delivered
    assert outcome.error in (error, "no_connection")


def test_s30_a_proxy_of_the_environment_is_not_used(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Receiver() as receiver:
        assert post(receiver.url).is_delivered


def test_s30_the_connection_goes_to_the_address_that_was_looked_at(monkeypatch):
    """A name that says something else a moment later is not asked again, neither by us nor by a library."""
    answers = iter([["127.0.0.1"]])
    connected = []

    class Socket(socket.socket):
        def connect(self, address):
            connected.append(address)
            super().connect(address)

    with Receiver() as receiver:
        port = int(receiver.url.split(":")[2].split("/")[0])
        monkeypatch.setattr(addresses, "look_up", lambda *_: next(answers))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("resolved again"))
        monkeypatch.setattr(socket, "socket", Socket)
        assert post(f"http://turns.example:{port}/hook", "turns.example").is_delivered
        assert connected == [("127.0.0.1", port)]
        assert receiver.received[0].headers["host"] == f"turns.example:{port}"


def test_the_next_address_is_tried_when_the_first_one_takes_no_connection(monkeypatch):
    with Receiver() as receiver:
        port = receiver.url.split(":")[2]
        monkeypatch.setattr(addresses, "look_up", lambda *_: ["127.0.0.2", "127.0.0.1"])
        assert post(f"http://two.example:{port}", "two.example").is_delivered
        assert receiver.received[0].headers["host"] == f"two.example:{port.split('/')[0]}"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("99999999", 24 * 3600),
        ("Mon, 23 Nov 2026 09:01:00 GMT", 60),
        ("Mon, 23 Nov 2026 08:00:00 GMT", 0),
        ("Mon, 23 Nov 2026 09:01:00", None),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(said, seconds):
    with Receiver(answer=lambda handler: answered(handler, 503, Retry_After=said)) as receiver:
        assert post(receiver.url).retry_after == seconds


# ---- Over TLS ----


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for his.example, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=his.example",
         "-addext", "subjectAltName=DNS:his.example", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


@contextmanager
def over_tls(certificate) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answered(self, 204)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def trusting(certificate, monkeypatch):
    """Their authority is one of ours; every name leads here."""
    context = ssl.create_default_context(cafile=str(certificate[0]))
    monkeypatch.setattr(sending, "_context", lambda: context)
    monkeypatch.setattr(addresses, "look_up", lambda *_: ["127.0.0.1"])


def test_s30_the_certificate_must_be_for_the_name_though_the_address_is_connected_to(certificate, trusting):
    with over_tls(certificate) as port:
        assert post(f"https://his.example:{port}/").is_delivered
        assert post(f"https://HIS.example.:{port}/").is_delivered
        assert post(f"https://other.example:{port}/").error == "tls_failed"
        assert post(f"https://127.0.0.1:{port}/").error == "tls_failed"


def test_s30_a_certificate_of_an_unknown_authority_is_refused(certificate, monkeypatch):
    monkeypatch.setattr(addresses, "look_up", lambda *_: ["127.0.0.1"])
    with over_tls(certificate) as port:
        assert post(f"https://his.example:{port}/").error == "tls_failed"


def test_s30_a_handshake_that_hangs_ends_in_time(soon_over):
    with peer(hang) as url:
        began = time.monotonic()
        assert post(url.replace("http:", "https:")).error == "timed_out"
        assert time.monotonic() - began < 1.5
