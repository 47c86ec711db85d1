"""Examples of the API description: one quote and the invoice made from it, on the clinic's real prices."""

from __future__ import annotations

from typing import Any

QUOTE_IN: dict[str, Any] = {
    "lines": [
        {"article": "ONC-CONS-1", "doctor_rank": "candidate", "quantity": "1"},
        {"article": "CT-ABD-RP-BOLUS"},
    ],
    "patient": {"id": "P-000017"},
}
COMPARE_IN: dict[str, Any] = {
    "variants": [
        {"name": "С контрастом", "lines": [{"article": "CT-ABD-RP-BOLUS"}]},
        {"name": "Без контраста", "lines": [{"article": "CT-ABD-RP"}]},
    ]
}
COMPARE_QUOTE_IN: dict[str, Any] = {
    "variants": [
        {"name": "У доктора наук", "doctor_rank": "doctor"},
        {"name": "Без контраста", "replace": {"CT-ABD-RP-BOLUS": "CT-ABD-RP"}},
    ]
}
FROM_QUOTE_IN: dict[str, Any] = {"payer": {"kind": "person", "is_patient": True}, "issue": True}
INVOICE_IN: dict[str, Any] = {
    "lines": [{"article": "MRI-ABD-RP"}],
    "payer": {
        "kind": "organisation",
        "name": "ООО «Ромашка»",
        "inn": "1234567894",
        "kpp": "770101001",
    },
}

_VAT = {"category": "exempt_medical", "rate": None, "amount": None, "text": "Без НДС"}
_ORDER_ID = "0197d1a0-0000-7000-8000-000000000001"


def _line(position: int, article: str, ru: str, en: str, code: str, price: str, **rank: Any) -> dict[str, Any]:
    return {
        "position": position,
        "article": article,
        "doctor_rank": "none",
        "rank_name": None,
        "doctor": None,
        "name": {"ru": ru, "en": en},
        "nomenclature_codes": [code],
        "quantity": "1",
        "unit": "услуга",
        "service_date": None,
        "price_kind": "fixed",
        "unit_price": price,
        "price_reason": None,
        "priced_by": None,
        "gross": price,
        "discount_percent": None,
        "discount_amount": None,
        "discount_reason": None,
        "discount": "0.00",
        "document_discount": "0.00",
        "amount": price,
        "vat": _VAT,
        "tax_deduction_code": "1",
        "price_source": {
            "price_id": f"0197d1a0-0000-7000-8000-00000000010{position}",
            "price_list": "base",
            "order": "1",
            "order_id": _ORDER_ID,
            "order_date": "2026-11-23",
            "fallback": False,
        },
        "package": None,
    } | rank


_CONSULTATION = _line(
    1,
    "ONC-CONS-1",
    "Первичный приём врача-онколога",
    "Initial appointment with an oncologist",
    "B01.027.001",
    "5300.00",
    doctor_rank="candidate",
    rank_name={"ru": "к.м.н.", "en": "Candidate of Medical Science"},
)
_MSCT = _line(
    2,
    "CT-ABD-RP-BOLUS",
    "МСКТ органов брюшной полости и забрюшинного пространства с внутривенным болюсным контрастированием",
    "MSCT of the abdomen and retroperitoneal space with intravenous bolus contrast enhancement",
    "A06.30.005.002",
    "14000.00",
)
_TOTALS = {
    "subtotal": "19300.00",
    "discount": "0.00",
    "total": "19300.00",
    "vat": [{"text": "Без НДС", "rate": None, "base": "19300.00", "amount": None}],
    "in_words": "Девятнадцать тысяч триста рублей 00 копеек",
}
_NO_DISCOUNT = {"discount_percent": None, "discount_amount": None, "discount_reason": None}
_MADE = {"created_at": "2026-11-23T09:15:00Z", "updated_at": "2026-11-23T09:15:00Z"}

