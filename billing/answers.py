"""What commands on quotes and invoices answer: the document after them, with its ETag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response

from billing import invoices, quotes
from billing.invoices import Invoice, InvoiceLine
from billing.quotes import Quote, QuoteLine
from clinic import http
from clinic.command import Change


def of_quote(change: Change, status: int, quote: Quote, lines: Sequence[QuoteLine], **more: Any) -> Response:
    headers = {"ETag": http.etag(quote.id, quote.row_version)}
    if status == 201:
        headers["Location"] = f"/v1/quotes/{quote.id}"
    answer = change.give(status, quotes.as_json(quote, lines) | more, headers=headers, names=quotes.names(quote))
    return http.shown(answer)


def of_invoice(change: Change, status: int, invoice: Invoice, lines: Sequence[InvoiceLine]) -> Response:
    headers = {"ETag": http.etag(invoice.id, invoice.row_version)}
    if status == 201:
        headers["Location"] = f"/v1/invoices/{invoice.id}"
    answer = change.give(status, invoices.as_json(invoice, lines), headers=headers, names=invoices.names(invoice))
    return http.shown(answer)
