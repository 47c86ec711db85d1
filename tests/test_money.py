"""Domain rules 10–14, 18, 20, 21, 36–39: sums are exact, rounded once, and written as paper writes them."""

from decimal import Decimal

import marshmallow as ma
import pytest
from hypothesis import given as forall
from hypothesis import settings
from hypothesis import strategies as st

from billing import totals
from billing.totals import Discount, Vat
from clinic import fields, http, money
from clinic.money import ZERO


def rub(text: str) -> Decimal:
    return Decimal(text.replace(" ", ""))


KOPECKS = st.integers(0, 10**11).map(lambda kopecks: Decimal(kopecks) / 100)


@pytest.mark.parametrize(
    ("given", "read"),
    [("67200", "67200.00"), ("67200.5", "67200.50"), ("67200.00", "67200.00"), ("0", "0.00"), ("0.01", "0.01")],
)
def test_money_is_read_from_a_string_of_at_most_two_decimals(given, read):
    assert money.text(fields.Money().deserialize(given)) == read


@pytest.mark.parametrize(
    "given",
    ["67200.005", "1e3", "1_000", "٣", "-1.00", "NaN", 67200.1, True, " 5", "5 ", "", "+5", "1,5", "５", "1.", ".5",
     "67200.00\n", 67200, None, [], "Infinity", "12345678901234"],
)  # fmt: skip
def test_what_is_not_strictly_money_is_refused(given):
    with pytest.raises(ma.ValidationError):
        fields.Money().deserialize(given)


@pytest.mark.parametrize(("amount", "shown"), [(67200, "67200.00"), ("6.72E+4", "67200.00"), ("0.1", "0.10")])
def test_money_is_written_with_two_decimals_and_no_exponent(amount, shown):
    assert money.text(Decimal(amount)) == shown


def test_a_decimal_never_slips_into_json_by_itself():
    with pytest.raises(TypeError):
        http.dumped({"total": Decimal("67200")})


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [("0.125", "0.13"), ("0.135", "0.14"), ("2.665", "2.67"), ("-0.005", "-0.01"), ("49.995", "50.00")],
)
def test_rounding_is_half_away_from_zero(amount, rounded):
    assert money.rounded(Decimal(amount)) == Decimal(rounded)


def test_a_line_is_rounded_once():
    assert totals.gross(rub("33.33"), Decimal("1.5")) == rub("50.00")


def test_a_discount_is_taken_from_the_line_and_not_from_each_unit():
    gross = totals.gross(rub("100.01"), Decimal(3))
    assert gross - Discount(percent=Decimal("33.33")).of(gross) == rub("200.03")


@pytest.mark.parametrize(
    ("gross", "rate", "vat"),
    [
        ("1220.00", 22, "220.00"), ("14000.00", 22, "2524.59"), ("0.03", 22, "0.01"), ("807.30", 22, "145.58"),
        ("3700.00", 10, "336.36"), ("3700.00", 5, "176.19"), ("100.00", 7, "6.54"), ("0.03", 10, "0.00"),
    ],
)  # fmt: skip
def test_vat_is_inside_the_price(gross, rate, vat):
    assert money.vat_inside(rub(gross), Decimal(rate)) == rub(vat)


def test_vat_is_taken_per_line_and_summed():
    lines = [(rub("100.00"), Vat.inside(rub("100.00"), Decimal(22)))] * 3
    (group,) = totals.vat_groups(lines)
    assert (group.base, group.vat.amount) == (rub("300.00"), rub("54.09"))


def test_exempt_is_not_zero_percent():
    exempt, zero = Vat.inside(rub("100"), None), Vat.inside(rub("100"), Decimal(0))
    assert (exempt.rate, exempt.amount, exempt.text) == (None, None, "Без НДС")
    assert (zero.rate, zero.amount, zero.text) == (Decimal(0), rub("0.00"), "НДС 0 %")


def test_a_mixed_document_has_a_row_for_each_rate():
    lines = [(rub("3700.00"), Vat.inside(rub("3700"), None)), (rub("1220.00"), Vat.inside(rub("1220"), Decimal(22)))]
    rows = [(group.vat.text, group.base, group.vat.amount) for group in totals.vat_groups(lines)]
    assert rows == [
        ("в том числе НДС 22 %", rub("1220.00"), rub("220.00")),
        ("Без НДС", rub("3700.00"), None),
    ]


