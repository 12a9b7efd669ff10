"""TCP and SCTP: a connection of a client and one to the container, each fed from the other.

Data is received into one buffer that all connections share and sent on at once; only what the
other side cannot take yet is kept, and then nothing more is read. SCTP messages stay whole, as
long as they fit the buffer.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import struct
from collections.abc import Callable

_SIZE = 1 << 18
_TURNS = 8
"""Buffers full that one connection may move before the others have their turn."""
_RESET = struct.pack("ii", 1, 0)
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))

_buffer = memoryview(bytearray(_SIZE))


class _Half:
    """One direction."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.kept = b""
        self.ended = False

    def move(self) -> None:
        """Until one side has to wait. ``OSError`` when a side is broken."""
        for _ in range(_TURNS):
            if self.kept and not self._send(memoryview(self.kept)):
                return
            if self.ended:
                return
            try:
                size = self.source.recv_into(_buffer)
            except BlockingIOError:
                return
            if not size:
                self.ended = True
                with contextlib.suppress(OSError):
                    self.target.shutdown(socket.SHUT_WR)
                return
            if not self._send(_buffer[:size]):
                return

    def _send(self, data: memoryview) -> bool:
        """Whether all of it went."""
        try:
            sent = self.target.send(data)
        except BlockingIOError:
            sent = 0
        self.kept = bytes(data[sent:]) if sent < len(data) else b""
        return not self.kept


class Stream:
    """A client's connection and its continuation; ``gone`` is called once, at its end."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        client: socket.socket,
        target: tuple[str, int],
        gone: Callable[[Stream], None],
    ) -> None:
        self._selector = selector
        self._gone = gone
        self.closed = False
        self._client = client
        self._client.setblocking(False)
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        self._server = socket.socket(family, client.type | socket.SOCK_CLOEXEC, client.proto)
        self._server.setblocking(False)
        if client.proto != 132:
            for sock in (self._client, self._server):
                _tune(sock)
        self._halves: tuple[_Half, _Half] | None = None
        self._watched: dict[socket.socket, int] = {}
        error = self._server.connect_ex(target)
        if error not in (0, errno.EINPROGRESS):
            self.close(reset=True)
            return
        self._watch(self._server, selectors.EVENT_WRITE)

    def close(self, *, reset: bool = False) -> None:
        """``reset``: the other sides learn that something went wrong."""
        if self.closed:
            return
        self.closed = True
        for sock in (self._client, self._server):
            self._watch(sock, 0)
            if reset:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()
        self._gone(self)

    def _ready(self, sock: socket.socket, _: int) -> None:
        if self.closed:
            return
        try:
            if self._halves is None:
                error = self._server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, "connect")
                self._halves = (
                    _Half(self._client, self._server),
                    _Half(self._server, self._client),
                )
            for half in self._halves:
                if half.source is sock or half.target is sock:
                    half.move()
        except OSError:
            self.close(reset=True)
            return
        if all(half.ended and not half.kept for half in self._halves):
            self.close()
            return
        for each in (self._client, self._server):
            self._watch(each, self._interest(each))

    def _interest(self, sock: socket.socket) -> int:
        wanted = 0
        for half in self._halves or ():
            if half.source is sock and not half.kept and not half.ended:
                wanted |= selectors.EVENT_READ
            if half.target is sock and half.kept:
                wanted |= selectors.EVENT_WRITE
        return wanted

    def _watch(self, sock: socket.socket, events: int) -> None:
        before = self._watched.get(sock, 0)
        if events == before:
            return
        if not events:
            self._selector.unregister(sock)
        elif before:
            self._selector.modify(sock, events, self._ready)
        else:
            self._selector.register(sock, events, self._ready)
        self._watched[sock] = events


def _tune(sock: socket.socket) -> None:
    """Small messages go at once; a peer that has vanished is noticed."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
