"""Who pays: the patient, another person, an organisation or an insurer. Kept apart from the patient."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from catalog import price_lists
from clinic import db, errors, fields, money, parties
from clinic.errors import Fault
from clinic.parties import Party

errors.describe(
    {
        "only_for_organisations": ("Это поле — для организаций.", "This member is for organisations."),
        "price_list_not_for_payer": (
            "Прейскурант {price_list} — только для страховой компании с ИНН {inn}: её и укажите плательщиком.",
            "The price list {price_list} is only for the insurer with the INN {inn}: that must be the payer.",
        ),
        "needs_patient": ("В документе нет пациента.", "The document has no patient."),
    }
)


class GuaranteeLetterIn(fields.Shape):
    """An insurer's promise to pay: number, last day, and the sum it covers."""

    number = fields.Text(64, required=True)
    valid_until = fields.Day(load_default=None, allow_none=True)
    limit = fields.Money(load_default=None, allow_none=True)


class PayerIn(fields.Shape):
    """The payer. `ref` is the caller's opaque identifier; one without it gets one, given in the answer.

    A person may say `is_patient` instead: reference and name are then the patient's.
    """

    kind = fields.Choice("person", "organisation", "insurer", required=True)
    ref = fields.Form(parties.REF, load_default=None, allow_none=True, metadata={"example": "P-000017"})
    is_patient = fields.Flag(load_default=False)
    name = fields.Text(300, load_default=None, allow_none=True)
    phone = fields.Text(64, load_default=None, allow_none=True)
    email = fields.Text(64, load_default=None, allow_none=True)
    inn = fields.Inn(load_default=None, allow_none=True)
    kpp = fields.Kpp(load_default=None, allow_none=True)
    guarantee_letter = fields.Nested(GuaranteeLetterIn, load_default=None, allow_none=True)

    @ma.validates_schema(skip_on_field_errors=True)
    def fits_its_kind(self, given: dict[str, Any], **_: Any) -> None:
        wrong = _person_faults(given) if given["kind"] == "person" else _organisation_faults(given)
        if wrong:
            raise ma.ValidationError(wrong)


class PaidByIn(PayerIn):
    """Whose money it is: a payer as on an invoice, but an insurer's money may be for many letters, so none is asked."""

    class Meta:
        exclude = ("guarantee_letter", "is_patient")

    @ma.validates_schema(skip_on_field_errors=True)
    def fits_its_kind(self, given: dict[str, Any], **_: Any) -> None:
        wrong = _person_faults(given) if given["kind"] == "person" else _organisation_faults(given)
        wrong.pop("guarantee_letter", None)
        if wrong:
            raise ma.ValidationError(wrong)

    @ma.post_load
    def as_a_payer(self, given: dict[str, Any], **_: Any) -> dict[str, Any]:
        return given | {"guarantee_letter": None, "is_patient": False}


def _person_faults(given: dict[str, Any]) -> dict[str, str]:
    wrong = {name: "only_for_organisations" for name in ("kpp", "guarantee_letter") if given.get(name)}
    if not given.get("name") and not given.get("is_patient"):
        wrong["name"] = "required"
    return wrong


def _organisation_faults(given: dict[str, Any]) -> dict[str, str]:
    needed = ["name", "inn", "kpp"] + (["guarantee_letter"] if given["kind"] == "insurer" else [])
    # A sole trader pays as a person; an organisation's number has ten digits.
    wrong = {name: "required" for name in needed if not given.get(name)}
    if given.get("inn") and len(given["inn"]) != 10:
        wrong["inn"] = "wrong_inn"
    return wrong


class GuaranteeLetterOut(ma.Schema):
    number = ma.fields.String(required=True)
    valid_until = ma.fields.Date(required=True, allow_none=True)
    limit = ma.fields.String(required=True, allow_none=True)


class PayerOut(ma.Schema):
    kind = ma.fields.String(required=True)
    ref = ma.fields.String(required=True)
    name = ma.fields.String(required=True, allow_none=True)
    inn = ma.fields.String(required=True, allow_none=True)
    kpp = ma.fields.String(required=True, allow_none=True)
    guarantee_letter = ma.fields.Nested(GuaranteeLetterOut, required=True, allow_none=True)


def faults(conn: db.Connection, wanted: dict[str, Any], price_list: str, *, has_patient: bool) -> list[Fault]:
    """A payer who is the patient needs one; an insurer's price list is for that insurer alone."""
    found = [Fault("/payer/is_patient", "needs_patient")] if wanted["is_patient"] and not has_patient else []
    # The base list is for everybody: it need not be asked. An unknown one is a fault of its own.
    named = price_lists.find(conn, price_list) if price_list != price_lists.BASE else None
    if named is not None and not named.is_for(wanted["kind"], wanted["inn"]):
        values = (("price_list", price_list), ("inn", str(named.insurer_inn)))
        found.append(Fault("/payer", "price_list_not_for_payer", values))
    return found


def add(
    conn: db.Connection, wanted: dict[str, Any], patient_ref: str | None, patient_name: str | None
) -> tuple[Party, dict[str, Any]]:
    """Keep the payer of one document, who has no `faults`; returns the party, and what of the payer is not personal."""
    ref, name = wanted["ref"], wanted["name"]
    if wanted["is_patient"]:
        ref, name = ref or patient_ref, name or patient_name
    party = parties.add(conn, ref, name, wanted["phone"], wanted["email"])
    return party, frozen(wanted)


def frozen(wanted: dict[str, Any]) -> dict[str, Any]:
    """What a document keeps of its payer by itself."""
    letter = wanted["guarantee_letter"]
    return {
        "kind": wanted["kind"],
        "inn": wanted["inn"],
        "kpp": wanted["kpp"],
        "guarantee_letter": _letter(letter) if letter else None,
    }


def _letter(letter: dict[str, Any]) -> dict[str, str | None]:
    until, limit = letter["valid_until"], letter["limit"]
    return {
        "number": letter["number"],
        "valid_until": until.isoformat() if until else None,
        "limit": money.text_or_none(limit),
    }
