"""The reception's form: a quote as it is put together, and what the catalog says of it while it is.

Nothing is kept between submits but what the form itself carries, so every button is a submit and no script is needed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar, Protocol

from billing import discounts, invoice_editing, quote_edits, quoting
from billing.discounts import Reason
from billing.invoices import Invoice, InvoiceLine
from billing.lines import MOST, Line, shown_quantity, totals_json
from billing.package_lines import Group, asked
from billing.quote_edits import QuotePatch, Terms
from billing.quotes import Quote, QuoteLine
from catalog import doctors, package_offers, price_lists, prices, ranks, search, services
from catalog.doctors import Doctor
from catalog.package_offers import Offer
from catalog.package_split import Package, Split
from catalog.prices import Priced
from catalog.services import Service
from clinic import clock, db, fields, forms
from clinic.auth import Actor
from clinic.errors import Fault, InvalidInput

FOUND = 20
_MOST_DOCTORS = 1000
# The faults' own texts name the members of JSON; a person is told the same by the names of the fields.
SAID = {
    "price_on_request": (
        "Цена этой услуги — по запросу: впишите цену и её основание.",
        "The price of this service is on request: enter the price and its reason.",
    ),
    "price_needs_reason": ("Напишите основание этой цены.", "Enter the reason for this price."),
    "unit_price_not_allowed": ("У этой услуги твёрдая цена.", "This service has a fixed price."),
    "rank_required": ("Выберите звание врача.", "Choose the doctor's rank."),
    "unknown_doctor": ("Выберите врача из списка.", "Choose the doctor from the list."),
    "not_uuid": ("Выберите врача из списка.", "Choose the doctor from the list."),
    "rank_not_applicable": (
        "Цена этой услуги от звания врача не зависит.",
        "The price of this service does not depend on the doctor's rank.",
    ),
    "not_quantity": (
        "Нужно количество: число, не больше трёх знаков после запятой.",
        "A quantity is needed: a number of at most three decimals.",
    ),
    "not_percent": (
        "Нужен процент от 0 до 100, не больше двух знаков после запятой.",
        "A percentage from 0 to 100 is needed, of at most two decimals.",
    ),
    "consent_needed": (
        "Смета твёрдая: на услуги сверх неё нужно согласие пациента, укажите его номер.",
        "The quote is firm: what goes beyond it needs the patient's consent; give its reference.",
    ),
    "nothing_of_quote": (
        "Укажите, что выставить из сметы: хотя бы одну услугу.",
        "Say what of the quote is invoiced: one service at least.",
    ),
    "not_whole": ("Нужно целое число программ.", "A whole number of packages is needed."),
    "discount_needs_reason": ("Выберите причину скидки.", "Choose the reason for the discount."),
    "not_money": (
        "Нужна сумма в рублях, например 1500 или 1500,50.",
        "A sum in rubles is needed, such as 1500 or 1500.50.",
    ),
}


@dataclass(frozen=True)
class Row:
    """One line of the form, as it was typed."""

    article: str
    doctor_rank: str = ""
    quantity: str = "1"
    unit_price: str = ""
    price_reason: str = ""
    doctor: str = ""
    package: str = ""
    service_date: str = ""
    discount_percent: str = ""
    discount_amount: str = ""
    discount_reason: str = ""

    @classmethod
    def read(cls, form: Mapping[str, str], place: int) -> Row:
        return cls(
            **{each.name: form.get(f"lines-{place}-{each.name}", "").strip() for each in dataclasses.fields(cls)}
        )

    @classmethod
    def asked(cls, wanted: dict[str, Any]) -> Row:
        """A row that asks for what a line of a quote asks for."""
        return cls(**{"article": ""} | {name: _typed(value) for name, value in wanted.items()})

    @property
    def has_more(self) -> bool:
        """Whether it has what stands behind the row."""
        return any((self.service_date, self.discount_percent, self.discount_amount, self.discount_reason))

    def wanted(self) -> dict[str, Any]:
        if self.package:
            return {
                "package": self.package,
                "quantity": forms.plain_number(self.quantity),
                "service_date": self.service_date or None,
            }
        return {
            "article": self.article,
            # Who chooses a doctor has chosen the rank with him, whatever the field beside still shows.
            "doctor_rank": None if self.doctor else self.doctor_rank or None,
            "doctor": self.doctor or None,
            "quantity": forms.plain_number(self.quantity),
            "unit_price": forms.plain_number(self.unit_price) or None,
            "price_reason": self.price_reason or None,
            "service_date": self.service_date or None,
            "discount_percent": forms.plain_number(self.discount_percent) or None,
            "discount_amount": forms.plain_number(self.discount_amount) or None,
            "discount_reason": self.discount_reason or None,
        }


def _typed(value: Any) -> str:
    """A value of JSON as somebody types it."""
    if value is None:
        return ""
    return shown_quantity(value) if isinstance(value, Decimal) else str(value)


@dataclass(frozen=True)
class Desk:
    """The whole form. `key` is what makes a quote of it only once."""

    key: str
    q: str = ""
    rows: tuple[Row, ...] = ()
    kind: str = "firm"
    valid_until: str = ""
    discount_percent: str = ""
    discount_reason: str = ""
    patient_id: str = ""
    patient_name: str = ""
    comment: str = ""
    discount_amount: str = ""
    price_list: str = price_lists.BASE
    _TYPED: ClassVar = (
        "valid_until", "discount_percent", "discount_amount", "discount_reason", "patient_id", "patient_name",
        "comment",
    )  # fmt: skip

    @classmethod
    def of_quote(cls, key: str, quote: Quote, lines: Sequence[Line]) -> Desk:
        """The form as it would have been typed for this quote."""
        return cls._of(key, quote_edits.as_wanted(quote, lines), quote)

    @classmethod
    def of_invoice(cls, key: str, invoice: Invoice, lines: Sequence[InvoiceLine]) -> Desk:
        """The same for a draft invoice; when it is due is typed elsewhere."""
        wanted = invoice_editing.as_wanted(invoice, lines)
        del wanted["due_date"]
        return cls._of(key, wanted, invoice)

    @classmethod
    def _of(cls, key: str, wanted: dict[str, Any], document: Quote | Invoice) -> Desk:
        rows = tuple(Row.asked(each) for each in wanted.pop("lines"))
        typed = {name: _typed(value) for name, value in wanted.items()}
        patient = {"patient_id": _typed(document.patient_ref), "patient_name": _typed(document.patient_name)}
        return cls(key=key, rows=rows, **typed, **patient)

    @classmethod
    def read(cls, form: Mapping[str, str]) -> Desk:
        """What was sent, after the button that sent it."""
        rows = [
            Row.read(form, place)
            for place in range(MOST)
            if f"lines-{place}-article" in form or f"lines-{place}-package" in form
        ]
        typed = {name: form.get(name.replace("patient_", "patient-"), "").strip() for name in cls._TYPED}
        desk = cls(
            key=forms.known_key(form.get("key")),
            q=forms.search_words(form.get("q")),
            rows=tuple(rows),
            kind=form.get("kind", "firm"),
            price_list=form.get("price_list", price_lists.BASE),
            **typed,
        )
        return desk._after(form)

    def _after(self, button: Mapping[str, str]) -> Desk:
        if added := button.get("add", "").split():
            # The search has done its work: the box is empty for the next service.
            return replace(self, q="", rows=(*self.rows, Row(*added[:2]))[:MOST])
        if package := button.get("add_package", "").strip():
            return replace(self, q="", rows=(*self.rows, Row("", package=package))[:MOST])
        if removed := button.get("remove", ""):
            return replace(self, rows=tuple(row for place, row in enumerate(self.rows) if str(place) != removed))
        return self

    def with_key(self, key: str) -> Desk:
        return replace(self, key=key)

    def wanted(self) -> dict[str, Any]:
        """As the body of `POST /v1/quotes`."""
        patient = {"id": self.patient_id or None, "name": self.patient_name or None}
        return {
            "lines": [row.wanted() for row in self.rows],
            "kind": self.kind,
            "valid_until": self.valid_until or None,
            "price_list": self.price_list,
            "discount_percent": forms.plain_number(self.discount_percent) or None,
            "discount_amount": forms.plain_number(self.discount_amount) or None,
            "discount_reason": self.discount_reason or None,
            "patient": patient if any(patient.values()) else None,
            "comment": self.comment or None,
        }


@dataclass(frozen=True)
class Estimate:
    """What the form comes to so far: rows that can be priced by their place, and totals once all of them can."""

    rows: dict[int, Line | Group]
    totals: dict[str, Any] | None
    faults: list[Fault]

    def line(self, place: int) -> Line | None:
        """The line of a service."""
        return row if isinstance(row := self.rows.get(place), Line) else None

    def package(self, place: int) -> Group | None:
        """The lines of a package."""
        return row if isinstance(row := self.rows.get(place), Group) else None


class Edited(Protocol):
    """A document that the form changes, as it stands."""

    @property
    def template(self) -> str: ...

    @property
    def bare(self) -> bool:
        """Whether its lines are services alone, without discounts and packages."""

    @property
    def wrong(self) -> Sequence[Fault]:
        """What is wrong with the form beside its rows."""

    @property
    def action(self) -> str:
        """Where the form is sent."""

    @property
    def shape(self) -> fields.Shape:
        """What reads it."""

    def asked(self, desk: Desk) -> dict[str, Any]:
        """The form as a body that `shape` reads."""

    def priced(
        self, conn: db.Connection, actor: Actor, at: datetime, valid_days: int, read: dict[str, Any]
    ) -> Sequence[Line]:
        """The lines as they would be.

        Raises:
            InvalidInput: names every wrong place.
        """


@dataclass(frozen=True)
class Editing:
    """The quote that the form changes, as it stands."""

    quote: Quote
    lines: list[QuoteLine]
    template: ClassVar = "desk.html"
    bare: ClassVar = False
    wrong: ClassVar = ()
    shape: ClassVar[fields.Shape] = QuotePatch()

    @property
    def action(self) -> str:
        return f"/desk/quotes/{self.quote.id}/edit"

    @property
    def is_draft(self) -> bool:
        """Whether it is changed in place; else a further revision is made."""
        return self.quote.status == "draft"

    def asked(self, desk: Desk) -> dict[str, Any]:
        return desk.wanted()

    def priced(
        self, conn: db.Connection, actor: Actor, at: datetime, valid_days: int, read: dict[str, Any]
    ) -> Sequence[Line]:
        terms = Terms.of(actor, clock.day_of(at), valid_days, self.quote)
        return quote_edits.worked_out(conn, terms, self.quote, self.lines, read)[1]


def estimate(actor: Actor, at: datetime, valid_days: int, desk: Desk, editing: Edited | None = None) -> Estimate:
    """Price the form as the quote would be priced; a faulty line does not hide the prices of the others."""
    if not desk.rows:
        return Estimate({}, None, [])
    wanted = editing.asked(desk) if editing else desk.wanted()
    try:
        found = _priced(actor, at, valid_days, wanted, editing)
        return Estimate(dict(enumerate(asked(found))), totals_json(found), [])
    except InvalidInput as wrong:
        faults = wrong.faults
    sound = [place for place in range(len(desk.rows)) if not _any_in(faults, f"/lines/{place}/")]
    try:
        lines = [wanted["lines"][place] for place in sound]
        partly = {"lines": lines, "price_list": desk.price_list}
        found = _priced(actor, at, valid_days, partly, editing) if lines else []
    except InvalidInput:
        return Estimate({}, None, faults)
    return Estimate(dict(zip(sound, asked(found), strict=True)), None, faults)


def _priced(
    actor: Actor, at: datetime, valid_days: int, wanted: dict[str, Any], editing: Edited | None
) -> Sequence[Line]:
    # Read before a connection is taken: reading asks the catalog about faulty lines on one of its own.
    read = forms.loaded(editing.shape if editing else quoting.QuoteIn(), wanted)
    with db.reading() as conn:
        if editing is None:
            return quoting.work_out(conn, actor, at, valid_days, read)[1]
        return editing.priced(conn, actor, at, valid_days, read)


def _any_in(faults: Sequence[Fault], place: str) -> bool:
    return any(fault.pointer.startswith(place) for fault in faults)


def found(conn: db.Connection, words: str) -> list[Service]:
    """The services that the search box asks for."""
    return services.listed(conn, found=search.understood(conn, words), active=True, limit=FOUND) if words else []


def packages_found(conn: db.Connection, today: date, words: str) -> list[Offer]:
    """The packages of today whose names or codes have all the words of the search box, and that can be sold."""
    wanted = search.folded(words).split()
    return [
        offer
        for offer in package_offers.listed(conn, price_lists.BASE, today)
        if wanted and isinstance(offer.split, Split) and all(word in _searched(offer.package) for word in wanted)
    ]


def _searched(package: Package) -> str:
    return search.folded(f"{package.name_ru} {package.name_en} {package.code}")


def reasons(conn: db.Connection, today: date) -> list[Reason]:
    """The reasons a discount may have today."""
    return [each for each in discounts.reasons(conn) if each.is_valid_on(today)]


def staff(conn: db.Connection, today: date) -> dict[str, Doctor]:
    """The doctors a line may name, by their ids."""
    return {str(each.id): each for each in doctors.listed(conn, today, active=True, limit=_MOST_DOCTORS)}


def choices(
    conn: db.Connection, today: date, articles: Sequence[str], price_list: str = price_lists.BASE
) -> dict[str, list[Priced]]:
    """For each article its prices by rank, from the lowest rank; one price where it does not depend on the rank."""
    asked = [article for article in dict.fromkeys(articles) if re.fullmatch(services.ARTICLE, article)]
    known = ranks.every(conn)
    wanted = [prices.Wanted(article, rank.code, today, today) for article in asked for rank in known]
    found: dict[str, list[Priced]] = {article: [] for article in articles}
    for answer in prices.on(conn, price_list, wanted) if wanted else []:
        if isinstance(answer, Priced):
            found[answer.article].append(answer)
    return found
