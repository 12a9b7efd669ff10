"""Keeping logs small: rotation by rename, compressed segments, clearing.

The monitor appends to ``log``. A rotation renames it to ``log.1`` (older ones move up, the oldest
goes), then tells the monitor to open ``log`` again; until it does, it writes on to the renamed
file, so that no byte is lost. A kill between the steps leaves a state that the next look mends:
without ``log`` the monitor is told again.

Older segments are compressed beside, never in the way of a rotation: a container that floods its
log drops segments faster than they could be compressed, so each is given ``_RIPE`` seconds first.

One task looks after all containers; each log is looked at again when it may be full, by the rate
at which it grew, so that a quiet log costs a look every few seconds. conmon's own limit
(``--log-size-max``) is no help beside this: it does not begin to count anew when told to reopen.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wherry.containers.book import Book, Live
from wherry.containers.logoptions import LogPolicy, policy
from wherry.errors import WherryError
from wherry.linux.tasks import in_own_thread, spawn
from wherry.runtime.logfile import in_thread
from wherry.runtime.logsegments import Segment, segments
from wherry.runtime.port import Runtime
from wherry.store.paths import Paths

_log = logging.getLogger(__name__)

_SOONEST = 0.05
_QUIET = 1.0
_LATEST = 5.0
_TRIES, _STEP = 400, 0.005
"""Looks, and seconds between them, while the monitor opens its log again."""
_RIPE = 1.0
_BLOCK = 256 << 10
_GZIP = 31
_HUMBLE = 10
"""Niceness of compression: everything else of the daemon comes first."""
"""Window bits that ask zlib for gzip's format."""


@dataclass
class _Watch:
    """One log: when it was looked at, how long it was, when to look again."""

    seen: float
    size: int
    due: float
    rate: float = 0.0
    """Bytes a second of late."""
    busy: bool = False
    """A rotation is under way."""

    def grown(self, size: int, now: float) -> None:
        """What a look found; a size below the last one's says nothing of the rate."""
        if size >= self.size and now > self.seen:
            self.rate = (size - self.size) / (now - self.seen)
        self.size, self.seen = max(size, 0), now

    def pause(self, limit: int) -> float:
        """Seconds until the log may be full, at the rate of late; within sane bounds."""
        if self.rate <= 0:
            return _LATEST if self.size else _QUIET
        return min(_LATEST, max(_SOONEST, (limit - self.size) / self.rate / 2))


class Rotator:
    def __init__(self, book: Book, paths: Paths, runtime: Runtime) -> None:
        self._book = book
        self._paths = paths
        self._runtime = runtime
        self._watches: dict[str, _Watch] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._packers: dict[str, asyncio.Task[None]] = {}
        self._packing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self, live: Live) -> None:
        """A container runs: its log is looked after from now on."""
        rules = policy(live.record.host_config.log_config)
        if rules.max_size:
            now = time.monotonic()
            self._watches[live.id] = _Watch(now, 0, now + _SOONEST)
            if self._task is None or self._task.done():
                self._task = spawn(self._run(), name="log rotation")
            self._wake.set()
            self._pack(live, rules)

    def end(self, live: Live) -> None:
        self._watches.pop(live.id, None)

    def forget(self, live: Live) -> None:
        self._watches.pop(live.id, None)
        self._locks.pop(live.id, None)
        packer = self._packers.pop(live.id, None)
        if packer is not None:
            packer.cancel()

    def close(self) -> None:
        for task in (self._task, *self._packers.values()):
            if task is not None:
                task.cancel()

    async def _run(self) -> None:
        """Ends when nothing is left to look after; ``begin`` starts it anew."""
        while self._watches:
            now = time.monotonic()
            for container_id, watch in list(self._watches.items()):
                if watch.due <= now and not watch.busy:
                    self._look(container_id, watch)
            self._wake.clear()
            pause = min((each.due for each in self._watches.values() if not each.busy), default=now)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(_SOONEST / 2, pause - time.monotonic())):
                    await self._wake.wait()

    def _look(self, container_id: str, watch: _Watch) -> None:
        live = self._book.find(container_id)
        if live is None or live.running is None:
            self._watches.pop(container_id, None)
            return
        rules = policy(live.record.host_config.log_config)
        now = time.monotonic()
        try:
            size = os.stat(self._paths.container(container_id).log).st_size
        except OSError:
            # A rotation that did not reach its end: the monitor still writes the renamed file.
            size = -1
        watch.grown(size, now)
        if 0 <= size < rules.max_size:
            watch.due = now + watch.pause(rules.max_size)
        else:
            watch.busy = True
            spawn(self._mend(live, rules, watch, size), name=f"rotate {container_id[:12]}")

    async def _mend(self, live: Live, rules: LogPolicy, watch: _Watch, size: int) -> None:
        pause = 0.0
        try:
            if size < 0:
                place = self._paths.container(live.id)
                async with self._lock(live):
                    await self._reopen(place.bundle, place.log)
            else:
                await self.rotate(live, rules)
        except (OSError, WherryError) as error:
            _log.warning("log of container %s cannot be rotated: %s", live.id[:12], error)
            pause = _LATEST
        finally:
            watch.size, watch.seen, watch.busy = 0, time.monotonic(), False
            watch.due = watch.seen + (pause or watch.pause(rules.max_size))
            self._wake.set()

    async def rotate(self, live: Live, rules: LogPolicy) -> None:
        """Begin a new segment of a running container's log."""
        place = self._paths.container(live.id)
        async with self._lock(live):
            await in_thread(partial(_cut, place.log, rules.max_file))
            await self._reopen(place.bundle, place.log)
            if rules.max_file == 1:
                await in_thread(partial(_drop, place.log.with_name(f"{place.log.name}.1")))
        self._pack(live, rules)

    async def clear(self, live: Live) -> None:
        """Remove every segment; a running container begins a new one."""
        place = self._paths.container(live.id)
        async with self._lock(live):
            if live.running is not None:
                await in_thread(partial(_cut, place.log, 1))
                await self._reopen(place.bundle, place.log)
            for segment in segments(place.log):
                if segment.number > 0 or live.running is None:
                    await in_thread(partial(_drop, segment.path))

    def _lock(self, live: Live) -> asyncio.Lock:
        return self._locks.setdefault(live.id, asyncio.Lock())

    async def _reopen(self, bundle: Path, log: Path) -> None:
        await self._runtime.reopen_log(bundle)
        for _ in range(_TRIES):
            if log.exists():
                return
            await asyncio.sleep(_STEP)

    def _pack(self, live: Live, rules: LogPolicy) -> None:
        """Compress older segments, one container's after each other; beside all else."""
        running = self._packers.get(live.id)
        if rules.compress and rules.max_file > 1 and (running is None or running.done()):
            self._packers[live.id] = spawn(self._compress(live), name=f"pack {live.id[:12]}")

    async def _compress(self, live: Live) -> None:
        log = self._paths.container(live.id).log
        sweep(log)
        while plain_segment(log) is not None:
            await asyncio.sleep(_RIPE)
            async with self._lock(live):
                segment = plain_segment(log)
                if segment is None or not (log.exists() or live.running is None):
                    return  # the monitor may write to it still
            async with self._packing:
                packed = await in_own_thread(partial(_humbly, segment.path))
            if packed is None:
                return
            async with self._lock(live):
                await in_thread(partial(adopt, log, packed))


