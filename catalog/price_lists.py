"""Price lists: the public one, and those of insurers, foreign citizens and staff, which may fall back to another list.

A list sells on its days only, the period of its contract. Where it falls back is said when it is made and stays, or
the answers for days that have passed would change; no list falls back to an insurer's, which is for one payer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import marshmallow as ma
from psycopg import errors as pg
from psycopg.types.range import DateRange

from clinic import db, errors, fields, ids
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput, NotFound

BASE = "base"
"""The public list that stands in every clinic."""
INSURER = "insurer"
KINDS = (INSURER, "foreign", "staff", "other")
"""Whom lists are for, beside the base one."""
FORM = r"[a-z][a-z0-9_-]{0,31}"

errors.describe(
    {
        "unknown_price_list": ("Такого прейскуранта нет.", "There is no such price list."),
        "insurer_needs_contract": (
            "Прейскуранту страховой компании нужен номер договора.",
            "The price list of an insurer needs the number of the contract.",
        ),
        "insurer_needs_inn": (
            "Прейскуранту страховой компании нужен её ИНН из десяти цифр.",
            "The price list of an insurer needs its INN of ten digits.",
        ),
        "only_for_insurers": ("Это поле — для страховых компаний.", "This member is for insurers."),
        "not_public": (
            "Прейскурант страховой компании или сотрудников не бывает открытым.",
            "The price list of an insurer or of staff cannot be public.",
        ),
        "fallback_to_insurer": (
            "Прейскурант страховой компании — только для её плательщиков: на него не ссылаются.",
            "An insurer's price list is for that payer alone: no list falls back to it.",
        ),
        "period_empty": ("Период кончается до своего начала.", "The period ends before it begins."),
        "end_passed": ("День окончания уже прошёл.", "The last day is over already."),
        "base_has_no_contract": (
            "У основного прейскуранта нет ни договора, ни срока.",
            "The base price list has neither a contract nor an end.",
        ),
    }
)


class PriceListTaken(Conflict):
    """A price list of this code exists.

    Prices and documents name it; change its names or its end, or take another code."""

    ru = (
        "Прейскурант с таким кодом уже есть\n\n"
        "Его называют цены и документы: измените названия или окончание либо возьмите другой код."
    )


class ContractPatch(fields.Shape):
    """What may change of a contract: its number and its end."""

    number = fields.Text(64, allow_none=True, metadata={"example": "ДМС-17/2026"})
    valid_until = fields.Day(allow_none=True, metadata={"description": "the first day that is not in it any more"})


class ContractIn(fields.Shape):
    """What was agreed on, and from when to when."""

    number = fields.Text(64, load_default=None, allow_none=True, metadata={"example": "ДМС-17/2026"})
    valid_from = fields.Day(load_default=None, allow_none=True)
    valid_until = fields.Day(
        load_default=None, allow_none=True, metadata={"description": "the first day that is not in it any more"}
    )

    @ma.validates_schema(skip_on_field_errors=False)
    def in_order(self, given: dict[str, Any], **_: Any) -> None:
        since, until = given.get("valid_from"), given.get("valid_until")
        if since and until and until <= since:
            raise ma.ValidationError("period_empty", "valid_until")


class PriceListPatch(fields.Shape):
    """What may change of a price list."""

    name = fields.Nested(fields.Words)
    contract = fields.Nested(ContractPatch)


class PriceListIn(fields.Shape):
    """A new price list. An insurer's names the insurer and the contract."""

    code = fields.Form(FORM, required=True, metadata={"example": "dms-romashka"})
    name = fields.Nested(fields.Words, required=True)
    kind = fields.Choice(*KINDS, required=True)
    public = fields.Flag(load_default=False, metadata={"description": "may be shown to strangers"})
    fallback = fields.Form(
        FORM, load_default=None, allow_none=True,
        metadata={"example": BASE, "description": "where a service without a price here is looked up next; stays"},
    )  # fmt: skip
    contract = fields.Nested(ContractIn, load_default=None, allow_none=True)
    insurer_inn = fields.Inn(load_default=None, allow_none=True)

    @ma.validates_schema(skip_on_field_errors=False)
    def fits_its_kind(self, given: dict[str, Any], **_: Any) -> None:
        wrong = _insurer_faults(given) if given.get("kind") == INSURER else _other_faults(given)
        if given.get("public") and given.get("kind") in (INSURER, "staff"):
            wrong["public"] = "not_public"
        if wrong:
            raise ma.ValidationError(wrong)

    def beyond(self, raw: Any) -> list[Fault]:
        code = raw.get("fallback") if isinstance(raw, dict) else None
        if not isinstance(code, str) or not re.fullmatch(FORM, code, re.ASCII):
            return []
        with db.reading() as conn:
            kind = db.value(conn, "SELECT kind FROM price_list WHERE code = %(code)s::text", {"code": code})
        return _fallback_faults(kind)


