"""Where the bytes of an archive come from and go to, whole files through the kernel alone."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from typing import Protocol

STEP = 1 << 20
"""Bytes of one turn: of a piece, a pipe, a buffer."""
_F_SETPIPE_SZ = 1031
_SO_SNDBUFFORCE = 32
"""As root, beyond the limit for everybody. From ``asm-generic/socket.h``."""

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


def widen(sock: socket.socket) -> None:
    """Let a local socket take much at once, so that its two ends work at the same time."""
    if sock.family != socket.AF_UNIX:
        return
    for option in (_SO_SNDBUFFORCE, socket.SO_SNDBUF):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, STEP)
            return


class Pipe:
    """What ``splice`` needs between a socket and a file."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._in, _F_SETPIPE_SZ, STEP)

    def move(self, source: int, target: int, size: int) -> int:
        """At most ``size`` bytes, and at most what is there; 0 at the end.

        ``BlockingIOError``: nothing is there yet. ``OSError``: of the target (no space left), or
        ``EINVAL`` of a source that knows no splice, and nothing is lost then.
        """
        taken = left = os.splice(source, self._in, min(size, STEP))
        while left:
            done = os.splice(self._out, target, left)
            if not done:
                raise OSError(errno.EIO, "splice into a file stopped")
            left -= done
        return taken

    def close(self) -> None:
        os.close(self._in)
        os.close(self._out)
