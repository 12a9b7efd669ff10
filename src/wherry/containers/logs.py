"""Reading a container's log: the monitor's file in the CRI format.

A line is ``TIME stdout|stderr F|P TEXT``; ``P`` marks a part of a longer line. ``tail`` is found
from the end of the file, so its cost does not grow with the log.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from wherry.containers.book import Book, Live
from wherry.containers.service import LogLine, LogOptions
from wherry.containers.transitions import has_process
from wherry.errors import Internal, Invalid, NotImplementedYet
from wherry.store.paths import Paths
from wherry.wire.durations import parse_rfc3339, rfc3339_fixed

_CHUNK = 64 * 1024
_POLL = 0.05
"""Seconds between looks at a log that is followed."""


@dataclass(frozen=True)
class _Raw:
    stream: int
    data: bytes
    time: str
    whole: bool


def parse_line(line: bytes) -> _Raw | None:
    """One line without its newline; None for what is no log line (cut by a crash)."""
    parts = line.split(b" ", 3)
    if len(parts) != 4 or parts[1] not in (b"stdout", b"stderr") or parts[2] not in (b"F", b"P"):
        return None
    whole = parts[2] == b"F"
    return _Raw(
        1 if parts[1] == b"stdout" else 2,
        parts[3] + b"\n" if whole else parts[3],
        parts[0].decode("ascii", "replace"),
        whole,
    )


def utc(time: str) -> str:
    """The line's time in UTC with nine digits."""
    if time.endswith("+00:00") and len(time) == 35:
        return time[:29] + "Z"
    try:
        return rfc3339_fixed(parse_rfc3339(time))
    except Invalid:
        return time


def tail_offset(fd: int, size: int, count: int) -> int:
    """Where the last ``count`` whole lines begin in the first ``size`` bytes."""
    if count <= 0:
        return size
    position, rest, found = size, b"", 0
    start = size
    while position > 0:
        step = min(_CHUNK, position)
        position -= step
        block = os.pread(fd, step, position) + rest
        lines = block.split(b"\n")
        rest = lines[0]
        at = position + len(block)
        for line in reversed(lines[1:]):
            at -= len(line)
            if line:
                raw = parse_line(line)
                if raw is None or raw.whole:
                    found += 1
                if found > count:
                    return start
                start = at
            at -= 1
    if rest:
        raw = parse_line(rest)
        if (raw is None or raw.whole) and found + 1 > count:
            return start
    return 0


class _Reader:
    """Lines of an open log from an offset; what is behind a last newline waits."""

    def __init__(self, fd: int, offset: int) -> None:
        self._fd = fd
        self._offset = offset
        self._rest = b""

    def more(self) -> list[_Raw] | None:
        """Lines of the next chunk; None when nothing more is there now."""
        block = os.pread(self._fd, _CHUNK, self._offset)
        if not block:
            return None
        self._offset += len(block)
        lines = (self._rest + block).split(b"\n")
        self._rest = lines.pop()
        return [raw for raw in map(parse_line, lines) if raw is not None]


class Logs:
    def __init__(self, book: Book, paths: Paths) -> None:
        self._book = book
        self._paths = paths

    def read(self, live: Live, options: LogOptions) -> AsyncIterator[LogLine]:
        """See ``containers.service.Containers.logs``. Raises before the first line."""
        config = live.record.host_config.log_config
        if config is not None and config.type == "none":
            raise NotImplementedYet("configured logging driver does not support reading")
        return self._lines(live, options)

    async def _lines(self, live: Live, options: LogOptions) -> AsyncIterator[LogLine]:
        fd = self._open(live)
        if fd is None:
            return
        try:
            async for line in self._from(fd, live, options):
                yield line
        finally:
            os.close(fd)

    async def _from(self, fd: int, live: Live, options: LogOptions) -> AsyncIterator[LogLine]:
        offset = 0
        if options.tail is not None:
            size = os.fstat(fd).st_size
            offset = await asyncio.to_thread(tail_offset, fd, size, options.tail)
        reader = _Reader(fd, offset)
        follow = options.follow and has_process(live.record.status)
        run = live.record.state.started_ns
        while True:
            # Asked before reading: once the process has ended, the log is complete.
            ended = not has_process(live.record.status) or live.record.state.started_ns != run
            lines = reader.more()
            if lines is None:
                if not follow or ended:
                    return
                if options.until is not None and options.until <= time.time():
                    return
                await asyncio.sleep(_POLL)
                continue
            for raw in lines:
                line = _select(raw, options)
                if line is not None:
                    yield line
                elif options.until is not None and _after(raw, options.until):
                    return
            await asyncio.sleep(0)

    def _open(self, live: Live) -> int | None:
        try:
            return os.open(self._paths.container(live.id).log, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Internal(f"the log of container {live.id} cannot be read: {error}") from error

    def history(self, live: Live) -> list[tuple[int, bytes]]:
        """Everything logged so far, for an attach with ``logs``."""
        fd = self._open(live)
        if fd is None:
            return []
        try:
            return list(_chunks(_Reader(fd, 0)))
        finally:
            os.close(fd)


def _chunks(reader: _Reader) -> Iterator[tuple[int, bytes]]:
    while (lines := reader.more()) is not None:
        for raw in lines:
            yield raw.stream, raw.data


def _seconds(raw: _Raw) -> float:
    try:
        return parse_rfc3339(raw.time) / 1e9
    except Invalid:
        return 0.0


def _after(raw: _Raw, until: float) -> bool:
    return _seconds(raw) > until


def _select(raw: _Raw, options: LogOptions) -> LogLine | None:
    if not (options.stdout if raw.stream == 1 else options.stderr):
        return None
    if options.since is not None and _seconds(raw) < options.since:
        return None
    if options.until is not None and _seconds(raw) > options.until:
        return None
    return LogLine(raw.stream, raw.data, utc(raw.time))
