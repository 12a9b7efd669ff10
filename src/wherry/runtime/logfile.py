"""Read a container's log: from the end for ``tail``, across rotated segments, and as it grows.

All of it is synchronous and may take time with the disk; ``follow`` does it in threads. Nothing
here holds more than a block of the log in memory, or a few thousand lines that ``tail`` asks for.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from wherry.linux.inotify import DirectoryWatch
from wherry.linux.tasks import spawn
from wherry.runtime.logline import Entry, parse_lines
from wherry.runtime.logsegments import (
    BLOCK,
    BROKEN,
    Place,
    Source,
    backward,
    close_all,
    end_of_lines,
    forward,
    open_all,
    read_some,
)

T = TypeVar("T")

_POLL = 1.0
_AHEAD = 16
"""Newer segments that a slow reader holds open; the space of more is not kept for it."""
_HELD = 10_000
"""Lines of a ``tail`` that are found from the end, and held; more are counted first."""


@dataclass(frozen=True)
class Selection:
    """What of a log is wanted. Times in Unix seconds; ``tail`` counts lines of these streams."""

    stdout: bool = True
    stderr: bool = True
    since: float | None = None
    until: float | None = None
    tail: int | None = None

    @property
    def everything(self) -> bool:
        return self.stdout and self.stderr and self.since is None and self.until is None

    def takes(self, entry: Entry) -> bool:
        if entry.stream == 1 and not self.stdout:
            return False
        if entry.stream == 2 and not self.stderr:
            return False
        if self.since is None and self.until is None:
            return True
        at = entry.at
        if self.since is not None and at < self.since:
            return False
        return self.until is None or at <= self.until

    def filter(self, entries: list[Entry]) -> list[Entry]:
        return entries if self.everything else [each for each in entries if self.takes(each)]


class Reader:
    """Reads on from a place, block by block, through rotations, without loss or repeat.

    Newer segments are opened as soon as they appear, up to ``_AHEAD``: a reader that is behind
    still gets what rotation drops meanwhile. Where its place is no longer there all the same (or
    was cleared), it goes on with the oldest line there is, and says so in ``lost``.
    """

    def __init__(self, log: Path, place: Place | None = None) -> None:
        """``place`` None: from the oldest line."""
        self._log = log
        self._sources: deque[Source] = deque()
        """The one that is read, and newer ones."""
        self._at = 0
        """Bytes read of the first, the unfinished line included."""
        self._rest = b""
        self.place = place
        """Behind the last line that was read; None where nothing was."""
        self.lost = False

    def close(self) -> None:
        close_all(self._sources)
        self._sources.clear()

    def hold(self) -> None:
        """Open what is there, so that rotation cannot take it away before it is read."""
        if self._sources or self._begin():
            self._look_ahead()

    def read(self) -> list[Entry]:
        """The next entries, about a block of them; empty when there are none now."""
        while self._sources or self._begin():
            self._look_ahead()
            source = self._sources[0]
            block = b""
            with suppress(*BROKEN):
                block = read_some(source.file, BLOCK)
            if block:
                entries = self._entries(source, block)
                if entries:
                    return entries
            elif not self._next():
                break
        return []

    def _entries(self, source: Source, block: bytes) -> list[Entry]:
        self._at += len(block)
        lines, newline, tail = block.rpartition(b"\n")
        if not newline:
            self._rest += block
            return []
        whole = self._rest + lines + newline
        self._rest = tail
        source.look()
        self.place = Place(source.mark, self._at - len(tail))
        return parse_lines(whole)

    def _begin(self) -> bool:
        """Open the segment of the place, or the oldest, and all newer ones."""
        sources = open_all(self._log)
        offset = 0
        if self.place is not None and sources:
            marks = [each.mark for each in sources]
            if self.place.mark in marks:
                index = marks.index(self.place.mark)
                close_all(sources[:index])
                sources, offset = sources[index:], self.place.offset
            else:
                self.lost = True
        self._sources.extend(sources)
        self._rewind(offset)
        return bool(sources)

    def _rewind(self, offset: int) -> None:
        self._at, self._rest = offset, b""
        if self._sources:
            with suppress(*BROKEN):
                self._sources[0].file.seek(offset)

    def _look_ahead(self) -> None:
        """Open what is newer than the newest we have."""
        newest = self._sources[-1]
        with suppress(OSError):
            current = os.stat(self._log)
            if (current.st_dev, current.st_ino) == newest.identity:
                return
        if len(self._sources) > _AHEAD:
            return
        found = open_all(self._log)
        newest.look()
        known = [index for index, each in enumerate(found) if each.same(newest)]
        begin = known[-1] + 1 if known else 0
        if not known and found:
            self.lost = True
        close_all(found[:begin])
        self._sources.extend(found[begin:])

    def _next(self) -> bool:
        """At the end of what was read: whether there is more, here or in a newer segment."""
        ours = self._sources[0]
        if not ours.segment.compressed:
            size = os.fstat(ours.file.fileno()).st_size
            if size < self._at:  # emptied in place: begin anew
                ours.mark, self.place = "", None
                self._rewind(0)
                return size > 0
            if size > self._at:
                return True
        if len(self._sources) < 2:
            return False
        # The monitor has opened a newer one: nothing comes to this any more.
        self._sources.popleft().close()
        self._rewind(0)
        return True


class Snapshot:
    """The log up to this moment. Every segment is opened at once, so that what happens to them
    later changes nothing."""

    def __init__(self, log: Path) -> None:
        self._sources = open_all(log)
        self._ends = [
            None if each.segment.compressed else end_of_lines(each.file) for each in self._sources
        ]

    def close(self) -> None:
        close_all(self._sources)

    def place(self) -> Place | None:
        """Its end, where a ``Reader`` goes on; None for an empty log."""
        for source, end in zip(reversed(self._sources), reversed(self._ends), strict=True):
            size = sum(map(len, forward(source.file))) if end is None else end
            if size and source.mark:
                return Place(source.mark, size)
        return None

    def batches(self, selection: Selection) -> Iterator[list[Entry]]:
        """The selected entries, oldest first."""
        if selection.tail is None:
            yield from self._all(selection)
        elif selection.tail <= _HELD:
            yield self._last(selection)
        else:
            yield from self._counted(selection, selection.tail)

    def _all(self, selection: Selection) -> Iterator[list[Entry]]:
        for source, end in zip(self._sources, self._ends, strict=True):
            for block in forward(source.file, 0, end):
                yield selection.filter(parse_lines(block))

    def _counted(self, selection: Selection, count: int) -> Iterator[list[Entry]]:
        """The last ``count`` lines, of which there may be too many to hold them: all are counted
        first."""
        lines, unfinished = 0, False
        for batch in self._all(selection):
            lines += _ended(batch)
            unfinished = not batch[-1].data.endswith(b"\n") if batch else unfinished
        skipped = lines + unfinished - count
        for batch in self._all(selection):
            at = 0
            while skipped > 0 and at < len(batch):
                skipped -= batch[at].data.endswith(b"\n")
                at += 1
            yield batch[at:]

    def _last(self, selection: Selection) -> list[Entry]:
        """The last ``tail`` lines, read from the end; the pieces of a long line count as one."""
        taken: list[Entry] = []
        count, lines = selection.tail or 0, 0
        if count <= 0:
            return taken
        for source, end in zip(reversed(self._sources), reversed(self._ends), strict=True):
            for entry in self._reversed(source, end, selection, count - lines):
                if selection.since is not None and entry.at < selection.since:
                    return taken[::-1]
                if not selection.takes(entry):
                    continue
                if entry.data.endswith(b"\n") or not taken:
                    if lines >= count:
                        return taken[::-1]
                    lines += 1
                taken.append(entry)
        return taken[::-1]

    @staticmethod
    def _reversed(
        source: Source, end: int | None, selection: Selection, count: int
    ) -> Iterator[Entry]:
        if end is not None:
            for block in backward(source.file, end):
                yield from reversed(parse_lines(block))
            return
        # A compressed segment is read forwards; no more of it is kept than can be wanted.
        yield from reversed(_last_of(forward(source.file), selection, count))


def _last_of(blocks: Iterable[bytes], selection: Selection, count: int) -> list[Entry]:
    kept: deque[list[Entry]] = deque()
    lines = 0
    for block in blocks:
        entries = [each for each in parse_lines(block) if selection.takes(each)]
        kept.append(entries)
        lines += _ended(entries)
        # One line more than wanted: the pieces before it belong to none of them.
        while kept and lines - _ended(kept[0]) > count:
            lines -= _ended(kept.popleft())
    return [entry for entries in kept for entry in entries]


def _ended(entries: list[Entry]) -> int:
    return sum(entry.data.endswith(b"\n") for entry in entries)


def read(log: Path, selection: Selection) -> Iterator[Entry]:
    """The selected entries, oldest first."""
    snapshot = Snapshot(log)
    try:
        for batch in snapshot.batches(selection):
            yield from batch
    finally:
        snapshot.close()


async def in_thread(work: Callable[[], T]) -> T:
    """``work()`` in a thread; when cancelled, not before the thread has done with its files."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def history(snapshot: Snapshot, selection: Selection) -> AsyncGenerator[list[Entry], None]:
    """The batches of a snapshot, read in threads; closes it."""
    try:
        batches = snapshot.batches(selection)
        while (batch := await in_thread(lambda: next(batches, None))) is not None:
            if batch:
                yield batch
    finally:
        snapshot.close()


async def follow(
    log: Path, selection: Selection, ended: asyncio.Event
) -> AsyncGenerator[list[Entry], None]:
    """What is there, and what comes, until ``ended`` is set and everything has been read.

    Set ``ended`` when the monitor has ended (its log is complete then), or to stop. Ends by
    itself when the time ``until`` has passed.
    """
    watch = DirectoryWatch(log.parent)
    stop = spawn(ended.wait(), name="log-follow")
    reader: Reader | None = None
    try:
        snapshot = await in_thread(lambda: Snapshot(log))
        reader = Reader(log, await in_thread(snapshot.place))
        async with aclosing(history(snapshot, selection)) as before:
            async for batch in before:
                await in_thread(reader.hold)
                yield batch
        while True:
            over = ended.is_set()
            left = _left(selection)
            entries = await in_thread(reader.read)
            wanted = selection.filter(entries)
            if wanted:
                yield wanted
            elif not entries:
                if over or left <= 0:
                    return
                await watch.changed(left, stop)
    finally:
        stop.cancel()
        if reader is not None:
            reader.close()
        watch.close()


def _left(selection: Selection) -> float:
    """Seconds to wait at most: not past ``until``."""
    if selection.until is None:
        return _POLL
    return min(_POLL, selection.until - time.time())
