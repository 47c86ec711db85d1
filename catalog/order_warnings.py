"""What is worth a look before an order is published. A warning stops nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby, pairwise
from typing import Any

from catalog.order_effects import Effect, Standing
from catalog.price_orders import Order
from catalog.publishing import Target
from clinic import errors, money
from clinic.errors import Fault

LARGE = 30
"""Percent by which a price may go up or down without a warning."""

errors.describe(
    {
        "large_change": (
            "Цена меняется больше чем на 30 %: было {old}, станет {new}.",
            "The price changes by more than 30 %: it was {old}, it will be {new}.",
        ),
        "becomes_free": ("Услуга станет бесплатной.", "The service becomes free of charge."),
        "nothing_changes": ("Цена и без приказа такая.", "The price is this one without the order too."),
        "ends_early": (
            "Цена действует только до {day}: с этого дня уже есть цена по приказу № {order}.",
            "The price is in force only until {day}: from that day on order No. {order} has another one.",
        ),
        "overlap": (
            "С того же дня есть цена по приказу № {order} от {date}: без corrects приказ не опубликовать.",
            "Order No. {order} of {date} has a price from the same day: without corrects this cannot be published.",
        ),
        "replaces_correction": (
            "С того же дня есть цена по приказу № {order} от {date}, а тот исправляет другой: в corrects нужен он.",
            "Order No. {order} of {date}, itself a correction, has a price from the same day: corrects has to name it.",
        ),
        "service_inactive": (
            "Услугу {article} не оказывают с {day}.",
            "{article} is sold no longer from {day} on.",
        ),
        "rank_order_turned": (
            "{article}: звание «{higher_ru}» будет стоить меньше, чем «{lower_ru}».",
            "{article}: the rank {higher_en} will cost less than {lower_en}.",
        ),
        "rank_without_price": (
            "{article}: у звания «{rank_ru}» цены не будет.",
            "{article}: the rank {rank_en} will have no price.",
        ),
    }
)


@dataclass(frozen=True)
class Warning:
    """Something worth a look: its code, what its text needs, and members for programs."""

    code: str
    values: tuple[tuple[str, str], ...] = ()
    members: dict[str, Any] = field(default_factory=dict)

    def as_json(self, lang: str) -> dict[str, Any]:
        return {"code": self.code, "message": Fault("", self.code, self.values).message(lang), **self.members}


def of_line(order: Order, effect: Effect) -> Iterator[Warning]:
    """What is worth a look at one price that `order` makes."""
    target, old, difference = effect.target, effect.old, effect.difference
    if difference and old.amount is not None and abs(difference) * 100 > LARGE * old.amount:
        yield Warning(
            "large_change", (("old", money.text(old.amount)), ("new", money.text(old.amount + difference)))
        )  # fmt: skip
    if difference and not target.amount:
        yield Warning("becomes_free")
    if effect.kind == "unchanged" and not old.fallback:
        yield Warning("nothing_changes")
    if target.overlaps(order):
        code = "replaces_correction" if target.same_day_corrects else "overlap"
        yield Warning(
            code, (("order", str(target.same_day_number)), ("date", str(target.same_day_date))), target.rival()
        )  # fmt: skip
    if target.next_from is not None:
        members = {"valid_until": target.next_from, "order": target.next_order, "order_number": target.next_number}
        yield Warning(
            "ends_early", (("day", target.next_from.isoformat()), ("order", str(target.next_number))), members
        )
    if target.kind != "withdrawn":
        yield from _service_warnings(order, effect)


def _service_warnings(order: Order, effect: Effect) -> Iterator[Warning]:
    service = effect.old
    if service.inactive_since is not None and service.inactive_since <= order.effective_from:
        named = (("article", service.article), ("day", service.inactive_since.isoformat()))
        yield Warning("service_inactive", named)
    for fault in effect.codes:
        yield Warning(fault.code, fault.values)


# ---- What becomes of the ranks of a service ----


@dataclass(frozen=True)
class _After:
    """A rank of a service once the order is published."""

    around: Standing
    kind: str | None
    amount: Decimal | None

    @property
    def sold(self) -> bool:
        return self.kind not in (None, "withdrawn")


def of_ranks(standing: Iterable[Standing], targets: Iterable[Target]) -> Iterator[Warning]:
    """What is worth a look over all ranks of each service that an order names, not only those in the order."""
    made = {(each.service_id, each.doctor_rank): each for each in targets}
    by_rank = [each for each in standing if each.priced_by_rank]
    for _, ranks in groupby(by_rank, key=lambda each: each.service_id):
        after = [_after(each, made.get((each.service_id, each.doctor_rank))) for each in ranks]
        yield from _turned(after)
        yield from _without_price(after)


def _after(old: Standing, target: Target | None) -> _After:
    return _After(old, target.kind, target.amount) if target else _After(old, old.kind, old.amount)


def _turned(ranks: Sequence[_After]) -> Iterator[Warning]:
    priced = [(each.around, each.amount) for each in ranks if each.amount is not None]
    for (lower, less), (higher, more) in pairwise(priced):
        if more < less:
            names = {"higher_ru": higher.rank_ru, "higher_en": higher.rank_en}
            names |= {"lower_ru": lower.rank_ru, "lower_en": lower.rank_en}
            yield _of_rank("rank_order_turned", higher, **names)


def _without_price(ranks: Sequence[_After]) -> Iterator[Warning]:
    # A service that is withdrawn as a whole leaves no rank behind.
    if any(each.sold for each in ranks):
        for each in ranks:
            if not each.sold and (each.around.sold or each.around.rank_held):
                yield _of_rank(
                    "rank_without_price", each.around, rank_ru=each.around.rank_ru, rank_en=each.around.rank_en
                )


def _of_rank(code: str, rank: Standing, **values: str) -> Warning:
    members = {"article": rank.article, "doctor_rank": rank.doctor_rank}
    return Warning(code, (("article", rank.article), *values.items()), members)
