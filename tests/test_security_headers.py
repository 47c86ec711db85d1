"""What every answer tells browsers (S15), and that other sites may read the price feed alone (S16)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from catalog import feed
from clinic import db
from clinic.errors import DatabaseAway
from clinic.http import App
from tests import given
from tests.conftest import SETTINGS
from tests.running import new_database
from tests.test_matrix import Route, Visitor, routes
from wsgi import create_app

SENT = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
RULES = {
    "default-src 'self'", "object-src 'none'", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'",
    "img-src 'self' data:",
}  # fmt: skip
FEED = "/v1/prices"
HTTPS = "https://clinic.example"


@dataclass(frozen=True)
class Site:
    """The application under a public address, and callers who may do everything there."""

    app: App
    secret: str
    session: str | None
    public_url: str | None

    def ask(self, route: Route) -> TestResponse:
        """As whoever may do everything."""
        cookie = f"session={self.session}; __Host-session={self.session}"
        known = {"Authorization": f"Bearer {self.secret}"} if route.is_json else {"Cookie": cookie}
        return self.open(route.path(), method=route.method, headers=known)

    def open(self, path: str, **more: Any) -> TestResponse:
        """As a stranger."""
        return self.app.test_client().open(path, base_url=self.public_url or "http://localhost", **more)


@pytest.fixture(scope="module", params=[None, HTTPS], ids=["http", "https"])
def site(request, cluster) -> Iterator[Site]:
    with new_database(cluster) as urls:
        db.open_pool(urls.app, size=4)
        given.main_branch()
        given.sample()
        app = create_app(replace(SETTINGS, public_url=request.param))
        app.config["PROPAGATE_EXCEPTIONS"] = False
        yield Site(app, given.key("*"), Visitor.signed_in("administrator", "anna").token, request.param)
        db.close_pool()


def wrong(answer: Response, path: str, *, over_https: bool) -> list[str]:
    """What is missing or too weak in the headers of an answer."""
    headers = answer.headers
    found = [f"{name}: {headers.getlist(name)}" for name, text in SENT.items() if headers.getlist(name) != [text]]
    if path.split("?")[0].rstrip("/") == FEED and open_to_all_sites(answer):
        found = [each for each in found if each != "Cross-Origin-Resource-Policy: ['cross-origin']"]
    if headers.getlist("Referrer-Policy") not in (["same-origin"], ["no-referrer"]):
        found.append(f"Referrer-Policy: {headers.getlist('Referrer-Policy')}")
    found += [f"Content-Security-Policy: {each}" for each in weak(headers.getlist("Content-Security-Policy"))]
    if "camera=()" not in headers.get("Permissions-Policy", ""):
        found.append("Permissions-Policy")
    if headers.getlist("Strict-Transport-Security") != (["max-age=31536000"] if over_https else []):
        found.append(f"Strict-Transport-Security: {headers.getlist('Strict-Transport-Security')}")
    return found


def open_to_all_sites(answer: Response) -> bool:
    """Whether browsers let other sites read it; for no site alone, and never with a cookie."""
    allowed = {name: text for name, text in answer.headers if name.startswith("Access-Control-")}
    assert allowed.pop("Access-Control-Allow-Origin", "*") == "*"
    assert "Access-Control-Allow-Credentials" not in allowed
    return "Access-Control-Allow-Origin" in answer.headers


def weak(policies: list[str]) -> list[str]:
    if len(policies) != 1:
        return [f"{len(policies)} of them"]
    rules = set(policies[0].split("; "))
    # Nothing else may be said: no script-src, no style-src, no 'unsafe-inline', no host.
    return sorted(rules - RULES) + [f"not {each}" for each in sorted(RULES - rules - {"img-src 'self' data:"})]


def test_s15_every_route_sends_the_headers_to_whoever_may_do_everything(site):
    found = {}
    for route in routes(site.app):
        answer = site.ask(route)
        if faults := wrong(answer, route.rule, over_https=bool(site.public_url)):
            found[f"{route.method} {route.rule} {answer.status_code}"] = faults
    assert found == {}


def test_s15_every_route_sends_the_headers_to_strangers_for_every_method(site):
    found = {}
    for path in sorted({route.path() for route in routes(site.app)}):
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"):
            answer = site.open(path, method=method)
            if faults := wrong(answer, path, over_https=bool(site.public_url)):
                found[f"{method} {path} {answer.status_code}"] = faults
    assert found == {}


def test_s16_other_sites_may_read_the_price_feed_alone(site):
    other_site = {"Origin": "https://other.example", "Access-Control-Request-Method": "GET"}
    found = set()
    for path in {"/static/style.css", "/nowhere", f"{FEED}/", *(route.path() for route in routes(site.app))}:
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"):
            if open_to_all_sites(site.open(path, method=method, headers=other_site)):
                found.add((method, path))
    assert found == {(method, path) for method in ("GET", "HEAD", "OPTIONS") for path in (FEED, f"{FEED}/")}


@pytest.mark.parametrize(("query", "status"), [("", 200), ("?q=x", 200), ("?on=x", 422), ("?x=1", 422)])
def test_s16_the_price_feed_is_for_all_sites_whatever_it_says(site, query, status):
    answer = site.open(FEED + query)
    assert (answer.status_code, open_to_all_sites(answer)) == (status, True)
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


@pytest.mark.parametrize(
    ("path", "status", "asked"),
    [
        ("/static/style.css", 200, {}),
        ("/static/nothing.css", 404, {}),
        ("/nowhere", 404, {}),
        ("/v1/nowhere", 404, {}),
        ("/v1/quotes", 413, {"method": "POST", "data": b" " * 300_000, "content_type": "application/json"}),
        ("/v1/quotes", 415, {"method": "POST", "data": b"{}", "content_type": "text/plain"}),
        ("/v1/quotes", 400, {"method": "POST", "data": b"{", "content_type": "application/json"}),
        ("/v1/quotes?limit=x", 422, {}),
        ("/v1/prices?on=x", 422, {}),
        ("/v1/prices", 406, {"headers": {"Accept": "image/png"}}),
        ("/v1/prices", 200, {}),
        ("/v1/prices/", 200, {"headers": {"Accept-Encoding": "br"}}),
        ("/v1/prices?q=узи", 200, {}),
    ],
)
def test_s15_files_and_refusals_send_them_too(site, path, status, asked):
    headers = {"Authorization": f"Bearer {site.secret}"} | asked.get("headers", {})
    answer = site.open(path, **asked | {"headers": headers})
    assert answer.status_code == status
    assert wrong(answer, path, over_https=bool(site.public_url)) == []


@pytest.mark.parametrize("path", ["/static/style.css", "/v1/openapi.json", "/v1/prices", "/prices"])
def test_s15_what_has_not_changed_sends_them_too(site, path):
    first = site.open(path)
    answer = site.open(path, headers={"If-None-Match": first.headers["ETag"]})
    assert answer.status_code == 304
    assert wrong(answer, path, over_https=bool(site.public_url)) == []


@pytest.mark.parametrize("path", ["/v1/branches", "/prices", "/v1/prices?q=x"])
def test_s15_a_defect_sends_them_too(site, monkeypatch, path):
    def broken(*_, **__):
        raise RuntimeError("a defect")

    monkeypatch.setattr(db, "reading", broken)
    monkeypatch.setattr(db, "transaction", broken)
    monkeypatch.setattr(db, "moment", broken)
    answer = site.open(path, headers={"Authorization": f"Bearer {site.secret}"})
    assert answer.status_code == 500
    assert wrong(answer, path, over_https=bool(site.public_url)) == []


@pytest.mark.parametrize("path", ["/v1/branches", "/prices", "/v1/prices?q=x"])
def test_s15_a_database_that_is_away_sends_them_too(site, monkeypatch, path):
    def away(*_, **__):
        raise DatabaseAway()

    monkeypatch.setattr(db, "reading", away)
    monkeypatch.setattr(db, "transaction", away)
    monkeypatch.setattr(db, "moment", away)
    answer = site.open(path, headers={"Authorization": f"Bearer {site.secret}"})
    assert answer.status_code == 503
    assert wrong(answer, path, over_https=bool(site.public_url)) == []


def test_s15_prices_kept_in_memory_send_them_while_the_database_is_away(site, monkeypatch):
    assert site.open(FEED).status_code == 200
    monkeypatch.setattr(feed, "ASK_EVERY", 0.0)
    monkeypatch.setattr(feed, "_version", lambda: 1 / 0)
    monkeypatch.setattr(db, "retrying", lambda *_, **__: (_ for _ in ()).throw(DatabaseAway()))
    answer = site.open(FEED)
    assert (answer.status_code, answer.headers["Warning"]) == (200, '110 - "Response is Stale"')
    assert wrong(answer, FEED, over_https=bool(site.public_url)) == []


@pytest.mark.parametrize("site", [HTTPS], indirect=True)
def test_s15_another_host_is_refused_with_them(site):
    answer = site.open("/docs", headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert wrong(answer, "/docs", over_https=True) == []
