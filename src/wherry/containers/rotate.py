"""Logs do not fill the disk: a log that has grown is renamed away and a new one begun.

``log`` is written now, ``log.1`` is the one before, older ones are compressed: ``log.2.gz`` ...
The monitor keeps writing to the renamed file until it is told to open the path again, so no line
is lost; ``runtime.logfile`` reads and follows across the cut.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wherry.containers.book import Book, Live
from wherry.containers.transitions import has_process
from wherry.errors import Invalid, WherryError
from wherry.linux.tasks import spawn
from wherry.runtime.port import Runtime
from wherry.store.paths import Paths
from wherry.wire.container import LogConfig
from wherry.wire.durations import parse_ram

_log = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between looks at the sizes, while anything runs."""
DEFAULT_SIZE = 10 << 20
DEFAULT_FILES = 3
_OPTIONS = frozenset(
    {
        "max-size",
        "max-file",
        "compress",
        "labels",
        "labels-regex",
        "env",
        "env-regex",
        "tag",
        "mode",
        "max-buffer-size",
    }
)


@dataclass(frozen=True)
class Limits:
    """``size`` bytes a segment, 0: no limit; ``files`` segments in all."""

    size: int = DEFAULT_SIZE
    files: int = DEFAULT_FILES
    compress: bool = True


def limits_of(config: LogConfig | None) -> Limits:
    """Options of the drivers json-file and local. Raises ``Invalid`` naming the option."""
    options: Mapping[str, str] = (config.config if config else None) or {}
    name = (config.type if config else None) or "json-file"
    for option in options:
        if name != "none" and option not in _OPTIONS:
            raise Invalid(f"unknown log opt '{option}' for {name} log driver")
    size, files = DEFAULT_SIZE, DEFAULT_FILES
    if text := options.get("max-size"):
        size = 0 if text == "-1" else parse_ram(text)
        if size < 0 or (size == 0 and text != "-1"):
            raise Invalid(f"max-size must be a positive number: {text}")
    if text := options.get("max-file"):
        files = int(text) if text.isascii() and text.isdigit() else 0
        if files < 1:
            raise Invalid("max-file cannot be less than 1")
    text = options.get("compress", "true")
    if text not in ("true", "false"):
        raise Invalid(f"invalid value for log opt 'compress': {text}")
    return Limits(size, files, text == "true")


def shift(log: Path, limits: Limits) -> Path | None:
    """Rename the segments one further. Returns the one to compress now, if any.

    With one segment only, nothing of the old one is kept. Raises ``OSError``.
    """
    if limits.files < 2:
        log.unlink(missing_ok=True)
        return None
    for number in range(limits.files - 1, 0, -1):
        for suffix in ("", ".gz"):
            old = log.with_name(f"{log.name}.{number}{suffix}")
            if number == limits.files - 1:
                old.unlink(missing_ok=True)
            else:
                with suppress(FileNotFoundError):
                    old.rename(log.with_name(f"{log.name}.{number + 1}{suffix}"))
    log.rename(log.with_name(f"{log.name}.1"))
    second = log.with_name(f"{log.name}.2")
    return second if limits.compress and second.exists() else None


def compress(segment: Path) -> None:
    """``log.2`` -> ``log.2.gz``; a crash in between leaves both, and the plain one counts."""
    packed = segment.with_name(f"{segment.name}.gz")
    fresh = segment.with_name(f".{packed.name}.new")
    try:
        with segment.open("rb") as source, gzip.open(fresh, "wb", compresslevel=1) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        fresh.rename(packed)
        segment.unlink(missing_ok=True)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


class Rotation:
    def __init__(self, book: Book, paths: Paths, runtime: Runtime) -> None:
        self._book = book
        self._paths = paths
        self._runtime = runtime
        self._task: asyncio.Task[None] | None = None
        self._packing: set[str] = set()

    def begin(self, live: Live) -> None:
        """Something runs: look at the logs until nothing does any more."""
        if self._task is None or self._task.done():
            self._task = spawn(self._watch(), name="log rotation")

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            running = [live for live in self._book if has_process(live.record.status)]
            if not running:
                self._task = None
                return
            for live in running:
                try:
                    await self._look(live)
                except (OSError, WherryError) as error:
                    _log.warning("container %s: log rotation: %s", live.id[:12], error)

    async def _look(self, live: Live) -> None:
        config = live.record.host_config.log_config
        if live.id in self._packing or (config is not None and config.type == "none"):
            return
        limits = limits_of(config)
        place = self._paths.container(live.id)
        try:
            size = os.stat(place.log).st_size
        except FileNotFoundError:
            return
        if not limits.size or size < limits.size:
            return
        segment = shift(place.log, limits)
        await self._runtime.reopen_log(place.bundle)
        if segment is not None:
            self._packing.add(live.id)
            spawn(self._pack(live.id, segment), name=f"log compression {live.id[:12]}")

    async def _pack(self, container_id: str, segment: Path) -> None:
        try:
            await asyncio.to_thread(compress, segment)
        except OSError as error:
            _log.warning("container %s: log compression: %s", container_id[:12], error)
        finally:
            self._packing.discard(container_id)
