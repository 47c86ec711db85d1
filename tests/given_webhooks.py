"""Receivers of webhooks, as they behave and misbehave, and a deliverer that works at our word."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from uuid import UUID, uuid4

from clinic import addresses
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.deliverer import Deliverer
from tests import given
from tests.given import made

HERE = "127.0.0.0/8"
"""What the settings must name for our receivers to be called."""


@dataclass(frozen=True)
class Received:
    headers: Mapping[str, str]
    body: bytes
    path: str

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Another system of the clinic, on a port of this machine. `answer` may be set anew at any moment."""

    answer: Callable[[BaseHTTPRequestHandler], None] | int = 204
    received: list[Received] = field(default_factory=list)
    hold: threading.Event | None = None
    """While it is set to an event not yet set, answers are held back."""

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.received.append(Received({k.lower(): v for k, v in self.headers.items()}, body, self.path))
                if outer.hold:
                    outer.hold.wait(20)
                if callable(outer.answer):
                    outer.answer(self)
                else:
                    answered(self, outer.answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook?of=clinic"

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.received]

    @property
    def types(self) -> list[str]:
        return [each.json["type"] for each in self.received]


def answered(handler: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    """Answer with this status and nothing else."""
    handler.send_response(status)
    for name, text in headers.items():
        handler.send_header(name.replace("_", "-"), text)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def happen(*types: str, branch_id: UUID | None = None, object_id: UUID | None = None) -> None:
    """Have events of these types, in one command."""
    with change(COMMAND_LINE) as made_:
        for each in types:
            made_.record(each, object_id or uuid4(), branch_id)


def webhook(caller: given.Caller, url: str, *events: str, **more: Any) -> Any:
    """A new endpoint, with its secret, as JSON."""
    return made(caller.post("/v1/webhooks", {"url": url, "events": list(events) or ["*"], **more}))


def deliver(*, turns: int = 30, allow: str = HERE) -> None:
    """Let a deliverer work until there is nothing to do just now."""
    deliverer = Deliverer(addresses.allowed(allow))
    for _ in range(turns):
        busy = deliverer.turn()
        deliverer.wait()
        if not busy:
            break
    deliverer.stop()


def state(caller: given.Caller, webhook: Any) -> Any:
    return made(caller.get(f"/v1/webhooks/{webhook['id']}"))


def deliveries(caller: given.Caller, webhook: Any, query: str = "") -> Any:
    return made(caller.get(f"/v1/webhooks/{webhook['id']}/deliveries{query}"))["items"]


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds
