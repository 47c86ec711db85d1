"""What a test begins with, said in few words."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from werkzeug.test import TestResponse

from catalog import price_orders, publishing
from catalog import sample as catalog_sample
from clinic import api_keys, branches, clock
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.http import App

PAYER = {"kind": "person", "ref": "P-1", "name": "Иванова Анна"}
ORGANISATION = {"kind": "organisation", "name": "ООО «Ромашка»", "inn": "1234567894", "kpp": "770101001"}
REAL = (
    ("ONC-CONS-1", "none", "3700.00"),
    ("ONC-CONS-1", "candidate", "5300.00"),
    ("ONC-CONS-1", "doctor", "8500.00"),
    ("HEP-DRAIN-PT", None, "67200.00"),
    ("CT-ABD-RP-BOLUS", None, "14000.00"),
    ("CT-ABD-RP", None, "8840.00"),
    ("MRI-ABD-RP", None, "13700.00"),
)
"""The seven published prices of the clinic: article, rank, rubles."""


def main_branch() -> None:
    with change(COMMAND_LINE) as made:
        branches.create(made, branches.MAIN, "Клиника", "")


FIRST_DAY = "2026-11-23"
"""The day from which the clinic's prices are in force, whatever day the tests run on."""


LATER = "2099-01-01"
"""A day that has not come on whatever day the tests run."""


def sample() -> None:
    """The clinic's real price list as order No. 1."""
    with day(FIRST_DAY), change(COMMAND_LINE) as made:
        assert catalog_sample.load(made)


def price(article: str, amount: str, since: date, rank: str | None = None) -> None:
    """A published order that makes the service cost `amount` rubles from that day on."""
    with change(COMMAND_LINE) as made:
        wanted = price_orders.Wanted(since, made.today)
        order = price_orders.create(made, wanted, [price_orders.Line(article, rank, "fixed", Decimal(amount))])
        publishing.publish(made, order.id)


def key(*scopes: str, branch: str | None = None, **more: Any) -> str:
    with change(COMMAND_LINE) as made:
        of = branches.get(made.conn, branch, COMMAND_LINE).id if branch else None
        return api_keys.create(made, "test", list(scopes), branch_id=of, **more).secret


@dataclass
class Caller:
    """A program that calls the service with its key."""

    app: App
    secret: str

    def get(self, path: str, **headers: str) -> TestResponse:
        return self._call("GET", path, None, headers)

    def post(self, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> TestResponse:
        """Under a fresh Idempotency-Key unless one is given; `key=""` sends none."""
        named = {} if key == "" else {"Idempotency-Key": key or uuid4().hex}
        return self._call("POST", path, body, headers | named)

    def patch(self, path: str, body: Any, *, match: str | None = None) -> TestResponse:
        return self._call("PATCH", path, body, {"If-Match": match} if match else {})

    def put(self, path: str, body: Any, *, match: str | None = None) -> TestResponse:
        return self._call("PUT", path, body, {"If-Match": match} if match else {})

    def quote(self, *lines: tuple[str, str | None] | dict[str, Any], **more: Any) -> Any:
        """A new quote of these (article, rank) pairs or lines, as JSON."""
        wanted = [each if isinstance(each, dict) else line(*each) for each in lines]
        return made(self.post("/v1/quotes", {"lines": wanted, **more}))

    def invoice(self, quote: Any, **more: Any) -> Any:
        """The invoice issued from this quote, as JSON."""
        wanted = {"payer": PAYER, "issue": True, **more}
        return made(self.post(f"/v1/quotes/{quote['id']}/invoice", wanted))

    def draft(self, *lines: tuple[str, str | None], **more: Any) -> Any:
        """A direct draft invoice, as JSON."""
        return made(self.post("/v1/invoices", {"lines": [line(*each) for each in lines], "payer": PAYER, **more}))

    def events(self) -> list[Any]:
        events: list[Any] = self.get("/v1/events").get_json()["events"]
        return events

    def upload(self, path: str, *, key: str | None = None, **parts: Any) -> TestResponse:
        """Post a multipart body: bytes are files, the rest is text."""
        sent = {name: (io.BytesIO(part), "a.csv") if isinstance(part, bytes) else part for name, part in parts.items()}
        headers = {"Authorization": f"Bearer {self.secret}", **({"Idempotency-Key": key} if key else {})}
        return self.app.test_client().post(path, data=sent, content_type="multipart/form-data", headers=headers)

    def _call(self, method: str, path: str, body: Any, headers: dict[str, str]) -> TestResponse:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return self.app.test_client().open(
            path, method=method, json=body, headers={"Authorization": f"Bearer {self.secret}", **named}
        )


def caller(app: App, *scopes: str, **more: Any) -> Caller:
    return Caller(app, key(*scopes, **more))


PRICES = "article;name_ru;name_en;category_ru;nomenclature_codes;doctor_rank;price_kind;price"


def price_file(count: int, *, prefix: str = "MRI", category: str = "МРТ") -> bytes:
    """A price list of so many services, as a file."""
    rows = (
        f"{prefix}-{each};Исследование {each};Study {each};{category};A05.14.001;;fixed;{100 + each},00"
        for each in range(count)
    )
    return "\r\n".join([PRICES, *rows]).encode()


def job(caller: Caller) -> str:
    """A long import that waits for a worker; its id."""
    answer = caller.upload("/v1/price-orders/imports", file=price_file(2001), effective_from=LATER)
    assert answer.status_code == 202, answer.get_json()
    return str(answer.get_json()["id"])


def line(article: str, rank: str | None = None, **more: Any) -> dict[str, Any]:
    return {"article": article, **({"doctor_rank": rank} if rank else {}), **more}


def package(caller: Caller, code: str, *parts: tuple[str, str | None] | dict[str, Any], **more: Any) -> Any:
    """A new package at 10 percent off, of the two scans unless parts are given, as JSON."""
    wanted = [each if isinstance(each, dict) else line(*each) for each in parts] or [
        line("CT-ABD-RP"),
        line("MRI-ABD-RP"),
    ]
    price = {} if "total" in more else {"percent_off": "10"}
    name = {"ru": f"Программа {code}", "en": f"Package {code}"}
    return made(caller.post("/v1/packages", {"code": code, "name": name, "parts": wanted, **price, **more}))


def made(response: TestResponse) -> Any:
    """The body of an answer that must be a success."""
    assert response.status_code in (200, 201), response.get_json()
    return response.get_json()


def faults(response: TestResponse) -> list[tuple[str, str]]:
    """(pointer, code) of each fault of a 422."""
    assert response.status_code == 422, response.get_json()
    return [(each["pointer"], each["code"]) for each in response.get_json()["errors"]]


@contextmanager
def day(text: str, at: str = "12:00") -> Iterator[date]:
    """It is this day and time in Moscow."""
    local = datetime.combine(date.fromisoformat(text), time.fromisoformat(at), ZoneInfo("Europe/Moscow"))
    with clock.frozen(local.astimezone(UTC)):
        yield local.date()
