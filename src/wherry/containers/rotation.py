"""Keeping logs small: rotation by rename, compressed segments, clearing.

The monitor appends to ``log``. A rotation renames it to ``log.1`` (older ones move up, the oldest
goes), then tells the monitor to open ``log`` again; until it does, it writes on to the renamed
file, so that no byte is lost. Older segments are compressed. A kill between the steps leaves a
state that the next look mends: without ``log`` the monitor is told again.

One task looks after all containers; each log is looked at again when it may be full, by the rate
at which it grew, so that a quiet log costs a look every few seconds.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wherry.containers.book import Book, Live
from wherry.containers.logoptions import LogPolicy, policy
from wherry.errors import WherryError
from wherry.linux.tasks import spawn
from wherry.runtime.logfile import segments
from wherry.runtime.port import Runtime
from wherry.store.paths import Paths

_log = logging.getLogger(__name__)

_SOONEST = 0.1
_LATEST = 5.0
_TRIES, _STEP = 400, 0.005
"""Looks, and seconds between them, while the monitor opens its log again."""


@dataclass
class _Watch:
    """One log: when it was looked at, how long it was, when to look again."""

    seen: float
    size: int
    due: float


class Rotator:
    def __init__(self, book: Book, paths: Paths, runtime: Runtime) -> None:
        self._book = book
        self._paths = paths
        self._runtime = runtime
        self._watches: dict[str, _Watch] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self, live: Live) -> None:
        """A container runs: its log is looked after from now on."""
        if policy(live.record.host_config.log_config).max_size:
            now = time.monotonic()
            self._watches[live.id] = _Watch(now, 0, now + _SOONEST)
            if self._task is None or self._task.done():
                self._task = spawn(self._run(), name="log rotation")
            self._wake.set()

    def end(self, live: Live) -> None:
        self._watches.pop(live.id, None)

    def forget(self, live: Live) -> None:
        self._watches.pop(live.id, None)
        self._locks.pop(live.id, None)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        """Ends when nothing is left to look after; ``begin`` starts it anew."""
        while self._watches:
            now = time.monotonic()
            for container_id, watch in list(self._watches.items()):
                if watch.due <= now:
                    await self._look(container_id, watch)
            self._wake.clear()
            pause = min((each.due for each in self._watches.values()), default=0.0)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(_SOONEST / 2, pause - time.monotonic())):
                    await self._wake.wait()

    async def _look(self, container_id: str, watch: _Watch) -> None:
        live = self._book.find(container_id)
        if live is None or live.running is None:
            self._watches.pop(container_id, None)
            return
        rules = policy(live.record.host_config.log_config)
        place = self._paths.container(container_id)
        now = time.monotonic()
        try:
            size = os.stat(place.log).st_size
            if size >= rules.max_size:
                await self.rotate(live, rules)
                size = 0
        except FileNotFoundError:
            # A rotation that did not reach its end: the monitor still writes the renamed file.
            size = 0
            with suppress(WherryError, OSError):
                await self._runtime.reopen_log(place.bundle)
        except (OSError, WherryError) as error:
            _log.warning("log of container %s cannot be rotated: %s", container_id[:12], error)
            size = 0
        watch.due = now + _next_look(size, watch, now, rules.max_size)
        watch.seen, watch.size = now, size

    async def rotate(self, live: Live, rules: LogPolicy) -> None:
        """Begin a new segment of a running container's log."""
        place = self._paths.container(live.id)
        async with self._lock(live):
            shift(place.log, rules.max_file)
            await self._reopen(place.bundle, place.log)
            older = place.log.with_name(f"{place.log.name}.1")
            if rules.max_file == 1:
                older.unlink(missing_ok=True)
            elif rules.compress:
                await asyncio.to_thread(compress, older)

    async def clear(self, live: Live) -> None:
        """Remove every segment; a running container begins a new one."""
        place = self._paths.container(live.id)
        async with self._lock(live):
            if live.running is not None:
                shift(place.log, 1)
                await self._reopen(place.bundle, place.log)
            for segment in segments(place.log):
                if segment.number > 0 or live.running is None:
                    segment.path.unlink(missing_ok=True)

    def _lock(self, live: Live) -> asyncio.Lock:
        return self._locks.setdefault(live.id, asyncio.Lock())

    async def _reopen(self, bundle: Path, log: Path) -> None:
        await self._runtime.reopen_log(bundle)
        for _ in range(_TRIES):
            if log.exists():
                return
            await asyncio.sleep(_STEP)


def _next_look(size: int, watch: _Watch, now: float, limit: int) -> float:
    """Seconds until the log may be full, at the rate of late; within sane bounds."""
    grown = size - watch.size
    elapsed = now - watch.seen
    if grown <= 0 or elapsed <= 0:
        return _LATEST if size == watch.size and size else 1.0
    left = (limit - size) * elapsed / grown
    return min(_LATEST, max(_SOONEST, left / 2))


def shift(log: Path, keep: int) -> None:
    """Rename ``log`` to ``log.1``, ``log.1`` to ``log.2`` ...; ``keep`` counts ``log`` itself."""
    for segment in segments(log):
        if segment.number >= max(1, keep - 1) and segment.number > 0:
            segment.path.unlink(missing_ok=True)
            continue
        suffix = ".gz" if segment.compressed else ""
        segment.path.rename(log.with_name(f"{log.name}.{segment.number + 1}{suffix}"))


def compress(segment: Path) -> None:
    """Replace a segment by its gzip form; readers that have it open go on with the old one."""
    target = segment.with_name(segment.name + ".gz")
    part = segment.with_name(f"part-{segment.name}")
    try:
        with segment.open("rb") as source, gzip.open(part, "wb", compresslevel=1) as packed:
            shutil.copyfileobj(source, packed, 256 * 1024)
        part.rename(target)
        segment.unlink(missing_ok=True)
    except FileNotFoundError:
        part.unlink(missing_ok=True)
    except OSError as error:
        part.unlink(missing_ok=True)
        _log.warning("cannot compress %s: %s", segment, error)
