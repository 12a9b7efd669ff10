"""Bulk bytes between a connection and files, in a thread that may block.

The event loop's sockets never block, and a duplicate of such a descriptor does not either: here a
thread waits for it with ``poll``.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Sequence

from wherry.trees.flow import STEP, Bytes

_NOT_HERE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


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
