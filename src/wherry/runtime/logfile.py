"""Read a container's log: from the end for ``tail``, across rotated segments, and as it grows.

Segments: ``log`` is written now; ``log.1`` is the one before; older ones have higher numbers and
may be compressed (``log.2.gz``). A reader opens all of them at once, so that a rotation while it
reads neither repeats nor loses a line. The core is synchronous; only ``follow`` waits.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import time
import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from wherry.linux.inotify import DirectoryWatch
from wherry.linux.tasks import spawn
from wherry.runtime.logline import Entry, is_partial, parse_line

_BLOCK = 64 << 10
_BATCH = 256
_POLL = 1.0
_TRIES = 5


@dataclass(frozen=True)
class Selection:
    """What of a log is wanted. Times in Unix seconds; ``tail`` counts lines of these streams."""

    stdout: bool = True
    stderr: bool = True
    since: float | None = None
    until: float | None = None
    tail: int | None = None

    def takes(self, entry: Entry) -> bool:
        if entry.stream == 1 and not self.stdout:
            return False
        if entry.stream == 2 and not self.stderr:
            return False
        if self.since is not None and entry.at < self.since:
            return False
        return self.until is None or entry.at <= self.until


@dataclass(frozen=True)
class Segment:
    path: Path
    number: int
    """0 is the one being written."""
    compressed: bool


def segments(log: Path) -> list[Segment]:
    """All segments, oldest first. One that is there both plain and compressed counts once."""
    found: dict[int, Segment] = {}
    prefix = log.name + "."
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(log.parent)
    for name in names:
        if name == log.name:
            found[0] = Segment(log, 0, False)
        elif name.startswith(prefix):
            number, _, suffix = name[len(prefix) :].partition(".")
            if not (number.isascii() and number.isdigit()) or suffix not in ("", "gz"):
                continue
            key = int(number)
            if key > 0 and (suffix == "" or key not in found):
                found[key] = Segment(log.parent / name, key, suffix == "gz")
    return [found[key] for key in sorted(found, reverse=True)]


@dataclass
class _Source:
    file: BinaryIO
    compressed: bool
    end: int | None
    """Plain: offset behind the last complete line when it was opened."""


def _open_all(log: Path, stack: ExitStack) -> list[_Source]:
    """Every segment, opened, oldest first; taken again when a rotation came between."""
    for _ in range(_TRIES):
        with ExitStack() as attempt:
            try:
                found = _open_listed(log, attempt)
            except FileNotFoundError:
                continue
            stack.enter_context(attempt.pop_all())
            return found
    return []


def _open_listed(log: Path, stack: ExitStack) -> list[_Source]:
    found: list[_Source] = []
    seen: set[tuple[int, int]] = set()
    # Newest first: a file that is renamed meanwhile shows twice and is taken once.
    for segment in reversed(segments(log)):
        file = stack.enter_context(segment.path.open("rb"))
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        if segment.compressed:
            unpacked = stack.enter_context(gzip.GzipFile(fileobj=file, mode="rb"))
            found.append(_Source(cast(BinaryIO, unpacked), True, None))
        else:
            found.append(_Source(file, False, end_of_lines(file)))
    found.reverse()
    return found


def end_of_lines(file: BinaryIO) -> int:
    """Offset behind the last newline of a file."""
    at = file.seek(0, os.SEEK_END)
    while at > 0:
        size = min(_BLOCK, at)
        file.seek(at - size)
        found = file.read(size).rfind(b"\n")
        if found >= 0:
            return at - size + found + 1
        at -= size
    return 0


def forward(file: BinaryIO, end: int | None = None) -> Iterator[bytes]:
    """Complete lines from the start (up to the offset ``end``), without newline.

    A compressed file that was cut short just ends.
    """
    rest = b""
    file.seek(0)
    at = 0
    while end is None or at < end:
        try:
            block = file.read(_BLOCK if end is None else min(_BLOCK, end - at))
        except (OSError, EOFError, zlib.error):
            return
        if not block:
            return
        at += len(block)
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield from lines


def backward(file: BinaryIO, end: int) -> Iterator[bytes]:
    """Complete lines that end before the offset ``end`` (behind a newline), last first."""
    rest = b""
    at = max(end - 1, 0)
    if end <= 0:
        return
    while at > 0:
        size = min(_BLOCK, at)
        at -= size
        file.seek(at)
        lines = (file.read(size) + rest).split(b"\n")
        rest = lines.pop(0)
        yield from reversed(lines)
    yield rest


def _lines_backward(source: _Source) -> Iterator[bytes]:
    if source.end is None:
        # A compressed segment is bounded by the rotation size and can only be read forwards.
        yield from reversed(list(forward(source.file)))
    else:
        yield from backward(source.file, source.end)


def _select(sources: list[_Source], selection: Selection) -> Iterator[Entry]:
    if selection.tail is not None:
        yield from reversed(_last(sources, selection, selection.tail))
        return
    for source in sources:
        for line in forward(source.file, source.end):
            entry = parse_line(line)
            if entry is not None and selection.takes(entry):
                yield entry


def _last(sources: list[_Source], selection: Selection, count: int) -> list[Entry]:
    """The last ``count`` lines, newest first; the pieces of a long line count as one."""
    taken: list[Entry] = []
    lines = 0
    if count <= 0:
        return taken
    for source in reversed(sources):
        for line in _lines_backward(source):
            entry = parse_line(line)
            if entry is None:
                continue
            if selection.since is not None and entry.at < selection.since:
                return taken
            if not selection.takes(entry):
                continue
            if not is_partial(line) or not taken:
                if lines >= count:
                    return taken
                lines += 1
            taken.append(entry)
    return taken


def read(log: Path, selection: Selection) -> Iterator[Entry]:
    """The selected entries, oldest first. With ``tail`` only the end of the log is read."""
    with ExitStack() as stack:
        yield from _select(_open_all(log, stack), selection)


class Follower:
    """Reads what is there, then what is appended, through rotations, without loss or repeat."""

    def __init__(self, log: Path, selection: Selection) -> None:
        self._log = log
        self._selection = selection
        self._file: BinaryIO | None = None
        self._rest = b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def history(self) -> Iterator[Entry]:
        """What is there already; afterwards ``more`` goes on exactly behind it."""
        with ExitStack() as stack:
            sources = _open_all(self._log, stack)
            newest = sources[-1] if sources else None
            if newest is not None and not newest.compressed and newest.end is not None:
                self._file = os.fdopen(os.dup(newest.file.fileno()), "rb", buffering=0)
                end = newest.end
                yield from _select(sources, self._selection)
                # The copy shares its offset with what was read from: set it last.
                self._file.seek(end)
            else:
                yield from _select(sources, self._selection)

    def more(self) -> list[Entry]:
        """What has been appended since; a bounded number at once; empty: nothing new."""
        found: list[Entry] = []
        while len(found) < _BATCH:
            if self._file is None:
                with suppress(OSError):
                    self._file = _unbuffered(self._log)
                if self._file is None:
                    break
            block = self._file.read(_BLOCK)
            if not block:
                if not self._next_segment():
                    break
                continue
            lines = (self._rest + block).split(b"\n")
            self._rest = lines.pop()
            for line in lines:
                entry = parse_line(line)
                if entry is not None and self._selection.takes(entry):
                    found.append(entry)
        return found

    def _next_segment(self) -> bool:
        """At the end of the open file: whether there is more, here or in a newer segment."""
        assert self._file is not None
        ours = os.fstat(self._file.fileno())
        try:
            current = os.stat(self._log)
        except OSError:
            return False  # renamed away, and the monitor has not opened the new one yet
        if (current.st_dev, current.st_ino) == (ours.st_dev, ours.st_ino):
            if current.st_size < self._file.tell():
                self._file.seek(0)  # truncated (cleared): begin anew
                self._rest = b""
                return current.st_size > 0
            return False
        # The monitor writes the new file: nothing more comes to this one. Read its last bytes.
        if os.fstat(self._file.fileno()).st_size > self._file.tell():
            return True
        self._file.close()
        self._file = None
        self._rest = b""
        with suppress(OSError):
            self._file = _unbuffered(_after(self._log, ours))
        return self._file is not None


def _unbuffered(path: Path) -> BinaryIO:
    return cast(BinaryIO, open(path, "rb", buffering=0))


def _after(log: Path, identity: os.stat_result) -> Path:
    """The segment written after the one with this inode, else the current one."""
    newer = log
    for segment in reversed(segments(log)):
        with suppress(OSError):
            status = os.stat(segment.path)
            if (status.st_dev, status.st_ino) == (identity.st_dev, identity.st_ino):
                return newer
        if not segment.compressed:
            newer = segment.path
    return log


async def follow(
    log: Path, selection: Selection, ended: asyncio.Event
) -> AsyncGenerator[Entry, None]:
    """Entries as they come, until ``ended`` is set and everything has been read.

    Set ``ended`` when the monitor has ended (its log is complete then), or to stop. Ends by
    itself when the time ``until`` has passed. Yields to the loop between batches.
    """
    watch = DirectoryWatch(log.parent)
    follower = Follower(log, selection)
    stop = spawn(ended.wait(), name="log-follow")
    try:
        for number, entry in enumerate(follower.history()):
            yield entry
            if number % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)
        while True:
            over = ended.is_set()
            left = _left(selection)
            entries = follower.more()
            for entry in entries:
                yield entry
            if entries:
                await asyncio.sleep(0)
            elif over or left <= 0:
                return
            else:
                await watch.changed(left, stop)
    finally:
        stop.cancel()
        follower.close()
        watch.close()


def _left(selection: Selection) -> float:
    """Seconds to wait at most: not past ``until``."""
    if selection.until is None:
        return _POLL
    return min(_POLL, selection.until - time.time())
