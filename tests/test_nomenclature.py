"""Codes of Order 804n: their form (domain rules 1 to 3)."""

import re

import pytest

from catalog.services import NOMENCLATURE, ServicePatch
from clinic.fields import faults_in


@pytest.mark.parametrize(
    "code",
    ["A06.30.005.002", "B01.027.001", "A06.30.005", "A30.01.001", "A01.01.001", "B09.999.999", "B01.027.001.010"],
)
def test_a_right_code(code):
    assert re.fullmatch(NOMENCLATURE, code, re.ASCII)


@pytest.mark.parametrize(
    "code",
    [
        "А06.30.005",  # a Cyrillic А
        "В01.027.001",  # a Cyrillic В
        "A6.30.5",
        "b01.027.001",
        "A31.01.001",
        "A00.01.001",
        "A06.30.005.02",
        "B01.027.001\n",
        " B01.027.001",
        "B00.027.001",
        "B10.027.001",
        "A06.30.٠٠٥",
        "",
    ],
)
def test_a_wrong_code(code):
    faults = faults_in(ServicePatch().validate({"nomenclature_codes": [code]}))
    assert [(each.pointer, each.code) for each in faults] == [("/nomenclature_codes/0", "wrong_nomenclature_code")]


def test_a_service_may_have_several_codes_and_none():
    for codes in (["A05.30.005", "A05.30.007"], []):
        assert ServicePatch().load({"nomenclature_codes": codes}) == {"nomenclature_codes": codes}


def test_a_code_twice_is_refused():
    faults = faults_in(ServicePatch().validate({"nomenclature_codes": ["B01.027.001", "B01.027.001"]}))
    assert [(each.pointer, each.code) for each in faults] == [("/nomenclature_codes", "repeated_code")]
