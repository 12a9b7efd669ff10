"""Taking a connection over from HTTP: Docker's ``101 UPGRADED`` (or plain 200) raw streams.

After the head is written, the transport is given a protocol of ours. The client's half-close
arrives as the end of ``read`` while our side stays open; a slow client makes ``write`` wait; a
container that does not read makes the client wait. At most ``_HIGH`` bytes are held a direction.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Awaitable, Callable

from aiohttp import web

from wherry.api.connection import Connection
from wherry.containers.service import Session
from wherry.linux.tasks import spawn
from wherry.wire.frames import frame

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
_HIGH = 256 * 1024
_TURNS = 16
"""Chunks after which others may run."""
_GONE_CHECK = 2.0
"""Seconds between looks whether a half-closed client is still there."""


def stream_type(version: tuple[int, int], tty: bool) -> str:
    """Content type of log and attach streams: from API 1.42 it says whether frames follow."""
    return MULTIPLEXED if version >= (1, 42) and not tty else RAW


class Taken(asyncio.Protocol):
    """A raw, back-pressured duplex stream to the client."""

    def __init__(self, request: web.BaseRequest, content_type: str, headers: str) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        self._transport = transport
        self._old = request.protocol
        self._buffer = bytearray()
        self._ended = False
        self.lost = asyncio.Event()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._reading = True
        upgrade = request.headers.get("Upgrade", "")
        if upgrade:
            head = f"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n"
        else:
            head = "HTTP/1.1 200 OK\r\n"
            content_type = RAW
        transport.write(f"{head}Content-Type: {content_type}\r\n{headers}\r\n".encode())
        if isinstance(self._old, Connection):
            self._buffer += self._old.take()
        transport.set_protocol(self)
        self._closing = False
        self._tls = _hold_open(transport, lambda: self._closing)
        if not transport.is_reading():
            transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._readable.set()
        if self._reading and len(self._buffer) > _HIGH:
            self._reading = False
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """True keeps our side open: the client has only ended its input."""
        self._ended = True
        self._readable.set()
        if self._tls:
            return False
        self._watch()
        return True

    def _watch(self) -> None:
        """A half-closed connection is read no more, so ask whether the other end has gone."""
        sock = self._transport.get_extra_info("socket")
        if self.lost.is_set() or sock is None or sock.fileno() < 0:
            return
        poll = select.poll()
        poll.register(sock.fileno(), 0)
        if any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0)):
            self._transport.abort()
            return
        asyncio.get_running_loop().call_later(_GONE_CHECK, self._watch)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self.lost.set()
        self._readable.set()
        self._writable.set()
        self._old.connection_lost(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def read(self) -> bytes:
        """Next bytes of the client, b"" at the end of its input."""
        while not self._buffer:
            if self._ended:
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = bytes(self._buffer)
        self._buffer.clear()
        if not self._reading and not self._ended:
            self._reading = True
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send; waits while the client is slow. ``ConnectionResetError`` when it is gone."""
        if self.lost.is_set() or self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()

    def close(self) -> None:
        """Send what is buffered, then close."""
        self._closing = True
        self._transport.close()


def _hold_open(transport: asyncio.Transport, closing: Callable[[], bool]) -> bool:
    """Over TLS, keep our side open after the client's ``close_notify``; whether it is TLS.

    asyncio answers the end of the client's input by shutting the whole connection down, and what
    ``eof_received`` returns is ignored; the only handle is the method that begins the shutdown.
    """
    protocol = getattr(transport, "_ssl_protocol", None)
    shutdown = getattr(protocol, "_start_shutdown", None)
    if protocol is None or shutdown is None:
        return False

    def only_when_asked(*arguments: object) -> None:
        if closing():
            shutdown(*arguments)

    protocol._start_shutdown = only_when_asked
    return True


def take(request: web.BaseRequest, content_type: str, headers: dict[str, str]) -> Taken:
    """Send the head and take the connection over."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return Taken(request, content_type, lines)


async def pump(session: Session, client: Taken) -> None:
    """Both directions until the output ends or the client goes; always closes the session.

    It runs in a task of its own: the handler that waits here is cancelled when the connection is
    lost, and the session must be closed then too.
    """
    await asyncio.shield(spawn(_pump(session, client), name="stream"))


async def _pump(session: Session, client: Taken) -> None:
    tasks = [
        spawn(outward(session, client.write), name="stream output"),
        spawn(_inward(session, client), name="stream input"),
        spawn(_until(client.lost), name="stream client"),
    ]
    try:
        output, _, gone = tasks
        await asyncio.wait({output, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        client.close()
        await asyncio.wait(tasks)
        with contextlib.suppress(ConnectionError):
            await session.close()


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def outward(session: Session, write: Callable[[bytes], Awaitable[None]]) -> None:
    """The session's output to a client, framed unless there is a terminal.

    A flood whose every read and write succeeds at once must not keep the loop for itself.
    """
    turns = 0
    with contextlib.suppress(ConnectionError):
        while (chunk := await session.read()) is not None:
            stream, data = chunk
            await write(data if session.tty else frame(stream, data))
            turns += 1
            if turns % _TURNS == 0:
                await asyncio.sleep(0)


async def _inward(session: Session, client: Taken) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await client.read():
            await session.write(data)
        if not client.lost.is_set():
            await session.close_stdin()
