"""What pages of prices tell search engines: the list and its services in the words of schema.org, as JSON-LD.

Types and properties are those of https://schema.org/OfferCatalog, /Offer, /PriceSpecification, /Service and
/MedicalProcedure. An offer takes a Service, so a medical procedure is said to be one too.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import orjson
from markupsafe import Markup

from catalog.browsing import Page
from catalog.listing import Item, Offer
from clinic import http, money
from clinic.branches import Branch

_CONTEXT = "https://schema.org"
# Inside a script element only these could end it or begin a comment; as escapes they mean the same to JSON.
_ESCAPED = {ord(each): f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"}


def of_page(page: Page, base: str, lang: str) -> Markup:
    """A page of the list. `base` is our public address, empty where it is not known."""
    catalogs = [
        {
            "@type": "OfferCatalog",
            "name": section.first.category_ru if lang == "ru" else section.first.category_en,
            "itemListElement": [each for row in section.rows for each in _offers(row.item, base, lang, whole=True)],
        }
        for section in page.sections
    ]
    name = page.price_list.name_ru if lang == "ru" else page.price_list.name_en
    return _script(
        {
            "@context": _CONTEXT,
            **_clinic(page.clinic, base),
            "hasOfferCatalog": {"@type": "OfferCatalog", "name": name, "itemListElement": catalogs},
        }
    )


def of_service(item: Item, clinic: Branch | None, base: str, lang: str) -> Markup:
    """A service with its prices, today's and those ordered ahead."""
    return _script(
        {
            "@context": _CONTEXT,
            **_service(item.service, base, lang),
            "provider": _clinic(clinic, base),
            "offers": list(_offers(item, base, lang, whole=False)),
        }
    )


def _clinic(clinic: Branch | None, base: str) -> dict[str, Any]:
    known = (clinic and clinic.requisites) or {}
    told = {
        "@type": "MedicalClinic",
        "name": known.get("name") or (clinic.name if clinic else "Clinic"),
        "url": base or None,
        "address": known.get("address"),
        "telephone": known.get("phone"),
        "email": known.get("email"),
        "taxID": known.get("inn"),
    }
    return {name: value for name, value in told.items() if value}


def _service(offer: Offer, base: str, lang: str) -> dict[str, Any]:
    russian = lang == "ru"
    told = {
        "@type": ["MedicalProcedure", "Service"],
        "@id": f"{_address(offer, base)}#service",
        "name": offer.name_ru if russian else offer.name_en,
        "category": offer.category_ru if russian else offer.category_en,
        "description": offer.note,
        "code": [
            {"@type": "MedicalCode", "codeValue": code, "codingSystem": "804н"} for code in offer.nomenclature_codes
        ],
    }
    return {name: value for name, value in told.items() if value}


def _offers(item: Item, base: str, lang: str, *, whole: bool) -> Iterator[dict[str, Any]]:
    """An offer for each price; the first one has the service in it if `whole`, the others refer to it."""
    for place, offer in enumerate(item.offers):
        service = _service(offer, base, lang)
        told = {
            "@type": "Offer",
            "sku": offer.article,
            "url": _address(offer, base),
            "itemOffered": service if whole and place == 0 else {"@id": service["@id"]},
        }
        if offer.priced_by_rank:
            told["name"] = f"{service['name']}, {offer.rank_ru if lang == 'ru' else offer.rank_en}"
        # What is priced on request has no price, and no zero in its place.
        if offer.amount is not None:
            told["priceSpecification"] = _price(offer)
        yield told


def _price(offer: Offer) -> dict[str, Any]:
    assert offer.amount is not None
    told = {
        "@type": "PriceSpecification",
        # A number, which is all that minPrice may be, and written by us: no float comes near it.
        "minPrice" if offer.kind == "from" else "price": orjson.Fragment(money.text(offer.amount)),
        "priceCurrency": "RUB",
        "valueAddedTaxIncluded": True,
        "validFrom": offer.valid_from.isoformat(),
    }
    if offer.valid_until:
        # There it is the last day, here the first one without this price.
        told["validThrough"] = (offer.valid_until - timedelta(days=1)).isoformat()
    return told


def _address(offer: Offer, base: str) -> str:
    return f"{base}/prices/{offer.article}"


def _script(told: dict[str, Any]) -> Markup:
    """JSON that no text in it can turn into anything else, for the inside of a script element."""
    return Markup(http.dumped(told).decode().translate(_ESCAPED))  # nothing in it can end the element  # nosec B704
