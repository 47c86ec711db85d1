"""Domain rule 27: a firm quote is not exceeded without the patient's consent, which the invoice names."""

from __future__ import annotations

from datetime import date

import psycopg
import pytest
from psycopg import errors as pg

from tests import given
from tests.given import PAYER, faults, line, made

EXTRA = [line("CT-ABD-RP")]
CONSENT = "CONSENT-17"


def asked(clinic, quote, **more):
    return clinic.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": PAYER, "issue": True, **more})


def test_rule_27_a_firm_quote_is_exceeded_only_with_consent(clinic):
    quote = clinic.quote(("MRI-ABD-RP", None))
    assert faults(asked(clinic, quote, extra_lines=EXTRA)) == [("/consent_ref", "consent_needed")]
    issued = made(asked(clinic, quote, extra_lines=EXTRA, consent_ref=CONSENT))
    assert (issued["consent_ref"], issued["totals"]["total"]) == (CONSENT, "22540.00")
    assert [(each["position"], each["quote_position"], each["amount"]) for each in issued["lines"]] == [
        (1, 1, "13700.00"),
        (2, None, "8840.00"),
    ]
    assert made(clinic.get(f"/v1/quotes/{quote['id']}"))["status"] == "invoiced"


def test_an_approximate_quote_may_be_exceeded_and_may_name_a_consent(clinic):
    quote = clinic.quote(("MRI-ABD-RP", None), kind="approximate")
    assert made(asked(clinic, quote, extra_lines=EXTRA))["consent_ref"] is None


def test_every_fault_of_what_is_extra_is_told_at_its_place(clinic):
    quote = clinic.quote(("MRI-ABD-RP", None))
    wrong = [line("NO-SUCH"), line("ONC-CONS-1")]
    assert sorted(faults(asked(clinic, quote, extra_lines=wrong))) == [
        ("/consent_ref", "consent_needed"),
        ("/extra_lines/0/article", "unknown_article"),
        ("/extra_lines/1/doctor_rank", "rank_required"),
    ]
    for beyond in ({"discount_percent": "5", "discount_reason": "staff"}, {"package": "CT-MRI-DAY"}):
        answer = asked(clinic, quote, extra_lines=[EXTRA[0] | beyond], consent_ref=CONSENT)
        assert "unknown_member" in {code for _, code in faults(answer)}


@pytest.mark.parametrize("wrong", ["", "two words", "х", "x" * 65])
def test_a_consent_is_a_reference_and_no_text(clinic, wrong):
    quote = clinic.quote(("MRI-ABD-RP", None))
    assert [pointer for pointer, _ in faults(asked(clinic, quote, consent_ref=wrong))] == ["/consent_ref"]


def test_what_is_extra_in_a_draft_is_priced_again_at_issue_and_what_was_quoted_is_not(clinic):
    with given.day("2026-12-01"):
        quote = clinic.quote(("MRI-ABD-RP", None))
        draft = made(asked(clinic, quote, issue=False, extra_lines=EXTRA, consent_ref=CONSENT))
        for article in ("MRI-ABD-RP", "CT-ABD-RP"):
            given.price(article, "9999.00", date(2026, 12, 5))
    with given.day("2026-12-05"):
        refused = clinic.post(f"/v1/invoices/{draft['id']}/issue", {})
        assert (refused.status_code, refused.get_json()["code"]) == (409, "price_changed")
        assert [each["position"] for each in refused.get_json()["changes"]] == [2]


def test_the_consent_is_hashed_and_printed(clinic, opened):
    issued = made(asked(clinic, clinic.quote(("MRI-ABD-RP", None)), extra_lines=EXTRA, consent_ref=CONSENT))
    with psycopg.connect(opened.owner) as owner:
        sql = "SELECT content_version, content_sha256 = invoice_digest(invoice), invoice_content(invoice) FROM invoice"
        version, same, content = owner.execute(sql).fetchall()[0]
        assert (version, same, CONSENT in content) == (3, True, True)
        owner.execute("ALTER TABLE invoice DISABLE TRIGGER USER; UPDATE invoice SET consent_ref = 'OTHER'")
        assert owner.execute(sql).fetchall()[0][1] is False
        owner.rollback()
    assert issued["content_sha256"]


def test_the_database_issues_nothing_beyond_a_firm_quote_without_consent(clinic, opened):
    quote = clinic.quote(("MRI-ABD-RP", None))
    draft = made(asked(clinic, quote, issue=False, extra_lines=EXTRA, consent_ref=CONSENT))
    with psycopg.connect(opened.owner) as owner:
        owner.execute("ALTER TABLE invoice DISABLE TRIGGER USER")
        owner.execute("UPDATE invoice SET consent_ref = NULL WHERE id = %s", (draft["id"],))
        owner.execute("ALTER TABLE invoice ENABLE TRIGGER USER")
    with pytest.raises(AssertionError, match="internal_error"):
        made(clinic.post(f"/v1/invoices/{draft['id']}/issue", {}))
    with psycopg.connect(opened.owner) as owner, pytest.raises(pg.RestrictViolation, match="without a consent"):
        owner.execute("UPDATE invoice SET status = 'issued' WHERE id = %s", (draft["id"],))


def test_cancelling_gives_the_quote_back_and_only_the_quote(clinic):
    quote = clinic.quote(("MRI-ABD-RP", None))
    issued = made(asked(clinic, quote, extra_lines=EXTRA, consent_ref=CONSENT))
    made(clinic.post(f"/v1/invoices/{issued['id']}/cancel", {"reason": "Ошибка"}))
    again = made(asked(clinic, quote))
    assert (again["totals"]["total"], len(again["lines"])) == ("13700.00", 1)
