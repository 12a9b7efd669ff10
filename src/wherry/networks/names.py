"""The daemon's side of the name resolver: tells it who is who.

The resolver (``wherry.networks.resolver``) is a process of its own that outlives the daemon. It is
given the listening sockets of each container's namespace, opened by the daemon, and answers there
by itself.
"""

from __future__ import annotations

import importlib.util
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from wherry.errors import Internal, Unavailable, WherryError
from wherry.networks.helper import Helper, Restoring

_log = logging.getLogger(__name__)


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
        self.helper = Helper(
            "name resolver",
            "wherry.networks.resolver.process",
            control,
            [resolv_conf],
            _packages,
        )
        self.helper.on_start = self._started
        self.helper.on_end = self._ended
        self._views: dict[str, View] = {}
        self._handed: set[str] = set()
        """Containers whose sockets the resolver has."""
        self._reopen: Sockets | None = None
        self._restoring = Restoring("name resolver", self.restore)

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
            await self.helper.send(message, [each.fileno() for each in sockets])
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
        try:
            await self.helper.send({"do": "drop", "id": container_id}, start=False)
        except Unavailable:
            # One that is not there has nothing to drop.
            return

    async def adopt(self, views: Mapping[str, View]) -> list[str]:
        """At daemon start: bring a resolver that went on to ``views``, without sockets.

        One of another version is ended. Returns the containers that nobody listens for, which
        must be ``put`` with sockets.
        """
        known: set[str] = set()
        if self.helper.exists:
            known = await self._known()
        for container_id in known - set(views):
            await self.helper.send({"do": "drop", "id": container_id})
        self._handed |= known & set(views)
        for container_id in known & set(views):
            await self.put(container_id, views[container_id])
        return [each for each in views if each not in known]

    async def _known(self) -> set[str]:
        try:
            version = (await self.helper.send({"do": "version"}, start=False)).get("version")
            if version == self.helper.version:
                return set((await self.helper.send({"do": "list"}, start=False)).get("ids", ()))
        except Internal:
            _log.info("a name resolver of an earlier version is replaced")
        except Unavailable:
            return set()
        await self.helper.stop()
        return set()

    def close(self) -> None:
        """The daemon ends; the resolver goes on."""
        self._restoring.closed = True
        self.helper.close()

    async def stop(self) -> None:
        """End the resolver too."""
        self._restoring.closed = True
        await self.helper.stop()

    def _started(self, about: str) -> None:
        """``about``: the container that the first message is about; it needs no restoring."""
        self._handed.clear()
        if set(self._views) - {about}:
            self._restoring.later()

    def _ended(self) -> None:
        self._handed.clear()
        if self._views:
            _log.error("the name resolver has ended and is started again")
            self._restoring.later()

    async def restore(self) -> None:
        """A new resolver knows nobody: tell it of every container, with fresh sockets."""
        for container_id in [each for each in self._views if each not in self._handed]:
            try:
                await self._restore(container_id)
            except (OSError, WherryError) as error:
                _log.error("names of container %s: %s", container_id, error)

    async def _restore(self, container_id: str) -> None:
        if self._reopen is None or container_id in self._handed:
            return
        sockets = list(await self._reopen(container_id))
        view = self._views.get(container_id)
        if view is None or self._restoring.closed:
            # It ended meanwhile: its sockets would keep its namespace for ever.
            for each in sockets:
                each.close()
            return
        await self.put(container_id, view, sockets)


def _packages() -> list[str]:
    """Where dnslib lives; ``site`` itself would cost 10 ms and what it imports."""
    spec = importlib.util.find_spec("dnslib")
    if spec is None or spec.origin is None:
        raise Unavailable("the Python package dnslib is missing")
    return [str(Path(spec.origin).parents[1])]
