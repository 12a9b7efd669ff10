"""Couriers: one for each container whose log goes elsewhere.

A courier reads the container's own log from a saved place, so nothing depends on a daemon or a
server that is there all the time, and no line waits in memory: what is on disk is the buffer. The
place moves on only when the server has taken what was before it; after a crash or an outage the
lines behind it are sent, some perhaps again. What rotation drops before it could be sent is lost,
with a warning.

``mode=non-blocking`` keeps no more than ``max-buffer-size`` of a backlog: older lines are dropped,
so that a server that comes back sees what is new. Nothing ever blocks the container.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from wherry.containers.book import Live
from wherry.containers.joiner import Joiner
from wherry.containers.shipping.options import JOURNAL, Target
from wherry.containers.shipping.origin import Origin
from wherry.linux.inotify import DirectoryWatch
from wherry.linux.tasks import spawn
from wherry.runtime.logfile import Reader, in_thread
from wherry.runtime.logline import Entry
from wherry.runtime.logsegments import Place

if TYPE_CHECKING:
    from wherry.containers.shipping.senders import Sender  # loaded when the first one is opened

_log = logging.getLogger(__name__)

_FIRST_DELAY, _LAST_DELAY = 0.1, 10.0
_LOOK = 1.0
_SETTLE = 0.02
_PATIENCE = 10.0
_SAVE = 0.1
"""Seconds between two writes of the place while lines keep coming."""


@dataclass(frozen=True)
class Errand:
    """What a courier has to do."""

    driver: str
    target: Target
    origin: Origin
    log: Path
    cursor: Path
    """File with the place."""
    backlog: int = 0
    """Bytes of a backlog at most; 0: all that is there."""


def load_place(cursor: Path) -> Place | None:
    """None where nothing was sent, or the file is no place."""
    try:
        return msgspec.json.decode(cursor.read_bytes(), type=Place)
    except (OSError, msgspec.MsgspecError):
        return None


def save_place(cursor: Path, place: Place) -> None:
    part = cursor.with_name(f"{cursor.name}.part")
    part.write_bytes(msgspec.json.encode(place))
    os.replace(part, cursor)


@dataclass
class _Progress:
    """How far a courier is."""

    place: Place | None
    """Behind the last line that was handed over, where no piece of a line is held back."""
    saved: Place | None
    saved_at: float = 0.0


@dataclass
class Courier:
    errand: Errand
    running: Callable[[], bool]
    """Whether more may come: the container runs."""
    journal: str = JOURNAL
    away: bool = False
    """The server could not be reached at the last try."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _delay: float = _FIRST_DELAY

    async def run(self) -> None:
        """Until the container has ended and all is sent. Connects when there is something."""
        while await self._something():
            from wherry.containers.shipping.senders import open_sender

            try:
                sender = await open_sender(
                    self.errand.target, self.errand.origin, journal=self.journal
                )
                try:
                    await self._deliver(sender)
                finally:
                    await sender.close()
            except (OSError, ValueError) as error:
                # ssl's errors are among them, and a host name that cannot be encoded.
                if not self.away:
                    _log.warning("%s cannot be sent: %s; trying again", self._name, error)
                self.away = True
                await asyncio.sleep(self._delay)
                self._delay = min(self._delay * 2, _LAST_DELAY)

    async def _something(self) -> bool:
        """Wait until there is something to send; False when the container has ended before."""
        reader = Reader(self.errand.log, load_place(self.errand.cursor))
        watch = DirectoryWatch(self.errand.log.parent)
        try:
            while True:
                self.wake.clear()
                over = not self.running()
                if await in_thread(reader.read):
                    return True
                if over:
                    return False
                await self._pause(watch)
        finally:
            reader.close()
            watch.close()

    def _arrived(self) -> None:
        """The server has taken lines."""
        if self.away:
            _log.info("%s: the server is there again", self._name)
        self.away, self._delay = False, _FIRST_DELAY

    @property
    def _name(self) -> str:
        return f"log of container {self.errand.origin.id[:12]} ({self.errand.driver})"

    async def _deliver(self, sender: Sender) -> None:
        errand = self.errand
        begin = load_place(errand.cursor)
        progress = _Progress(begin, begin)
        reader = Reader(errand.log, begin)
        watch = DirectoryWatch(errand.log.parent)
        try:
            await self._send_all(sender, reader, watch, progress)
        finally:
            reader.close()
            watch.close()

    async def _send_all(
        self, sender: Sender, reader: Reader, watch: DirectoryWatch, progress: _Progress
    ) -> None:
        joiner = Joiner()
        while True:
            self.wake.clear()
            over = not self.running()
            entries = await self._next(reader)
            lines = joiner.add(entries)
            if over and not entries:
                lines += joiner.rest()
                joiner = Joiner()
            if lines:
                await sender.send(lines)
                await _taken(sender)
                self._arrived()
            if not joiner.pending:
                progress.place = reader.place
            self._save(progress, idle=not entries)
            if not entries:
                if over or not sender.alive():
                    return  # the next line opens another connection
                await self._pause(watch)

    async def _pause(self, watch: DirectoryWatch) -> None:
        woken = spawn(self.wake.wait(), name="courier-wake")
        try:
            await watch.changed(_LOOK, woken)
        finally:
            woken.cancel()

    async def _next(self, reader: Reader) -> list[Entry]:
        """What is to be sent next; of a backlog that is too large, its end."""
        entries = await in_thread(reader.read)
        if reader.lost:
            reader.lost = False
            _log.warning("%s: rotation dropped lines before they could be sent", self._name)
        if not self.errand.backlog or not entries:
            return entries
        kept: deque[Entry] = deque()
        size = dropped = 0
        while entries:
            for entry in entries:
                kept.append(entry)
                size += len(entry.data)
            while size > self.errand.backlog and len(kept) > 1:
                size -= len(kept.popleft().data)
                dropped += 1
            entries = await in_thread(reader.read)
        if dropped:
            _log.warning("%s: %d lines dropped, the buffer was full", self._name, dropped)
        return list(kept)

    def _save(self, progress: _Progress, *, idle: bool) -> None:
        now = time.monotonic()
        place = progress.place
        if place is None or place == progress.saved:
            return
        if not idle and now - progress.saved_at < _SAVE:
            return
        try:
            save_place(self.errand.cursor, place)
        except OSError as error:
            _log.warning("%s: its place cannot be kept: %s", self._name, error)
        progress.saved, progress.saved_at = place, now


