"""What a payer owes and has: his invoices and his money, added up by branch."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields as fields_of
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma

from clinic import db, money
from clinic.auth import Actor
from clinic.errors import NotFound
from clinic.money import ZERO


class SumsOut(ma.Schema):
    """In rubles. owed = invoiced − credited − paid; advance = received − allocated − refunded."""

    invoiced = ma.fields.String(required=True)
    credited = ma.fields.String(required=True)
    paid = ma.fields.String(required=True, metadata={"description": "on this payer's invoices, whoever paid"})
    owed = ma.fields.String(required=True)
    received = ma.fields.String(required=True)
    allocated = ma.fields.String(required=True, metadata={"description": "of this payer's money, to any invoice"})
    refunded = ma.fields.String(required=True)
    advance = ma.fields.String(required=True)


class BranchSumsOut(SumsOut):
    branch = ma.fields.String(required=True)


class BalanceOut(SumsOut):
    payer = ma.fields.String(required=True)
    currency = ma.fields.String(required=True)
    branches = ma.fields.List(ma.fields.Nested(BranchSumsOut), required=True)


@dataclass(frozen=True)
class Sums:
    """What one branch has of a payer, in rubles."""

    invoiced: Decimal
    credited: Decimal
    paid: Decimal
    received: Decimal
    allocated: Decimal
    refunded: Decimal

    @property
    def owed(self) -> Decimal:
        return self.invoiced - self.credited - self.paid

    @property
    def advance(self) -> Decimal:
        return self.received - self.allocated - self.refunded

    def as_json(self) -> dict[str, str]:
        names = ("invoiced", "credited", "paid", "owed", "received", "allocated", "refunded", "advance")
        return {name: money.text(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class _OfBranch(Sums):
    branch: str
    party: UUID


@dataclass(frozen=True)
class Balance:
    """A payer's sums, branch by branch. `party` is how the newest of the documents names him."""

    payer: str
    by_branch: dict[str, Sums]
    party: UUID

    @property
    def whole(self) -> Sums:
        added = {
            each.name: sum((getattr(sums, each.name) for sums in self.by_branch.values()), ZERO)
            for each in fields_of(Sums)
        }
        return Sums(**added)

    def as_json(self) -> dict[str, Any]:
        return {
            "payer": self.payer,
            "currency": "RUB",
            **self.whole.as_json(),
            "branches": [{"branch": code, **sums.as_json()} for code, sums in self.by_branch.items()],
        }


def of_payer(conn: db.Connection, actor: Actor, ref: str) -> Balance:
    """The payer's balance in the branches that `actor` sees.

    Raises:
        NotFound: nothing was issued to this payer there, and no money came: a mistyped reference owes nothing, and
            that must not look like an answer.
    """
    rows = db.many(
        conn,
        _OfBranch,
        """
        SELECT branch.code AS branch, sum(invoiced) AS invoiced, sum(credited) AS credited, sum(paid) AS paid,
               sum(received) AS received, sum(allocated) AS allocated, sum(refunded) AS refunded,
               (max(party::text))::uuid AS party
          FROM (SELECT branch_id, payer_party AS party, total AS invoiced, credited, paid,
                       0 AS received, 0 AS allocated, 0 AS refunded
                  FROM invoice WHERE payer_ref = %(ref)s::text AND number IS NOT NULL
                 UNION ALL
                SELECT branch_id, payer_party, 0, 0, 0, amount, allocated, refunded
                  FROM payment WHERE payer_ref = %(ref)s::text) AS document
          JOIN branch ON branch.id = document.branch_id
         WHERE %(branch)s::uuid IS NULL OR branch.id = %(branch)s::uuid
         GROUP BY branch.code
         ORDER BY branch.code
        """,
        {"ref": ref, "branch": actor.branch_id},
    )
    if not rows:
        raise NotFound()
    return Balance(ref, {row.branch: row for row in rows}, max(row.party for row in rows))
