"""A patient reads his quote under an address of his own, and nobody else reads anything."""

from __future__ import annotations

import logging
import re
from datetime import date, timedelta

import psycopg
import pytest
from psycopg import errors as pg

from billing import quote_links, quotes
from clinic import db, logs
from tests import browser, given
from tests.browser import Person, quick_passwords  # noqa: F401
from tests.given import faults, made
from tests.given_quotes import NAME, link, path, sent


@pytest.fixture
def patient(clinic):
    return Person(clinic.app)


def opens(patient, address):
    return patient.get(address).status_code


# ---- What is shown ----


def test_a_patient_reads_his_quote_in_both_languages_and_his_name_is_not_there(clinic, patient):
    quote = sent(clinic, comment="Натощак")
    address = path(link(clinic, quote))
    russian = patient.get(address)
    assert russian.status_code == 200
    assert f"Смета № {quote['code']}/1" in browser.text(russian)
    for shown in ("17 700,00", "Натощак", "отправлена", "МСКТ"):
        assert shown in browser.text(russian).replace("\u00a0", " ")
    english = patient.get(f"{address}?lang=en")
    assert "MSCT of the abdomen" in browser.text(english)
    for page in (russian, english):
        assert NAME not in page.text
        assert "P-7" not in page.text


def test_no_way_leads_from_it_to_anywhere_else_and_nobody_keeps_it(clinic, patient):
    given_address = path(link(clinic, sent(clinic)))
    for address, status in ((given_address, 200), ("/q/" + "x" * 32, 404)):
        page = patient.get(address)
        assert page.status_code == status
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["X-Robots-Tag"].startswith("noindex")
        assert "script-src" not in page.headers["Content-Security-Policy"]
        links = re.findall(r'(?:href|src|action)="([^"]*)"', page.text)
        assert sorted({each.split("?")[0] for each in links}) == ["", "/static/icon.svg", "/static/style.css"]
        assert "<script" not in page.text
        assert "<form" not in page.text
        assert given_address not in page.text


def test_reading_is_noted_as_a_strangers(clinic, patient):
    quote = sent(clinic)
    made_link = link(clinic, quote)
    patient.get(path(made_link))
    with db.reading() as conn:
        rows = conn.execute("SELECT actor, action, object_type, object_id::text FROM access_log").fetchall()
    assert rows == [(f"stranger:{made_link['id']}", "read", "quote", quote["id"])]


@pytest.mark.parametrize(
    ("step", "state"), [("accept", "принята"), ("decline", "отклонена")]
)  # fmt: skip
def test_what_became_of_the_quote_is_shown(clinic, patient, step, state):
    quote = sent(clinic)
    address = path(link(clinic, quote))
    made(clinic.post(f"/v1/quotes/{quote['id']}/{step}"))
    assert state in browser.text(patient.get(address))


def test_after_its_last_day_the_quote_says_so(clinic, patient):
    quote = sent(clinic)
    address = path(link(clinic, quote, expires_on=day_after(quote["valid_until"], 5)))
    with given.day(quote["valid_until"], "23:59"):
        assert "СРОК ИСТЁК" not in browser.text(patient.get(address))
    with given.day(day_after(quote["valid_until"]), "00:00"):
        assert "СРОК ИСТЁК" in browser.text(patient.get(address))


def day_after(day, days=1):
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()


def test_a_link_keeps_showing_its_own_revision_and_says_that_there_is_a_newer_one(clinic, patient):
    quote = sent(clinic)
    address = path(link(clinic, quote))
    made(clinic.post(f"/v1/quotes/{quote['id']}/revise", {"comment": "Вторая редакция"}))
    page = browser.text(patient.get(address))
    assert "ЗАМЕНЕНА" in page
    assert f"{quote['code']}/1" in page
    assert "Вторая редакция" not in page
    # The newer one is a draft: there is nothing of it to show yet.
    refused = clinic.post(f"/v1/quotes/{quote['id']}/links")
    assert (refused.status_code, refused.get_json()["state"]) == (409, "draft")
    made(clinic.post(f"/v1/quotes/{quote['id']}/send"))
    newer = browser.text(patient.get(path(link(clinic, quote))))
    assert (f"{quote['code']}/2" in newer, "Вторая редакция" in newer, "ЗАМЕНЕНА" in newer) == (True, True, False)
    assert f"{quote['code']}/1" in browser.text(patient.get(address))


def test_drafts_are_shown_to_nobody(clinic, opened):
    quote = clinic.quote(("CT-ABD-RP", None))
    refused = clinic.post(f"/v1/quotes/{quote['id']}/links")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "quote_not_open")
    with psycopg.connect(opened.app, options="-c clinic.branch=*") as conn, pytest.raises(pg.RestrictViolation):
        conn.execute(
            """
            INSERT INTO quote_link (id, quote_id, revision, token_sha256, expires_on, created_at, created_by)
            SELECT gen_random_uuid(), id, 1, sha256('x'), '2027-01-01', now(), 'x' FROM quote
            """
        )


