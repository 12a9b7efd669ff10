"""An archive that comes in: forward only, through one buffer.

Headers and small contents lie in the buffer that the stream fills; what is large goes from the
stream to its file without coming here where the kernel can do that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from wherry.trees import tarfmt
from wherry.trees.flow import STEP, Inlet

_HEAD = 8
"""Bytes that tell a compression."""
_STRAIGHT = 128 * 1024
"""Bytes from which a content does not go through the buffer."""


class Incoming:
    """A ``tarfmt.Source`` that only goes forward, over an ``Inlet``."""

    def __init__(self, inlet: Inlet) -> None:
        self._inlet = inlet
        self._view = memoryview(bytearray(STEP))
        self._start = self._end = 0
        self._position = 0
        """Of the buffer's first byte, in the archive."""

    def head(self) -> bytes:
        self._fill(_HEAD)
        return bytes(self._view[self._start : min(self._start + _HEAD, self._end)])

    def _fill(self, size: int) -> None:
        """Have ``size`` bytes in the buffer, or all there are."""
        if self._start + size > STEP:
            left = self._end - self._start
            self._view[:left] = self._view[self._start : self._end]
            self._start, self._end = 0, left
        while self._end - self._start < size:
            count = self._inlet.read_into(self._view[self._end :])
            if not count:
                return
            self._end += count

    def _skip(self, size: int) -> None:
        self._position += size
        while size > self._end - self._start:
            size -= self._end - self._start
            self._start = self._end = 0
            self._end = self._inlet.read_into(self._view)
            if not self._end:
                raise tarfmt.cut_short()
        self._start += size

    def get(self, position: int, size: int) -> bytes:
        if position != self._position:
            self._skip(position - self._position)
        if size > self._end - self._start:
            if size > STEP:
                return self._long(size)
            self._fill(size)
        start = self._start
        data = bytes(self._view[start : min(start + size, self._end)])
        self._start += len(data)
        self._position += len(data)
        return data

    def _long(self, size: int) -> bytes:
        parts = []
        while size and (data := self.get(self._position, min(size, STEP))):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def copy(self, position: int, size: int, descriptor: int) -> None:
        """Write ``size`` bytes at ``position`` to a file. ``Invalid`` when the archive ends."""
        if position != self._position:
            self._skip(position - self._position)
        self._position += size
        while size:
            if self._start == self._end:
                if size >= _STRAIGHT and (moved := self._inlet.move(descriptor, size)):
                    size -= moved
                    continue
                self._start, self._end = 0, self._inlet.read_into(self._view)
                if not self._end:
                    raise tarfmt.cut_short()
            end = min(self._end, self._start + size)
            done = os.write(descriptor, self._view[self._start : end])
            self._start += done
            size -= done

    def read(self, size: int) -> bytes:
        """Whatever comes next, at most ``size`` bytes; b"" at the end."""
        if self._start == self._end:
            self._start, self._end = 0, self._inlet.read_into(self._view)
        return self.get(self._position, min(size, self._end - self._start))

    def drain(self) -> None:
        """Read to the end, so that the sender is not cut off."""
        self._start = self._end = 0
        while self._inlet.read_into(self._view):
            pass


class Chunks:
    """An ``Inlet`` over pieces of any size."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read_into(self, room: memoryview) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(room), len(self._rest))
        room[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def move(self, descriptor: int, size: int) -> int:
        return 0
