"""Papers as PDF: a typst template and its data become PDF/A, the same bytes for the same input.

Templates lie in `papers` of the package they belong to. Data reaches them as JSON, so no text of ours or of a patient
is ever taken for a program; fonts are those of `clinic/fonts` and no others.
"""

from __future__ import annotations

import functools
import threading
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, Literal, cast

import orjson
import typst

_ROOT = Path(__file__).parents[1]
_FONTS = Path(__file__).parent / "fonts"
_STANDARD: Final[Literal["a-2a"]] = "a-2a"
"""Archival and tagged: readable for programs that read aloud, and in thirty years."""
# A compiler keeps what it has read and laid out; it serves one caller at a time.
_working = threading.Lock()


def render(template: Path, data: Any, lang: str, on: date) -> bytes:
    """The paper that `template` makes of `data`.

    Args:
        template: a .typ file inside this program; it reads `json(bytes(sys.inputs.data))`.
        data: what `orjson` writes; money and days as the paper shows them, since the template computes nothing.
        lang: `ru` or `en`, for hyphenation and for `sys.inputs.lang`.
        on: the document's own date; never the present one, or the same paper would have other bytes tomorrow.
    """
    with _working:
        made = _compiler().compile(
            str(template),
            format="pdf",
            sys_inputs={"data": orjson.dumps(data).decode(), "lang": lang},
            pdf_standards=[_STANDARD],
            timestamp=int(datetime(on.year, on.month, on.day, tzinfo=UTC).timestamp()),
        )
    return cast(bytes, made)


@functools.cache
def _compiler() -> typst.Compiler:
    # The root bounds what a template can read; packages of the network are not known at all.
    return typst.Compiler(root=str(_ROOT), font_paths=[str(_FONTS)], ignore_system_fonts=True)
