"""A clinic with something of every kind, where every text somebody may type is the same one."""

from __future__ import annotations

from typing import Any

from clinic import db, sealing, staff
from clinic.http import App
from tests import given, given_money, given_payers, given_webhooks
from tests.browser import Person
from tests.conftest import SETTINGS
from tests.given import Caller, line, made

ARTICLE, LIST, PACKAGE, RANK, REASON = "HOSTILE-1", "hostile", "HOSTILE-DAY", "academician", "hostile"


def whole_clinic(app: App, text: str, person: str) -> tuple[Caller, Person, dict[str, str]]:
    """A program and an administrator of a clinic that has something of everything, and what addresses may name.

    Texts are `text`; names, phones and e-mails of persons are `person`.
    """
    sealing.use(SETTINGS.secret_key)
    clinic = given.caller(app, "*", discount_ceiling=100)
    administrator = Person(app, "administrator")
    known = _catalog(clinic, text) | _rules(clinic, text, person)
    return clinic, administrator, known | _documents(clinic, text, person)


def _both(text: str) -> dict[str, str]:
    return {"ru": text, "en": text}


def _catalog(clinic: Caller, text: str) -> dict[str, str]:
    made(clinic.post("/v1/categories", {"code": "hostile", "name": _both(text), "parent": None}))
    service = {"article": ARTICLE, "name": _both(text), "category": "hostile", "unit": text, "note": text}
    made(clinic.post("/v1/services", service))
    wanted = {"effective_from": given.FIRST_DAY, "lines": [_priced("500.00")]}
    first = made(clinic.post("/v1/price-orders", wanted | {"number": text, "note": text}))
    made(clinic.post(f"/v1/price-orders/{first['id']}/publish"))
    draft = {"number": f"2{text}"[:32], "note": text, "effective_from": given.LATER, "lines": [_priced("600.00")]}
    order = made(clinic.post("/v1/price-orders", draft))
    given.package(clinic, PACKAGE, line(ARTICLE), line("MRI-ABD-RP"), name=_both(text), note=text)
    contract = {"number": text, "valid_from": given.FIRST_DAY, "valid_until": None}
    given_payers.price_list(clinic, LIST, name=_both(text), contract=contract)
    made(clinic.post("/v1/doctor-ranks", {"code": RANK, "name": _both(text), "position": 5}))
    doctor = given_payers.doctor(clinic, "candidate", text)
    made(clinic.patch(f"/v1/doctors/{doctor['id']}", {"specialty": _both(text)}, match=_etag(clinic, doctor)))
    return {
        "article": ARTICLE, "order_id": order["id"], "package": PACKAGE, "price_list": LIST, "doctor_rank": RANK,
        "doctor_id": doctor["id"], "job_id": given.job(clinic),
    }  # fmt: skip


def _priced(amount: str) -> dict[str, str]:
    return {"article": ARTICLE, "kind": "fixed", "amount": amount}


def _etag(clinic: Caller, doctor: Any) -> str:
    return clinic.get(f"/v1/doctors/{doctor['id']}").headers["ETag"]


def _rules(clinic: Caller, text: str, person: str) -> dict[str, str]:
    reason = {"code": REASON, "name": _both(text), "valid_from": given.FIRST_DAY}
    made(clinic.post("/v1/discount-reasons", reason))
    wording = {"text": _both(text), "valid_from": given.LATER, "valid_until": None}
    made(clinic.put("/v1/legal-references/paid_services", wording))
    bank = {"bik": "044525225", "name": text, "account": "40702810200000012345", "corr_account": "30101810400000000225"}
    requisites = {
        "name": text, "short_name": text, "inn": "1234567894", "kpp": "770101001", "ogrn": "1027700132195",
        "address": text, "licence": text, "director": person, "accountant": person, "phone": text, "email": text,
        "bank": bank,
    }  # fmt: skip
    made(clinic.put("/v1/branches/main/requisites", requisites))
    made(clinic.post("/v1/branches", {"code": "far", "name": text, "prefix": "Д"}))
    key = made(clinic.post("/v1/keys", {"name": text, "scopes": ["catalog:read"]}, key=""))
    webhook = given_webhooks.webhook(clinic, "https://93.184.216.34/", description=text)
    with db.reading() as conn:
        account = str(staff.called(conn, "anna"))
    return {
        "discount_reason": REASON, "reference": "paid_services", "key_id": key["id"], "webhook_id": webhook["id"],
        "staff_id": account, "code": REASON,
    }  # fmt: skip


def _documents(clinic: Caller, text: str, person: str) -> dict[str, str]:
    contacts = {"name": person, "phone": person, "email": person}
    patient, payer = {"id": "P-1", **contacts}, given.PAYER | contacts
    lines = [line(ARTICLE), line(given_money.ANY_SUM, unit_price="100.00", price_reason=text)]
    wanted: dict[str, Any] = {"patient": patient, "comment": text}
    quote = clinic.quote(*lines, **wanted)
    made(clinic.post(f"/v1/quotes/{quote['id']}/send"))
    extended = {"valid_until": "2199-01-01", "reason": text}
    made(clinic.post(f"/v1/quotes/{quote['id']}/extend", extended))
    link = made(clinic.post(f"/v1/quotes/{quote['id']}/links"))
    editable = clinic.quote(*lines, **wanted)
    refused = _refused(clinic, text, wanted)
    draft = made(clinic.post("/v1/invoices", {"lines": lines, "payer": payer, "patient": patient, "comment": text}))
    of_quote = clinic.invoice(clinic.quote(*lines, **wanted), payer=payer, comment=text, issue=False)
    issued = clinic.invoice(clinic.quote(*lines, **wanted), payer=payer, comment=text)
    payment = given_money.payment(clinic, "100.00", issued, payer=payer, comment=text)
    made(given_money.refunded(clinic, given_money.payment(clinic, "50.00", payer=payer), "50.00", reason=text))
    act = made(clinic.post(f"/v1/invoices/{issued['id']}/acts", {"lines": [{"position": 1}]}))
    credited = {"lines": [{"position": 2, "amount": "10.00"}], "reason": text}
    note = made(clinic.post(f"/v1/invoices/{issued['id']}/credit-notes", credited))
    shift = made(clinic.post("/v1/shifts", {"desk": text}))
    cancelled = clinic.quote(*lines, **wanted)
    made(clinic.post(f"/v1/quotes/{cancelled['id']}/cancel", {"reason": text}))
    insurer = given_payers.INSURER | {"name": text, "guarantee_letter": {"number": text}}
    clinic.invoice(clinic.quote(*lines), payer=insurer)
    return {
        "quote_id": quote["id"], "editable": editable["id"], "document_id": refused, "link_id": link["id"],
        "token": link["url"].rpartition("/")[2], "draft": draft["id"], "draft_of_quote": of_quote["id"],
        "invoice_id": issued["id"], "payment_id": payment["id"], "act_id": act["id"], "credit_note_id": note["id"],
        "shift_id": shift["id"], "ref": given.PAYER["ref"],
    }  # fmt: skip


def _refused(clinic: Caller, text: str, wanted: dict[str, Any]) -> str:
    """The id of a quote whose discount was refused for a reason; another one waits for approval."""
    author = given.caller(clinic.app, "*")
    dear = line(ARTICLE, discount_percent="50", discount_reason=REASON)
    author.quote(dear, **wanted)
    quote = author.quote(dear, **wanted)
    made(clinic.post(f"/v1/quotes/{quote['id']}/refuse-discount", {"reason": text}))
    return str(quote["id"])