@pytest.mark.parametrize(
    ("amount", "weights", "parts"),
    [
        ("1000.00", ["3700", "8840", "67200"], ["46.40", "110.86", "842.74"]),
        ("0.02", ["1", "1", "1"], ["0.01", "0.01", "0.00"]),
        ("0.00", ["0", "0"], ["0.00", "0.00"]),
    ],
)
def test_a_sum_is_split_by_largest_remainder(amount, weights, parts):
    assert money.split(rub(amount), [rub(each) for each in weights]) == [rub(each) for each in parts]


@settings(derandomize=True, database=None, deadline=None)
@forall(KOPECKS, st.lists(KOPECKS, min_size=1, max_size=30).filter(any))
def test_a_split_adds_up_exactly_and_no_part_is_off_by_a_kopeck(amount, weights):
    parts = money.split(amount, weights)
    assert sum(parts, ZERO) == amount
    exact = [amount * weight / sum(weights) for weight in weights]
    assert all(abs(part - share) < money.KOPECK for part, share in zip(parts, exact, strict=True))


@settings(derandomize=True, database=None, deadline=None)
@forall(KOPECKS, st.lists(st.integers(1, 999), min_size=1, max_size=6))
def test_pieces_of_a_line_add_up_to_the_line(whole, pieces):
    of, taken, left = Decimal(sum(pieces)), ZERO, Decimal(sum(pieces))
    for piece in map(Decimal, pieces):
        taken += totals.part(whole, taken, piece, of, last=piece == left)
        left -= piece
    assert taken == whole


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ("127200", "Сто двадцать семь тысяч двести рублей 00 копеек"),
        ("1000", "Одна тысяча рублей 00 копеек"),
        ("2000", "Две тысячи рублей 00 копеек"),
        ("21000", "Двадцать одна тысяча рублей 00 копеек"),
        ("1001.01", "Одна тысяча один рубль 01 копейка"),
        ("2002.02", "Две тысячи два рубля 02 копейки"),
        ("111", "Сто одиннадцать рублей 00 копеек"),
        ("131131.31", "Сто тридцать одна тысяча сто тридцать один рубль 31 копейка"),
        ("1000000", "Один миллион рублей 00 копеек"),
        ("0.11", "Ноль рублей 11 копеек"),
        ("0", "Ноль рублей 00 копеек"),
        ("121240", "Сто двадцать одна тысяча двести сорок рублей 00 копеек"),
        ("17700", "Семнадцать тысяч семьсот рублей 00 копеек"),
        ("9999999999999.99", "Девять триллионов девятьсот девяносто девять миллиардов девятьсот девяносто девять "
         "миллионов девятьсот девяносто девять тысяч девятьсот девяносто девять рублей 99 копеек"),
    ],
)  # fmt: skip
def test_sums_are_spelled_as_documents_spell_them(amount, words):
    assert money.in_words(Decimal(amount)) == words


def test_an_int_is_rubles_and_not_kopecks():
    assert money.in_words(127200) == money.in_words(Decimal("127200"))


@pytest.mark.parametrize(
    ("number", "form"),
    [(1, "рубль"), (2, "рубля"), (5, "рублей"), (11, "рублей"), (21, "рубль"), (22, "рубля"), (111, "рублей")],
)
def test_russian_plurals(number, form):
    assert money.plural(number, "рубль", "рубля", "рублей") == form


def test_a_sum_is_shown_with_no_break_spaces():
    assert money.display(rub("67200")) == "67\u00a0200,00\u00a0₽"
    assert money.display(rub("1000000")) == "1\u00a0000\u00a0000,00\u00a0₽"


@pytest.mark.parametrize("write", [money.display, money.in_words])
def test_a_third_decimal_never_reaches_paper(write):
    with pytest.raises(ValueError, match="kopecks"):
        write(Decimal("0.125"))


@pytest.mark.parametrize(("given", "read"), [("1", "1"), ("1.5", "1.5"), ("0.001", "0.001"), (3, "3")])
def test_a_quantity_has_at_most_three_places(given, read):
    assert fields.Quantity().deserialize(given) == Decimal(read)


@pytest.mark.parametrize("given", ["0", "0.000", "-1", "1.0001", 1.5, 0, -1, True, "1e1", "", "1000000", None])
def test_what_is_not_a_quantity_is_refused(given):
    with pytest.raises(ma.ValidationError):
        fields.Quantity().deserialize(given)
