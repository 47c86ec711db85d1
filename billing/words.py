"""What people call the states and kinds of documents, (ru, en); programs read the codes."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from billing import totals

QUOTE_STATUS: Mapping[str, tuple[str, str]] = {
    "draft": ("черновик", "draft"),
    "sent": ("отправлена", "sent"),
    "accepted": ("принята", "accepted"),
    "invoiced": ("выставлен счёт", "invoiced"),
    "declined": ("отклонена", "declined"),
    "expired": ("истекла", "expired"),
    "superseded": ("заменена", "superseded"),
    "cancelled": ("отменена", "cancelled"),
    "purged": ("удалена", "purged"),
}
QUOTE_LINK_STATE: Mapping[str, tuple[str, str]] = {
    "open": ("открыта", "open"),
    "revoked": ("закрыта", "revoked"),
    "ended": ("срок вышел", "ended"),
}
QUOTE_KIND: Mapping[str, tuple[str, str]] = {
    "firm": ("твёрдая", "firm"),
    "approximate": ("приблизительная", "approximate"),
}
KIND_MEANS: Mapping[str, tuple[str, str]] = {
    "firm": (
        "Смета твёрдая: цена и состав услуг не меняются без согласия потребителя.",
        "This is a firm quote: neither price nor services change without the consumer's consent.",
    ),
    "approximate": (
        "Смета приблизительная: о необходимости превысить её предупреждают заранее, и потребитель вправе отказаться.",
        "This is an approximate quote: if it must be exceeded, the consumer is told in time and may withdraw.",
    ),
}
INVOICE_STATUS: Mapping[str, tuple[str, str]] = {
    "draft": ("черновик", "draft"),
    "issued": ("выставлен", "issued"),
    "cancelled": ("аннулирован", "cancelled"),
    "discarded": ("отброшен", "discarded"),
}
ACT_STATUS: Mapping[str, tuple[str, str]] = {
    "issued": ("выставлен", "issued"),
    "cancelled": ("аннулирован", "cancelled"),
}
PAYMENT_STATUS: Mapping[str, tuple[str, str]] = {
    "unpaid": ("не оплачен", "unpaid"),
    "partially_paid": ("оплачен частично", "partially paid"),
    "paid": ("оплачен", "paid"),
    "settled": ("закрыт возвратом", "settled by credit"),
}
ROLE: Mapping[str, tuple[str, str]] = {
    "reception": ("регистратура", "reception"),
    "senior_reception": ("старшая регистратура", "senior reception"),
    "accountant": ("бухгалтер", "accountant"),
    "price_keeper": ("ведущий прейскурант", "price keeper"),
    "administrator": ("администратор", "administrator"),
}
TENDER: Mapping[str, tuple[str, str]] = {
    "cash": ("наличные", "cash"),
    "card": ("карта", "card"),
    "transfer": ("перевод", "transfer"),
    "online": ("онлайн", "online"),
}
PAYER_KIND: Mapping[str, tuple[str, str]] = {
    "person": ("физическое лицо", "person"),
    "organisation": ("организация", "organisation"),
    "insurer": ("страховая компания", "insurer"),
}


def vat(rate: Decimal | None, lang: str) -> str:
    """What a row of VAT is called; exempt is not 0 %."""
    if rate is None:
        return "Без НДС" if lang == "ru" else "No VAT"
    return f"{'НДС' if lang == 'ru' else 'VAT'} {totals.shown_rate(rate)} %"


def said(words: Mapping[str, tuple[str, str]], code: str, lang: str) -> str:
    """`code` in the reader's language; a code without words stands for itself."""
    ru, en = words.get(code, (code, code))
    return ru if lang == "ru" else en