def _insurer_faults(given: dict[str, Any]) -> dict[str, Any]:
    wrong: dict[str, Any] = {}
    contract = given.get("contract")
    if contract and not contract.get("number", "wrong in itself"):
        wrong["contract"] = {"number": "insurer_needs_contract"}
    elif "contract" in given and contract is None:
        wrong["contract"] = "insurer_needs_contract"
    # An organisation's number has ten digits.
    if "insurer_inn" in given and len(given["insurer_inn"] or "") != 10:
        wrong["insurer_inn"] = "insurer_needs_inn"
    return wrong


def _other_faults(given: dict[str, Any]) -> dict[str, Any]:
    return {"insurer_inn": "only_for_insurers"} if given.get("kind") and given.get("insurer_inn") else {}


def _fallback_faults(kind: str | None) -> list[Fault]:
    if kind is None:
        return [Fault("/fallback", "unknown_price_list")]
    return [Fault("/fallback", "fallback_to_insurer")] if kind == INSURER else []


class NameOut(ma.Schema):
    """A name in both languages."""

    ru = ma.fields.String(required=True)
    en = ma.fields.String(required=True)


class ContractOut(ma.Schema):
    """The days on which the list sells; null is without bound, `valid_until` is exclusive."""

    number = ma.fields.String(required=True, allow_none=True)
    valid_from = ma.fields.Date(required=True, allow_none=True)
    valid_until = ma.fields.Date(required=True, allow_none=True)


class PriceListOut(ma.Schema):
    """A price list. `fallback` is where a service without a price in this list is looked up next."""

    code = ma.fields.String(required=True)
    name = ma.fields.Nested(NameOut, required=True)
    kind = ma.fields.String(required=True, metadata={"enum": [BASE, *KINDS]})
    public = ma.fields.Boolean(required=True)
    fallback = ma.fields.String(required=True, allow_none=True)
    contract = ma.fields.Nested(ContractOut, required=True)
    insurer_inn = ma.fields.String(required=True, allow_none=True)


@dataclass(frozen=True)
class PriceList:
    """A price list; it sells from `valid_from` until the day before `valid_until`, None being without bound."""

    code: str
    name_ru: str
    name_en: str
    kind: str
    public: bool
    fallback: str | None
    contract_number: str | None
    valid_from: date | None
    valid_until: date | None
    insurer_inn: str | None
    row_version: int

    def as_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "name": {"ru": self.name_ru, "en": self.name_en},
            "kind": self.kind,
            "public": self.public,
            "fallback": self.fallback,
            "contract": {
                "number": self.contract_number,
                "valid_from": self.valid_from,
                "valid_until": self.valid_until,
            },
            "insurer_inn": self.insurer_inn,
        }

    def is_for(self, kind: str, inn: str | None) -> bool:
        """Whether a payer of this kind and INN may be billed at this list."""
        return self.kind != INSURER or (kind, inn) == (INSURER, self.insurer_inn)


def unknown() -> InvalidInput:
    """The refusal of a request that names a price list that does not exist."""
    return InvalidInput([Fault("/price_list", "unknown_price_list")])


_SELECT = """
SELECT code, name_ru, name_en, kind, public, fallback, contract_number, lower(valid) AS valid_from,
       upper(valid) AS valid_until, insurer_inn, row_version
  FROM price_list
"""


def find(conn: db.Connection, code: str) -> PriceList | None:
    """The list of this code, if there is one."""
    return db.find(conn, PriceList, _SELECT + " WHERE code = %(code)s::text", {"code": code})


def get(conn: db.Connection, code: str) -> PriceList:
    """The list of this code, which a request names.

    Raises:
        InvalidInput: there is none.
    """
    found = find(conn, code)
    if found is None:
        raise unknown()
    return found


def exists(conn: db.Connection, code: str) -> bool:
    """Whether there is a list of this code."""
    return bool(db.value(conn, "SELECT true FROM price_list WHERE code = %(code)s::text", {"code": code}))


def every(conn: db.Connection) -> list[PriceList]:
    """All lists, the base one first."""
    return db.many(conn, PriceList, _SELECT + " ORDER BY code <> 'base', code")


