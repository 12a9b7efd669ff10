"""Bulk bytes between a connection and files, in a thread that may block.

The event loop's sockets never block, and a duplicate of such a descriptor does not either: here a
thread waits for it with ``poll``. Whole files go through the kernel (``sendfile``, ``splice``)
without coming into the process. ``Outlet`` and ``Inlet`` are what work on files sees of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
from collections.abc import Sequence
from typing import Protocol

STEP = 1 << 20
"""Bytes of one turn: of a piece, a pipe, a buffer."""
_F_SETPIPE_SZ = 1031
_SPLICE_F_MOVE = 1
_NOT_HERE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

_libc = ctypes.CDLL(None, use_errno=True)
_libc.splice.restype = ctypes.c_ssize_t
_libc.splice.argtypes = [
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_uint,
]

Bytes = bytes | bytearray | memoryview


class Outlet(Protocol):
    """Where a stream goes. Calls block; ``ConnectionError``: nobody takes it any more."""

    def write(self, data: Bytes) -> None: ...

    def file(self, descriptor: int, size: int) -> None:
        """The next ``size`` bytes of an open file; what it has less of them becomes zeros."""


class Inlet(Protocol):
    """Where a stream comes from. Calls block; ``ConnectionError``: it was cut."""

    def read_into(self, room: memoryview) -> int:
        """Some bytes; 0 at the end of the stream."""

    def move(self, descriptor: int, size: int) -> int:
        """Up to ``size`` of the next bytes straight into a file at its position; 0 when there is
        no straight way for them: then they must be read."""


def wait_readable(descriptor: int) -> None:
    _wait(descriptor, select.POLLIN)


def wait_writable(descriptor: int) -> None:
    _wait(descriptor, select.POLLOUT)


def _wait(descriptor: int, event: int) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    poll.poll()


def receive_into(descriptor: int, room: memoryview) -> int:
    """``recv``; 0 when the other end has ended."""
    while True:
        try:
            return os.readv(descriptor, [room])
        except BlockingIOError:
            wait_readable(descriptor)


def send(descriptor: int, parts: Sequence[Bytes]) -> None:
    """All the bytes of all the parts."""
    left = [memoryview(part) for part in parts if part]
    while left:
        try:
            done = os.writev(descriptor, left)
        except BlockingIOError:
            wait_writable(descriptor)
            continue
        while left and done >= len(left[0]):
            done -= len(left.pop(0))
        if done:
            left[0] = left[0][done:]


def send_file(descriptor: int, file: int, size: int) -> int:
    """Up to ``size`` bytes of ``file`` from its position; less only where the file ends."""
    sent = 0
    while sent < size:
        try:
            done = os.sendfile(descriptor, file, None, size - sent)
        except BlockingIOError:
            wait_writable(descriptor)
            continue
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            data = os.read(file, min(size - sent, STEP))
            send(descriptor, [data])
            done = len(data)
        if not done:
            break
        sent += done
    return sent


class Pipe:
    """What ``splice`` needs between a socket and a file."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._in, _F_SETPIPE_SZ, STEP)

    def move(self, source: int, target: int, size: int) -> int:
        """At most ``size`` bytes, and at most what is there, once some are; 0 at the end.

        Raises ``OSError`` of the target (no space left); of the source ``EINVAL`` where it knows
        no splice, and nothing is lost then.
        """
        while True:
            taken = self._splice(source, self._in, min(size, STEP))
            if taken >= 0:
                break
            wait_readable(source)
        left = taken
        while left:
            done = self._splice(self._out, target, left)
            if done <= 0:
                raise OSError(errno.EIO, "splice into a file stopped")
            left -= done
        return taken

    @staticmethod
    def _splice(source: int, target: int, size: int) -> int:
        """Bytes moved; -1 when it would block."""
        while True:
            done = int(_libc.splice(source, None, target, None, size, _SPLICE_F_MOVE))
            if done >= 0:
                return done
            number = ctypes.get_errno()
            if number == errno.EAGAIN:
                return -1
            if number != errno.EINTR:
                raise OSError(number, f"splice: {os.strerror(number)}")

    def close(self) -> None:
        os.close(self._in)
        os.close(self._out)