async def _taken(sender: Sender) -> None:
    """Until the other side has everything."""
    pause = 0.001
    while not sender.settled():
        await asyncio.sleep(pause)
        pause = min(pause * 2, _SETTLE)


class Couriers:
    """The couriers of all containers. ``errand`` says what a container needs, None: no courier."""

    def __init__(self, errand: Callable[[Live], Errand | None]) -> None:
        self._errand = errand
        self._couriers: dict[str, tuple[Courier, asyncio.Task[None]]] = {}

    def begin(self, live: Live) -> None:
        """The container runs, or the daemon has just found it."""
        known = self._couriers.get(live.id)
        if known is not None and not known[1].done():
            known[0].wake.set()
            return
        errand = self._errand(live)
        if errand is not None:
            courier = Courier(errand, lambda: live.running is not None)
            task = spawn(courier.run(), name=f"courier {live.id[:12]}")
            self._couriers[live.id] = courier, task

    def end(self, live: Live) -> None:
        """The container has ended: what is left is sent."""
        known = self._couriers.get(live.id)
        if known is not None:
            known[0].wake.set()

    async def settle(self, live: Live) -> None:
        """Before a removal: wait for the last lines, not for long, and only while the server
        takes them."""
        known = self._couriers.get(live.id)
        if known is None:
            return
        courier, task = known
        deadline = time.monotonic() + _PATIENCE
        while not (task.done() or courier.away) and time.monotonic() < deadline:
            await asyncio.wait([task], timeout=_SETTLE * 5)

    def forget(self, live: Live) -> None:
        known = self._couriers.pop(live.id, None)
        if known is not None:
            known[1].cancel()

    def close(self) -> None:
        """The daemon ends; the places are kept."""
        for _, task in self._couriers.values():
            task.cancel()
        self._couriers.clear()
