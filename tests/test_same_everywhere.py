"""One document, the same to the kopeck wherever it is seen: preview, stored quote, invoice, paper, accounting's file.

What it must say is worked out once more here, in whole kopecks and fractions, by nothing of the program's own.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as forall
from hypothesis import strategies as st

from tests import given, given_prices
from tests.browser import Person, quick_passwords  # noqa: F401
from tests.given import Caller, line, made

TODAY = "2026-11-23"


# ---- The model: kopecks are whole numbers, everything else is a fraction ----


def half_up(exact: Fraction) -> int:
    """The nearest whole number, halves upwards; nothing here is negative."""
    return (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)


def spread(total: int, weights: Sequence[int]) -> list[int]:
    """By largest remainder, ties to the earlier."""
    whole = sum(weights)
    if not total:
        return [0] * len(weights)
    exact = [Fraction(total * weight, whole) for weight in weights]
    parts = [each.numerator // each.denominator for each in exact]
    first = sorted(range(len(parts)), key=lambda place: (parts[place] - exact[place], place))
    for place in first[: total - sum(parts)]:
        parts[place] += 1
    return parts


@dataclass(frozen=True)
class Service:
    article: str
    rank: str | None
    price: int
    rate: int | None = None
    discountable: bool = True


SERVICES = (
    Service("ONC-CONS-1", "none", 370000),
    Service("ONC-CONS-1", "candidate", 530000),
    Service("ONC-CONS-1", "doctor", 850000),
    Service("HEP-DRAIN-PT", None, 6720000),
    Service("CT-ABD-RP-BOLUS", None, 1400000),
    Service("CT-ABD-RP", None, 884000),
    Service("MRI-ABD-RP", None, 1370000),
    Service("COSMETIC", None, 12201, 22),
    Service("CORSET", None, 3333, 10),
    Service("REPORT", None, 9999, 0),
    Service("VACCINE", None, 123457, None, discountable=False),
    Service("CERTIFICATE", None, 10001, 22, discountable=False),
)
MADE = {"COSMETIC": "standard", "CORSET": "reduced", "REPORT": "zero", "VACCINE": "exempt_medical",
        "CERTIFICATE": "standard"}  # fmt: skip
TENTH: tuple[tuple[int, int | None], ...] = ((1400000, None), (1370000, None))
"""CT-MRI-DAY: two scans at 10 percent off."""
FIXED: tuple[tuple[int, int | None], ...] = ((3333, 10), (12201, 22), (9999, 0))
"""MIXED: a corset, one and a half cosmetic ones and a report for 200.00, of three rates of VAT."""


@dataclass(frozen=True)
class Row:
    """A line as it must be, in kopecks."""

    gross: int
    discount: int
    rate: int | None
    discountable: bool
    document_discount: int = 0

    @property
    def amount(self) -> int:
        return self.gross - self.discount - self.document_discount

    @property
    def vat(self) -> int | None:
        return None if self.rate is None else half_up(Fraction(self.amount * self.rate, 100 + self.rate))


def of_packages(code: str, times: int) -> list[Row]:
    if code == "CT-MRI-DAY":
        alone = [price * times for price, _ in TENTH]
        total, rates = sum(alone) - half_up(Fraction(sum(alone), 10)), [rate for _, rate in TENTH]
    else:
        quantities = (Fraction(1), Fraction(3, 2), Fraction(1))
        alone = [half_up(price * many * times) for (price, _), many in zip(FIXED, quantities, strict=True)]
        total, rates = 20000 * times, [rate for _, rate in FIXED]
    return [Row(share, 0, rate, False) for share, rate in zip(spread(total, alone), rates, strict=True)]


@dataclass(frozen=True)
class Document:
    """A wanted document, and its lines as they must be."""

    wanted: dict[str, Any]
    rows: list[Row]

    def vat(self) -> dict[int | None, tuple[int, int | None]]:
        """For each rate what is sold with it, and the VAT in that."""
        found: dict[int | None, tuple[int, int | None]] = {}
        for row in self.rows:
            base, tax = found.get(row.rate, (0, None if row.rate is None else 0))
            found[row.rate] = (base + row.amount, None if tax is None else tax + (row.vat or 0))
        return found

    def said(self) -> Said:
        return Said(
            [(row.gross, row.discount + row.document_discount, row.amount, row.vat) for row in self.rows],
            sum(row.gross for row in self.rows),
            sum(row.amount for row in self.rows),
            self.vat(),
        )


@dataclass(frozen=True)
class Said:
    """What a document says in sums, wherever it stands: for each line gross, discounts, amount and VAT in it."""

    lines: list[tuple[int, int, int, int | None]]
    subtotal: int
    total: int
    vat: dict[int | None, tuple[int, int | None]]


# ---- Random documents ----

PERCENT = st.integers(0, 10000).map(lambda basis: Fraction(basis, 100))
QUANTITY = st.integers(1, 9999).map(lambda thousandths: Fraction(thousandths, 1000))


def written(number: Fraction, places: int) -> str:
    whole = half_up(number * 10**places)
    return f"{whole // 10**places}.{whole % 10**places:0{places}d}"


@st.composite
def discounts(draw: Callable[[Any], Any], most: int) -> tuple[dict[str, Any], Callable[[int], int]]:
    """A discount as it is asked for, and what it comes to of a sum; at most `most` kopecks."""
    kind = draw(st.sampled_from(("none", "percent", "amount")))
    reason = {"discount_reason": draw(st.sampled_from(("staff", "repeat", "goodwill")))}
    if kind == "percent":
        percent = draw(PERCENT)
        return {"discount_percent": written(percent, 2), **reason}, lambda sum_: half_up(sum_ * percent / 100)
    if kind == "amount":
        kopecks = draw(st.integers(0, most))
        return {"discount_amount": written(Fraction(kopecks, 100), 2), **reason}, lambda sum_: kopecks
    return {}, lambda sum_: 0


@st.composite
def documents(draw: Callable[[Any], Any]) -> Document:
    wanted, rows = [], []
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.integers(0, 4)) == 0:
            code, times = draw(st.sampled_from(("CT-MRI-DAY", "MIXED"))), draw(st.integers(1, 3))
            wanted.append({"package": code, "quantity": times})
            rows += of_packages(code, times)
            continue
        service, quantity = draw(st.sampled_from(SERVICES)), draw(QUANTITY)
        gross = half_up(service.price * quantity)
        asked, taken = draw(discounts(gross)) if service.discountable else ({}, lambda sum_: 0)
        wanted.append(line(service.article, service.rank, quantity=written(quantity, 3), **asked))
        rows.append(Row(gross, taken(gross), service.rate, service.discountable))
    open_ = [row.amount if row.discountable else 0 for row in rows]
    asked, taken = draw(discounts(sum(open_)))
    shares = spread(taken(sum(open_)), open_)
    rows = [
        Row(row.gross, row.discount, row.rate, row.discountable, share) for row, share in zip(rows, shares, strict=True)
    ]
    return Document({"lines": wanted, **asked}, rows)


# ---- What is read from each place ----


def kopecks(text: str) -> int:
    """«1 234,50 ₽» and "1234.50" alike."""
    plain = re.sub(r"[\s\u00a0\u202f₽]", "", text).replace(",", ".")
    assert re.fullmatch(r"[0-9]+\.[0-9]{2}", plain), text
    return int(plain.replace(".", ""))


def optional(text: str | None) -> int | None:
    return None if text is None else kopecks(text)


def of_json(document: dict[str, Any]) -> Said:
    totals = document["totals"]
    assert kopecks(totals["discount"]) == kopecks(totals["subtotal"]) - kopecks(totals["total"])
    return Said(
        [
            (
                kopecks(each["gross"]),
                kopecks(each["discount"]) + kopecks(each["document_discount"]),
                kopecks(each["amount"]),
                optional(each["vat"]["amount"]),
            )
            for each in document["lines"]
        ],
        kopecks(totals["subtotal"]),
        kopecks(totals["total"]),
        {
            None if group["rate"] is None else int(group["rate"]): (kopecks(group["base"]), optional(group["amount"]))
            for group in totals["vat"]
        },
    )


class Paper(HTMLParser):
    """The rows of the table of services, and the totals under it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.totals: list[list[str]] = []
        self._into: list[str] | None = None
        self._in_totals = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag == "td" and self.rows:
            self.rows[-1].append("")
            self._into = self.rows[-1]
        if tag == "dl":
            self._in_totals = "totals" in (dict(attrs).get("class") or "")
        if tag in ("dt", "dd") and self._in_totals:
            if tag == "dt":
                self.totals.append([])
            self.totals[-1].append("")
            self._into = self.totals[-1]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "dt", "dd"):
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


