"""Pipes between us and a monitor, on the loop: the sync pipe, and the gates of an attached exec."""

from __future__ import annotations

import asyncio
import os

from wherry.errors import Unavailable
from wherry.runtime.monitor import SyncMessage, parse_sync

LIMIT = 120.0
"""Seconds for a create or exec to be reported; generous, for hosts under load."""


class SyncPipe:
    """Messages of one monitor, in order. Close it, always."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        self._buffer = b""
        self._ended = False

    def close_writer(self) -> None:
        """After the monitor has its copy, so that its end can be seen."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close(self) -> None:
        self.close_writer()
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1

    async def message(self, limit: float | None) -> SyncMessage | None:
        """The next message, or None when the monitor closed its end.

        Raises ``Unavailable`` when none comes within ``limit`` seconds.
        """
        if limit is None:
            return await self._message()
        try:
            return await asyncio.wait_for(self._message(), limit)
        except TimeoutError as error:
            raise Unavailable(
                f"the container monitor gave no answer within {limit:.0f} seconds"
            ) from error

    async def _message(self) -> SyncMessage | None:
        while True:
            line, separator, rest = self._buffer.partition(b"\n")
            if separator:
                self._buffer = rest
                message = parse_sync(line)
                if message is not None:
                    return message
                continue
            if self._ended:
                return None
            await self._more()

    async def _more(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            data = os.read(self._reader, 65536)
        except BlockingIOError:
            ready = loop.create_future()
            loop.add_reader(self._reader, _set, ready)
            try:
                await ready
            finally:
                loop.remove_reader(self._reader)
            return
        if not data:
            self._ended = True
        self._buffer += data


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Gates:
    """The two extra pipes of an attached exec: *attach* says that the socket is there, *start*
    holds the runtime back until we are connected to it."""

    def __init__(self, used: bool) -> None:
        self.used = used
        self._attach: SyncPipe | None = None
        self._start = (-1, -1)
        if used:
            self._attach = SyncPipe()
            self._start = os.pipe2(os.O_CLOEXEC)
            os.write(self._start[1], b"0")  # the first of two reads, before anything starts

    def environment(self) -> dict[str, str]:
        if self._attach is None:
            return {}
        return {
            "_OCI_ATTACHPIPE": str(self._attach.writer),
            "_OCI_STARTPIPE": str(self._start[0]),
        }

    def inherited(self) -> tuple[int, ...]:
        return () if self._attach is None else (self._attach.writer, self._start[0])

    async def ready(self, limit: float) -> None:
        if self._attach is not None:
            self._attach.close_writer()
            if await self._attach.message(limit) is None:
                raise Unavailable("the monitor of the exec session ended early")

    def go(self) -> None:
        os.write(self._start[1], b"0")

    def close(self) -> None:
        if self._attach is not None:
            self._attach.close()
        for fd in self._start:
            if fd >= 0:
                os.close(fd)
        self._start = (-1, -1)
