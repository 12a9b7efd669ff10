"""Sending a long body from a thread straight to the client's socket.

The head goes out as usual; then the chunks of the body (RFC 9112, section 7.1) are written to a
duplicate of the socket's descriptor, whole files by the kernel. Over TLS there is no socket for
that, and pieces go through the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping

from aiohttp import web

from wherry.api.routing import Call
from wherry.linux.flow import send, send_file
from wherry.linux.tasks import in_own_thread
from wherry.trees.flow import STEP, Bytes, Outlet, widen

_END = b"\r\n"
_log = logging.getLogger(__name__)


def raw_socket(call: Call) -> int:
    """A descriptor of our own for the client's connection; -1 where it is not a plain socket.

    It never blocks, as the loop's does not.
    """
    transport = call.request.transport
    if transport is None:
        raise ConnectionResetError("the client is gone")
    if transport.get_extra_info("ssl_object") is not None:
        return -1
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return -1
    return os.dup(sock.fileno())


async def send_body(
    call: Call, headers: Mapping[str, str], work: Callable[[Outlet], None]
) -> web.StreamResponse:
    """A reply whose body ``work`` makes in a thread. Its errors cut the connection."""
    response = web.StreamResponse(headers=headers)
    transport = call.request.transport
    if transport is None:
        raise ConnectionResetError("the client is gone")
    await response.prepare(call.request)
    descriptor = raw_socket(call)
    try:
        if descriptor < 0:
            queued = _Queued(response, asyncio.get_running_loop())
            await in_own_thread(lambda: work(queued), stop=queued.gone.set)
        else:
            # With no room for a backlog, the drain ends when the head is with the kernel.
            transport.set_write_buffer_limits(0)
            call.request.writer.send_headers()
            await call.request.writer.drain()
            transport.set_write_buffer_limits()
            with socket.socket(fileno=os.dup(descriptor)) as handle:
                widen(handle)
            straight = _Straight(descriptor, chunked=call.request.version >= (1, 1))
            await in_own_thread(lambda: work(straight), stop=lambda: hang_up(descriptor))
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as error:
        _log.warning("%s ends midway: %s", call.request.path, error)
        raise ConnectionResetError(str(error)) from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    await response.write_eof()
    return response


def hang_up(descriptor: int) -> None:
    """End a connection in both directions; whoever waits for it wakes up."""
    with socket.socket(fileno=os.dup(descriptor)) as handle, contextlib.suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


class _Straight:
    """An ``Outlet`` to a socket, in chunks unless the client is too old for them."""

    def __init__(self, descriptor: int, *, chunked: bool) -> None:
        self._descriptor = descriptor
        self._chunked = chunked

    def write(self, data: Bytes) -> None:
        if not data:
            return
        if self._chunked:
            send(self._descriptor, [b"%x\r\n" % len(data), data, _END])
        else:
            send(self._descriptor, [data])

    def file(self, descriptor: int, size: int) -> None:
        if not size:
            return
        if self._chunked:
            send(self._descriptor, [b"%x\r\n" % size])
        left = size - send_file(self._descriptor, descriptor, size)
        while left:
            zeros = bytes(min(left, STEP))
            send(self._descriptor, [zeros])
            left -= len(zeros)
        if self._chunked:
            send(self._descriptor, [_END])


class _Queued:
    """An ``Outlet`` through the event loop, one piece at a time."""

    def __init__(self, response: web.StreamResponse, loop: asyncio.AbstractEventLoop) -> None:
        self._response = response
        self._loop = loop
        self.gone = threading.Event()

    def write(self, data: Bytes) -> None:
        if self.gone.is_set():
            raise ConnectionResetError("the client is gone")
        asyncio.run_coroutine_threadsafe(self._response.write(bytes(data)), self._loop).result()

    def file(self, descriptor: int, size: int) -> None:
        while size:
            data = os.read(descriptor, min(size, STEP)) or bytes(min(size, STEP))
            self.write(data)
            size -= len(data)