QUOTE: dict[str, Any] = {
    "id": "0197d1b0-7c2e-7c55-9a4e-3f0a52c7d810",
    "code": "7K3Q-92MT-F",
    "revision": 1,
    "status": "draft",
    "kind": "firm",
    "branch": "main",
    "date": "2026-11-23",
    "valid_until": "2026-12-23",
    "currency": "RUB",
    "price_list": "base",
    "patient": {"id": "P-000017", "name": None},
    "comment": None,
    **_NO_DISCOUNT,
    "approval": "none",
    "lines": [{**line, "invoiced_quantity": "0"} for line in (_CONSULTATION, _MSCT)],
    "packages": [],
    "warnings": [],
    "totals": _TOTALS,
    "cancel_reason": None,
    **_MADE,
}
QUOTE_LINK: dict[str, Any] = {
    "id": "0197d1b3-2a10-7f00-8b11-0c3d5e7f9a55",
    "quote": QUOTE["id"],
    "revision": 1,
    "state": "open",
    "url": "https://billing.example.org/q/Zk3vX0mS8cQ2nB7uT5yLr1AeWd6JhGfP",
    "expires_on": "2026-12-23",
    "created_at": "2026-11-23T09:20:00Z",
    "created_by": "staff:0197d190-0000-7000-8000-000000000001",
    "revoked_at": None,
    "revoked_by": None,
}
QUOTE_PATCH_IN: dict[str, Any] = {"valid_until": "2026-12-23", "comment": None}
INVOICE_PATCH_IN: dict[str, Any] = {"due_date": "2026-12-23", "comment": None}
REVISE_IN: dict[str, Any] = {"revision": 1, "comment": "Без контраста"}
EXTEND_IN: dict[str, Any] = {"valid_until": "2027-01-15", "reason": "Согласовано с главным врачом"}
CANCEL_QUOTE_IN: dict[str, Any] = {"reason": "Оформлена по ошибке"}
QUOTE_REVISED: dict[str, Any] = QUOTE | {"revision": 2, "comment": "Без контраста"}
QUOTE_REVISIONS: dict[str, Any] = {
    "items": [
        QUOTE_REVISED | {"extensions": []},
        QUOTE
        | {
            "status": "superseded",
            "valid_until": "2027-01-15",
            "extensions": [
                {
                    "valid_until_before": "2026-12-23",
                    "valid_until": "2027-01-15",
                    "reason": EXTEND_IN["reason"],
                    "by": "staff:0197d190-0000-7000-8000-000000000002",
                    "at": "2026-12-20T09:15:00Z",
                }
            ],
        },
    ]
}
QUOTE_REPRICED: dict[str, Any] = QUOTE | {
    "revision": 2,
    "changes": {
        "former_revision": 1,
        "lines": [
            {
                "position": 1,
                "former_position": 1,
                "article": "ONC-CONS-1",
                "name": _CONSULTATION["name"],
                "quantity": {"old": "1", "new": "1"},
                "unit_price": {"old": "4900.00", "new": "5300.00"},
                "amount": {"old": "4900.00", "new": "5300.00"},
                "difference": "400.00",
            }
        ],
        "total": {"old": "18900.00", "new": "19300.00"},
        "difference": "400.00",
    },
}
VERIFIED: dict[str, Any] = {
    "genuine": True,
    "code": "7K3Q-92MT-F",
    "revision": 1,
    "newest_revision": 1,
    "status": "sent",
    "date": "2026-11-23",
    "valid_until": "2026-12-23",
    "currency": "RUB",
    "total": "19300.00",
    "lines": 2,
    "fingerprint": "9f2b-5d1b-0c5f",
    "total_agrees": True,
    "fingerprint_agrees": None,
    "purged_at": None,
}
INVOICE: dict[str, Any] = {
    "id": "0197d1b1-04b3-7d10-8f2b-5d1b0c5f5a11",
    "number": "2026-000001",
    "sequence": 1,
    "series": {"branch": "main", "kind": "invoice", "year": 2026},
    "branch": "main",
    "status": "issued",
    "payment_status": "unpaid",
    "date": "2026-11-23",
    "due_date": None,
    "issued_at": "2026-11-23T09:16:00Z",
    "currency": "RUB",
    "price_list": "base",
    "quote": {"id": QUOTE["id"], "revision": 1},
    "supplier": {"branch": "main", "sample": True, "requisites": None},
    "patient": {"id": "P-000017", "name": None},
    "payer": {
        "kind": "person",
        "ref": "P-000017",
        "name": None,
        "inn": None,
        "kpp": None,
        "guarantee_letter": None,
    },
    "comment": None,
    **_NO_DISCOUNT,
    "approval": "none",
    "consent_ref": None,
    "lines": [
        {**line, "quote_position": line["position"], "credited_quantity": "0", "credited_amount": "0.00"}
        for line in (_CONSULTATION, _MSCT)
    ],
    "packages": [],
    "warnings": [],
    "totals": _TOTALS,
    "paid": "0.00",
    "credited": "0.00",
    "balance": "19300.00",
    "content_sha256": "9f2b5d1b0c5f5a119f2b5d1b0c5f5a119f2b5d1b0c5f5a119f2b5d1b0c5f5a11",
    **_MADE,
}
CREDIT_IN = {
    "lines": [{"position": 1, "quantity": "1"}, {"position": 2, "amount": "1400.00"}],
    "reason": "Приём не состоялся, цена исследования исправлена",
}
CREDIT_NOTE: dict[str, Any] = {
    "id": "0197d1c4-11b3-7a10-9f2b-6d1b0c5f5b22",
    "number": "К-2026-000001",
    "sequence": 1,
    "series": {"branch": "main", "kind": "credit_note", "year": 2026},
    "branch": "main",
    "date": "2026-11-24",
    "currency": "RUB",
    "issued_at": "2026-11-24T08:30:00Z",
    "cancels": False,
    "reason": CREDIT_IN["reason"],
    "invoice": {"id": INVOICE["id"], "number": "2026-000001", "date": "2026-11-23"},
    **{name: INVOICE[name] for name in ("supplier", "patient", "payer")},
    "lines": [
        {
            "position": position,
            "invoice_position": line["position"],
            "quantity": quantity,
            "amount": amount,
            **{name: line[name] for name in ("article", "name", "unit", "vat")},
        }
        for position, (line, quantity, amount) in enumerate(
            ((_CONSULTATION, "1", "5300.00"), (_MSCT, None, "1400.00")), 1
        )
    ],
    "totals": {
        "total": "6700.00",
        "vat": [{"text": "Без НДС", "rate": None, "base": "6700.00", "amount": None}],
        "in_words": "Шесть тысяч семьсот рублей 00 копеек",
    },
    "content_sha256": "1d0cc5f7a3a9e6f0b6d2f4a18be0f5f0c0d98c3b8a6f4a6d2b7e7b7a2e0b5c41",
}

