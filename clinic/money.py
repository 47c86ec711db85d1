"""Rubles: exact, rounded in one way, and written as Russian paper and our JSON write them.

Money is `Decimal` with at most two places, never a float. Percentages are decimals too.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

KOPECK = Decimal("0.01")
ZERO = Decimal("0.00")
NBSP = "\u00a0"

_ONES = ("", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять", "десять", "одиннадцать",
         "двенадцать", "тринадцать", "четырнадцать", "пятнадцать", "шестнадцать", "семнадцать", "восемнадцать",
         "девятнадцать")  # fmt: skip
_TENS = ("", "", "двадцать", "тридцать", "сорок", "пятьдесят", "шестьдесят", "семьдесят", "восемьдесят", "девяносто")
_HUNDREDS = ("", "сто", "двести", "триста", "четыреста", "пятьсот", "шестьсот", "семьсот", "восемьсот", "девятьсот")
_FEMININE = {1: "одна", 2: "две"}
_SCALES = (
    ("", "", ""),
    ("тысяча", "тысячи", "тысяч"),
    ("миллион", "миллиона", "миллионов"),
    ("миллиард", "миллиарда", "миллиардов"),
    ("триллион", "триллиона", "триллионов"),
)


def rounded(amount: Decimal) -> Decimal:
    """`amount` in whole kopecks, half away from zero: the only rounding of money there is."""
    return amount.quantize(KOPECK, ROUND_HALF_UP)


def in_steps(amount: Decimal, step: Decimal) -> Decimal:
    """`amount` as the nearest multiple of `step` rubles, half away from zero."""
    return (amount / step).to_integral_value(ROUND_HALF_UP) * step


def share(amount: Decimal, percent: Decimal) -> Decimal:
    """`percent` % of `amount`, in rubles."""
    return rounded(amount * percent / 100)


def vat_inside(gross: Decimal, rate: Decimal) -> Decimal:
    """The VAT of `rate` % that a price with VAT holds, in rubles (domain rule 13)."""
    return rounded(gross * rate / (100 + rate))


def split(amount: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """`amount` over `weights` by largest remainder, to the kopeck; ties go to the earlier weight.

    The parts add up to `amount` exactly. Weights are not negative and not all zero, unless `amount` is zero.
    """
    total = sum(weights, ZERO)
    if not amount:
        return [ZERO for _ in weights]
    exact = [amount * weight / total for weight in weights]
    parts = [(each / KOPECK).to_integral_value("ROUND_FLOOR") * KOPECK for each in exact]
    missing = int((amount - sum(parts, ZERO)) / KOPECK)
    by_remainder = sorted(range(len(parts)), key=lambda place: (parts[place] - exact[place], place))
    for place in by_remainder[:missing]:
        parts[place] += KOPECK
    return parts


def text(amount: Decimal) -> str:
    """`amount` as JSON and CSV carry it: always two places, never an exponent."""
    return f"{amount:.2f}"


def text_or_none(amount: Decimal | None) -> str | None:
    return None if amount is None else text(amount)


def display(amount: Decimal) -> str:
    """`amount` for people, with no-break spaces: «67 200,00 ₽»."""
    _whole_kopecks(amount)
    return f"{amount:,.2f}".replace(",", NBSP).replace(".", ",") + f"{NBSP}₽"


def plural(number: int, one: str, few: str, many: str) -> str:
    """The Russian form that goes with `number`: 1 рубль, 2 рубля, 5 рублей, 11 рублей, 21 рубль."""
    if number % 100 in range(11, 15):
        return many
    return {1: one, 2: few, 3: few, 4: few}.get(number % 10, many)


def in_words(amount: Decimal | int) -> str:
    """`amount` as a Russian document spells it: «Одна тысяча рублей 00 копеек». An int is rubles."""
    amount = Decimal(amount)
    _whole_kopecks(amount)
    rubles, kopecks = divmod(int(amount / KOPECK), 100)
    words = _cardinal(rubles)
    ruble = plural(rubles, "рубль", "рубля", "рублей")
    kopeck = plural(kopecks, "копейка", "копейки", "копеек")
    return f"{words[0].upper()}{words[1:]} {ruble} {kopecks:02d} {kopeck}"


def _cardinal(number: int) -> str:
    if number == 0:
        return "ноль"
    words: list[str] = []
    for power in range(len(_SCALES) - 1, -1, -1):
        group = number // 1000**power % 1000
        if group:
            words += _three_digits(group, feminine=power == 1)
            words.append(plural(group, *_SCALES[power]))
    return " ".join(word for word in words if word)


def _three_digits(group: int, *, feminine: bool) -> list[str]:
    hundreds, rest = divmod(group, 100)
    tens, ones = (0, rest) if rest < 20 else divmod(rest, 10)
    return [_HUNDREDS[hundreds], _TENS[tens], (_FEMININE.get(ones) if feminine else None) or _ONES[ones]]


def _whole_kopecks(amount: Decimal) -> None:
    # A third decimal place here means that somebody forgot to round where the sum was made.
    if amount != rounded(amount) or amount < 0:
        raise ValueError(f"{amount} is not a sum in whole kopecks")
