"""Last-Modified of the price feed: a date must name one content."""

from typing import Any

import psycopg
import pytest
from werkzeug.test import TestResponse

from clinic.embedded import Urls
from tests import given, given_prices
from tests.given_prices import line, published


def dated(response: TestResponse) -> str | None:
    assert response.status_code == 200
    return response.headers.get("Last-Modified")


@pytest.fixture
def since_noon(app, opened):
    """A visitor of a clinic whose catalog changed last at noon of 23 November in Moscow."""
    given_prices.service("MRI-1")
    with given.day("2026-11-23"):
        published(line("MRI-1", "100.00"))
    changed(opened, "2026-11-23 09:00:00+00")
    return app.test_client()


def changed(opened: Urls, at: str) -> None:
    with psycopg.connect(opened.owner) as conn:
        conn.execute("UPDATE catalog_version SET version = version + 1, changed_at = %s", (at,))


NOON = "Mon, 23 Nov 2026 09:00:00 GMT"
MIDNIGHT = "Mon, 23 Nov 2026 21:00:00 GMT"


@pytest.mark.parametrize("path", ["/v1/prices", "/v1/prices?until=2027-01-01", "/v1/prices?q=MRI"])
def test_an_answer_of_today_goes_by_the_last_change_and_later_by_midnight(since_noon, path):
    with given.day("2026-11-23", at="18:00"):
        assert dated(since_noon.get(path)) == NOON
    with given.day("2026-11-24", at="01:00"):
        assert dated(since_noon.get(path)) == MIDNIGHT


@pytest.mark.parametrize("path", ["/v1/prices?on=2026-11-23", "/v1/prices?from=2026-11-23"])
def test_an_answer_of_a_named_day_goes_by_the_last_change(since_noon, path):
    with given.day("2026-11-24"):
        assert dated(since_noon.get(path)) == NOON


def test_for_an_hour_after_midnight_no_date_is_said_of_what_turned_over(since_noon, opened, asks_at_once):
    with given.day("2026-11-24", at="00:59:59"):
        assert dated(since_noon.get("/v1/prices")) is None
        # What had begun before midnight and is seen after it has a second before it.
        changed(opened, "2026-11-23 20:59:59+00")
        assert dated(since_noon.get("/v1/prices")) is None
        changed(opened, "2026-11-23 21:59:00+00")
        assert dated(since_noon.get("/v1/prices")) == "Mon, 23 Nov 2026 21:59:00 GMT"


def test_a_second_that_has_not_come_yet_is_not_said(since_noon, opened, asks_at_once):
    changed(opened, "2026-11-23 21:00:03+00")  # several changes within a second have seconds of their own
    for path in ("/v1/prices", "/v1/prices?on=2026-11-23"):
        with given.day("2026-11-23", at="23:59:59"):
            assert dated(since_noon.get(path)) is None
        with given.day("2026-11-24", at="00:00:03"):
            assert dated(since_noon.get(path)) == "Mon, 23 Nov 2026 21:00:03 GMT"


@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
def test_only_the_very_same_date_is_not_answered_again(since_noon, accept):
    with given.day("2026-11-23", at="18:00"):

        def since(text: str, **more: str) -> Any:
            headers = {"Accept": accept, "If-Modified-Since": text, **more}
            return since_noon.get("/v1/prices", headers=headers).status_code

        assert since(NOON) == 304
        assert since("Mon, 23 Nov 2026 09:00:01 GMT") == 200, "a later date is of another version"
        assert since("Mon, 23 Nov 2026 08:59:59 GMT") == 200
        assert since("rubbish") == 200
        assert since(NOON, **{"If-None-Match": '"other"'}) == 200, "an ETag comes before a date"


def test_a_date_does_not_outlive_midnight_nor_a_change(since_noon, opened, asks_at_once):
    with given.day("2026-11-23", at="18:00"):
        changed(opened, "2026-11-23 15:00:00+00")
        assert since_noon.get("/v1/prices", headers={"If-Modified-Since": NOON}).status_code == 200
    with given.day("2026-11-24", at="00:00"):
        last = {"If-Modified-Since": "Mon, 23 Nov 2026 15:00:00 GMT"}
        assert since_noon.get("/v1/prices", headers=last).status_code == 200
