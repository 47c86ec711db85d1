"""What an order does to each price: the price it makes, beside the one in force on its first day without it.

`publishing` says which prices the order makes, so that what is shown before cannot differ from what happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from catalog.price_orders import Order
from catalog.publishing import Target
from clinic import db, money
from clinic.errors import Fault


@dataclass(frozen=True)
class Standing:
    """A service and a rank as they are on an order's first day without it; `kind` is None where there is no price.

    `rank_held` tells whether a doctor of the clinic has the rank on that day.
    """

    service_id: UUID
    article: str
    name_ru: str
    name_en: str
    category: str
    category_ru: str
    category_en: str
    inactive_since: date | None
    priced_by_rank: bool
    nomenclature_codes: list[str]
    doctor_rank: str
    rank_ru: str
    rank_en: str
    rank_held: bool
    kind: str | None
    amount: Decimal | None
    valid_from: date
    price_list: str
    fallback: bool
    order_id: UUID
    order: str
    order_date: date

    @property
    def sold(self) -> bool:
        """Whether there is a price that is not a withdrawal."""
        return self.kind not in (None, "withdrawn")

    def price_json(self) -> dict[str, Any] | None:
        if self.kind is None:
            return None
        return {
            "kind": self.kind,
            "amount": money.text_or_none(self.amount),
            "valid_from": self.valid_from,
            "price_list": self.price_list,
            "fallback": self.fallback,
            "order": self.order,
            "order_date": self.order_date,
            "order_id": self.order_id,
        }


@dataclass(frozen=True)
class Effect:
    """A price that the order makes, beside what there would be without it.

    `codes` is what is worth a look about the nomenclature codes of its service.
    """

    target: Target
    old: Standing
    codes: Sequence[Fault]

    @property
    def kind(self) -> str:
        """What a patient would notice: `new`, `withdrawn`, `changed` or `unchanged`."""
        if self.target.kind == "withdrawn":
            return "withdrawn" if self.old.sold else "unchanged"
        if not self.old.sold:
            return "new"
        same = (self.target.kind, self.target.amount) == (self.old.kind, self.old.amount)
        return "unchanged" if same else "changed"

    @property
    def difference(self) -> Decimal | None:
        """New less old, in rubles; None unless both are sums."""
        if self.target.amount is None or self.old.amount is None:
            return None
        return self.target.amount - self.old.amount

    @property
    def percent(self) -> Decimal | None:
        """The difference in percent of the old price, two decimals, half away from zero; None of nothing."""
        if self.difference is None or not self.old.amount:
            return None
        return money.rounded(self.difference * 100 / self.old.amount) + 0  # never -0.00


def standing(conn: db.Connection, order: Order) -> list[Standing]:
    """All ranks of the services that `order` names, as they are on its first day without it."""
    return db.many(
        conn,
        Standing,
        """
        WITH list AS MATERIALIZED (SELECT code, valid, step FROM price_lists_asked(%(list)s::text)),
        asked AS (SELECT code, step FROM list WHERE step = 0 OR valid @> %(day)s::date),
        -- The ranks that doctors of the clinic have on that day.
        held AS (
          SELECT DISTINCT promotion.doctor_rank
            FROM doctor
            JOIN LATERAL (
              SELECT doctor_rank FROM doctor_promotion
               WHERE doctor_id = doctor.id AND since <= %(day)s::date
               ORDER BY since DESC, id DESC
               LIMIT 1) AS promotion ON true
           WHERE doctor.active),
        wanted AS (
          SELECT service_id, array_agg(doctor_rank) AS ranks
            FROM price_order_line
           WHERE order_id = %(order)s::uuid
           GROUP BY service_id)
        SELECT service.id AS service_id, service.article, service.name_ru, service.name_en, service.category,
               category.name_ru AS category_ru, category.name_en AS category_en, service.inactive_since,
               service.priced_by_rank, service.nomenclature_codes,
               rank.code AS doctor_rank, rank.name_ru AS rank_ru, rank.name_en AS rank_en,
               rank.code IN (SELECT doctor_rank FROM held) AS rank_held,
               old.kind, old.amount, lower(old.valid) AS valid_from, old.price_list, old.step > 0 AS fallback,
               old.order_id, price_order.number AS order, price_order.date AS order_date
          FROM wanted
          JOIN medical_service AS service ON service.id = wanted.service_id
          JOIN category ON category.code = service.category
          JOIN doctor_rank AS rank ON service.priced_by_rank OR rank.code = 'none' OR rank.code = ANY (wanted.ranks)
          LEFT JOIN LATERAL (
            SELECT price.kind, price.amount, price.valid, price.price_list, price.order_id, asked.step
              FROM asked
              JOIN price ON price.service_id = service.id
               AND price.price_list = asked.code
               AND price.doctor_rank = rank.code
               AND price.valid @> %(day)s::date
               AND price.corrected_by IS NULL
             ORDER BY asked.step
             LIMIT 1) AS old ON true
          LEFT JOIN price_order ON price_order.id = old.order_id
         ORDER BY service.article COLLATE "C", rank.position
        """,
        {"list": order.price_list, "day": order.effective_from, "order": order.id},
    )