def _cut(log: Path, keep: int) -> None:
    """In a thread: the disk takes its time for a large file that goes."""
    reserve(log)
    shift(log, keep)


def _drop(segment: Path) -> None:
    segment.unlink(missing_ok=True)


def reserve(log: Path) -> None:
    """Make the file that the monitor will open for a new segment.

    It ends the container where it cannot make one: on a full disk that must be us, now.
    """
    os.close(os.open(f"{log}.tmp", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def shift(log: Path, keep: int) -> None:
    """Rename ``log`` to ``log.1``, ``log.1`` to ``log.2`` ...; ``keep`` counts ``log`` itself."""
    for segment in segments(log):
        if not segment.compressed:
            # A kill during compression may have left the segment in both forms.
            segment.path.with_name(f"{segment.path.name}.gz").unlink(missing_ok=True)
        if segment.number >= max(1, keep - 1) and segment.number > 0:
            segment.path.unlink(missing_ok=True)
            continue
        suffix = ".gz" if segment.compressed else ""
        segment.path.rename(log.with_name(f"{log.name}.{segment.number + 1}{suffix}"))


def plain_segment(log: Path) -> Segment | None:
    """The oldest segment that is not compressed yet."""
    for segment in segments(log):
        if segment.number > 0 and not segment.compressed:
            return segment
    return None


def sweep(log: Path) -> None:
    """Remove what a kill in the middle of a compression has left."""
    for part in log.parent.glob(f"part-{log.name}.*"):
        part.unlink(missing_ok=True)


@dataclass(frozen=True)
class Packed:
    """A compressed segment that has not taken the plain one's place yet."""

    part: Path
    identity: tuple[int, int]
    """Device and inode of the plain one: its number may change meanwhile."""
    size: int
    """Of the plain one, as far as it was read."""


def _humbly(segment: Path) -> Packed | None:
    """``compress`` in a thread of its own, which need not be in a hurry."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _HUMBLE)
    return compress(segment)


def compress(segment: Path) -> Packed | None:
    """Compress a segment into a file beside it; None, logged, where that fails."""
    from isal import isal_zlib  # not for a daemon whose containers say little

    part = segment.with_name(f"part-{segment.name}")
    try:
        with segment.open("rb") as source, part.open("wb") as target:
            status = os.fstat(source.fileno())
            packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, _GZIP)
            while block := source.read(_BLOCK):
                target.write(packer.compress(block))
            target.write(packer.flush())
            return Packed(part, (status.st_dev, status.st_ino), source.tell())
    except FileNotFoundError:
        part.unlink(missing_ok=True)
    except OSError as error:
        part.unlink(missing_ok=True)
        _log.warning("cannot compress %s: %s", segment, error)
    return None


def adopt(log: Path, packed: Packed) -> None:
    """Put a compressed segment in the plain one's place, wherever that is now; readers that have
    the plain one open go on with it."""
    for segment in segments(log):
        with suppress(OSError):
            status = os.stat(segment.path)
            if (status.st_dev, status.st_ino, status.st_size) == (*packed.identity, packed.size):
                packed.part.rename(segment.path.with_name(f"{segment.path.name}.gz"))
                segment.path.unlink()
                return
    packed.part.unlink(missing_ok=True)
