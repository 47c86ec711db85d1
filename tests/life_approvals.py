"""Approvals in random lives: a second person lets a discount pass, or refuses it."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.life import CLERK, HEAD, SENIOR, Machine, meant, picked_of, rarely, which
from tests.model_documents import Document, Invoice, Quote

WAYS = {"granted": "approve", "refused": "refuse-discount"}


class ApprovalRules(Machine):
    @property
    def documents(self) -> list[Quote | Invoice]:
        return [*self.model.newest, *self.model.invoices]

    @precondition(lambda self: any(map(is_waiting, self.documents)))
    @rule(of=which, by=st.sampled_from([HEAD, HEAD, HEAD, SENIOR, CLERK]), refused=rarely, other=meant)
    def decide(self, of: int, by: str, refused: bool = False, other: int | None = None) -> None:
        document = picked_of(self.documents, of, is_waiting)
        decision = "refused" if refused else "granted"
        body: dict[str, object] = {"reason": "Много"} if refused else {}
        kind, revision = "invoices", None
        if isinstance(document, Quote):
            kind, revision = "quotes", None if other is None else document.revision + other
            body["revision"] = revision
        expected = self.model.decide(document, decision, by, revision)
        self.told(expected, f"/v1/{kind}/{document.id}/{WAYS[decision]}", body, 200, by)


def is_waiting(document: Document) -> bool:
    return document.approval == "required" and document.status in ("draft", "sent", "accepted")
