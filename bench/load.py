"""A load generator: callers with kept-alive connections, each asking again as soon as it is answered.

One thread watches all sockets of a process, so that a request costs the generator a few system calls and the server
stays what is measured. `Outcome.own` says what it did cost.
"""

from __future__ import annotations

import itertools
import selectors
import socket
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context

Address = tuple[str, int]
_BLOCK = 256 * 1024


@dataclass(frozen=True)
class Outcome:
    """What became of a round: answers, seconds, and the generator's own processor seconds."""

    answers: int
    seconds: float
    own: float

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


class WrongAnswer(Exception):
    """The server answered otherwise than the measurement needs; the message is the beginning of its answer."""


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """One HTTP/1.1 request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench"]
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Caller:
    def __init__(self, address: Address, requests: Iterator[bytes], expected: bytes) -> None:
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests, self._expected = requests, expected
        self._head, self._missing = b"", 0

    def ask(self) -> bool:
        """Send the next request; False when there is none left."""
        wanted = next(self._requests, None)
        if wanted is None:
            return False
        self._head = b""
        self.socket.sendall(wanted)
        return True

    def hear(self) -> bool:
        """Read what has come; whether the answer is whole."""
        block = self.socket.recv(_BLOCK)
        if not block:
            raise WrongAnswer("the connection was closed")
        if self._head.endswith(b"\r\n\r\n"):
            self._missing -= len(block)
            return self._missing == 0
        head, end, begun = (self._head + block).partition(b"\r\n\r\n")
        self._head = head + end
        if not end:
            return False
        if not head.startswith(self._expected):
            raise WrongAnswer((head + end + begun)[:1500].decode(errors="replace"))
        self._missing = _length(head) - len(begun)
        return self._missing == 0


def _length(head: bytes) -> int:
    place = head.find(b"ontent-Length: ")
    return int(head[place + 15 : (head + b"\r\n").find(b"\r\n", place)]) if place >= 0 else 0


def run(address: Address, status: int, requests: Iterable[bytes], callers: int, seconds: float = 3600.0) -> Outcome:
    """Each caller takes the next request of all, until none is left or the seconds are over.

    Raises:
        WrongAnswer: an answer has another status.
    """
    left, expected = iter(requests), b"HTTP/1.1 %d " % status
    with ExitStack() as opened, selectors.DefaultSelector() as ready:
        for _ in range(callers):
            caller = _Caller(address, left, expected)
            ready.register(opened.enter_context(caller.socket), selectors.EVENT_READ, caller)
        answers, asking = 0, callers
        own, begun = time.process_time(), time.perf_counter()
        for key in list(ready.get_map().values()):
            key.data.ask()
        end = begun + seconds
        while asking and (now := time.perf_counter()) < end:
            for key, _ in ready.select(end - now):
                if not key.data.hear():
                    continue
                answers += 1
                if not key.data.ask():
                    # The server closes a connection that has nothing more to say.
                    ready.unregister(key.fileobj)
                    asking -= 1
        return Outcome(answers, time.perf_counter() - begun, time.process_time() - own)


def _repeat(address: Address, status: int, wanted: bytes, connections: int, seconds: float) -> Outcome:
    return run(address, status, itertools.repeat(wanted), connections, seconds)


class Crowd:
    """Several processes that send one request over and over."""

    def __init__(self, processes: int, connections: int) -> None:
        self.processes, self.connections = processes, connections
        # Spawned, since a fork of a process with threads may hang.
        self._pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))

    def __enter__(self) -> Crowd:
        # A first round so that the processes are there when it counts.
        list(self._pool.map(time.sleep, [0.2] * self.processes))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def ask(self, address: Address, status: int, wanted: bytes, seconds: float) -> Outcome:
        each = self.connections // self.processes
        jobs = [self._pool.submit(_repeat, address, status, wanted, each, seconds) for _ in range(self.processes)]
        found = [job.result() for job in jobs]
        return Outcome(
            sum(each.answers for each in found),
            max(each.seconds for each in found),
            sum(each.own for each in found),
        )
