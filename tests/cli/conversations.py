"""The other side of the client's tests: a container of the fake daemon; and the client as a child
process, so that signals and terminals are the real ones."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cli.fake_daemon import Exchange, FakeDaemon
from tests.support.clients import programs

OWN = list(programs()[0].command)
ID = "c" * 64
SOURCE = Path(__file__).resolve().parents[2] / "src"


class Container:
    """The fake's container: ``talk`` is what happens on the attached stream."""

    def __init__(self, daemon: FakeDaemon, *, tty: bool = False, code: int = 0) -> None:
        self.daemon = daemon
        self.tty = tty
        self.code = code
        self.started = threading.Event()
        self.ended = threading.Event()
        self.talk: Callable[[Exchange], None] = lambda exchange: None
        self.signals: list[str] = []
        self.sizes: list[tuple[str, str]] = []
        self.resized = threading.Condition()
        self.signalled = threading.Event()
        daemon.on("POST", "/containers/create", {"Id": ID, "Warnings": []})
        daemon.on("POST", f"/containers/{ID}/attach", self._attach)
        daemon.on("POST", f"/containers/{ID}/wait", self._wait)
        daemon.on("POST", f"/containers/{ID}/start", self._start)
        daemon.on("POST", f"/containers/{ID}/kill", self._kill)
        daemon.on("POST", f"/containers/{ID}/resize", self._resize)

    def _attach(self, exchange: Exchange) -> None:
        kind = "raw" if self.tty else "multiplexed"
        exchange.upgrade(f"application/vnd.docker.{kind}-stream")
        assert self.started.wait(10)
        self.talk(exchange)
        exchange.wfile.flush()
        self.ended.set()

    def _wait(self, exchange: Exchange) -> None:
        exchange.start_chunks(Content_Type="application/json")
        exchange.wfile.flush()
        assert self.ended.wait(20)
        exchange.chunk(b'{"StatusCode":%d}' % self.code)
        exchange.chunk(b"")

    def _start(self, exchange: Exchange) -> None:
        exchange.raw(204, b"")
        self.started.set()

    def _kill(self, exchange: Exchange) -> None:
        self.signals += exchange.request_record.query["signal"]
        exchange.raw(204, b"")
        self.signalled.set()

    def _resize(self, exchange: Exchange) -> None:
        query = exchange.request_record.query
        with self.resized:
            self.sizes.append((query["h"][0], query["w"][0]))
            self.resized.notify_all()
        exchange.reply(200)

    def wait_size(self, wanted: tuple[str, str], timeout: float = 10) -> bool:
        with self.resized:
            return self.resized.wait_for(lambda: wanted in self.sizes, timeout)


def call(program: list[str], *argv: str, stdin: bytes | None = None) -> Any:
    return subprocess.run(
        [*program, *argv],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=30,
    )


def started(program: list[str], *argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*program, *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
