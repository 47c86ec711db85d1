"""The register of invoices for accounting: as a page, and as CSV that a Russian Excel opens by a double click."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma

from billing import quote_codes, words
from clinic import access_log, db, errors, fields, money, parties
from clinic.auth import Actor
from clinic.errors import Fault

PAGE = 200
_PIECE = 1000
_BLOCK = 64 * 1024
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

errors.describe({"before_since": ("Конец периода раньше начала.", "The period ends before it begins.")})


@dataclass(frozen=True)
class Period:
    """Days of documents, both included."""

    since: date
    until: date

    @classmethod
    def asked(cls, query: Mapping[str, str], today: date) -> tuple[Period, list[Fault]]:
        """The period an address names, by default this month; what cannot be read stays at the default."""
        days = {"since": today.replace(day=1), "until": today}
        faults = []
        for name in days:
            if given := query.get(name):
                try:
                    days[name] = fields.Day().deserialize(given)
                except ma.ValidationError:
                    faults.append(Fault(f"/{name}", "not_day"))
        if days["until"] < days["since"] and not faults:
            faults.append(Fault("/until", "before_since"))
        return cls(**days), faults


@dataclass(frozen=True)
class Place:
    """Where a reader of the register stands: behind this document."""

    date: date
    number: str


@dataclass(frozen=True)
class Row:
    """An invoice that has a number, as accounting sees it. `vat` is (rate, amounts, VAT in them), a rate each;
    `credit_notes` are (id, number, amount) of those that make up `credited`, and `credited_vat` the VAT in it."""

    id: UUID
    number: str
    date: date
    status: str
    payer: dict[str, Any]
    payer_party: UUID
    payer_ref: str
    patient_ref: str | None
    total: Decimal
    vat: list[tuple[str | None, str, str | None]]
    paid: Decimal
    credited: Decimal
    credited_vat: Decimal
    credit_notes: list[tuple[str, str, str]]
    quote_code: str | None
    payer_name: str | None = None

    @property
    def balance(self) -> Decimal:
        """What is still owed, in rubles."""
        return self.total - self.paid - self.credited

    @property
    def place(self) -> Place:
        return Place(self.date, self.number)

    def vat_rows(self, lang: str) -> list[tuple[str, Decimal]]:
        """«НДС 22 %» with its VAT, «Без НДС» with the amount it is not charged on (domain.md rule 18)."""
        return [
            (words.vat(Decimal(rate) if rate is not None else None, lang), Decimal(amount if tax is None else tax))
            for rate, amount, tax in self.vat
        ]


def invoices_of(conn: db.Connection, actor: Actor, period: Period, behind: Place | None, limit: int) -> list[Row]:
    """Issued and cancelled invoices of the period by date and number, up to `limit`, with the payers' names."""
    found = db.many(
        conn,
        Row,
        """
        SELECT invoice.id, number, date, status, payer, payer_party, payer_ref, patient_ref, total, paid, credited,
               quote.code AS quote_code,
               (SELECT jsonb_agg(jsonb_build_array(rate::text, amount::text, tax::text) ORDER BY rate DESC NULLS LAST)
                  FROM (SELECT vat_rate AS rate, sum(amount) AS amount, sum(vat_amount) AS tax
                          FROM invoice_line WHERE invoice_id = invoice.id
                         GROUP BY vat_rate) AS by_rate) AS vat,
               (SELECT sum(credited_vat) FROM invoice_line WHERE invoice_id = invoice.id) AS credited_vat,
               (SELECT coalesce(jsonb_agg(jsonb_build_array(note.id, note.number, note.amount::text)
                                          ORDER BY note.date, note.sequence), '[]')
                  FROM credit_note AS note WHERE invoice_id = invoice.id) AS credit_notes
          FROM invoice
          LEFT JOIN quote ON quote.id = invoice.quote_id
         WHERE number IS NOT NULL
           AND date BETWEEN greatest(%(since)s::date, %(day)s::date) AND %(until)s::date
           AND (%(branch)s::uuid IS NULL OR invoice.branch_id = %(branch)s::uuid)
           AND (%(day)s::date IS NULL OR (date, number COLLATE "C") > (%(day)s::date, %(number)s::text))
         ORDER BY date, number COLLATE "C"
         LIMIT %(limit)s::int
        """,
        {
            "since": period.since,
            "until": period.until,
            "branch": actor.branch_id,
            "day": behind and behind.date,
            "number": behind and behind.number,
            "limit": limit,
        },
    )
    payers = parties.known(conn, {row.payer_party for row in found})
    return [replace(row, payer_name=payers[row.payer_party].name) for row in found]


