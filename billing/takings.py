"""Money of a period as accounting sees it: what came and what went back, by tender."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from billing.exports import Period
from clinic import db
from clinic.auth import Actor


@dataclass(frozen=True)
class Taking:
    """What came and went by one tender, in rubles."""

    tender: str
    payments: int
    came: Decimal
    refunds: int
    went: Decimal

    @property
    def kept(self) -> Decimal:
        return self.came - self.went


def of_period(conn: db.Connection, actor: Actor, period: Period) -> list[Taking]:
    """By tender: payments received and refunds given on the days of the period."""
    return db.many(
        conn,
        Taking,
        """
        SELECT tender, sum(payments)::int AS payments, sum(came) AS came,
               sum(refunds)::int AS refunds, sum(went) AS went
          FROM (SELECT tender, 1 AS payments, amount::numeric AS came, 0 AS refunds, 0.00 AS went
                  FROM payment
                 WHERE received_on BETWEEN %(since)s::date AND %(until)s::date
                   AND (%(branch)s::uuid IS NULL OR branch_id = %(branch)s::uuid)
                 UNION ALL
                SELECT tender, 0, 0.00, 1, amount
                  FROM refund
                 WHERE refunded_on BETWEEN %(since)s::date AND %(until)s::date
                   AND (%(branch)s::uuid IS NULL OR branch_id = %(branch)s::uuid)) AS money
         GROUP BY tender
         ORDER BY tender
        """,
        {"since": period.since, "until": period.until, "branch": actor.branch_id},
    )


def advance_of(conn: db.Connection, payer_ref: str, branch_id: UUID) -> Decimal:
    """What a payer has paid in advance in a branch, in rubles."""
    found = db.value(
        conn,
        """
        SELECT coalesce(sum(amount - allocated - refunded), 0.00)
          FROM payment
         WHERE payer_ref = %(payer)s::text AND branch_id = %(branch)s::uuid AND allocated + refunded < amount
        """,
        {"payer": payer_ref, "branch": branch_id},
    )
    return Decimal(found)
