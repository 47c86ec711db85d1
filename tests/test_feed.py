"""The public price feed: what it says, and its fast way around Flask."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from werkzeug.test import Client

from catalog import feed, negotiation
from clinic import clock, db, observing
from tests import given, given_prices, running
from tests.given_feed import items, unpacked
from tests.given_prices import line, published


def test_says_what_the_contract_says(app):
    with given.day("2026-11-23"):
        given.sample()
        shown = app.test_client().get("/v1/prices?lang=ru")
    body = shown.get_json()
    assert {name: body[name] for name in ("on", "lang", "currency", "price_list", "order")} == {
        "on": "2026-11-23",
        "lang": "ru",
        "currency": "RUB",
        "price_list": {"code": "base", "name": "Основной прейскурант"},
        "order": {"number": "1", "date": "2026-11-23", "effective_from": "2026-11-23"},
    }
    consultation = items(shown)["ONC-CONS-1"]
    assert (consultation["min"], consultation["max"]) == ("3700.00", "8500.00")
    assert consultation["prices"][1] == {
        "doctor_rank": "candidate",
        "rank_name": "к.м.н.",
        "kind": "fixed",
        "amount": "5300.00",
        "valid_from": "2026-11-23",
        "valid_until": None,
        "order": "1",
        "order_date": "2026-11-23",
    }
    assert consultation["vat"] == {"category": "exempt_medical", "rate": None, "text": "Без НДС"}
    board = items(shown)["ONC-BOARD"]
    assert (board["min"], board["max"], board["prices"][0]["kind"]) == (None, None, "on_request")
    assert (board["prices"][0]["doctor_rank"], board["prices"][0]["amount"]) == ("none", None)


def test_the_seven_real_prices_are_there(front):
    shown = items(front.get("/v1/prices"))
    for article, rank, rubles in given.REAL:
        amounts = {each["doctor_rank"]: each["amount"] for each in shown[article]["prices"]}
        assert amounts[rank or "none"] == rubles


def test_carries_the_headers_that_let_others_keep_it(front):
    headers = front.get("/v1/prices").headers
    assert headers["Cache-Control"] == "public, max-age=60, stale-if-error=86400"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Vary"] == "Accept-Language, Accept, Accept-Encoding"
    assert headers["Content-Language"] == "ru"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert len(headers["X-Request-Id"]) == 16
    assert not headers["ETag"].startswith("W/")


@pytest.mark.parametrize("path", ["/v1/prices", "/v1/prices?q=мрт"])
@pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}', "*"])
def test_what_has_not_changed_is_not_sent_again(front, path, known):
    etag = front.get(path).headers["ETag"]
    again = front.get(path, headers={"If-None-Match": known.format(etag)})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
    assert "Content-Length" not in again.headers


def test_another_etag_is_answered_in_full(front):
    assert front.get("/v1/prices", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("br;q=0.001", "br"),
        ("BR", "br"),
        ("*", "br"),
        ("br;q=0, *", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0", None),
        ("deflate", None),
        ("", None),
        ("*;q=0, identity", None),
    ],
)
def test_comes_in_the_compression_that_is_liked_best(front, accepted, encoding):
    plain = front.get("/v1/prices")
    for _ in range(2):
        shown = front.get("/v1/prices", headers={"Accept-Encoding": accepted})
        assert shown.headers.get("Content-Encoding") == encoding
        assert unpacked(shown.data, encoding) == plain.data
        assert int(shown.headers["Content-Length"]) == len(shown.data)


@pytest.mark.parametrize("accepted", ["identity;q=0", "*;q=0", "br;q=0, gzip;q=0, identity;q=0"])
def test_who_takes_no_compression_nor_none_is_refused(front, accepted):
    for path in ("/v1/prices", "/v1/prices", "/v1/prices?q=мрт"):
        refused = front.get(path, headers={"Accept-Encoding": accepted})
        assert (refused.status_code, refused.get_json()["code"]) == (406, "not_acceptable")
        front.get(path)


def test_every_form_has_an_etag_of_its_own_and_is_not_sent_again(front):
    seen: set[str] = set()
    for accept in ("application/json", "text/csv"):
        for encoding in ("br", "gzip", "identity"):
            form = {"Accept": accept, "Accept-Encoding": encoding}
            etag = front.get("/v1/prices", headers=form).headers["ETag"]
            assert etag not in seen, "other bytes under one strong ETag"
            again = front.get("/v1/prices", headers={**form, "If-None-Match": ", ".join([*seen, etag])})
            assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
            assert not seen or front.get("/v1/prices", headers={**form, "If-None-Match": seen.pop()}).status_code == 200
            seen.add(etag)


def test_packing_for_one_keeps_nobody_else_waiting(front, monkeypatch):
    front.get("/v1/prices")
    packing, go_on = threading.Event(), threading.Event()

    def slowly(body, into):
        if into == "br":
            packing.set()
            assert go_on.wait(10)
        return body

    monkeypatch.setattr(negotiation, "packed", slowly)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(front.application.test_client().get, "/v1/prices", headers={"Accept-Encoding": "br"})
        assert packing.wait(10)
        for headers in ({}, {"Accept-Encoding": "gzip"}, {"Accept": "text/csv"}, {"Accept-Language": "en"}):
            assert front.get("/v1/prices", headers=headers).status_code == 200
        assert not slow.done()
        go_on.set()
        assert slow.result().status_code == 200


def test_head_answers_the_headers_of_get_without_its_body(front):
    got, head = front.get("/v1/prices"), front.head("/v1/prices")
    assert (head.status_code, head.data) == (200, b"")
    for name in ("ETag", "Content-Length", "Content-Type", "Cache-Control"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    ("path", "accepted", "lang"),
    [
        ("/v1/prices", "", "ru"),
        ("/v1/prices", "en-GB,en;q=0.9", "en"),
        ("/v1/prices", "de", "ru"),
        ("/v1/prices", "en;q=0.1, ru;q=0.9", "ru"),
        ("/v1/prices?lang=en", "ru", "en"),
    ],
)
def test_speaks_the_language_asked_for(front, path, accepted, lang):
    for _ in range(2):
        shown = front.get(path, headers={"Accept-Language": accepted})
        assert (shown.get_json()["lang"], shown.headers["Content-Language"]) == (lang, lang)
    names = {"ru": "Первичный приём врача-онколога", "en": "Initial appointment with an oncologist"}
    assert items(shown)["ONC-CONS-1"]["name"] == names[lang]


def test_pages_of_any_site_may_ask_first(front):
    allowed = front.options("/v1/prices", headers={"Origin": "https://example.org"})
    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (204, "*")
    assert "If-None-Match" in allowed.headers["Access-Control-Allow-Headers"]


def test_keeps_the_request_id_it_is_given(front):
    for _ in range(2):
        shown = front.get("/v1/prices", headers={"X-Request-Id": "from-the-portal"})
        assert shown.headers["X-Request-Id"] == "from-the-portal"


def test_without_any_order_it_is_empty_and_not_an_error(app):
    body = app.test_client().get("/v1/prices").get_json()
    assert (body["items"], body["order"]) == ([], None)


# ---- Filters ----


def test_a_category_brings_those_inside_it(app):
    given_prices.service("MRI-1")
    given_prices.category("mri_fast", "МРТ срочно", parent="mri")
    given_prices.service("MRI-2", category="mri_fast")
    given_prices.category("other", "Прочее")
    given_prices.service("OTHER", category="other")
    published(*(line(article, "1.00") for article in ("MRI-1", "MRI-2", "OTHER")))
    assert items(app.test_client().get("/v1/prices?category=mri")).keys() == {"MRI-1", "MRI-2"}


@pytest.mark.parametrize(
    ("words", "article"),
    [
        ("ПРИЕМ онколога", "ONC-CONS-1"),
        ("онколога приём", "ONC-CONS-1"),
        ("oncologist initial", "ONC-CONS-1"),
        ("печени ультразвук", "US-LIVER"),
        ("us-liver", "US-LIVER"),
        ("гистолагическое", "LAB-HISTO"),
        ("плазмоферез", "ONC-PLASMA"),
        ("hemosorbtion", "ONC-HEMOSORB"),
    ],
)
def test_words_find_services_in_spite_of_case_order_yo_and_small_slips(front, words, article):
    assert article in items(front.get("/v1/prices", query_string={"q": words}))


@pytest.mark.parametrize("words", ["100%", "_", "абракадабра", "приём селезёнки"])
def test_words_that_mean_nothing_find_nothing(front, words):
    assert items(front.get("/v1/prices", query_string={"q": words})) == {}


def test_a_rank_leaves_out_the_prices_of_the_others(front):
    shown = items(front.get("/v1/prices?rank=doctor"))
    assert [each["amount"] for each in shown["ONC-CONS-1"]["prices"]] == ["8500.00"]
    assert shown["CT-ABD-RP"]["min"] == "8840.00"


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("category=no_such", ("?category", "unknown_category")),
        ("rank=academician", ("?rank", "unknown_rank")),
        ("on=2026-02-30", ("?on", "not_day")),
        ("colour=red", ("?colour", "unknown_member")),
        ("on=2026-11-23&on=2026-11-24", ("?on", "repeated_parameter")),
    ],
)
def test_a_wrong_filter_is_named_and_the_answer_can_be_read_by_any_page(front, query, fault):
    refused = front.get(f"/v1/prices?{query}")
    assert given.faults(refused) == [fault]
    assert refused.headers["Access-Control-Allow-Origin"] == "*"
    assert refused.headers["Cache-Control"] == "no-store"


def test_a_day_to_come_shows_what_is_ordered(app):
    given_prices.service("MRI-1")
    published(line("MRI-1", "100.00"))
    later = clock.today() + timedelta(days=30)
    published(line("MRI-1", "120.00"), since=later)
    front = app.test_client()
    assert items(front.get("/v1/prices"))["MRI-1"]["prices"][0]["valid_until"] == later.isoformat()
    assert items(front.get(f"/v1/prices?on={later}"))["MRI-1"]["min"] == "120.00"


def test_what_is_withdrawn_or_not_public_is_not_there(app, opened):
    given_prices.service("MRI-1")
    given_prices.service("MRI-2")
    given_prices.service("MRI-3", active=False)
    given_prices.draft(line("MRI-2", "1.00"))
    published(line("MRI-1", None), line("MRI-3", "1.00"))
    assert items(app.test_client().get("/v1/prices")) == {}


# ---- Freshness ----


def test_a_published_order_shows_at_the_next_question_for_the_version(front, asks_at_once):
    before = front.get("/v1/prices")
    published(line("US-LIVER", "2500.00"), corrects=given_prices.order_id("1"))
    after = front.get("/v1/prices")
    assert items(before)["US-LIVER"]["min"] is None
    assert items(after)["US-LIVER"]["min"] == "2500.00"
    assert before.headers["ETag"] != after.headers["ETag"]


def test_asks_for_the_version_at_most_once_a_second(front, monkeypatch):
    asked = []
    version = feed._version

    def counted():
        asked.append(1)
        return version()

    monkeypatch.setattr(feed, "_version", counted)
    for _ in range(50):
        assert front.get("/v1/prices").status_code == 200
    assert len(asked) == 1


def test_what_is_kept_is_not_made_again(front, monkeypatch):
    first = front.get("/v1/prices")
    monkeypatch.setattr(feed.Front, "_through", None)
    assert front.get("/v1/prices").data == first.data


def test_midnight_turns_it_over_by_itself(app):
    given_prices.service("MRI-1")
    with given.day("2026-11-14"):
        published(line("MRI-1", "100.00"))
        published(line("MRI-1", "120.00"), since=clock.today() + timedelta(days=1))
    front = app.test_client()
    with given.day("2026-11-14", at="23:59:30"):
        last = front.get("/v1/prices")
        assert last.headers["Cache-Control"] == "public, max-age=30, stale-if-error=86400"
        assert items(last)["MRI-1"]["min"] == "100.00"
    with given.day("2026-11-15", at="00:00"):
        assert items(front.get("/v1/prices"))["MRI-1"]["min"] == "120.00"


class TestWithTheDatabaseAway:
    def test_goes_on_serving_what_it_has_marked_stale(self, front, asks_at_once):
        fresh = front.get("/v1/prices")
        db.close_pool()
        stale = front.get("/v1/prices")
        assert (stale.status_code, stale.data) == (200, fresh.data)
        assert stale.headers["Warning"] == '110 - "Response is Stale"'
        assert "Warning" not in fresh.headers

    def test_goes_on_after_midnight_too(self, app, opened):
        with given.day("2026-11-14"):
            given.sample()
            front = app.test_client()
            fresh = front.get("/v1/prices")
        db.close_pool()
        db.open_pool("postgresql://127.0.0.1:1/nowhere", size=1)
        with given.day("2026-11-15"):
            stale = front.get("/v1/prices")
        assert (stale.status_code, stale.data) == (200, fresh.data)
        assert "Warning" in stale.headers

    def test_says_so_when_it_has_nothing(self, app, opened):
        db.open_pool("postgresql://127.0.0.1:1/nowhere", size=1)
        away = app.test_client().get("/v1/prices")
        assert (away.status_code, away.get_json()["code"]) == (503, "database_away")

    def test_is_fresh_again_when_the_database_is_back(self, front, opened, asks_at_once):
        front.get("/v1/prices")
        db.close_pool()
        front.get("/v1/prices")
        db.open_pool(opened.app, size=2)
        assert "Warning" not in front.get("/v1/prices").headers


FORMS = [
    ("/v1/prices", {}),
    ("/v1/prices", {"Accept-Encoding": "br"}),
    ("/v1/prices", {"Accept-Encoding": "gzip"}),
    ("/v1/prices", {"Accept": "text/csv"}),
    ("/v1/prices?until=2030-01-01", {}),
    ("/v1/prices?until=2030-01-01", {"Accept": "text/csv", "Accept-Encoding": "br"}),
]


UNTOLD = observing.Observed(logged=False, measured=False)


@pytest.mark.parametrize(("path", "headers"), FORMS)
def test_every_form_turns_over_at_midnight_and_by_a_new_order(app, asks_at_once, path, headers):
    given_prices.service("MRI-1")
    with given.day("2026-11-14"):
        published(line("MRI-1", "111.00"))
        published(line("MRI-1", "122.00"), since=clock.today() + timedelta(days=1))
    # Two processes: each keeps answers of its own.
    fronts = [Client(observing.Front(feed.Front(app.wsgi_app.app.app), UNTOLD)) for _ in range(2)]

    def told(front: Client) -> str:
        shown = front.get(path, headers=headers)
        return unpacked(shown.data, shown.headers.get("Content-Encoding")).decode()

    with given.day("2026-11-14", at="23:59:59"):
        assert all("111.00" in told(each) for each in fronts)
    with given.day("2026-11-15", at="00:00"):
        assert all("122.00" in told(each) and "111.00" not in told(each) for each in fronts)
        published(line("MRI-1", "133.00"), corrects=given_prices.order_id("2"))
        assert all("133.00" in told(each) for each in fronts)


def test_within_a_second_of_a_publish_every_process_gives_every_form_anew(cluster):
    """The running server with two workers, each asked alone."""
    with running.new_database(cluster) as urls, running.service(urls) as service:
        caller = service.caller()
        asked = [(path, accept, encoding) for path in ("/v1/prices", "/v1/prices?until=2199-01-01")
                 for accept in ("application/json", "text/csv") for encoding in ("identity", "gzip", "br")]  # fmt: skip

        def told() -> list[bool]:
            found = []
            for path, accept, encoding in asked:
                shown = caller.call("GET", path, None, {"Accept": accept, "Accept-Encoding": encoding})
                found.append(b"54321.00" in unpacked(shown.raw, encoding))
            return found

        assert service.server.with_each_worker(told) == [[False] * len(asked)] * 2
        db.open_pool(urls.owner, size=2)
        published(line("CT-ABD-RP", "54321.00"), corrects=given_prices.order_id("1"))
        db.close_pool()
        time.sleep(feed.ASK_EVERY)
        assert service.server.with_each_worker(told) == [[True] * len(asked)] * 2


def test_many_different_questions_do_not_fill_the_memory(front, app, monkeypatch):
    monkeypatch.setattr(feed, "_MOST_ENTRIES", 3)
    for number in range(1, 9):
        front.get(f"/v1/prices?on=2027-01-0{number}")
    layer = app.wsgi_app
    while not isinstance(layer, feed.Front):
        layer = layer.app
    assert len(layer._entries) == 3


def test_everything_else_goes_straight_through():
    def inner(environ, start_response):
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    client = Client(feed.Front(inner))
    assert client.get("/v1/pricesque").data == b"/v1/pricesque"
    assert client.post("/v1/prices").data == b"/v1/prices"
