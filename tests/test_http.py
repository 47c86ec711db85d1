"""The JSON edge: who may come in, what is read, and how refusals look."""

import json

import pytest

from clinic import clock, db, logs
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given
from tests.given import faults, line, made

BODY = {"lines": [line("CT-ABD-RP")]}


def post_raw(clinic, raw, content_type="application/json", path="/v1/quotes"):
    return clinic.app.test_client().post(
        path, data=raw, content_type=content_type, headers={"Authorization": f"Bearer {clinic.secret}"}
    )


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer nonsense", "Basic YTpi", "Bearer cb_" + "x" * 60])
def test_strangers_are_turned_away(clinic, header):
    refused = clinic.app.test_client().get("/v1/quotes", headers={"Authorization": header} if header else {})
    assert (refused.status_code, refused.get_json()["code"]) == (401, "unauthorized")
    assert refused.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_does_what_its_scopes_say_and_no_more(clinic):
    reader = given.caller(clinic.app, "quotes:read")
    assert reader.get("/v1/quotes").status_code == 200
    refused = reader.post("/v1/quotes", BODY)
    assert (refused.status_code, refused.get_json()["scope"]) == (403, "quotes:write")


def test_a_key_ends_on_its_last_day_and_when_it_is_revoked(clinic):
    with given.day("2027-01-10"):
        short = given.caller(clinic.app, "*", days=1)
        assert short.get("/v1/quotes").status_code == 200
    with given.day("2027-01-11", "12:01"):
        assert short.get("/v1/quotes").status_code == 401
    with change(COMMAND_LINE) as made_:
        made_.conn.execute("UPDATE api_key SET revoked_at = %s", (clock.now(),))
    assert clinic.get("/v1/quotes").status_code == 401


def test_s07_the_database_holds_no_usable_key(clinic):
    with db.reading() as conn:
        assert clinic.secret.split("_")[2] not in db.value(
            conn, "SELECT (key, secret)::text FROM api_key AS key, api_key_secret AS secret"
        )


def test_a_refusal_is_a_problem_in_the_callers_language(clinic):
    russian = clinic.post("/v1/quotes", {})
    english = clinic.post("/v1/quotes?lang=en", {})
    assert russian.content_type == english.content_type == "application/problem+json"
    body = english.get_json()
    assert body["type"] == "/problems/invalid_input"
    assert body["request_id"] == english.headers["X-Request-Id"]
    assert body["errors"] == [{"pointer": "/lines", "code": "required", "message": "This field is required."}]
    assert russian.get_json()["errors"][0]["message"] == "Поле обязательно."


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"{", 400, "unreadable_json"),
        (b'{"lines": NaN}', 400, "unreadable_json"),
        (b'{"lines": Infinity}', 400, "unreadable_json"),
        (b'{"kind": "firm", "kind": "approximate"}', 400, "duplicate_member"),
        (b'{"lines": [{"article": "A", "article": "B"}]}', 400, "duplicate_member"),
        (b"[" * 100_000, 400, "unreadable_json"),
        (b"[" * 40 + b"]" * 40, 400, "unreadable_json"),
        (b'{"lines": ' + b"1" * 40 + b"}", 400, "unreadable_json"),
        (b'{"comment": "\xff"}', 400, "unreadable_json"),
        (b"[]", 422, "invalid_input"),
        (b'"x"', 422, "invalid_input"),
        (b"null", 422, "invalid_input"),
        (b'{"lines": {}}', 422, "invalid_input"),
        (b'{"lines": [null]}', 422, "invalid_input"),
        (b'{"lines": [{"article": "CT-ABD-RP"}], "comment": "a\\u0000b"}', 422, "invalid_input"),
        (b'{"lines": [{"article": "CT-ABD-RP"}], "comment": "\\ud800"}', 422, "invalid_input"),
        (b'{"lines": [{"article": "CT-ABD-RP", "quantity": 1.0}]}', 422, "invalid_input"),
        (b'{"lines": [{"article": "CT-ABD-RP", "quantity": 1e400}]}', 422, "invalid_input"),
        (b" " * 300_000, 413, "too_large"),
    ],
)
def test_s24_hostile_bodies_are_refused_and_change_nothing(clinic, raw, status, code):
    refused = post_raw(clinic, raw)
    assert (refused.status_code, refused.get_json()["code"]) == (status, code)
    assert made(clinic.get("/v1/quotes"))["items"] == []


def test_a_body_of_another_type_is_not_read(clinic):
    refused = post_raw(clinic, json.dumps(BODY), "text/plain")
    assert (refused.status_code, refused.get_json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("query", "where", "code"),
    [
        ("colour=red", "?colour", "unknown_member"),
        ("limit=0", "?limit", "not_whole"),
        ("limit=201", "?limit", "not_whole"),
        ("limit=ten", "?limit", "not_whole"),
        ("limit=5&limit=6", "?limit", "repeated_parameter"),
        ("since=23.11.2026", "?since", "not_day"),
        ("status=lost", "?status", "not_a_choice"),
        ("patient=" + "x" * 65, "?patient", "wrong_form"),
        ("lang=de", "?lang", "not_a_choice"),
    ],
)
def test_s25_a_query_is_read_strictly(clinic, query, where, code):
    assert faults(clinic.get(f"/v1/quotes?{query}")) == [(where, code)]


def test_what_is_not_there_and_what_is_not_done_are_problems_too(clinic):
    assert clinic.get("/v1/nothing").get_json()["code"] == "not_found"
    assert clinic.get("/v1/quotes/not-a-uuid").get_json()["code"] == "not_found"
    refused = clinic.app.test_client().delete("/v1/quotes")
    assert (refused.status_code, refused.get_json()["code"]) == (405, "method_not_allowed")
    assert "POST" in refused.headers["Allow"]


def test_every_answer_has_a_request_id_and_is_not_cached(clinic):
    answer = clinic.get("/v1/quotes", X_Request_Id="from-the-caller-1")
    assert answer.headers["X-Request-Id"] == "from-the-caller-1"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "from the caller" not in clinic.get("/v1/quotes", X_Request_Id="from the caller").headers["X-Request-Id"]


def test_s39_a_defect_is_a_500_that_tells_and_logs_nothing_of_the_request(clinic, monkeypatch, caplog):
    def broken(_change, _days, wanted):
        raise RuntimeError(wanted["patient"]["name"])

    monkeypatch.setattr("billing.quoting.create", broken)
    caplog.handler.setFormatter(logs.Lines())
    answer = clinic.post("/v1/quotes", BODY | {"patient": {"id": "P-1", "name": "Иванова"}})
    assert (answer.status_code, answer.get_json()["code"]) == (500, "internal_error")
    for text in (answer.get_data(as_text=True), caplog.text):
        assert "Иванова" not in text
    assert answer.headers["X-Request-Id"] in caplog.text
