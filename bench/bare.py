"""The ceiling of the price feed: Flask routes that answer bytes they were given, and do nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, Response

FOLDER = "BENCH_BARE_FOLDER"
"""Environment variable that names the folder with `plain`, `gzip`, `br` and `etag`."""


def create_app() -> Flask:
    folder = Path(os.environ[FOLDER])
    plain, gzip, brotli = ((folder / name).read_bytes() for name in ("plain", "gzip", "br"))
    etag = (folder / "etag").read_text()
    app = Flask("bare")

    @app.get("/plain")
    def give_plain() -> Response:
        return Response(plain, mimetype="application/json", headers={"ETag": etag})

    @app.get("/gzip")
    def give_gzip() -> Response:
        return Response(gzip, mimetype="application/json", headers={"ETag": etag, "Content-Encoding": "gzip"})

    @app.get("/br")
    def give_brotli() -> Response:
        return Response(brotli, mimetype="application/json", headers={"ETag": etag, "Content-Encoding": "br"})

    @app.get("/unchanged")
    def give_nothing() -> Response:
        return Response(status=304, headers={"ETag": etag})

    return app
