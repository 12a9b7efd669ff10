"""Docker's multiplexed stream: 8 bytes of head before each chunk (``stdcopy``).

byte 0      stream: 0 stdin, 1 stdout, 2 stderr, 3 error of the daemon
bytes 1-3   zero
bytes 4-7   length of the payload, big endian
"""

from __future__ import annotations

import struct

from wherry.errors import Invalid

STDIN, STDOUT, STDERR, SYSTEM_ERROR = range(4)
HEAD_SIZE = 8
_HEAD = struct.Struct(">B3xI")


def head(stream: int, size: int) -> bytes:
    """The 8 bytes that announce ``size`` bytes of ``stream``."""
    return _HEAD.pack(stream, size)


def frame(stream: int, payload: bytes) -> bytes:
    return _HEAD.pack(stream, len(payload)) + payload


class Decoder:
    """Incremental: feed bytes as they come, get the whole frames among them.

    A frame larger than ``limit`` bytes is ``Invalid``: nobody sends such, so it is not a
    multiplexed stream at all.
    """

    def __init__(self, limit: int = 1 << 26) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Whole frames (stream, payload) that are now complete."""
        buffer = self._buffer
        buffer += data
        frames: list[tuple[int, bytes]] = []
        at = 0
        while len(buffer) - at >= HEAD_SIZE:
            stream, size = _HEAD.unpack_from(buffer, at)
            if stream > SYSTEM_ERROR:
                raise Invalid(f"Unrecognized input header: {stream}")
            if size > self._limit:
                raise Invalid(f"stream frame of {size} bytes is above the limit {self._limit}")
            end = at + HEAD_SIZE + size
            if len(buffer) < end:
                break
            frames.append((stream, bytes(buffer[at + HEAD_SIZE : end])))
            at = end
        del buffer[:at]
        return frames

    @property
    def pending(self) -> int:
        """Bytes held back of a frame that is not complete."""
        return len(self._buffer)
