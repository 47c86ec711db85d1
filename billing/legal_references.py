"""Legal references: which act of law a paper names, by the day of the paper.

Acts of law end. Where nothing is in force on the day of a document, its paper names nothing, and whoever prints it is
told; a stale reference is never printed (domain.md rule 33).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import marshmallow as ma

from billing.lines import Line, NamesOut
from clinic import db, errors, fields, ids
from clinic.command import Change
from clinic.errors import Fault, InvalidInput, NotFound

errors.describe(
    {
        "legal_reference_missing": (
            "На {day} нет действующего текста ссылки на закон «{reference}»: на бумаге её не будет. "
            "Задайте её через PUT /v1/legal-references/{reference}.",
            "No text of the legal reference {reference} is in force on {day}: the paper will not have it. "
            "Set it with PUT /v1/legal-references/{reference}.",
        ),
        "past_period": (
            "Прошедшие дни не меняются: можно с {day}.",
            "Days that are over do not change: from {day} on it is possible.",
        ),
        "before_valid_from": ("Раньше, чем начало действия, или в тот же день.", "Not after valid_from."),
    }
)

CODES = ("paid_services", "vat_exemption")


class WordingIn(fields.Shape):
    """What is printed, in both languages."""

    ru = fields.Text(500, required=True)
    en = fields.Text(500, required=True)


class LegalReferenceIn(fields.Shape):
    """A period of a reference; `valid_until` is the first day without it, null while no end is known."""

    text = fields.Nested(WordingIn, required=True)
    valid_from = fields.Day(required=True)
    valid_until = fields.Day(load_default=None, allow_none=True)


class LegalReferenceOut(ma.Schema):
    """A period of a reference: from `valid_from` on, until the day before `valid_until`."""

    code = ma.fields.String(required=True, metadata={"enum": list(CODES)})
    text = ma.fields.Nested(NamesOut, required=True)
    valid_from = ma.fields.Date(required=True)
    valid_until = ma.fields.Date(required=True, allow_none=True)


class LegalReferencesOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(LegalReferenceOut), required=True)


@dataclass(frozen=True)
class LegalReference:
    """What a paper says of one matter in one period."""

    id: UUID
    code: str
    text_ru: str
    text_en: str
    valid_from: date
    valid_until: date | None

    def says(self, text: dict[str, str]) -> bool:
        return (self.text_ru, self.text_en) == (text["ru"], text["en"])

    def as_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "text": {"ru": self.text_ru, "en": self.text_en},
            "valid_from": self.valid_from,
            "valid_until": self.valid_until,
        }


_SELECT = """
SELECT id, code, text_ru, text_en, lower(valid) AS valid_from, upper(valid) AS valid_until
  FROM legal_reference
"""


def every(conn: db.Connection) -> list[LegalReference]:
    """All periods, by code, the newest first."""
    return db.many(conn, LegalReference, _SELECT + "ORDER BY code, lower(valid) DESC")


def printed(conn: db.Connection, day: date, lines: Sequence[Line]) -> list[LegalReference]:
    """What a paper of this day with these lines names."""
    found = db.many(conn, LegalReference, _SELECT + "WHERE valid @> %(day)s::date ORDER BY code", {"day": day})
    return [each for each in found if each.code in _needed(lines)]


def lacking(conn: db.Connection, day: date) -> list[str]:
    """The codes without a text in force on this day."""
    codes: list[str] = db.value(conn, "SELECT legal_references_lacking(%(day)s::date)", {"day": day})
    return codes


def warnings_json(codes: Sequence[str], day: date, lines: Sequence[Line]) -> list[dict[str, Any]]:
    """A warning for each of these codes that a document with these lines needs."""
    return [_missing(code, day) for code in codes if code in _needed(lines)]


def _needed(lines: Sequence[Line]) -> set[str]:
    exempt = any(line.vat_category == "exempt_medical" for line in lines)
    return {"paid_services", "vat_exemption"} if exempt else {"paid_services"}


def _missing(code: str, day: date) -> dict[str, Any]:
    said = Fault("", "legal_reference_missing", (("reference", code), ("day", day.isoformat())))
    return {"code": said.code, "no": None, "message": {lang: said.message(lang) for lang in ("ru", "en")}}


def put(change: Change, code: str, wanted: dict[str, Any]) -> list[LegalReference]:
    """Add a period, which ends the present one, or say when a period that is not over ends; returns all of the code.

    A period may begin in the past where there is none: the successor of an act is often known late.

    Raises:
        NotFound: there is no such reference.
        InvalidInput: it ends before it begins, or a day that is over would change.
        AlreadyExists: another period has some of these days.
    """
    if code not in CODES:
        raise NotFound()
    since, until = wanted["valid_from"], wanted["valid_until"]
    if until is not None and until <= since:
        raise InvalidInput([Fault("/valid_until", "before_valid_from")])
    periods = _held(change.conn, code)
    same = next((each for each in periods if each.valid_from == since and each.says(wanted["text"])), None)
    id_ = same.id if same else ids.new()
    if same is None:
        _add(change, id_, code, wanted, periods)
    elif same.valid_until != until:
        _end(change, same, until, "/valid_until")
    else:
        return periods
    change.record(
        "legal_reference.changed", id_, code=code, valid_from=since.isoformat(),
        valid_until=until and until.isoformat(),
    )  # fmt: skip
    return _held(change.conn, code)


def _held(conn: db.Connection, code: str) -> list[LegalReference]:
    return db.many(
        conn,
        LegalReference,
        _SELECT + "WHERE code = %(code)s::text ORDER BY lower(valid) DESC FOR UPDATE",
        {"code": code},
    )


def _add(change: Change, id_: UUID, code: str, wanted: dict[str, Any], periods: Sequence[LegalReference]) -> None:
    since = wanted["valid_from"]
    for each in periods:
        if each.valid_from < since and (each.valid_until is None or each.valid_until > since):
            _end(change, each, since, "/valid_from")
    change.conn.execute(
        """
        INSERT INTO legal_reference (id, code, text_ru, text_en, valid)
        VALUES (%(id)s::uuid, %(code)s::text, %(ru)s::text, %(en)s::text,
                daterange(%(since)s::date, %(until)s::date))
        """,
        wanted["text"] | {"id": id_, "code": code, "since": since, "until": wanted["valid_until"]},
    )


def _end(change: Change, period: LegalReference, until: date | None, pointer: str) -> None:
    if any(day is not None and day < change.today for day in (period.valid_until, until)):
        raise InvalidInput([Fault(pointer, "past_period", (("day", change.today.isoformat()),))])
    change.conn.execute(
        "UPDATE legal_reference SET valid = daterange(lower(valid), %(until)s::date) WHERE id = %(id)s::uuid",
        {"until": until, "id": period.id},
    )
