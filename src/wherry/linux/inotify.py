"""Wake when something in a directory changes (inotify(7))."""

from __future__ import annotations

import asyncio
import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

_MODIFY = 0x2
_MOVED = 0xC0
_CREATE = 0x100
_DELETE_SELF = 0x400
_BLIND = 0.25


class DirectoryWatch:
    """Watches one directory; ``changed`` waits for the next change. Close it.

    Where inotify is not to be had (limits reached), ``changed`` waits a quarter of a second.
    """

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd >= 0:
            mask = ctypes.c_uint32(_MODIFY | _MOVED | _CREATE | _DELETE_SELF)
            if libc.inotify_add_watch(self._fd, os.fsencode(directory), mask) < 0:
                os.close(self._fd)
                self._fd = -1

    async def changed(self, limit: float, also: asyncio.Future[Any] | None = None) -> None:
        """Until something has changed since the last call, or ``also`` is done.

        At most ``limit`` seconds.
        """
        if also is not None and also.done():
            return
        if self._fd >= 0 and self._drain():
            return
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()

        def wake(_: object = None) -> None:
            if not ready.done():
                ready.set_result(None)

        if self._fd >= 0:
            loop.add_reader(self._fd, wake)
        else:
            limit = min(limit, _BLIND)
        if also is not None:
            also.add_done_callback(wake)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(ready, limit)
        finally:
            if self._fd >= 0:
                loop.remove_reader(self._fd)
                self._drain()
            if also is not None:
                also.remove_done_callback(wake)

    def _drain(self) -> bool:
        with suppress(BlockingIOError):
            return bool(os.read(self._fd, 65536))
        return False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