def of_paper(html: str) -> Said:
    paper = Paper(html)
    rows = [row for row in paper.rows if len(row) in (8, 9) and row[0].strip().isdigit()]
    # Lines of packages show the list price, so what a line comes to before discounts is its sum and its discount.
    lines = []
    for row in rows:
        amount, discount = kopecks(row[-2]), kopecks(row[-3]) if len(row) == 9 else 0
        vat = row[-1].rpartition(":")
        lines.append((amount + discount, discount, amount, kopecks(vat[2]) if vat[1] else None))
    named = {name.strip(): sum_ for name, sum_ in paper.totals}
    total = kopecks(named["Итого"])
    assert kopecks(named["Всего к оплате"]) == total
    assert ("Скидка" in named) == ("Сумма без скидки" in named)
    subtotal = kopecks(named["Сумма без скидки"]) if "Скидка" in named else total
    assert subtotal - total == (kopecks(named["Скидка"]) if "Скидка" in named else 0)
    return Said(lines, subtotal, total, _vat_of_paper(named, lines, total))


def _vat_of_paper(
    named: dict[str, str], lines: list[tuple[int, int, int, int | None]], total: int
) -> dict[int | None, tuple[int, int | None]]:
    """Paper names the VAT of a rate and not what it is charged on, which is told by nobody but the lines."""
    if "Без налога (НДС)" in named:
        return {None: (total, None)}
    found: dict[int | None, tuple[int, int | None]] = {}
    for name, sum_ in named.items():
        if name == "Без НДС":
            found[None] = (kopecks(sum_), None)
        if match := re.search(r"НДС\s+([0-9]+)\s*%", name):
            found[int(match[1])] = (0, kopecks(sum_))
    return found


