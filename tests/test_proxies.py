"""What strangers write into headers: who called, what the service is called, and how it was reached."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clinic import proxies, settings
from clinic.proxies import Front
from tests import given
from tests.conftest import SETTINGS
from wsgi import create_app

PROXY = "10.1.0.5"
STRANGER = "192.0.2.7"
FORGED = {
    "X-Forwarded-For": STRANGER,
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "444",
    "X-Forwarded-Prefix": "/evil",
    "X-Real-IP": STRANGER,
    "Forwarded": f"for={STRANGER};host=evil.example;proto=https",
    "X-Original-URL": "/admin/staff",
    "X-Rewrite-URL": "/admin/staff",
}


def caller(peer, hops, trusted="10.1.0.0/16, 2001:db8::/32"):
    seen = {}
    front = Front(lambda environ, _: seen.update(environ) or [], proxies.trusted(trusted))
    front({"REMOTE_ADDR": peer} | ({"HTTP_X_FORWARDED_FOR": hops} if hops else {}), None)  # type: ignore[arg-type]
    assert "HTTP_X_FORWARDED_FOR" not in seen
    return seen["REMOTE_ADDR"]


@pytest.mark.parametrize(
    ("peer", "hops", "called"),
    [
        (PROXY, STRANGER, STRANGER),
        (PROXY, f"203.0.113.9, {STRANGER}", STRANGER),
        (PROXY, f"203.0.113.9, {STRANGER}, 10.1.0.6", STRANGER),
        (PROXY, f"{STRANGER}, nonsense", PROXY),
        (PROXY, "10.1.0.6", "10.1.0.6"),
        (PROXY, None, PROXY),
        ("::ffff:10.1.0.5", STRANGER, STRANGER),
        ("2001:db8::5", "2001:4860::1", "2001:4860::1"),
        ("198.51.100.1", STRANGER, "198.51.100.1"),
        ("", STRANGER, ""),
    ],
)
def test_s33_the_last_hop_that_is_no_proxy_of_ours_has_called(peer, hops, called):
    assert caller(peer, hops) == called


def test_s33_nobody_is_trusted_unless_named():
    assert caller(PROXY, STRANGER, trusted=None) == PROXY


@pytest.mark.parametrize("trusted", ["proxy.lan", "10.1.0.0/33", "10.1.0.5/16", "*"])
def test_s33_only_addresses_and_networks_are_proxies(trusted):
    with pytest.raises(settings.WrongSettings, match="CLINIC_TRUSTED_PROXIES"):
        settings.from_environment({"CLINIC_TRUSTED_PROXIES": trusted})


@pytest.mark.parametrize("path", ["/prices", "/sign-in", "/desk", "/v1/prices", "/v1/openapi.json"])
def test_s33_forged_headers_change_nothing(front, path):
    plain, forged = front.get(path), front.get(path, headers=FORGED)
    assert (forged.status_code, forged.data) == (plain.status_code, plain.data)
    passing = {"X-Request-Id", "Date"}
    assert {k: v for k, v in forged.headers if k not in passing} == {k: v for k, v in plain.headers if k not in passing}


def test_s33_a_proxys_word_decides_whose_budget_it_is(app):
    held = create_app(replace(SETTINGS, requests_per_minute=1, trusted_proxies=PROXY))

    def asked(peer, hops):
        headers = {"X-Forwarded-For": hops}
        return held.test_client().get("/prices", headers=headers, environ_overrides={"REMOTE_ADDR": peer}).status_code

    assert [asked(PROXY, STRANGER), asked(PROXY, STRANGER)] == [200, 429]
    assert asked(PROXY, "192.0.2.8") == 200
    assert [asked("198.51.100.1", "192.0.2.9"), asked("198.51.100.1", "192.0.2.10")] == [200, 429]


@pytest.fixture
def named(opened):
    given.main_branch()
    return create_app(replace(SETTINGS, public_url="https://clinic.example"))


@pytest.mark.parametrize("host", ["clinic.example", "CLINIC.example", "clinic.example:443"])
def test_s33_the_service_answers_to_its_name(named, host):
    assert named.test_client().get("/docs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "clinic.example.evil.example", "clinic.example:8443", "127.0.0.1", ""]
)
def test_s33_another_host_is_refused_by_name(named, host):
    client = named.test_client()
    assert client.get("/docs", headers={"Host": host}).status_code == 400
    answer = client.get("/v1/openapi.json", headers={"Host": host})
    assert (answer.status_code, (answer.get_json() or {})["code"]) == (400, "wrong_host")
    assert client.get("/health/live", headers={"Host": host}).status_code == 200


def test_s33_without_a_public_address_any_host_will_do(front):
    assert front.get("/docs", headers={"Host": "192.168.1.20:8000"}).status_code == 200