PAYMENT_IN: dict[str, Any] = {
    "tender": "card",
    "amount": "20000.00",
    "source": "terminal-3",
    "external_ref": "000123456789",
    "payer": {"kind": "person", "ref": "P-000017", "name": "Иванова Анна"},
    "allocations": [{"invoice": INVOICE["id"], "amount": "19300.00"}],
}
PAYMENT: dict[str, Any] = {
    "id": "0197d1b2-11c4-7a00-9d1f-0b9d2c5f6b22",
    "status": "received",
    "branch": "main",
    "payer": INVOICE["payer"],
    "tender": "card",
    "amount": "20000.00",
    "currency": "RUB",
    "source": "terminal-3",
    "external_ref": "000123456789",
    "received_on": "2026-11-23",
    "shift": {"id": "0197d19f-5a10-7c4e-8a77-6d0c7f1b3e33", "desk": "Касса 1"},
    "split": None,
    "comment": None,
    "allocated": "19300.00",
    "refunded": "0.00",
    "advance": "700.00",
    "allocations": [{"invoice": INVOICE["id"], "number": "2026-000001", "amount": "19300.00"}],
    "moves": [
        {
            "id": "0197d1b2-11c4-7a01-8c02-4f0e9d7b1a44",
            "kind": "payment",
            "invoice": INVOICE["id"],
            "number": "2026-000001",
            "amount": "19300.00",
            "on_behalf": False,
            "split": None,
            "created_at": "2026-11-23T09:17:00Z",
        }
    ],
    "refunds": [],
    "created_at": "2026-11-23T09:17:00Z",
}
SPLIT_IN: dict[str, Any] = {
    "tenders": [
        {"tender": "card", "amount": "5000.00", "source": "terminal-3", "external_ref": "000123456790"},
        {"tender": "cash"},
    ],
    "allocations": [{"invoice": INVOICE["id"]}],
    "desk": "Касса 1",
}
ALLOCATE_IN: dict[str, Any] = {"allocations": [{"invoice": INVOICE["id"], "amount": "700.00"}]}
REFUND_IN: dict[str, Any] = {
    "amount": "700.00",
    "reason_code": "overpayment",
    "reason": "Переплата по счёту 2026-000001",
    "release": [],
}
SHIFT_IN: dict[str, Any] = {"desk": "Касса 1", "opening_cash": "1000.00"}
SHIFT: dict[str, Any] = {
    "id": "0197d19f-5a10-7c4e-8a77-6d0c7f1b3e33",
    "branch": "main",
    "desk": "Касса 1",
    "status": "open",
    "opened_at": "2026-11-23T06:00:00Z",
    "opened_by": "staff:0197d190-0000-7000-8000-000000000001",
    "closed_at": None,
    "closed_by": None,
    "currency": "RUB",
    "opening_cash": "1000.00",
    "totals": [
        {"tender": "cash", "in": "14300.00", "out": "0.00", "payments": 1, "refunds": 0},
        {"tender": "card", "in": "5000.00", "out": "0.00", "payments": 1, "refunds": 0},
    ],
    "expected": {"cash": "15300.00", "card": "5000.00"},
    "counted": None,
    "difference": None,
}
CLOSE_IN: dict[str, Any] = {"counted": {"cash": "15300.00", "card": "5000.00"}}

