"""An identity provider on this machine, as far as signing in goes: discovery, keys, and a token for a code."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "clinic-billing", "a secret shared with the provider"


class IdentityProvider:
    """What it says can be changed by a test before somebody comes back."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.keys = [RSAKey.generate_key(2048, {"kid": "first"})]
        self.forger: RSAKey | None = None
        """A key that is not published, and signs all the same."""
        self.told: dict[str, Any] = {}
        """Members of the discovery document that differ."""
        self.away = False
        self.refuses = False
        self.pauses = 0.0
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, Any]] = {}

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        } | self.told

    def somebody_signs_in(self, address: str, claims: dict[str, Any], **differing: Any) -> dict[str, str]:
        """What the browser brings back from `address`, where it was sent to, once this person has signed in."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["client_id"] == CLIENT
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"]
        now = int(time.time())
        code = f"code-{len(self._codes)}"
        said = {
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"],
            **claims, **differing,
        }  # fmt: skip
        self._codes[code] = {"claims": said, "challenge": asked["code_challenge"], "back": asked["redirect_uri"]}
        return {"code": code, "state": asked["state"]}

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        issued = self._codes.pop(form.get("code", ""), None)
        expected = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(
            b"="
        )
        if self.refuses or issued is None or authorization != f"Basic {expected}":
            return 400, {"error": "invalid_grant"}
        if challenge.decode() != issued["challenge"] or form.get("redirect_uri") != issued["back"]:
            return 400, {"error": "invalid_grant", "error_description": "PKCE"}
        key = self.forger or self.keys[-1]
        signed = jwt.encode({"alg": "RS256", "kid": key.kid}, issued["claims"], key)
        return 200, {"access_token": "opaque", "token_type": "Bearer", "expires_in": 300, "id_token": signed}


@contextmanager
def running_provider() -> Iterator[IdentityProvider]:
    """A provider that answers until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.asked.append(self.path)
            time.sleep(provider.pauses)
            match self.path:
                case "/.well-known/openid-configuration" if not provider.away:
                    self._answer(200, provider.discovery())
                case "/keys" if not provider.away:
                    self._answer(200, {"keys": [key.as_dict(private=False) for key in provider.keys]})
                case _:
                    self._answer(500, {})

        def do_POST(self) -> None:
            provider.asked.append(self.path)
            raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(raw).items()}
            self._answer(*provider.token(form, self.headers.get("Authorization", "")))

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = IdentityProvider(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
