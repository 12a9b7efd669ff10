"""UDP: a socket to the container for each client, for as long as something passes.

Answers leave from the address that the client had written to, which a socket bound to all
addresses has to be told (``IP_PKTINFO``, ip(7)).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import time
from collections import OrderedDict
from typing import Any

KEEP = 90.0
"""Seconds without a datagram after which a flow is forgotten, as with docker-proxy."""
_FLOWS = 4096
_IP_PKTINFO = 8
_TURNS = 64
_SIZE = 65535
_LINK_LOCAL = b"\xfe\x80"

Ancillary = list[tuple[int, int, bytes]]


class Flow:
    """One client's datagrams, at one of the host's addresses."""

    def __init__(self, server: socket.socket, client: Any, local: Ancillary) -> None:
        self.server = server
        self.client = client
        self.local = local
        self.last = time.monotonic()


class Datagrams:
    """The flows of one published port. ``sock`` is bound and not blocking."""

    def __init__(
        self, selector: selectors.BaseSelector, sock: socket.socket, target: tuple[str, int]
    ) -> None:
        self._selector = selector
        self.socket = sock
        self._target = target
        self._flows: OrderedDict[Any, Flow] = OrderedDict()
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        selector.register(sock, selectors.EVENT_READ, self._from_clients)

    def close(self) -> None:
        self._selector.unregister(self.socket)
        self.socket.close()
        self.forget(time.monotonic() + KEEP)

    def retarget(self, target: tuple[str, int]) -> None:
        """The container's address has changed: so do all flows."""
        if target != self._target:
            self._target = target
            self.forget(time.monotonic() + KEEP)

    def forget(self, now: float) -> None:
        """Drop the flows that nothing has passed through for a while."""
        while self._flows:
            key, flow = next(iter(self._flows.items()))
            if flow.last + KEEP > now:
                return
            self._drop(key)

    def _drop(self, key: Any) -> None:
        flow = self._flows.pop(key)
        self._selector.unregister(flow.server)
        flow.server.close()

    def _from_clients(self, sock: socket.socket, _: int) -> None:
        for _turn in range(_TURNS):
            try:
                data, ancillary, _flags, client = sock.recvmsg(_SIZE, 256)
            except BlockingIOError:
                return
            local = _answer_from(ancillary)
            key = (client, tuple(local))
            flow = self._flows.get(key) or self._open(key, client, local)
            flow.last = time.monotonic()
            self._flows.move_to_end(key)
            # One that nobody listens to answers with an error here, of the datagram before.
            with contextlib.suppress(OSError):
                flow.server.send(data)

    def _open(self, key: Any, client: Any, local: Ancillary) -> Flow:
        if len(self._flows) >= _FLOWS:
            self._drop(next(iter(self._flows)))
        family = socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET
        server = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        server.setblocking(False)
        flow = Flow(server, client, local)
        try:
            server.connect(self._target)
            self._selector.register(
                server, selectors.EVENT_READ, lambda *_: self._from_container(key, flow)
            )
        except BaseException:
            server.close()
            raise
        self._flows[key] = flow
        return flow

    def _from_container(self, key: Any, flow: Flow) -> None:
        for _ in range(_TURNS):
            try:
                data = flow.server.recv(_SIZE)
            except (BlockingIOError, ConnectionRefusedError):
                return
            flow.last = time.monotonic()
            self._flows.move_to_end(key)
            with contextlib.suppress(OSError):
                self.socket.sendmsg([data], flow.local, 0, flow.client)


def _answer_from(ancillary: list[tuple[int, int, bytes]]) -> Ancillary:
    """From what the kernel told of a datagram to what it must be told for the answer."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            address, index = data[:16], struct.unpack_from("=i", data, 16)[0]
            index = index if address[:2] == _LINK_LOCAL else 0
            return [(level, kind, address + struct.pack("=i", index))]
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            # in_pktinfo: interface, the local address, the datagram's destination.
            return [(level, kind, struct.pack("=i", 0) + data[4:8] + b"\0" * 4)]
    return []
