"""The code on a quote finds every mistyped character."""

import pytest

from billing import quote_codes


def test_the_published_example_is_a_right_one():
    assert quote_codes.read("7K3Q-92MT-F") == "7K3Q92MTF"
    assert quote_codes.shown("7K3Q92MTF") == "7K3Q-92MT-F"


def test_a_new_code_reads_back_in_any_writing():
    for _ in range(200):
        code = quote_codes.new()
        assert not set(code) & set("ILOU")
        assert quote_codes.read(quote_codes.shown(code).lower()) == code


def test_each_single_mistake_and_each_swap_of_neighbours_is_found():
    code = "7K3Q92MTF"
    wrong = [code[:at] + other + code[at + 1 :] for at in range(9) for other in "0123456789ABCDEFGHJKMNPQRSTVWXYZ"]
    swapped = [code[:at] + code[at + 1] + code[at] + code[at + 2 :] for at in range(8)]
    assert not [each for each in wrong + swapped if each != code and quote_codes.read(each)]


@pytest.mark.parametrize("text", ["", "7K3Q", "7K3Q-92MT-FF", "7K3Q-92MТ-F", "7K3Q-92MT-F\n7", "IK3Q-92MT-F"])
def test_what_is_no_code_is_not_one(text):
    assert quote_codes.read(text) is None
