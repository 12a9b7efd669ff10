"""A client of conmon's attach socket.

The socket is SOCK_SEQPACKET: each packet from the monitor is one byte (2 stdout, 3 stderr) and up
to 8 KiB of output; each packet to it is input. Shutting our writing side down is the end of
stdin, unless the monitor was told to leave it open. The monitor writes to its clients in turn and
waits for each: a client that does not read holds the container's output, as with Docker.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path

from wherry.errors import Conflict, Internal
from wherry.linux.unixdiag import accepted
from wherry.runtime.monitor import ATTACH_SOCKET

_PACKET = 8192
_STREAMS = {2: 1, 3: 2}


def connect(directory: Path) -> socket.socket:
    """Connect to the monitor whose directory this is. Raises ``Conflict`` when it has ended.

    The directory is reached through a descriptor, so that its path may be longer than a socket
    address allows (108 bytes).
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{folder}/{ATTACH_SOCKET}")
        finally:
            os.close(folder)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        sock.close()
        raise Conflict("the process is not running: nothing to attach to") from error
    except OSError as error:
        sock.close()
        raise Internal(f"cannot attach in {directory}: {error}") from error
    sock.setblocking(False)
    return sock


async def taken(sock: socket.socket, tries: int = 2000) -> None:
    """Wait until the monitor has accepted the connection.

    It accepts one client in each turn of its loop and copies output to those it has: a second
    one that still waits when the container starts could miss the first words.
    """
    for _ in range(tries):
        if accepted(sock) is not False:
            return
        await asyncio.sleep(0.001)


class SocketStream:
    """An ``AttachStream`` over the attach socket.

    ``park``: closing the socket would end the container's stdin (conmon does not tell a client
    that never wrote from one that did); a client that only listened is therefore kept, drained,
    until the monitor hangs up.
    """

    def __init__(self, sock: socket.socket, *, park: bool = False) -> None:
        self._sock = sock
        self._park = park
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None

    async def read(self) -> tuple[int, bytes] | None:
        while not self._closed:
            try:
                packet = self._sock.recv(_PACKET + 1)
            except (BlockingIOError, InterruptedError):
                await self._readable()
                continue
            except (ConnectionResetError, BrokenPipeError):
                return None
            except OSError:
                if self._closed:
                    return None
                raise
            if not packet:
                return None
            stream = _STREAMS.get(packet[0])
            if stream is not None and len(packet) > 1:
                return stream, packet[1:]
        return None

    async def _readable(self) -> None:
        """Until there is something to read, or the stream is closed by another task."""
        waiting = self._reading = self._loop.create_future()
        self._loop.add_reader(self._sock, _wake, waiting)
        try:
            await waiting
        finally:
            self._reading = None
            if not self._closed:
                self._loop.remove_reader(self._sock)

    async def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left and not self._closed:
            try:
                sent = self._sock.send(left[:_PACKET])
            except (BlockingIOError, InterruptedError):
                await self._writable()
            except (BrokenPipeError, ConnectionResetError):
                return  # the process has ended: what is typed to it is lost, as with Docker
            else:
                left = left[sent:]

    async def _writable(self) -> None:
        """Until there is room for a packet, or the stream is closed by another task.

        The loop's ``sock_sendall`` would wait for ever for a socket that was closed meanwhile.
        """
        waiting = self._writing = self._loop.create_future()
        self._loop.add_writer(self._sock, _wake, waiting)
        try:
            await waiting
        finally:
            self._writing = None
            if not self._closed:
                self._loop.remove_writer(self._sock)

    async def close_stdin(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._park = False

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        for waiting in (self._reading, self._writing):
            if waiting is not None:
                _wake(waiting)
        if self._park:
            self._loop.add_reader(self._sock, _drain, self._sock, self._loop)
        else:
            self._sock.close()


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _drain(sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
    try:
        if sock.recv(_PACKET + 1):
            return
    except (BlockingIOError, InterruptedError):
        return
    except OSError:
        pass
    loop.remove_reader(sock)
    sock.close()