# ---- Who opens it, and until when ----


def test_s29_the_address_is_unguessable_told_once_and_not_kept(clinic, opened):
    quote = sent(clinic)
    body = {"expires_on": None}
    first = clinic.post(f"/v1/quotes/{quote['id']}/links", body, key="one-link-only")
    again = clinic.post(f"/v1/quotes/{quote['id']}/links", body, key="one-link-only")
    url = made(first)["url"]
    token = url.rpartition("/")[2]
    assert re.fullmatch(r"http://localhost/q/[A-Za-z0-9_-]{32}", url)
    assert made(again) == made(first) | {"url": None}
    listed = made(clinic.get(f"/v1/quotes/{quote['id']}/links"))["items"]
    assert listed == [made(first) | {"url": None}]
    assert link(clinic, quote)["url"] != url
    assert token not in everything_kept(opened)


def everything_kept(urls):
    with psycopg.connect(urls.owner) as conn:
        tables = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return "\n".join(
            row[0] for (table,) in tables for row in conn.execute(f"SELECT each::text FROM {table} AS each").fetchall()
        )


def test_s29_a_revoked_link_an_ended_one_and_one_that_never_was_are_answered_alike(clinic, patient):
    quote = sent(clinic)
    revoked, ended = link(clinic, quote), link(clinic, quote, expires_on=quote["date"])
    assert [opens(patient, path(each)) for each in (revoked, ended)] == [200, 200]
    made(clinic.post(f"/v1/quotes/{quote['id']}/links/{revoked['id']}/revoke"))
    with given.day(day_after(quote["date"])):
        pages = [
            patient.get(address) for address in (path(revoked), path(ended), "/q/" + "A" * 32, "/q/%D0%B0", "/q/x")
        ]
        assert [each.status_code for each in pages] == [404] * 5
        assert len({each.data for each in pages}) == 1
        kept = [{**dict(each.headers), "X-Request-Id": ""} for each in pages]
        assert all(each == kept[0] for each in kept)
        states = [
            each["state"]
            for each in made(given.caller(clinic.app, "*").get(f"/v1/quotes/{quote['id']}/links"))["items"]
        ]
    assert states == ["ended", "revoked"]


def test_a_link_lasts_to_the_end_of_its_last_day(clinic, patient):
    quote = sent(clinic)
    made_link = link(clinic, quote)
    assert made_link["expires_on"] == quote["valid_until"]
    with given.day(made_link["expires_on"], "23:59"):
        assert opens(patient, path(made_link)) == 200
    with given.day(day_after(made_link["expires_on"]), "00:00"):
        assert opens(patient, path(made_link)) == 404


def test_a_last_day_that_is_over_or_far_away_is_refused(clinic):
    quote = sent(clinic)
    links = f"/v1/quotes/{quote['id']}/links"
    assert faults(clinic.post(links, {"expires_on": "2026-01-01"})) == [("/expires_on", "end_passed")]
    assert faults(clinic.post(links, {"expires_on": "2199-01-01"})) == [("/expires_on", "link_too_long")]
    assert made(clinic.get(links))["items"] == []


def test_a_link_ends_when_its_person_is_erased_or_its_quote_cancelled(clinic, patient, opened):
    erased, cancelled = path(link(clinic, sent(clinic))), path(link(clinic, other := sent(clinic)))
    made(clinic.post(f"/v1/quotes/{other['id']}/cancel", {"reason": "Ошибка"}))
    assert (opens(patient, erased), opens(patient, cancelled)) == (200, 404)
    with psycopg.connect(opened.owner) as conn:
        conn.execute("UPDATE party SET name = NULL, salt = NULL, erased_at = now()")
    assert opens(patient, erased) == 404


def test_a_link_is_revoked_once_and_the_journal_names_no_address(clinic):
    quote = sent(clinic)
    made_link = link(clinic, quote)
    where = f"/v1/quotes/{quote['id']}/links/{made_link['id']}/revoke"
    first = made(clinic.post(where))
    assert (first["state"], made(clinic.post(where))) == ("revoked", first)
    told = [each for each in clinic.events() if each["object"]["type"] == "quote_link"]
    assert [each["type"] for each in told] == ["quote_link.created", "quote_link.revoked"]
    assert told[0]["data"] == {"quote": quote["id"], "revision": 1, "expires_on": quote["valid_until"]}


