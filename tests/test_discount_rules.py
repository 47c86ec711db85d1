"""Domain rules 19–23 on whole documents: what a discount comes to, how it is split, and where none is given."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests import given
from tests.given import Caller, faults, line, made

REAL = (("ONC-CONS-1", "none"), ("CT-ABD-RP", None), ("HEP-DRAIN-PT", None))
"""3700.00, 8840.00 and 67200.00 rubles."""


@pytest.fixture
def generous(clinic: Caller) -> Caller:
    """Somebody who may give anything."""
    return given.caller(clinic.app, "*", discount_ceiling=Decimal(100))


def refused(caller: Caller, **wanted: Any) -> list[tuple[str, str]]:
    """What is wrong with such a quote, which a direct invoice is refused for too."""
    wanted = {"lines": [line(*each) for each in REAL], **wanted}
    found = faults(caller.post("/v1/quotes", wanted))
    assert faults(caller.post("/v1/quotes/preview", wanted)) == found
    assert faults(caller.post("/v1/invoices", wanted | {"payer": given.PAYER})) == found
    return found


def document_discounts(quote: Any) -> list[str]:
    return [each["document_discount"] for each in quote["lines"]]


@pytest.mark.parametrize(
    ("percent", "discount", "amount"), [("12.5", "1105.00", "7735.00"), ("7", "618.80", "8221.20")]
)
def test_rule_19_a_percent_discount_of_a_line(generous, percent, discount, amount):
    quote = generous.quote(line("CT-ABD-RP", discount_percent=percent, discount_reason="staff"))
    (only,) = quote["lines"]
    assert (only["discount"], only["amount"], quote["totals"]["total"]) == (discount, amount, amount)


def test_rule_20_a_fixed_discount_is_split_exactly(generous):
    quote = generous.quote(*REAL, discount_amount="1000.00", discount_reason="goodwill")
    assert document_discounts(quote) == ["46.40", "110.86", "842.74"]
    assert quote["totals"]["discount"] == "1000.00"
    assert [each["document_discount"] for each in generous.invoice(quote)["lines"]] == document_discounts(quote)


def test_rule_21_a_kopeck_that_is_left_goes_to_the_earlier_line(generous):
    same = [line("CT-ABD-RP")] * 3
    quote = generous.quote(*same, discount_amount="0.02", discount_reason="goodwill")
    assert document_discounts(quote) == ["0.01", "0.01", "0.00"]


def test_rule_22_a_discount_needs_a_reason_of_the_day(generous):
    assert refused(generous, discount_percent="1") == [("/discount_reason", "discount_needs_reason")]
    assert refused(generous, lines=[line("CT-ABD-RP", discount_amount="1")]) == [
        ("/lines/0/discount_reason", "discount_needs_reason")
    ]
    assert refused(generous, discount_percent="1", discount_reason="because") == [
        ("/discount_reason", "unknown_discount_reason")
    ]


def test_rule_22_a_discount_is_never_more_than_what_it_is_taken_from(generous):
    reason = {"discount_reason": "goodwill"}
    assert refused(generous, discount_percent="101", **reason) == [("/discount_percent", "not_percent")]
    assert refused(generous, discount_amount="79740.01", **reason) == [("/discount_amount", "discount_too_large")]
    assert refused(generous, lines=[line("CT-ABD-RP", discount_amount="8840.01", **reason)]) == [
        ("/lines/0/discount_amount", "discount_too_large")
    ]
    everything = generous.quote(*REAL, discount_amount="79740.00", **reason)
    assert everything["totals"]["total"] == "0.00"
    assert generous.invoice(everything)["payment_status"] in ("paid", "settled")


def test_rule_23_what_has_no_discount_is_left_out_of_the_split(clinic, generous):
    match = clinic.get("/v1/services/CT-ABD-RP").headers["ETag"]
    made(clinic.patch("/v1/services/CT-ABD-RP", {"discountable": False}, match=match))
    quote = generous.quote(*REAL, discount_amount="1000.00", discount_reason="goodwill")
    assert document_discounts(quote) == ["52.19", "0.00", "947.81"]
    assert refused(generous, lines=[line("CT-ABD-RP", discount_percent="1", discount_reason="staff")]) == [
        ("/lines/0/article", "not_discountable")
    ]
