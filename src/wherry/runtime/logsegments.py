"""The segments of a container's log: which there are, told apart, read in blocks of whole lines.

``log`` is written now; ``log.1`` is the one before; older ones have higher numbers and may be
compressed (``log.2.gz``). Numbers change with every rotation and compression makes a new file, so
a segment is known by its *mark*: the time at its beginning, which has nanoseconds. A place in the
log is a mark and an offset behind a whole line; it holds through rotations, compression and a
restart of the daemon.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

BLOCK = 128 << 10
_STEP = 32 << 10
"""Bytes read at once backwards: the last lines are usually few."""
_TRIES = 20
_MARK = 64
"""Bytes of a mark at most."""
BROKEN = (OSError, EOFError, zlib.error)
"""What reading a compressed segment may raise that was cut short."""


class Place(NamedTuple):
    """Where a reader is in a log."""

    mark: str
    offset: int
    """Uncompressed bytes, behind the last line that was read."""


@dataclass(frozen=True)
class Segment:
    path: Path
    number: int
    """0 is the one being written."""
    compressed: bool


@dataclass
class Source:
    """An open segment. Close it."""

    file: BinaryIO
    """Plain bytes, also of a compressed one."""
    raw: BinaryIO
    segment: Segment
    """As it was when it was opened."""
    identity: tuple[int, int]
    """Device and inode."""
    mark: str = ""
    """Empty while nothing has been written."""

    def close(self) -> None:
        self.file.close()
        self.raw.close()

    def look(self) -> None:
        """Learn the mark, if there is one by now; the file's position stays."""
        if not self.mark and not self.segment.compressed:
            self.mark = mark_of(os.pread(self.raw.fileno(), _MARK, 0))

    def same(self, other: Source) -> bool:
        """Whether both are one segment, perhaps before and after its compression."""
        return self.identity == other.identity or (self.mark != "" and self.mark == other.mark)


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


def open_all(log: Path) -> list[Source]:
    """Every segment at one moment, opened, oldest first."""
    found: list[Source] = []
    for _ in range(_TRIES):
        close_all(found)
        found = []
        try:
            before = _listed(log)
            for segment, _ in before:
                found.append(_open(segment))
            # A rotation meanwhile could have hidden one, or mixed up their order: look again.
            if _listed(log) == before == [(each.segment, each.identity) for each in found]:
                break
        except FileNotFoundError:
            continue
        except BaseException:
            close_all(found)
            raise
    return found


def _listed(log: Path) -> list[tuple[Segment, tuple[int, int]]]:
    found = []
    for segment in segments(log):
        status = os.stat(segment.path)
        found.append((segment, (status.st_dev, status.st_ino)))
    return found


def close_all(sources: Iterable[Source]) -> None:
    for source in sources:
        source.close()


def _open(segment: Segment) -> Source:
    descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    raw = file = cast(BinaryIO, os.fdopen(descriptor, "rb", buffering=0))
    status = os.fstat(raw.fileno())
    if segment.compressed:
        file = cast(BinaryIO, gzip.GzipFile(fileobj=raw, mode="rb"))
    identity = (status.st_dev, status.st_ino)
    source = Source(file, raw, segment, identity)
    source.look()
    if segment.compressed:
        with suppress(*BROKEN):
            source.mark = mark_of(file.read(_MARK))
            file.seek(0)
    return source


def mark_of(begin: bytes) -> str:
    """The mark of a segment that begins with these bytes; empty while it is not complete."""
    ends = [at for at in (begin.find(b" "), begin.find(b"\n")) if at >= 0]
    if not ends and len(begin) < _MARK:
        return ""
    return begin[: min(ends, default=_MARK)].decode("latin-1")


def end_of_lines(file: BinaryIO) -> int:
    """Offset behind the last newline of a plain file."""
    at = file.seek(0, os.SEEK_END)
    while at > 0:
        size = min(_STEP, at)
        file.seek(at - size)
        found = file.read(size).rfind(b"\n")
        if found >= 0:
            return at - size + found + 1
        at -= size
    return 0


def read_some(file: BinaryIO, size: int) -> bytes:
    """At most ``size`` bytes. Of a compressed file that was cut short, all that can be had."""
    return file.read1(size) if isinstance(file, gzip.GzipFile) else file.read(size)


def forward(file: BinaryIO, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Blocks of whole lines from the offset ``begin`` (up to ``end``); what is behind the last
    newline is left out. A compressed file that was cut short just ends."""
    rest = b""
    at = begin
    try:
        file.seek(begin)
    except BROKEN:
        return
    while end is None or at < end:
        try:
            block = read_some(file, BLOCK if end is None else min(BLOCK, end - at))
        except BROKEN:
            return
        if not block:
            return
        at += len(block)
        lines, newline, tail = block.rpartition(b"\n")
        if not newline:
            rest += block
            continue
        yield rest + lines + newline
        rest = tail


def backward(file: BinaryIO, end: int) -> Iterator[bytes]:
    """Blocks of whole lines of a plain file that end before the offset ``end`` (behind a
    newline), last block first."""
    rest = b""
    at = end
    while at > 0:
        size = min(_STEP, at)
        at -= size
        file.seek(at)
        block = file.read(size) + rest
        if at == 0:
            yield block
            return
        first, newline, lines = block.partition(b"\n")
        rest = first + newline
        if lines:
            yield lines