GUARANTEE_LETTERS: dict[str, Any] = {
    "items": [
        {
            "inn": "7707083893",
            "number": "ГП-2026/118",
            "valid_until": "2026-12-31",
            "limit": "150000.00",
            "currency": "RUB",
            "used": "14300.00",
            "left": "135700.00",
        }
    ],
    "next_cursor": None,
}

REFUSAL_IN: dict[str, Any] = {"reason": "Постоянным пациентам — не больше 10 %"}
DECISIONS: dict[str, Any] = {
    "items": [
        {
            "id": "0197d1c0-3b52-7e1c-9c51-2f6a7d4e8b10",
            "decision": "granted",
            "reason": None,
            "revision": 1,
            "author": "staff:0197d190-0000-7000-8000-000000000001",
            "decided_by": "staff:0197d190-0000-7000-8000-000000000002",
            "decided_at": "2026-11-23T09:20:00Z",
            "highest": "12.50",
            "ceiling": "15.00",
            "content_sha256": INVOICE["content_sha256"],
        }
    ]
}
REASON: dict[str, Any] = {
    "code": "birthday",
    "name": {"ru": "День рождения", "en": "Birthday"},
    "valid_from": "2026-12-01",
    "valid_until": None,
}
CEILINGS: dict[str, Any] = {
    "reception": "7.00",
    "senior_reception": "15.00",
    "accountant": "0.00",
    "price_keeper": "0.00",
    "administrator": "100.00",
}