@dataclass(frozen=True)
class Sums:
    """The register added up, in rubles: invoiced − credited − paid = owed."""

    documents: int
    total: Decimal
    credited: Decimal
    paid: Decimal

    @property
    def balance(self) -> Decimal:
        return self.total - self.credited - self.paid


def sums_of(conn: db.Connection, actor: Actor, period: Period) -> Sums:
    """What all invoices of the period come to."""
    found = db.find(
        conn,
        Sums,
        """
        SELECT count(*) AS documents, coalesce(sum(total), 0) AS total, coalesce(sum(credited), 0) AS credited,
               coalesce(sum(paid), 0) AS paid
          FROM invoice
         WHERE number IS NOT NULL
           AND date BETWEEN %(since)s::date AND %(until)s::date
           AND (%(branch)s::uuid IS NULL OR branch_id = %(branch)s::uuid)
        """,
        {"since": period.since, "until": period.until, "branch": actor.branch_id},
    )
    assert found is not None, "a sum has a row even when nothing is added"
    return found


# ---- CSV ----

_HEADINGS = (
    ("Номер", "Number"),
    ("Дата", "Date"),
    ("Состояние", "Status"),
    ("Вид плательщика", "Payer kind"),
    ("Код плательщика", "Payer ref"),
    ("Плательщик", "Payer"),
    ("ИНН", "INN"),
    ("КПП", "KPP"),
    ("Код пациента", "Patient ref"),
    ("Сумма", "Total"),
    ("НДС", "VAT"),
    ("Оплачено", "Paid"),
    ("Уменьшено", "Credited"),
    ("В том числе НДС", "VAT credited"),
    ("Кредит-ноты", "Credit notes"),
    ("Остаток", "Balance"),
    ("Код сметы", "Quote code"),
)


def csv_of(actor: Actor, period: Period, lang: str, request_id: str) -> Iterator[bytes]:
    """The register as CSV for a Russian Excel: UTF-8 with BOM, semicolons, CRLF, decimal commas.

    Each piece is a transaction of its own: a transaction has a deadline, the line of whoever loads the file has none.
    Each document is noted as exported in the transaction that reads it.
    """
    # The first piece is read before anything is sent, so that a database that is away is still an answer.
    first = _piece(actor, period, None, request_id)
    return _blocks(actor, period, lang, request_id, first)


def _blocks(actor: Actor, period: Period, lang: str, request_id: str, piece: list[Row]) -> Iterator[bytes]:
    text = io.StringIO()
    table = csv.writer(text, delimiter=";", lineterminator="\r\n")
    text.write("\ufeff")
    table.writerow(ru if lang == "ru" else en for ru, en in _HEADINGS)
    while True:
        for row in piece:
            table.writerow(_cells(row, lang))
            if text.tell() >= _BLOCK // 2:  # counted in characters, and Russian letters take two bytes
                yield _taken(text)
        if len(piece) < _PIECE:
            break
        piece = _piece(actor, period, piece[-1].place, request_id)
    yield _taken(text)


def _piece(actor: Actor, period: Period, behind: Place | None, request_id: str) -> list[Row]:
    # Said here, since pieces are asked for when the request's own end has come.
    with db.seeing(actor.branch_id), db.transaction() as conn:
        rows = invoices_of(conn, actor, period, behind, _PIECE)
        access_log.note(conn, actor.label, "export", "invoice", [row.id for row in rows], request_id)
    return rows


def _taken(text: io.StringIO) -> bytes:
    block = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return block


def _cells(row: Row, lang: str) -> Sequence[str]:
    vat = "; ".join(f"{said}: {_sum(amount)}" for said, amount in row.vat_rows(lang))
    return (
        safe(row.number),
        f"{row.date:%d.%m.%Y}",
        safe(words.said(words.INVOICE_STATUS, row.status, lang)),
        safe(words.said(words.PAYER_KIND, row.payer["kind"], lang)),
        safe(row.payer_ref),
        safe(row.payer_name),
        safe(row.payer["inn"]),
        safe(row.payer["kpp"]),
        safe(row.patient_ref),
        _sum(row.total),
        safe(vat),
        _sum(row.paid),
        _sum(row.credited),
        _sum(row.credited_vat),
        safe("; ".join(f"{number}: {_sum(Decimal(amount))}" for _, number, amount in row.credit_notes)),
        _sum(row.balance),
        safe(row.quote_code and quote_codes.shown(row.quote_code)),
    )


def safe(text: str | None) -> str:
    """A text cell that no spreadsheet takes for a formula; numbers are never guarded, or they would be text."""
    if not text:
        return ""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _sum(amount: Decimal) -> str:
    return money.text(amount).replace(".", ",")
