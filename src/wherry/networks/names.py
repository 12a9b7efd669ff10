"""The daemon's side of the name resolver: starts its process and tells it who is who.

The resolver (``wherry.networks.resolver``) is a process of its own that outlives the daemon. It is
given the listening sockets of each container's namespace, opened by the daemon, over a unix
socket, and answers there by itself. One message is one JSON object in one packet; each is
acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from wherry.errors import Internal, Unavailable, WherryError
from wherry.linux.tasks import spawn

_log = logging.getLogger(__name__)
_START = 10.0
_ANSWER = 5.0
PROTOCOL = 1


class View(msgspec.Struct, frozen=True):
    """What the resolver must know of one container."""

    networks: dict[str, list[Any]]
    """Network id -> [names, IPv4, IPv6, the network's name]."""
    links: dict[str, str] = {}
    """Names only this container may use -> a name in one of its networks."""
    servers: list[str] = []
    """Whom to ask for other names; empty: the host's own servers."""
    forward: bool = True


Sockets = Callable[[str], Awaitable[Sequence[socket.socket]]]


class Names:
    """Keeps one resolver process per daemon, started when the first container needs it."""

    def __init__(self, control: Path, resolv_conf: str = "/etc/resolv.conf") -> None:
        self._control = control
        self._resolv_conf = resolv_conf
        self._socket: socket.socket | None = None
        self._views: dict[str, View] = {}
        self._handed: set[str] = set()
        """Containers whose sockets the resolver has."""
        self._lock = asyncio.Lock()
        self._reopen: Sockets | None = None
        self._pidfd: int | None = None
        self.process: subprocess.Popen[bytes] | None = None
        """The resolver, if this daemon has started it."""
        self._closed = False
        self._restoring = False

    def reopened_by(self, sockets: Sockets) -> None:
        """How to open a container's sockets anew, for when the resolver has died."""
        self._reopen = sockets

    async def put(
        self, container_id: str, view: View, sockets: Sequence[socket.socket] = ()
    ) -> None:
        """Tell (again) of a container; ``sockets`` are handed over and closed here."""
        known = self._views.get(container_id)
        self._views[container_id] = view
        message = {"do": "put", "id": container_id, **msgspec.to_builtins(view)}
        try:
            async with self._lock:
                await self._send(message, [each.fileno() for each in sockets])
                if sockets:
                    self._handed.add(container_id)
        except BaseException:
            if known is None:
                self._views.pop(container_id, None)
            raise
        finally:
            for each in sockets:
                each.close()
            if isinstance(sockets, list):
                sockets.clear()

    async def drop(self, container_id: str) -> None:
        """The container does not run any more; its sockets are closed."""
        self._handed.discard(container_id)
        if self._views.pop(container_id, None) is None:
            return
        async with self._lock:
            # One that is not there has nothing to drop.
            with contextlib.suppress(Unavailable):
                await self._send({"do": "drop", "id": container_id}, start=False)

    async def adopt(self, views: Mapping[str, View]) -> list[str]:
        """At daemon start: bring a resolver that went on to ``views``, without sockets.

        Returns the containers that it does not listen for, which must be ``put`` with sockets.
        """
        if not views and not self._control.exists():
            return []
        async with self._lock:
            known = set((await self._send({"do": "list"})).get("ids", ()))
            self._handed |= known & set(views)
            for container_id in known - set(views):
                await self._send({"do": "drop", "id": container_id})
        for container_id in known & set(views):
            await self.put(container_id, views[container_id])
        return [each for each in views if each not in known]

    def close(self) -> None:
        """The daemon ends; the resolver goes on."""
        self._closed = True
        self._unwatch()
        self._forget()

    async def stop(self) -> None:
        """End the resolver too."""
        self._closed = True
        if self._socket is not None or self._control.exists():
            async with self._lock:
                try:
                    await self._send({"do": "stop"}, start=False)
                except (OSError, Unavailable, Internal):
                    pass
        self.close()

    # The connection

    async def _send(
        self, message: Mapping[str, Any], fds: Sequence[int] = (), *, start: bool = True
    ) -> dict[str, Any]:
        for attempt in (1, 2):
            try:
                sock = await self._connected(start=start, about=message.get("id", ""))
                return await self._exchange(sock, message, fds)
            except (OSError, EOFError) as error:
                self._forget()
                if attempt == 2 or not start:
                    raise Unavailable(f"the name resolver does not answer: {error}") from error
        raise Unavailable("the name resolver does not answer")

    async def _exchange(
        self, sock: socket.socket, message: Mapping[str, Any], fds: Sequence[int]
    ) -> dict[str, Any]:
        socket.send_fds(sock, [json.dumps(message).encode()], list(fds))
        loop = asyncio.get_running_loop()
        answer = await asyncio.wait_for(loop.sock_recv(sock, 1 << 20), _ANSWER)
        if not answer:
            raise EOFError("it has ended")
        found: dict[str, Any] = json.loads(answer)
        if found.get("error"):
            raise Internal(f"the name resolver refused: {found['error']}")
        return found

    async def _connected(self, *, start: bool, about: str) -> socket.socket:
        """``about``: the container that the message is about; it needs no restoring."""
        if self._socket is not None:
            return self._socket
        sock = self._dial()
        if sock is None:
            if not start:
                raise OSError("it does not run")
            await self._launch()
            sock = self._dial()
            self._handed.clear()
            if set(self._views) - {about}:
                self._restore_later()
            if sock is None:
                raise OSError("it did not start")
        self._socket = sock
        self._watch(sock)
        return sock

    def _dial(self) -> socket.socket | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            sock.connect(str(self._control))
        except OSError:
            sock.close()
            return None
        return sock

    async def _launch(self) -> None:
        """Start the process; it says one line when its socket is there."""
        read, write = os.pipe()
        try:
            process = await asyncio.to_thread(self._start_process, write)
        except OSError as error:
            os.close(read)
            raise Unavailable(f"the name resolver cannot be started: {error}") from error
        finally:
            os.close(write)
        try:
            line = await asyncio.wait_for(asyncio.to_thread(os.read, read, 64), _START)
        finally:
            os.close(read)
        if line != b"ready\n":
            raise Unavailable("the name resolver did not start")
        self.process = process

    def _start_process(self, ready: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-S", "-E", "-c", _BOOT, _package_root(), *_site()]
        return subprocess.Popen(
            [*command, "--", str(self._control), self._resolv_conf, str(ready)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(ready,),
            start_new_session=True,
            cwd="/",
        )

    def _watch(self, sock: socket.socket) -> None:
        """Notice the resolver's end, whoever started it."""
        self._unwatch()
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        try:
            self._pidfd = os.pidfd_open(int.from_bytes(data[:4], sys.byteorder))
        except OSError:
            return
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)

    def _unwatch(self) -> None:
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _ended(self) -> None:
        self._unwatch()
        self._forget()
        self._handed.clear()
        if self.process is not None:
            self.process.poll()
        if self._views:
            _log.error("the name resolver has ended and is started again")
            self._restore_later()

    def _restore_later(self) -> None:
        """A new resolver knows nobody: tell it of every container, with fresh sockets."""
        if self._views and not self._closed and not self._restoring:
            self._restoring = True
            spawn(self.restore(), name="name resolver")

    async def restore(self) -> None:
        """Open every container's sockets anew and hand them to a new resolver."""
        try:
            for container_id in [each for each in self._views if each not in self._handed]:
                try:
                    await self._restore(container_id)
                except (OSError, WherryError) as error:
                    _log.error("names of container %s: %s", container_id, error)
        finally:
            self._restoring = False

    async def _restore(self, container_id: str) -> None:
        if self._reopen is None or container_id in self._handed:
            return
        sockets = list(await self._reopen(container_id))
        view = self._views.get(container_id)
        if view is None or self._closed:
            # It ended meanwhile: its sockets would keep its namespace for ever.
            for each in sockets:
                each.close()
            return
        await self.put(container_id, view, sockets)

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_BOOT = (
    "import sys; at = sys.argv.index('--'); sys.path[:0] = sys.argv[1:at]; "
    "sys.argv = ['wherry-resolver'] + sys.argv[at + 1:]; "
    "from wherry.networks.resolver.process import main; main()"
)


def _package_root() -> str:
    return str(Path(__file__).resolve().parents[2])


def _site() -> list[str]:
    """Where dnslib lives; ``site`` itself would cost 10 ms and what it imports."""
    spec = importlib.util.find_spec("dnslib")
    if spec is None or spec.origin is None:
        raise Unavailable("the Python package dnslib is missing")
    return [str(Path(spec.origin).parents[1])]
