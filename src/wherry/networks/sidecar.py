"""The other side of ``wherry.networks.helper``: what the helper processes have in common.

They are selector loops without asyncio, so that they are small: a control socket on which the
daemon speaks, and whatever the helper serves. A helper that has neither a daemon nor work ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

IDLE = 60.0
"""Seconds without daemon and work after which the process ends."""
_MOST_FDS = 250


class Service(Protocol):
    """What a helper does."""

    def obey(self, message: dict[str, Any], fds: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Answer a message; the descriptors that go with the answer stay the service's.

        ``fds`` are the service's from now on."""

    def wait(self) -> float:
        """Seconds until ``tick`` has something to do."""

    def tick(self) -> None: ...

    def busy(self) -> bool:
        """Whether there is something to stay for without a daemon."""


class Loop:
    """A selector whose keys' data is what to call with the socket."""

    def __init__(self, path: str, version: str) -> None:
        self.selector = selectors.DefaultSelector()
        self.running = True
        self._path = path
        self._version = version
        self._control: socket.socket | None = _bind(path)
        self._daemons: set[socket.socket] = set()
        self._service: Service | None = None

    def run(self, service: Service) -> None:
        """Until told to stop, or nobody needs it any more."""
        self._service = service
        if self._control is not None:
            self.selector.register(self._control, selectors.EVENT_READ, self._accept)
        alone = time.monotonic()
        while self.running:
            for key, events in self.selector.select(min(10.0, service.wait())):
                handler: Callable[[Any, int], None] = key.data
                # Whatever one packet brings about: all containers depend on this process.
                with contextlib.suppress(Exception):
                    handler(key.fileobj, events)
            with contextlib.suppress(Exception):
                service.tick()
            now = time.monotonic()
            if service.busy() or (self._daemons and self._control is not None):
                alone = now
            elif self._control is None or now - alone > IDLE:
                break
        if self._control is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def retire(self) -> None:
        """Nobody is listened to any more: another process takes the place, work is finished."""
        if self._control is not None:
            self.selector.unregister(self._control)
            self._control.close()
            self._control = None
            os.unlink(self._path)

    def _accept(self, control: socket.socket, _: int) -> None:
        connection, _peer = control.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._daemons.add(connection)
        self.selector.register(connection, selectors.EVENT_READ, self._command)

    def _command(self, connection: socket.socket, _: int) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(
                connection, 1 << 20, _MOST_FDS, socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            data, fds = b"", []
        if not data:
            self.selector.unregister(connection)
            self._daemons.discard(connection)
            connection.close()
            return
        given: list[int] = []
        try:
            answer, given = self._obey(json.loads(data), fds)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        socket.send_fds(connection, [json.dumps(answer).encode()], given)

    def _obey(self, message: dict[str, Any], fds: list[int]) -> tuple[dict[str, Any], list[int]]:
        if message["do"] == "stop":
            self.running = False
            return {}, []
        if message["do"] == "version":
            return {"version": self._version, "pid": os.getpid()}, []
        assert self._service is not None
        return self._service.obey(message, fds)


def _bind(path: str) -> socket.socket:
    """The control socket; one that nobody answers on any more is replaced."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        sock.bind(path)
    except OSError:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
            try:
                other.connect(path)
            except OSError:
                os.unlink(path)
                sock.bind(path)
            else:
                raise SystemExit("another helper is at work") from None
    os.chmod(path, 0o600)
    sock.listen(4)
    return sock


def start(make: Callable[[Loop, list[str]], Service], most_files: int) -> None:
    """The process's ``main``: control socket, descriptor to say ``ready`` on, version, the rest."""
    path, ready, version = sys.argv[1:4]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, most_files), hard))
    loop = Loop(path, version)
    signal.signal(signal.SIGTERM, lambda *_: setattr(loop, "running", False))
    service = make(loop, sys.argv[4:])
    os.write(int(ready), b"ready\n")
    os.close(int(ready))
    loop.run(service)
