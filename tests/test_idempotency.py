"""A call repeated under its key has one effect and one answer (domain rule 34)."""

import psycopg
import pytest

from clinic import clock, db, idempotency
from tests import given
from tests.given import PAYER, line, made

BODY = {"lines": [line("CT-ABD-RP")], "patient": {"id": "P-1", "name": "Иванова Анна"}}


def test_a_repeat_gets_the_first_answer_again(clinic):
    first = clinic.post("/v1/quotes", BODY, key="visit-0001")
    again = clinic.post("/v1/quotes", BODY, key="visit-0001")
    assert again.get_data() == first.get_data()
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert len(made(clinic.get("/v1/quotes"))["items"]) == 1


def test_the_order_of_members_makes_no_other_request(clinic):
    first = clinic.post("/v1/quotes", {"kind": "firm", **BODY}, key="visit-0001")
    again = clinic.post("/v1/quotes", {**BODY, "kind": "firm"}, key="visit-0001")
    assert again.get_json() == first.get_json()


def test_the_key_belongs_to_its_first_request(clinic):
    made(clinic.post("/v1/quotes", BODY, key="visit-0001"))
    for path, body in (("/v1/quotes", BODY | {"comment": "x"}), ("/v1/invoices", BODY | {"payer": PAYER})):
        refused = clinic.post(path, body, key="visit-0001")
        assert (refused.status_code, refused.get_json()["code"]) == (422, "idempotency_key_reused")
    assert made(clinic.get("/v1/invoices"))["items"] == []


def test_keys_of_two_callers_are_two_keys(clinic):
    other = given.caller(clinic.app, "*")
    ids = {made(each.post("/v1/quotes", BODY, key="visit-0001"))["id"] for each in (clinic, other)}
    assert len(ids) == 2


def test_what_takes_a_number_needs_a_key(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    refused = clinic.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": PAYER}, key="")
    assert (refused.status_code, refused.get_json()["code"]) == (400, "idempotency_key_required")


@pytest.mark.parametrize("key", ["short", "x" * 256, "with a space", "ключ-ключ"])
def test_a_key_has_a_form(clinic, key):
    answer = clinic.app.test_client().post(
        "/v1/quotes",
        json=BODY,
        headers={"Authorization": f"Bearer {clinic.secret}"},
        environ_overrides={"HTTP_IDEMPOTENCY_KEY": key.encode().decode("latin-1")},
    )
    assert given.faults(answer) == [("Idempotency-Key", "wrong_idempotency_key")]


def test_a_refusal_is_not_remembered(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    path = f"/v1/quotes/{quote['id']}/accept"
    made(clinic.post(path, {}, key="accept-001"))
    assert clinic.post(path, {}, key="accept-002").status_code == 409
    with db.reading() as conn:
        assert db.value(conn, "SELECT count(*) FROM idempotency WHERE key = 'accept-002'") == 0


def test_the_stored_answer_holds_no_name_and_the_replay_does(clinic):
    made(clinic.post("/v1/quotes", BODY, key="visit-0001"))
    with db.reading() as conn:
        assert "Иванова" not in db.value(conn, "SELECT answer FROM idempotency WHERE key = 'visit-0001'")
    assert clinic.post("/v1/quotes", BODY, key="visit-0001").get_json()["patient"]["name"] == "Иванова Анна"


def test_a_replay_writes(clinic):
    for _ in range(3):
        made(clinic.post("/v1/quotes", BODY, key="visit-0001"))
    with db.reading() as conn:
        assert db.value(conn, "SELECT replays FROM idempotency WHERE key = 'visit-0001'") == 2


def test_the_right_is_asked_before_the_replay(clinic, opened):
    made(clinic.post("/v1/quotes", BODY, key="visit-0001"))
    with psycopg.connect(opened.owner) as owner:
        owner.execute("UPDATE api_key SET scopes = '{quotes:read}'")
    assert clinic.post("/v1/quotes", BODY, key="visit-0001").status_code == 403


def test_old_rows_are_purged(clinic):
    made(clinic.post("/v1/quotes", BODY, key="visit-0001"))
    with db.transaction() as conn:
        assert idempotency.purge(conn) == 0
    with given.day(f"{clock.today().year + 1}-12-31"), db.transaction() as conn:
        assert idempotency.purge(conn) == 1