def test_another_branch_neither_makes_lists_nor_revokes_links(clinic):
    made(clinic.post("/v1/branches", {"code": "north", "name": "Север", "prefix": "С"}))
    north = given.caller(clinic.app, "*", branch="north")
    quote = sent(clinic)
    made_link = link(clinic, quote)
    links = f"/v1/quotes/{quote['id']}/links"
    answers = [north.post(links), north.get(links), north.post(f"{links}/{made_link['id']}/revoke")]
    assert [each.status_code for each in answers] == [404] * 3
    own = sent(north)
    assert north.post(f"/v1/quotes/{own['id']}/links/{made_link['id']}/revoke").status_code == 404
    assert made(clinic.get(links))["items"][0]["state"] == "open"


def test_s29_who_guesses_addresses_is_held_up_and_others_are_not(clinic, patient):
    address = path(link(clinic, sent(clinic)))
    # Whoever opens a right one guesses nothing.
    assert {opens(patient, address) for _ in range(quote_links.MISSES.most + 5)} == {200}
    assert [opens(patient, f"/q/{'A' * 30}{n:02}") for n in range(quote_links.MISSES.most)] == [404] * 20
    for wrong_or_right in ("/q/" + "B" * 32, address, "/q/x"):
        held_up = patient.get(wrong_or_right)
        assert held_up.status_code == 429
        assert 0 < int(held_up.headers["Retry-After"]) <= 30
        assert held_up.headers["Referrer-Policy"] == "no-referrer"
    assert patient.client.get(address, environ_base={"REMOTE_ADDR": "192.0.2.9"}).status_code == 200


CANARY = re.compile(r"/q/[A-Za-z0-9_-]{8}")


def test_no_log_holds_an_address_not_even_when_something_breaks(clinic, patient, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    caplog.handler.setFormatter(logs.Lines())
    address = path(link(clinic, sent(clinic)))
    assert opens(patient, address) == 200
    assert opens(patient, "/q/" + "A" * 32) == 404
    assert patient.client.post(address).status_code == 405
    monkeypatch.setattr(quotes, "lines_of", lambda *_: 1 / 0)
    broken = patient.get(address)
    assert broken.status_code == 500
    assert broken.headers["Referrer-Policy"] == "no-referrer"
    assert "ZeroDivisionError" in caplog.text
    assert not CANARY.search(caplog.text)
    assert address.rpartition("/")[2] not in caplog.text


# ---- Against raw SQL ----


@pytest.mark.parametrize(
    ("error", "sql"),
    [
        (pg.InsufficientPrivilege, "DELETE FROM quote_link"),
        (pg.InsufficientPrivilege, "UPDATE quote_link SET expires_on = '2199-01-01'"),
        (pg.InsufficientPrivilege, "UPDATE quote_link SET token_sha256 = sha256('x')"),
        (pg.InsufficientPrivilege, "UPDATE quote_link SET revision = 2"),
        (pg.RestrictViolation, "UPDATE quote_link SET revoked_at = NULL, revoked_by = NULL"),
        (pg.RestrictViolation, "UPDATE quote_link SET revoked_at = now()"),
        (pg.InsufficientPrivilege, "TRUNCATE quote_link"),
    ],
)
def test_the_application_cannot_open_a_link_again(clinic, opened, error, sql):
    quote = sent(clinic)
    made_link = link(clinic, quote)
    made(clinic.post(f"/v1/quotes/{quote['id']}/links/{made_link['id']}/revoke"))
    with psycopg.connect(opened.app, options="-c clinic.branch=*") as conn, pytest.raises(error):
        conn.execute(sql.encode())


# ---- At the desk ----


def test_reception_makes_a_link_copies_it_and_closes_it(clinic, quick_passwords):  # noqa: F811
    anna, patient = Person(clinic.app, "reception"), Person(clinic.app)
    quote = sent(clinic)
    links = f"/desk/quotes/{quote['id']}/links"
    assert links in anna.get(f"/desk/quotes/{quote['id']}").text
    page = anna.press(anna.get(links), links)
    assert page.status_code == 200
    address = re.search(r'value="http://localhost(/q/[^"]+)"', page.text)
    assert address
    assert opens(patient, address[1]) == 200
    again = anna.get(links)
    assert address[1] not in again.text
    (revoke,) = [to for to, _ in browser.forms(again) if to.endswith("/revoke")]
    assert "закрыта" in browser.text(anna.follow(anna.press(again, revoke)))
    assert opens(patient, address[1]) == 404


def test_the_desk_is_told_beside_the_field_and_by_name(clinic, quick_passwords):  # noqa: F811
    anna = Person(clinic.app, "reception")
    quote = sent(clinic)
    links = f"/desk/quotes/{quote['id']}/links"
    wrong = anna.press(anna.get(links), links, expires_on="2020-01-01")
    assert wrong.status_code == 422
    assert 'id="expires_on-fault"' in wrong.text
    assert dict(browser.forms(wrong))[links]["expires_on"] == "2020-01-01"
    draft = clinic.quote(("CT-ABD-RP", None))
    assert "сначала отправьте" in browser.text(anna.get(f"/desk/quotes/{draft['id']}/links"))
