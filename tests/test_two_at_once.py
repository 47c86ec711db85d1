"""Two at once: real threads, real commits, two server processes. Whatever the order, the books come out right."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from clinic.embedded import Urls
from tests import given, running
from tests.running import AGAIN, CONSULTATION, at_once, made, seen

pytestmark = pytest.mark.xdist_group("server")


# ---- One quote, many callers ----


def test_s06_a_quote_is_invoiced_once_however_many_ask(desk):
    quote = desk.quote()
    answers = at_once(20, lambda _: desk.invoice(quote))
    assert seen(answers) == {"201": 1, "409 quote_already_invoiced": 19}
    (invoice,) = (each.json for each in answers if each.status == 201)
    assert {each.json["invoice"] for each in answers if each.status == 409} == {invoice["id"]}
    assert desk.invoices() == {invoice["id"]: desk.numbers(1)[0]}


def test_parts_invoiced_at_once_add_up_to_the_line_to_the_kopeck(desk):
    # 5300.00 × 3 less 0.10 does not divide by three.
    quote = desk.quote({**CONSULTATION, "quantity": "3", "discount_amount": "0.10", "discount_reason": "goodwill"})
    answers = at_once(10, lambda _: desk.invoice(quote, lines=[{"position": 1, "quantity": "1"}]))
    totals = [Decimal(each.json["totals"]["total"]) for each in answers if each.status == 201]
    assert sorted(totals) == [Decimal("5299.96"), Decimal("5299.97"), Decimal("5299.97")]
    assert sum(totals) == Decimal(quote["totals"]["total"]) == Decimal("15899.90")
    refused = [each for each in answers if each.status != 201]
    assert len(refused) == 7
    assert {str(each) for each in refused} <= {"409 quote_already_invoiced", "422 invalid_input"}
    assert desk.get(f"/v1/quotes/{quote['id']}").json["status"] == "invoiced"


"""Of two callers one comes first: a few times, so that both orders are seen."""


@AGAIN
def test_s06_a_quote_is_accepted_or_declined_never_both(desk, _):
    quote = desk.quote()
    ways = ("accept", "decline")
    answers = at_once(2, lambda n: desk.post(f"/v1/quotes/{quote['id']}/{ways[n]}", {}))
    assert seen(answers) == {"200": 1, "409 quote_not_open": 1}
    (won,) = (each.json["status"] for each in answers if each.status == 200)
    assert [each.json["state"] for each in answers if each.status == 409] == [won]


def test_s06_an_invoice_is_cancelled_once(desk):
    invoice = made(desk.invoice(desk.quote()))
    answers = at_once(5, lambda _: desk.post(f"/v1/invoices/{invoice['id']}/cancel", {"reason": "Ошибка"}))
    assert seen(answers) == {"200": 1, "409 invoice_not_issued": 4}
    assert desk.count("credit_note") == 1


@AGAIN
def test_a_direct_invoice_is_cancelled_once(desk, _):
    """No quote stands before it whose lock would do."""
    path = f"/v1/invoices/{desk.draft().json['id']}"
    made(desk.post(f"{path}/issue", {}))
    answers = at_once(5, lambda _: desk.post(f"{path}/cancel", {"reason": "Ошибка"}))
    assert seen(answers) == {"200": 1, "409 invoice_not_issued": 4}
    assert desk.count("credit_note") == 1


@AGAIN
def test_s06_a_draft_is_issued_or_discarded_never_both(desk, _):
    draft = made(desk.post(f"/v1/quotes/{desk.quote()['id']}/invoice", {"payer": given.PAYER}))
    ways = ("issue", "discard")
    answers = at_once(2, lambda n: desk.post(f"/v1/invoices/{draft['id']}/{ways[n]}", {}))
    assert seen(answers) == {"200": 1, "409 invoice_not_draft": 1}


@AGAIN
def test_a_draft_may_get_another_payer_while_it_is_issued(desk, _):
    draft = desk.draft()
    other = {"payer": {"kind": "person", "ref": "P-2", "name": "Петров Пётр"}}
    path = f"/v1/invoices/{draft.json['id']}"
    issued, edited = at_once(
        2, lambda n: desk.patch(path, other, draft.headers["ETag"]) if n else desk.post(f"{path}/issue", {})
    )
    assert str(issued) == "200"
    assert str(edited) in {"200", "409 invoice_not_draft"}
    payer = "P-2" if edited.status == 200 else "P-1"
    assert desk.get(path).json["payer"]["ref"] == issued.json["payer"]["ref"] == payer


@AGAIN
def test_of_two_who_edit_the_same_draft_one_reads_it_again(desk, _):
    draft = desk.draft()
    path, etag = f"/v1/invoices/{draft.json['id']}", draft.headers["ETag"]
    answers = at_once(2, lambda n: desk.patch(path, {"payer": {**given.PAYER, "ref": f"P-{n}"}}, etag))
    assert seen(answers) == {"200": 1, "412 precondition_failed": 1}


# ---- A quote shown to its patient ----


@AGAIN
def test_a_link_opens_nothing_from_the_moment_its_revocation_is_answered(service, desk, _):
    quote = desk.quote()
    made(desk.post(f"/v1/quotes/{quote['id']}/send", {}))
    link = made(desk.post(f"/v1/quotes/{quote['id']}/links", {}))
    path, patient = urlsplit(link["url"]).path, running.Caller(desk.port)
    with psycopg.connect(desk.urls.owner) as conn:
        conn.execute("DELETE FROM rate_limit")  # here all strangers have one address
    answered, seen_open = threading.Event(), threading.Barrier(4)

    def act(number):
        if number == 0:
            seen_open.wait()
            made(desk.post(f"/v1/quotes/{quote['id']}/links/{link['id']}/revoke"))
            answered.set()
            return []
        reads = [(answered.is_set(), patient.get(path).status)]
        seen_open.wait()
        while not reads[-1][0]:
            reads.append((answered.is_set(), patient.get(path).status))
        return reads

    _, *readers = at_once(4, act)
    for reads in readers:
        assert reads[0] == (False, 200)
        assert {status for too_late, status in reads if not too_late} <= {200, 404, 429}
        assert {status for too_late, status in reads if too_late} <= {404, 429}
    assert path not in service.server.words()


# ---- One key ----


def test_s07_a_revoked_key_is_refused_in_every_process(service):
    office = service.caller()
    issued = made(office.post("/v1/keys", {"name": "x", "scopes": ["catalog:read"]}))
    caller = running.Caller(service.server.port, issued["secret"])

    def asks():
        return str(caller.get("/v1/categories"))

    assert service.server.with_each_worker(asks) == ["200", "200"]
    made(office.post(f"/v1/keys/{issued['id']}/revoke"))
    assert service.server.with_each_worker(asks) == ["401 unauthorized", "401 unauthorized"]


# ---- One price ----


@pytest.mark.parametrize("first_day", [f"2199-01-{day}" for day in range(10, 20)])
def test_of_two_orders_for_the_same_day_one_is_published_and_the_other_told_of_it(desk, first_day):
    orders = [made(desk.post("/v1/price-orders", order(first_day, f"{amount}.00"))) for amount in (9000, 9500)]
    answers = at_once(2, lambda n: desk.post(f"/v1/price-orders/{orders[n]['id']}/publish"))
    assert seen(answers) == {"200": 1, "409 prices_overlap": 1}
    (won,) = (each.json for each in answers if each.status == 200)
    (lost,) = (each.json for each in answers if each.status == 409)
    assert (lost["article"], lost["doctor_rank"], lost["order"]) == ("CT-ABD-RP", "none", won["id"])
    prices = desk.get("/v1/services/CT-ABD-RP/prices").json["prices"]
    begun = [each["amount"] for each in prices if each["valid_from"] == first_day]
    assert begun == [won["lines"][0]["amount"]]


def order(first_day: str, amount: str) -> dict[str, object]:
    """An order that prices one service."""
    line = {"article": "CT-ABD-RP", "doctor_rank": "none", "kind": "fixed", "amount": amount}
    return {"effective_from": first_day, "lines": [line]}


@AGAIN
def test_of_two_who_write_the_lines_of_a_draft_one_reads_it_again(desk, _):
    draft = desk.post("/v1/price-orders", order("2199-12-31", "1.00"))
    path, match = f"/v1/price-orders/{draft.json['id']}/lines", {"If-Match": draft.headers["ETag"]}
    lines = [order("", f"{amount}.00")["lines"] for amount in (2, 3)]
    answers = at_once(2, lambda n: desk.call("PUT", path, {"lines": lines[n]}, match))
    assert seen(answers) == {"200": 1, "412 precondition_failed": 1}


@pytest.mark.parametrize("first_day", [f"2199-02-{day}" for day in range(10, 15)])
def test_s06_a_draft_order_is_published_or_put_away_never_both(desk, first_day):
    draft = made(desk.post("/v1/price-orders", order(first_day, "1.00")))
    ways = ("publish", "discard")
    answers = at_once(2, lambda n: desk.post(f"/v1/price-orders/{draft['id']}/{ways[n]}"))
    assert seen(answers) == {"200": 1, "409 order_not_draft": 1}


# ---- Price lists, doctors, ranks ----


def test_a_price_list_is_made_once_and_of_two_who_edit_it_one_reads_it_again(desk):
    code = f"l{uuid4().hex[:12]}"
    wanted = {"code": code, "name": {"ru": "и", "en": "i"}, "kind": "staff"}
    answers = at_once(5, lambda _: desk.post("/v1/price-lists", wanted))
    assert seen(answers) == {"201": 1, "409 price_list_taken": 4}
    path = f"/v1/price-lists/{code}"
    for _ in range(5):
        words = [uuid4().hex, uuid4().hex]
        answers = renamed_at_once(desk, path, words)
        assert seen(answers) == {"200": 1, "412 precondition_failed": 1}
        (won,) = (word for word, answer in zip(words, answers, strict=True) if answer.status == 200)
        assert desk.get(path).json["name"]["ru"] == won


def renamed_at_once(desk, path, words):
    """Everybody has read the same version and gives it a name of his own."""
    etag = desk.get(path).headers["ETag"]
    return at_once(len(words), lambda n: desk.patch(path, {"name": {"ru": words[n], "en": "i"}}, etag))


@AGAIN
def test_promotions_at_once_are_all_recorded_and_the_last_recorded_counts(desk, _):
    wanted = {"name": {"ru": "В", "en": "V"}, "specialty": {"ru": "о", "en": "o"}, "doctor_rank": "none"}
    doctor = made(desk.post("/v1/doctors", wanted))
    path, today = f"/v1/doctors/{doctor['id']}", desk.quote()["date"]
    ranks = ("candidate", "doctor", "professor", "none")
    answers = at_once(4, lambda n: desk.post(f"{path}/promotions", {"doctor_rank": ranks[n], "since": today}))
    assert seen(answers) == {"201": 4}
    read = desk.get(path)
    recorded = [each["doctor_rank"] for each in read.json["promotions"]][1:]
    assert sorted(recorded) == sorted(ranks)
    assert read.json["doctor_rank"] == recorded[-1]
    # At the moment of an answer its own promotion was the last one.
    assert [each.json["doctor_rank"] for each in answers] == list(ranks)
    assert max(len(each.json["promotions"]) for each in answers) == 5
    assert len({each.headers["ETag"] for each in answers}) == 4
    assert read.headers["ETag"] in {each.headers["ETag"] for each in answers}


def test_ranks_added_and_moved_at_once_stand_in_one_row(desk):
    codes = [f"r{uuid4().hex[:12]}" for _ in range(4)]
    answers = at_once(
        4, lambda n: desk.post("/v1/doctor-ranks", {"code": codes[n], "name": {"ru": "з", "en": "r"}, "position": 2})
    )
    assert seen(answers) == {"201": 4}
    etags = {code: desk.get(f"/v1/doctor-ranks/{code}").headers["ETag"] for code in codes}
    moves = at_once(4, lambda n: desk.patch(f"/v1/doctor-ranks/{codes[n]}", {"position": 6}, etags[codes[n]]))
    assert {str(each) for each in moves} <= {"200", "412 precondition_failed"}
    ranks = desk.get("/v1/doctor-ranks").json["items"]
    assert [each["position"] for each in ranks] == list(range(1, len(ranks) + 1))
    assert ranks[0]["code"] == "none"


# ---- Numbers ----


def test_two_hundred_invoices_bear_the_numbers_from_1_to_200(desk):
    with ThreadPoolExecutor(16) as callers:
        quotes = list(callers.map(lambda _: desk.quote(), range(200)))
        answers = list(callers.map(desk.invoice, quotes))
    assert seen(answers) == {"201": 200}
    assert list(desk.invoices().values()) == desk.numbers(200)
    assert desk.dates() == sorted(desk.dates())
    (series,) = desk.get("/v1/numbering/proof").json["series"]
    assert (series["first"], series["last"], series["count"], series["whole"]) == (1, 200, 200, True)


def test_fifty_drafts_of_two_branches_issued_at_once_bear_fifty_numbers(service):
    desks = [service.branch(), service.branch()]
    drafts = [(desk, desk.draft().json["id"]) for _ in range(25) for desk in desks]
    answers = at_once(50, lambda n: drafts[n][0].post(f"/v1/invoices/{drafts[n][1]}/issue", {}))
    assert seen(answers) == {"200": 50}
    assert len({each.json["number"] for each in answers}) == 50
    for desk in desks:
        assert list(desk.invoices().values()) == desk.numbers(25)
        desk.check_books()


def test_a_new_series_opened_by_many_refuses_nobody_who_says_the_day(desk):
    drafts = [desk.draft().json for _ in range(8)]
    with slow_to_find_no_series(desk.urls):
        answers = at_once(8, lambda n: desk.post(f"/v1/invoices/{drafts[n]['id']}/issue", {"date": drafts[n]["date"]}))
    assert seen(answers) == {"200": 8}
    assert list(desk.invoices().values()) == desk.numbers(8)


@contextmanager
def slow_to_find_no_series(urls: Urls) -> Iterator[None]:
    """Who finds that there is no series learns it late: another may have opened it meanwhile."""
    with psycopg.connect(urls.owner, autocommit=True) as conn:
        conn.execute(
            """
            CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              IF NOT EXISTS (SELECT FROM moved) THEN
                PERFORM pg_sleep(0.3 * random());
              END IF;
              RETURN NULL;
            END $$;
            CREATE TRIGGER lingers AFTER UPDATE ON number_series REFERENCING NEW TABLE AS moved
              FOR EACH STATEMENT EXECUTE FUNCTION linger()
            """
        )
        yield
        conn.execute("DROP FUNCTION linger CASCADE")


# ---- One key, many callers ----


def test_one_key_makes_one_document_and_one_answer(desk):
    quote = desk.quote()
    answers = at_once(8, lambda _: desk.invoice(quote, key="once-and-no-more"))
    assert seen(answers) == {"201": 8}
    assert len({(each.raw, each.headers["ETag"], each.headers["Location"]) for each in answers}) == 1
    assert [each.replayed for each in answers].count(True) == 7
    assert list(desk.invoices()) == [answers[0].json["id"]]


def test_one_key_with_another_body_is_refused(desk):
    quote = desk.quote()
    answers = at_once(2, lambda n: desk.invoice(quote, key="two-bodies", comment=f"No. {n}"))
    assert seen(answers) == {"201": 1, "422 idempotency_key_reused": 1}
    assert desk.count("invoice") == 1


def test_two_programs_may_choose_the_same_key(service):
    desks = [service.branch(), service.branch()]
    answers = at_once(2, lambda n: desks[n].post("/v1/quotes", {"lines": [CONSULTATION]}, key="the-same-key"))
    assert seen(answers) == {"201": 2}
    assert answers[0].json["id"] != answers[1].json["id"]
    assert not any(each.replayed for each in answers)