def create(change: Change, wanted: dict[str, Any]) -> PriceList:
    """Add a price list. It has no price until an order gives one.

    Raises:
        PriceListTaken: there is one of this code.
        InvalidInput: there is no such list to fall back to, or it is an insurer's.
    """
    contract = wanted["contract"] or {"number": None, "valid_from": None, "valid_until": None}
    made = PriceList(
        wanted["code"], wanted["name"]["ru"], wanted["name"]["en"], wanted["kind"], wanted["public"],
        wanted["fallback"], contract["number"], contract["valid_from"], contract["valid_until"],
        wanted["insurer_inn"], 1,
    )  # fmt: skip
    try:
        change.conn.execute(
            """
            INSERT INTO price_list (code, name_ru, name_en, kind, public, fallback, contract_number, valid, insurer_inn)
            VALUES (%(code)s, %(name_ru)s, %(name_en)s, %(kind)s, %(public)s, %(fallback)s, %(contract_number)s,
                    %(valid)s, %(insurer_inn)s)
            """,
            vars(made) | {"valid": DateRange(made.valid_from, made.valid_until)},
        )
    except (pg.UniqueViolation, pg.ForeignKeyViolation, pg.CheckViolation) as exc:
        # Checked before the code's being taken: that `base` is the base list, and that no list falls back to itself.
        if isinstance(exc, pg.UniqueViolation) or made.code == BASE:
            raise PriceListTaken(price_list=made.code) from exc
        raise InvalidInput(_fallback_faults(None)) from exc
    except pg.RestrictViolation as exc:
        raise InvalidInput(_fallback_faults(INSURER)) from exc
    change.record(
        "price_list.created", ids.of_code("price_list", made.code), code=made.code, kind=made.kind,
        fallback=made.fallback,
    )  # fmt: skip
    return made


def edit(change: Change, price_list: PriceList, wanted: dict[str, Any]) -> PriceList:
    """Change names, contract number or end of a list that is locked. What was sold at it stays as it is.

    Raises:
        InvalidInput: the end is over or before the beginning, an insurer's list would lose its contract, or the base
            list would get one.
    """
    edited = _edited(price_list, wanted)
    if edited == price_list:
        return price_list
    if faults := _edit_faults(price_list, edited, wanted.get("contract", {}), change.today):
        raise InvalidInput(faults)
    change.conn.execute(
        """
        UPDATE price_list
           SET name_ru = %(name_ru)s, name_en = %(name_en)s, contract_number = %(contract_number)s, valid = %(valid)s,
               row_version = row_version + 1
         WHERE code = %(code)s
        """,
        vars(edited) | {"valid": DateRange(edited.valid_from, edited.valid_until)},
    )
    members = ("name_ru", "name_en", "contract_number", "valid_until")
    changed = [name for name in members if getattr(price_list, name) != getattr(edited, name)]
    change.record(
        "price_list.changed", ids.of_code("price_list", edited.code), code=edited.code,
        changed=sorted({re.sub("_(ru|en)$", "", name) for name in changed}),
    )  # fmt: skip
    return replace(edited, row_version=price_list.row_version + 1)


def _edited(price_list: PriceList, wanted: dict[str, Any]) -> PriceList:
    name = wanted.get("name", {"ru": price_list.name_ru, "en": price_list.name_en})
    contract = wanted.get("contract", {})
    return replace(
        price_list,
        name_ru=name["ru"],
        name_en=name["en"],
        contract_number=contract.get("number", price_list.contract_number),
        valid_until=contract.get("valid_until", price_list.valid_until),
    )


def _edit_faults(before: PriceList, after: PriceList, contract: dict[str, Any], today: date) -> list[Fault]:
    faults = []
    if before.code == BASE and contract:
        faults.append(Fault("/contract", "base_has_no_contract"))
    if after.kind == INSURER and not after.contract_number:
        faults.append(Fault("/contract/number", "insurer_needs_contract"))
    until = after.valid_until
    if until is not None and until != before.valid_until and until < today:
        faults.append(Fault("/contract/valid_until", "end_passed"))
    if until is not None and after.valid_from is not None and until <= after.valid_from:
        faults.append(Fault("/contract/valid_until", "period_empty"))
    return faults


def locked(conn: db.Connection, code: str) -> PriceList:
    """The list of this code, which nobody else changes or publishes in until the transaction ends.

    Raises:
        NotFound: there is none.
    """
    # Not FOR UPDATE: that would also hold up every new quote, whose foreign key looks at this row.
    conn.execute("SELECT FROM price_list WHERE code = %(code)s::text FOR NO KEY UPDATE", {"code": code})
    found = find(conn, code)
    if found is None:
        raise NotFound()
    return found


def lock(conn: db.Connection, code: str) -> None:
    """Let nobody else publish in this list until the transaction ends; quotes and invoices go on.

    Raises:
        InvalidInput: there is no such list.
    """
    if not db.value(conn, "SELECT true FROM price_list WHERE code = %(code)s::text FOR NO KEY UPDATE", {"code": code}):
        raise unknown()
