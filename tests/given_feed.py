"""Reading what the price feed answers."""

from __future__ import annotations

import csv
import gzip
import io
from typing import Any

import brotli
from werkzeug.test import TestResponse


def items(response: TestResponse) -> dict[str, Any]:
    assert response.status_code == 200, response.get_json()
    return {each["article"]: each for each in response.get_json()["items"]}


def rows(response: TestResponse) -> list[dict[str, str]]:
    assert response.status_code == 200, response.get_json()
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    return list(csv.DictReader(io.StringIO(response.text, newline=""), strict=True))


def unpacked(body: bytes, encoding: str | None) -> bytes:
    """A body as it was before it was compressed."""
    found: bytes = {"br": brotli.decompress, "gzip": gzip.decompress}.get(encoding or "", bytes)(body)
    return found
