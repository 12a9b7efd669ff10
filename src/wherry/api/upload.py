"""Receiving a long body in a thread straight from the client's socket.

``Connection`` keeps what follows the head of such a request from the HTTP parser, so the body's
framing (RFC 9112, section 6) is read here, in the thread that uses it. Over TLS there is no socket
for that, and pieces come through the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import select
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import CancelledError, Future

from aiohttp import web

from wherry.api.connection import Connection
from wherry.api.download import hang_up, raw_socket
from wherry.api.replies import empty, error_reply
from wherry.api.routing import Call
from wherry.errors import Invalid
from wherry.linux.flow import receive_into, wait_readable
from wherry.linux.tasks import in_own_thread
from wherry.trees.flow import STEP, Inlet, Pipe
from wherry.trees.incoming import Chunks

_LINE = 4096
"""Bytes of a chunk's head, or of a trailer, at most."""
_AHEAD = 256 * 1024
"""Bytes taken at once of a body in small chunks."""
_STRAIGHT = 65536
"""Bytes from which a piece of the body goes to its file without coming into the process."""
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")
_LINGER = 10.0
"""Seconds for which the rest of a refused body is still taken, so that the reply is read."""

Consume = Callable[[Inlet, Callable[[], None]], Awaitable[None]]
"""Uses the body in a thread of its own; the second argument cuts the body short."""


async def receive_body(call: Call, consume: Consume) -> web.StreamResponse:
    """Let ``consume`` have the body; 200 without a body when it succeeded, else its error."""
    descriptor = _taken(call)
    if descriptor < 0:
        queued = _Queued(call.stream(), asyncio.get_running_loop())
        await consume(queued, queued.stop)
        return empty(200)
    response: web.StreamResponse
    try:
        assert isinstance(call.request.protocol, Connection)
        body = _Straight(descriptor, call.request.protocol.take(), _framing(call))
        try:
            await consume(body, lambda: hang_up(descriptor))
            response = empty(200)
        except Exception as error:
            response = error_reply(error)
        finally:
            body.close()
        # Where the next request begins only this body's reader would know.
        response.force_close()
        await response.prepare(call.request)
        await response.write_eof()
        if not body.ended:
            await in_own_thread(lambda: _linger(descriptor), stop=lambda: hang_up(descriptor))
        call.request.content.feed_eof()
    finally:
        os.close(descriptor)
    return response


def _taken(call: Call) -> int:
    """The connection's own descriptor, with the body still on it; -1: use the usual way."""
    connection = call.request.protocol
    if not isinstance(connection, Connection) or not connection.diverted:
        return -1
    descriptor = raw_socket(call)
    if descriptor < 0:
        connection.decline()
    return descriptor


def _framing(call: Call) -> int:
    """Bytes of the body; -1: it comes in chunks."""
    headers = call.request.headers
    if "chunked" in headers.get("Transfer-Encoding", "").lower():
        return -1
    return int(headers.get("Content-Length", "0"))


def _linger(descriptor: int) -> None:
    deadline = time.monotonic() + _LINGER
    room = memoryview(bytearray(STEP))
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    with contextlib.suppress(OSError):
        while (left := deadline - time.monotonic()) > 0:
            if not poll.poll(left * 1000) or not os.readv(descriptor, [room]):
                return


def _broken() -> Invalid:
    return Invalid("the request body ends too early or is malformed")


class _Straight:
    """The body of one request on a socket, as an ``Inlet``."""

    def __init__(self, descriptor: int, early: bytes, size: int) -> None:
        self._descriptor = descriptor
        self._early = memoryview(early)
        self._chunked = size < 0
        self._left = max(size, 0)
        """Bytes of the body, or of the present chunk, still to come."""
        self._first = True
        self._ahead = _LINE
        self.ended = size == 0
        self._pipe: Pipe | None = None
        self._spliced = True

    def read_into(self, room: memoryview) -> int:
        if not self._more():
            return 0
        count = self._receive(room[: self._left])
        self._took(count)
        return count

    def move(self, descriptor: int, size: int) -> int:
        if not self._spliced or not self._more():
            return 0
        size = min(size, self._left)
        if self._early or size < _STRAIGHT:
            return 0
        if self._pipe is None:
            self._pipe = Pipe()
        try:
            wait_readable(self._descriptor)
            count = self._pipe.move(self._descriptor, descriptor, size)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._spliced = False
            return 0
        self._took(count)
        return count

    def _took(self, count: int) -> None:
        if not count:
            raise _broken()
        self._left -= count
        if not self._left and not self._chunked:
            self.ended = True

    def _receive(self, room: memoryview) -> int:
        if self._early:
            size = min(len(room), len(self._early))
            room[:size] = self._early[:size]
            self._early = self._early[size:]
            return size
        return receive_into(self._descriptor, room)

    def _more(self) -> bool:
        """Whether bytes of the body are still to come; goes to the next chunk."""
        if self.ended:
            return False
        if self._chunked and not self._left:
            if not self._first and self._line():
                raise _broken()
            self._first = False
            size = self._line().split(b";")[0].strip()
            if not _HEX.fullmatch(size):
                raise _broken()
            self._left = int(size, 16)
            self._ahead = _LINE if self._left >= _STRAIGHT else _AHEAD
            if not self._left:
                while self._line():
                    pass
                self.ended = True
        return not self.ended

    def _line(self) -> bytes:
        """What comes before the next line end, which is taken as well."""
        data = b""
        while (end := data.find(b"\n")) < 0:
            if len(data) >= _LINE:
                raise _broken()
            if len(data) == len(self._early):
                self._look_ahead()
            data = bytes(self._early[:_LINE])
        self._early = self._early[end + 1 :]
        return data[:end].rstrip(b"\r")

    def _look_ahead(self) -> None:
        """Take more from the socket: little before a long chunk, which goes its own way."""
        room = memoryview(bytearray(self._ahead))
        count = receive_into(self._descriptor, room)
        if not count:
            raise _broken()
        more = room[:count]
        self._early = memoryview(bytes(self._early) + bytes(more)) if self._early else more

    def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()


class _Queued(Chunks):
    """An ``Inlet`` through the event loop, one piece at a time."""

    def __init__(self, pieces: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(iter(self._await_next, b""))
        self._pieces = pieces
        self._loop = loop
        self._waiting: Future[bytes] | None = None
        self._stopped = False

    def _await_next(self) -> bytes:
        """b"" at the end: no piece is empty."""
        if self._stopped:
            raise ConnectionResetError("the body is not wanted any more")
        self._waiting = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
        try:
            return self._waiting.result()
        except CancelledError:
            raise ConnectionResetError("the body is not wanted any more") from None

    async def _next(self) -> bytes:
        return await anext(self._pieces, b"")

    def stop(self) -> None:
        self._stopped = True
        if self._waiting is not None:
            self._waiting.cancel()