def on_paper(said: Said) -> Said:
    """What paper says of a document: of zero percent the sum it is charged on, of other rates the VAT alone."""
    vat = {rate: (base if rate is None else 0, tax) for rate, (base, tax) in said.vat.items()}
    return Said(said.lines, said.subtotal, said.total, vat)


def of_file(content: bytes, number: str) -> tuple[int, int, dict[str, int]]:
    """Total, balance and VAT by its name, of this invoice in accounting's file."""
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig")), delimiter=";")
    (row,) = [each for each in rows if each["Номер"] == number]
    vat = dict(each.rsplit(": ", 1) for each in row["НДС"].split("; "))
    return kopecks(row["Сумма"]), kopecks(row["Остаток"]), {name: kopecks(sum_) for name, sum_ in vat.items()}


def in_file(document: Document) -> tuple[int, int, dict[str, int]]:
    total = document.said().total
    vat = {
        "Без НДС" if rate is None else f"НДС {rate} %": base if tax is None else tax
        for rate, (base, tax) in document.vat().items()
    }
    return total, total, vat


# ---- The same everywhere ----


@pytest.fixture
def clinic(clinic: Caller) -> Any:
    """The clinic on its first day, with what else it sells: taxed, not discountable, and in a package of many rates."""
    with given.day(TODAY):
        prices = {each.article: each for each in SERVICES}
        for article, category in MADE.items():
            service = prices[article]
            given_prices.service(article, vat_category=category, discountable=service.discountable)
            given.price(article, written(Fraction(service.price, 100), 2), date(2026, 11, 23))
        parts = [line("CORSET"), line("COSMETIC", quantity="1.5"), line("REPORT")]
        given.package(clinic, "MIXED", *parts, total="200.00")
        yield given.caller(clinic.app, "*", discount_ceiling=100)


@pytest.mark.usefixtures("quick_passwords")
@settings(
    derandomize=True, database=None, deadline=None, max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@forall(documents())
def test_a_document_is_the_same_to_the_kopeck_wherever_it_is_seen(clinic, reader, document):
    must = document.said()
    assert of_json(made(clinic.post("/v1/quotes/preview", document.wanted))) == must
    quote = clinic.quote(*document.wanted["lines"], **{k: v for k, v in document.wanted.items() if k != "lines"})
    assert of_json(quote) == must
    assert of_json(made(clinic.get(f"/v1/quotes/{quote['id']}"))) == must
    assert of_paper(reader.get(f"/desk/quotes/{quote['id']}/print").text) == on_paper(must)
    invoice = clinic.invoice(quote)
    assert of_json(invoice) == must
    assert of_json(made(clinic.get(f"/v1/invoices/{invoice['id']}"))) == must
    assert of_paper(reader.get(f"/desk/invoices/{invoice['id']}/print").text) == on_paper(must)
    register = reader.get(f"/accounting/invoices.csv?since={TODAY}&until={TODAY}").data
    assert of_file(register, invoice["number"]) == in_file(document)


@pytest.fixture
def reader(clinic: Caller) -> Person:
    """Somebody who looks at pages and loads files."""
    return Person(clinic.app, "administrator")
