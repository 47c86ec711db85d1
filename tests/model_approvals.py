"""Approvals of the model: a second person decides on a discount above its author's ceiling."""

from __future__ import annotations

from tests.model_credits import Credits
from tests.model_documents import Decision, Invoice, Quote, Refusal, conflict
from tests.model_quotes import OPEN


class Approvals(Credits):
    def decide(
        self, document: Quote | Invoice, decision: str, by: str, revision: int | None = None
    ) -> Quote | Invoice | Refusal:
        """It is `granted` or `refused`, as it stands."""
        if refusal := self._undecidable(document, revision):
            return refusal
        if document.approval != "required":
            return conflict("no_discount_waiting")
        if by == document.author:
            return Refusal(403, "own_discount")
        if decision == "granted":
            if document.is_above(self.ceilings[by]):
                return Refusal(403, "above_own_limit")
            document.approval = "granted"
        self.decisions.append(Decision(document, decision, document.highest, document.author, by))
        kind = "quote" if isinstance(document, Quote) else "invoice"
        return self.told(document, f"{kind}.discount_{'approved' if decision == 'granted' else 'refused'}")

    def _undecidable(self, document: Quote | Invoice, revision: int | None) -> Refusal | None:
        if isinstance(document, Quote):
            return self.another(document, revision) or self.over(document) or self.not_in(document, *OPEN)
        return None if document.status == "draft" else conflict("invoice_not_draft")
