"""The service behind `deploy/nginx.conf`, as it is: what a caller says of himself or of lengths gets no further."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from clinic.embedded import CHECKOUT, Cluster
from tests import running
from tests.test_raw_requests import SMUGGLED, post, statuses
from tests.tls import Authority

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.xdist_group("server"),
    pytest.mark.skipif(NGINX is None, reason="no nginx here to try deploy/nginx.conf with"),
]
HOST = "clinic.example"
FORGED = "203.0.113.77"


@dataclass(frozen=True)
class Site:
    """The service and the proxy before it."""

    service: running.Service
    port: int
    plain_port: int
    root: Path

    def said(self, words: bytes) -> bytes:
        """All that is answered over TLS to these bytes until the end, or until silence of a second."""
        trusting = ssl.create_default_context(cafile=str(self.root))
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=2) as sent,
            trusting.wrap_socket(sent, server_hostname=HOST) as safe,
        ):
            safe.sendall(words)
            heard = b""
            with suppress(TimeoutError, ConnectionResetError, ssl.SSLError):
                while more := safe.recv(65536):
                    heard += more
            return heard

    def get(self, path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
        lines = [f"GET {path} HTTP/1.1", f"Host: {HOST}", "Connection: close", *headers]
        return answered(self.said("\r\n".join([*lines, "", ""]).encode()))


def answered(heard: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = heard.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), {name.lower(): text for name, text in (line.split(": ", 1) for line in lines)}, body


def of_site(words: bytes) -> bytes:
    """A request of `test_raw_requests`, sent to this host."""
    return words.replace(b"Host: clinic\r\n", f"Host: {HOST}\r\n".encode())


@pytest.fixture(scope="module")
def site(cluster: Cluster) -> Iterator[Site]:
    env = {"CLINIC_PUBLIC_URL": f"https://{HOST}", "CLINIC_TRUSTED_PROXIES": "127.0.0.1"}
    with (
        running.new_database(cluster) as urls,
        running.service(urls, **env) as service,
        tempfile.TemporaryDirectory(prefix="clinic-nginx-") as made,
    ):
        folder = Path(made)
        authority = Authority(folder)
        port, plain = free_port(), free_port()
        process = started(folder, authority, service.server.port, port, plain)
        try:
            yield Site(service, port, plain, authority.root)
        finally:
            process.terminate()
            process.wait(10)


def started(folder: Path, authority: Authority, service: int, port: int, plain: int) -> subprocess.Popen[bytes]:
    assert NGINX is not None
    (folder / "nginx.conf").write_text(configured(folder, authority, service, port, plain))
    process = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.PIPE)
    end = time.monotonic() + 10
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"nginx did not start: {process.communicate()[1].decode()}")


def configured(folder: Path, authority: Authority, service: int, port: int, plain: int) -> str:
    """deploy/nginx.conf with the ports and the certificate of this test, and what stands around it in nginx."""
    issued = authority.issue(HOST)
    site = (CHECKOUT / "deploy" / "nginx.conf").read_text()
    for ours, theirs in (
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{service};"),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/etc/nginx/tls/clinic.crt", str(issued.certificate)),
        ("/etc/nginx/tls/clinic.key", str(issued.key)),
        *([] if version() >= (1, 25, 1) else [("    http2 on;\n", "")]),
    ):
        assert ours in site
        site = site.replace(ours, theirs)
    temporary = "".join(
        f"{name}_temp_path {folder / name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off;\npid {folder / 'pid'};\nerror_log stderr;\nworker_processes 1;\n"
        f"events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n"
    )


def version() -> tuple[int, ...]:
    assert NGINX is not None
    told = subprocess.run([NGINX, "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", told)
    assert found
    return tuple(map(int, found.groups()))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_the_service_answers_through_it(site):
    status, headers, body = site.get("/v1/prices")
    assert (status, len(json.loads(body)["items"]) > 0) == (200, True)
    assert headers["strict-transport-security"]
    assert site.get("/prices")[0] == 200


def test_s35_without_tls_one_is_sent_to_the_safe_address(site):
    with socket.create_connection(("127.0.0.1", site.plain_port), timeout=5) as sent:
        sent.sendall(b"GET /prices?q=1 HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n")
        status, headers, _ = answered(sent.recv(65536))
    assert (status, headers["location"]) == (301, f"https://{HOST}/prices?q=1")


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/health/ready", "/health/ready/"])
def test_s42_figures_are_for_those_inside(site, path):
    assert site.get(path)[0] == 404
    assert site.get("/health/live")[0] == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
def test_s33_who_calls_is_told_by_the_proxy_alone(site, header):
    form = b"login=nobody&password=guessed"
    words = post(
        b"Content-Type: application/x-www-form-urlencoded",
        b"Content-Length: %d" % len(form),
        f"{header}: {'for=' if header == 'Forwarded' else ''}{FORGED}".encode(),
        body=form,
    ).replace(b"POST /v1/quotes", b"POST /sign-in")
    assert answered(site.said(of_site(words)))[0] == 401
    with psycopg.connect(site.service.urls.owner) as conn:
        counted = conn.execute("SELECT DISTINCT key FROM rate_limit WHERE name = 'sign_in_at_address'").fetchall()
    assert counted == [("127.0.0.1",)]


def test_s33_where_pages_lead_is_not_for_callers_to_say(site):
    status, headers, _ = site.get("/desk", "X-Forwarded-Host: bad.example", "X-Forwarded-Prefix: /bad")
    assert (status, headers["location"]) == (303, "/sign-in?next=%2Fdesk")


def test_s33_another_host_is_refused_through_it_too(site):
    status, _, body = answered(
        site.said(b"GET /v1/branches HTTP/1.1\r\nHost: bad.example\r\nConnection: close\r\n\r\n")
    )
    assert (status, json.loads(body)["code"]) == (400, "wrong_host")


CHUNKED = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ((b"Content-Length: %d" % (5 + len(SMUGGLED)), CHUNKED), b"0\r\n\r\n" + SMUGGLED),
        ((CHUNKED, b"Content-Length: %d" % (5 + len(SMUGGLED))), b"0\r\n\r\n" + SMUGGLED),
        ((b"Content-Length: 4", CHUNKED), b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
        ((b"Content-Length: 0", b"Content-Length: %d" % len(SMUGGLED)), SMUGGLED),
        ((b"Content-Length: %d" % len(SMUGGLED), b"Content-Length: %d" % len(SMUGGLED)), SMUGGLED),
        ((b"Transfer-Encoding: xchunked",), b"0\r\n\r\n" + SMUGGLED),
        ((b"Transfer-Encoding : chunked",), b"0\r\n\r\n" + SMUGGLED),
        ((b"Transfer-Encoding: \x0bchunked",), b"0\r\n\r\n" + SMUGGLED),
        ((CHUNKED, CHUNKED), b"0\r\n\r\n" + SMUGGLED),
        ((b"Content-Length: +%d" % len(SMUGGLED),), SMUGGLED),
    ],
)
def test_s34_a_message_of_two_lengths_is_refused_behind_the_proxy_too(site, headers, body):
    heard = site.said(of_site(post(*headers, body=body)))
    assert b"smuggled-request" not in heard
    assert "smuggled-request" not in site.service.server.words()
    assert statuses(heard)[:1] in ([400], [501]), heard
    assert len(statuses(heard)) == 1


def test_s24_a_body_that_is_too_large_is_refused_at_the_proxy(site):
    heard = site.said(of_site(post(b"Content-Length: 300000")))
    status, headers, body = answered(heard)
    assert (status, headers["content-type"], json.loads(body)["code"]) == (413, "application/problem+json", "too_large")


def test_a_service_that_is_away_is_told_of_in_our_form(site, cluster):
    with tempfile.TemporaryDirectory(prefix="clinic-nginx-") as made:
        folder = Path(made)
        authority, port = Authority(folder), free_port()
        process = started(folder, authority, free_port(), port, free_port())
        try:
            status, headers, body = Site(site.service, port, 0, authority.root).get("/v1/prices")
        finally:
            process.terminate()
            process.wait(10)
    assert (status, headers["retry-after"], json.loads(body)["code"]) == (503, "1", "database_away")
    assert headers["content-type"] == "application/problem+json"
