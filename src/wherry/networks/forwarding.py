"""The daemon's side of the port forwarder: which ports it serves, and the sockets for them.

Most published ports are the kernel's work (``ruleset``). The forwarder, one process for all, has
those that need a socket of the host: all of them with ``"firewall": "host"``, so that packets pass
the host's INPUT rules; else IPv6 ports of containers without IPv6, and ``[::1]``, from which the
kernel translates nothing. It goes on while the daemon is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.errors import Internal, NotImplementedYet, Unavailable, WherryError
from wherry.networks.helper import Helper, Restoring
from wherry.networks.hostports import Key, bind, refused
from wherry.networks.values import PortMap

_log = logging.getLogger(__name__)
_MOST = 128
"""Sockets in one message, and open in the daemon for it."""
_BACKLOG = 4096
_ATTEMPTS = 5


@dataclass(frozen=True)
class Forward:
    """A run of host ports that the forwarder passes on to ``address``."""

    ports: PortMap
    address: str

    def row(self) -> list[Any]:
        run = self.ports
        return [run.protocol, run.host_ip, run.first, run.count, self.address, run.target]


Held = Callable[[str], Mapping[Key, socket.socket]]
"""Container id -> bound sockets that the daemon holds for it."""


class Forwarding:
    """Keeps one forwarder per daemon, started when the first port needs it."""

    def __init__(self, control: Path, held: Held) -> None:
        self.helper = Helper("port forwarder", "wherry.networks.forwarder.process", control)
        self.helper.on_start = self._started
        self.helper.on_end = self._ended
        self._held = held
        self._wanted: dict[str, list[Forward]] = {}
        self._restoring = Restoring("port forwarder", self._restore)

    async def put(self, container_id: str, forwards: Sequence[Forward]) -> None:
        """What is served for the container from now on; nothing ends it.

        Raises ``Internal`` that names a port which is in use by somebody else.
        """
        if not forwards:
            await self.drop(container_id)
            return
        known = self._wanted.get(container_id)
        self._wanted[container_id] = list(forwards)
        try:
            await self._put(container_id, forwards, {})
        except BaseException:
            if known is None:
                await asyncio.shield(self.drop(container_id))
            else:
                self._wanted[container_id] = known
            raise

    async def _put(
        self,
        container_id: str,
        forwards: Sequence[Forward],
        given: Mapping[Key, socket.socket],
        *,
        strict: bool = True,
    ) -> None:
        """``given``: sockets that an earlier forwarder gave up. Not ``strict``: ports that cannot
        be had are logged, and the others are served."""
        message = {"do": "put", "id": container_id, "runs": [each.row() for each in forwards]}
        for _ in range(_ATTEMPTS):
            wanted = list(_keys((await self.helper.send(message))["missing"]))
            generation = self.helper.generation
            have = {**self._held(container_id), **given} if wanted else given
            for at in range(0, len(wanted), _MOST):
                await self._listen(container_id, wanted[at : at + _MOST], have, strict=strict)
            if self.helper.generation == generation:
                return
        raise Unavailable("the port forwarder ends again and again")

    async def _listen(
        self,
        container_id: str,
        batch: Sequence[Key],
        have: Mapping[Key, socket.socket],
        *,
        strict: bool,
    ) -> None:
        with contextlib.ExitStack() as stack:
            keys, sockets = [], []
            for key in batch:
                try:
                    sock = have.get(key) or stack.enter_context(_open(key))
                except WherryError as error:
                    if strict:
                        raise
                    _log.error("container %s: %s", container_id, error.message)
                    continue
                if key[0] != "udp":
                    # Its connections inherit this: what closes slowly keeps nobody from binding
                    # the port again. While it listens, nobody else can.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.listen(_BACKLOG)
                keys.append(key)
                sockets.append(sock.fileno())
            if keys:
                await self.helper.send({"do": "listen", "id": container_id, "keys": keys}, sockets)

    async def drop(self, container_id: str) -> None:
        """The container has ended: so do its connections."""
        if self._wanted.pop(container_id, None) is None:
            return
        with contextlib.suppress(Unavailable):
            await self.helper.send({"do": "drop", "id": container_id}, start=False)

    async def adopt(self, wanted: Mapping[str, Sequence[Forward]]) -> None:
        """At daemon start: bring a forwarder that went on to ``wanted``.

        One of another version is replaced: it gives its sockets, so that no connection is
        refused, and ends when its last connection does.
        """
        self._wanted = {key: list(each) for key, each in wanted.items() if each}
        given: dict[str, dict[Key, socket.socket]] = {}
        known: Sequence[str] = ()
        if self.helper.exists:
            known, given = await self._known()
        for container_id in set(known) - set(self._wanted):
            await self.helper.send({"do": "drop", "id": container_id})
        for container_id, forwards in self._wanted.items():
            sockets = given.get(container_id, {})
            try:
                await self._put(container_id, forwards, sockets, strict=False)
            except (OSError, WherryError) as error:
                _log.error("published ports of container %s: %s", container_id, error)
        for each in given.values():
            for sock in each.values():
                sock.close()

    async def _known(self) -> tuple[Sequence[str], dict[str, dict[Key, socket.socket]]]:
        """Containers that the forwarder which is there goes on to serve, or its sockets."""
        given: dict[str, dict[Key, socket.socket]] = {}
        try:
            version = (await self.helper.send({"do": "version"}, start=False)).get("version")
            ids = (await self.helper.send({"do": "list"}, start=False))["ids"]
            if version == self.helper.version:
                return ids, given
            for container_id in ids:
                given[container_id] = await self._take(container_id)
            await self.helper.send({"do": "retire"}, start=False)
            self.helper.close()
        except Unavailable:
            return (), given
        return (), given

    async def _take(self, container_id: str) -> dict[Key, socket.socket]:
        found: dict[Key, socket.socket] = {}
        while True:
            answer, fds = await self.helper.exchange(
                {"do": "give", "id": container_id, "after": len(found)}, start=False
            )
            if not answer["keys"]:
                return found
            for (protocol, host, port), fd in zip(answer["keys"], fds, strict=True):
                found[protocol, host, port] = socket.socket(fileno=fd)

    def close(self) -> None:
        """The daemon ends; the forwarder goes on."""
        self._restoring.closed = True
        self.helper.close()

    async def stop(self) -> None:
        """End the forwarder too."""
        self._restoring.closed = True
        await self.helper.stop()

    def _started(self, about: str) -> None:
        if set(self._wanted) - {about}:
            self._restoring.later()

    def _ended(self) -> None:
        if self._wanted:
            _log.error("the port forwarder has ended and is started again")
            self._restoring.later()

    async def _restore(self) -> None:
        """Tell a new forwarder of every container. The daemon holds the listening sockets of
        short runs, so that clients wait meanwhile instead of being refused."""
        for container_id, forwards in list(self._wanted.items()):
            try:
                await self._put(container_id, forwards, {}, strict=False)
            except (OSError, WherryError) as error:
                _log.error("published ports of container %s: %s", container_id, error)
            if container_id not in self._wanted:
                with contextlib.suppress(Unavailable):
                    gone = {"do": "drop", "id": container_id}
                    await self.helper.send(gone, start=False)


def _keys(runs: Sequence[Sequence[Any]]) -> Iterator[Key]:
    for protocol, host, first, count in runs:
        for port in range(first, first + count):
            yield protocol, host, port


def _open(key: Key) -> socket.socket:
    try:
        sock = bind(*key)
    except OSError as error:
        raise Internal(refused(key[1], key[2], error)) from error
    if sock is None:
        raise NotImplementedYet(
            f"port {key[2]}/{key[0]} cannot be published: this host's kernel has no sockets of "
            f"that kind"
        )
    return sock
