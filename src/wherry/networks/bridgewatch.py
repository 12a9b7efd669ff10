"""Bridges that somebody deletes by hand: noticed by what the kernel tells, and made again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from wherry.errors import WherryError
from wherry.linux import netlink
from wherry.linux.linkwatch import LinkWatch
from wherry.linux.tasks import spawn
from wherry.networks.book import Book
from wherry.networks.values import Network

_log = logging.getLogger(__name__)

_QUIET = 0.3
"""Seconds without a further word before anything is made: who deletes one may delete more."""


class BridgeWatch:
    """The event loop's thread only; its namespace is the host."""

    def __init__(
        self,
        book: Book,
        *,
        repair: Callable[[str], Awaitable[None]],
        foreign: Callable[[Network], bool],
    ) -> None:
        """``repair``: make the network, by its id, whole; ``foreign``: whether its bridge is one
        that the user made, which he makes again himself."""
        self._book = book
        self._repair = repair
        self._foreign = foreign
        self.links: LinkWatch | None = None
        self._suspects: set[str] = set()
        """Networks whose bridge was deleted since we looked, or is waited for."""
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Where it cannot be, bridges come back with the next container that needs them."""
        try:
            self.links = LinkWatch()
        except OSError as error:
            _log.warning("bridges deleted by others are not noticed: %s", error)
            return
        asyncio.get_running_loop().add_reader(self.links.socket, self._told)

    def close(self) -> None:
        """Notice nothing any more; what is being made again is, see ``finished``."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.links is not None:
            asyncio.get_running_loop().remove_reader(self.links.socket)
            self.links.close()
            self.links = None

    async def finished(self) -> None:
        """Wait until nothing is being made."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def _told(self) -> None:
        if self.links is None:
            return
        words = self.links.read()
        suspects = {
            each.id
            for each in self._book.networks.values()
            if each.driver == "bridge" and (words.lost or each.device in words.gone)
        }
        self._suspects |= suspects
        back = any(self._book.networks[each].device in words.seen for each in self._awaited())
        if suspects or back:
            self._look_soon()

    def _awaited(self) -> set[str]:
        return self._suspects & self._book.networks.keys()

    def _look_soon(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_QUIET, self._start)

    def _start(self) -> None:
        self._timer = None
        if self._task is not None and not self._task.done():
            self._look_soon()
            return
        self._task = spawn(self._look(), name="bridges")

    async def _look(self) -> None:
        suspects = [self._book.networks[each] for each in self._awaited()]
        waiting = set()
        self._suspects.clear()
        for network in suspects:
            gone = netlink.index_of(network.device) is None
            if gone and self._foreign(network):
                waiting.add(network.id)
                continue
            if gone:
                _log.warning("bridge %s was deleted and is made again", network.device)
            try:
                await self._repair(network.id)
            except (OSError, WherryError) as error:
                _log.error("network %s: %s", network.name, error)
        self._suspects |= waiting
        if self.links is not None:
            self.links.hear_all(bool(waiting))
