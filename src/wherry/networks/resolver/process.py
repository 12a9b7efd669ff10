"""The resolver: one thread over all containers' sockets.

Started by ``wherry.networks.names``; messages: ``put``, ``drop``, ``list``. UDP is served in the
loop;
a TCP connection, which is rare, gets a thread of its own. Other servers are asked from the host's
network namespace, so that a resolver on the host's loopback can be one of them.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import threading
import time
from typing import Any

from dnslib import DNSRecord

from wherry.networks.resolver.upstream import Cache, HostServers, Order
from wherry.networks.resolver.zone import Client, Zone, failure
from wherry.networks.sidecar import Loop, start

_IN_FLIGHT = 1024
_NEXT = 1.0
"""Seconds after which the next server is asked too."""
_GIVE_UP = 8.0
_THREADS = 64


class Pending:
    """A query that others have been asked about."""

    def __init__(self, entry: Entry, data: bytes, address: Any, servers: list[str]) -> None:
        self.entry = entry
        self.data = data
        self.address = address
        self.servers = servers
        self.key = tuple(servers)
        self.left = list(servers)
        self.sockets: list[tuple[socket.socket, str]] = []
        self.next = 0.0
        self.end = time.monotonic() + _GIVE_UP


class Entry:
    """A container's sockets and the answers given to it since the last change of names."""

    def __init__(self, container_id: str, udp: socket.socket, tcp: socket.socket) -> None:
        self.container_id = container_id
        self.udp = udp
        self.tcp = tcp
        self.version = -1
        self.answers: dict[bytes, bytes] = {}

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


class Resolver:
    """Implements ``sidecar.Service``."""

    def __init__(self, loop: Loop, resolv_conf: str) -> None:
        self._zone = Zone()
        self._entries: dict[str, Entry] = {}
        self._selector = loop.selector
        self._host = HostServers(resolv_conf)
        self._order = Order()
        self._cache = Cache()
        self._pending: set[Pending] = set()
        self._threads = threading.BoundedSemaphore(_THREADS)
        self._lock = threading.Lock()

    def busy(self) -> bool:
        return bool(self._entries)

    def wait(self) -> float:
        now = time.monotonic()
        if not self._pending:
            return 10.0
        return max(0.0, min(min(each.next, each.end) for each in self._pending) - now)

    def tick(self) -> None:
        now = time.monotonic()
        for each in list(self._pending):
            if each.end <= now:
                self._finish(each, None)
            elif each.next <= now:
                for _, server in each.sockets:
                    self._order.failed(server)
                self._ask(each)

    # The daemon

    def obey(self, message: dict[str, Any], fds: list[int]) -> tuple[dict[str, Any], list[int]]:
        verb = message["do"]
        if verb == "put":
            with self._lock:
                self._zone.put(message["id"], message)
            if len(fds) >= 2:
                self._listen(message["id"], fds)
        elif verb == "drop":
            with self._lock:
                self._zone.drop(message["id"])
            self._silence(message["id"])
        elif verb == "list":
            return {"ids": list(self._entries)}, []
        else:
            raise ValueError(f"unknown message {verb}")
        return {}, []

    def _listen(self, container_id: str, fds: list[int]) -> None:
        self._silence(container_id)
        udp, tcp = (socket.socket(fileno=each) for each in fds[:2])
        for extra in fds[2:]:
            os.close(extra)
        for each in (udp, tcp):
            each.setblocking(False)
        entry = Entry(container_id, udp, tcp)
        self._entries[container_id] = entry
        self._selector.register(udp, selectors.EVENT_READ, lambda *_: self._datagrams(entry))
        self._selector.register(tcp, selectors.EVENT_READ, lambda *_: self._connection(entry))

    def _silence(self, container_id: str) -> None:
        entry = self._entries.pop(container_id, None)
        if entry is None:
            return
        for each in (entry.udp, entry.tcp):
            self._selector.unregister(each)
        for waiting in [each for each in self._pending if each.entry is entry]:
            self._close(waiting)
        entry.close()

    # Containers

    def _datagrams(self, entry: Entry) -> None:
        for _ in range(64):
            try:
                data, address = entry.udp.recvfrom(4096)
            except BlockingIOError:
                return
            if entry.version != self._zone.version:
                entry.version = self._zone.version
                entry.answers.clear()
            known = entry.answers.get(data[2:])
            if known is not None:
                entry.udp.sendto(data[:2] + known, address)
                continue
            self._query(entry, data, address)

    def _query(self, entry: Entry, data: bytes, address: Any) -> None:
        reply, servers = self._decide(entry, data)
        if reply is not None:
            if len(entry.answers) < 1000:
                entry.answers[data[2:]] = reply[2:]
            self._send(entry, reply, address)
            return
        cached = self._cache.get(tuple(servers), data)
        if cached is not None:
            self._send(entry, cached, address)
            return
        if not servers:
            return
        pending = Pending(entry, data, address, servers)
        pending.left = self._order.sort(servers)
        self._pending.add(pending)
        if len(self._pending) > _IN_FLIGHT:
            self._finish(pending, None)
            return
        self._ask(pending)

    def _decide(self, entry: Entry, data: bytes) -> tuple[bytes | None, list[str]]:
        """Our own reply, or the servers to ask; neither for what is no query."""
        try:
            query = DNSRecord.parse(data)
        except Exception:
            return None, []
        if query.header.qr or not query.questions:
            return None, []
        with self._lock:
            client = self._zone.clients.get(entry.container_id)
            reply = self._zone.answer(client, query) if client else None
        if reply is not None:
            return bytes(reply.pack()), []
        servers = self._servers(client)
        if not servers:
            return bytes(failure(query).pack()), []
        return None, servers

    def _servers(self, client: Client | None) -> list[str]:
        if client is None or not client.forward:
            return []
        return client.servers[:3] or list(self._host.servers())

    def _send(self, entry: Entry, reply: bytes, address: Any) -> None:
        with contextlib.suppress(OSError):
            entry.udp.sendto(reply, address)

    # Other servers

    def _ask(self, pending: Pending) -> None:
        """Ask the next server; the earlier ones may still answer."""
        while pending.left:
            server = pending.left.pop(0)
            try:
                sock = _dial(server, socket.SOCK_DGRAM)
                sock.setblocking(False)
                sock.send(pending.data)
            except (OSError, ValueError):
                self._order.failed(server)
                continue
            pending.sockets.append((sock, server))
            pending.next = time.monotonic() + _NEXT
            self._selector.register(
                sock, selectors.EVENT_READ, lambda each, _: self._told(pending, each)
            )
            return
        pending.next = pending.end
        if not pending.sockets:
            self._finish(pending, None)

    def _told(self, pending: Pending, sock: socket.socket) -> None:
        server = next((name for each, name in pending.sockets if each is sock), None)
        if server is None:
            # Another server's answer, which came at the same time, has closed it.
            return
        try:
            reply = sock.recv(65535)
        except BlockingIOError:
            return
        except OSError:
            reply = b""
        good = _answers(pending.data, reply)
        if good and not _failed(reply):
            self._order.worked(server)
            self._cache.put(pending.key, pending.data, reply)
            self._finish(pending, reply)
            return
        if reply and not good:
            return
        self._order.failed(server)
        self._selector.unregister(sock)
        sock.close()
        pending.sockets = [each for each in pending.sockets if each[0] is not sock]
        if not pending.left and not pending.sockets:
            self._finish(pending, reply or None)
        else:
            self._ask(pending)

    def _finish(self, pending: Pending, reply: bytes | None) -> None:
        self._close(pending)
        if reply is None:
            with contextlib.suppress(Exception):
                reply = bytes(failure(DNSRecord.parse(pending.data)).pack())
        if reply is not None:
            self._send(pending.entry, reply, pending.address)

    def _close(self, pending: Pending) -> None:
        self._pending.discard(pending)
        for sock, _ in pending.sockets:
            self._selector.unregister(sock)
            sock.close()
        pending.sockets = []

    # TCP

    def _connection(self, entry: Entry) -> None:
        try:
            connection, _ = entry.tcp.accept()
        except BlockingIOError:
            return
        if not self._threads.acquire(blocking=False):
            connection.close()
            return
        threading.Thread(target=self._serve, args=(entry, connection), daemon=True).start()

    def _serve(self, entry: Entry, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(10)
                while (data := _read_message(connection)) is not None:
                    reply, servers = self._decide(entry, data)
                    if reply is None:
                        reply = self._fetch(data, servers)
                    if reply is None:
                        reply = bytes(failure(DNSRecord.parse(data)).pack())
                    connection.sendall(struct.pack(">H", len(reply)) + reply)
        except Exception:
            return
        finally:
            self._threads.release()

    def _fetch(self, data: bytes, servers: list[str]) -> bytes | None:
        """One server after the other; the last failure where none knows better."""
        failure: bytes | None = None
        for server in self._order.sort(servers):
            reply = _exchange(server, data)
            if reply is not None and _answers(data, reply) and not _failed(reply):
                self._order.worked(server)
                return reply
            self._order.failed(server)
            failure = reply or failure
        return failure


def _answers(query: bytes, reply: bytes) -> bool:
    return len(reply) >= 12 and reply[:2] == query[:2] and bool(reply[2] & 0x80)


def _failed(reply: bytes) -> bool:
    """SERVFAIL and REFUSED: another server may know."""
    return reply[3] & 0x0F in (2, 5)


def _dial(server: str, kind: int) -> socket.socket:
    """A connected socket to port 53 of ``server`` (``host#port`` for another port).

    Raises ``ValueError`` too, for what is no address.
    """
    host, _, port = server.partition("#")
    host, _, scope = host.partition("%")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        number = int(port or 53)
        if family == socket.AF_INET6:
            index = socket.if_nametoindex(scope) if scope else 0
            sock.settimeout(4)
            sock.connect((host, number, 0, index))
        else:
            sock.settimeout(4)
            sock.connect((host, number))
    except BaseException:
        sock.close()
        raise
    return sock


def _exchange(server: str, data: bytes) -> bytes | None:
    """Ask one server over TCP."""
    try:
        with _dial(server, socket.SOCK_STREAM) as sock:
            sock.sendall(struct.pack(">H", len(data)) + data)
            return _read_message(sock)
    except (OSError, ValueError):
        return None


def _read_message(sock: socket.socket) -> bytes | None:
    """One message with its length before it; None at the end."""
    head = _read(sock, 2)
    return _read(sock, struct.unpack(">H", head)[0]) if head else None


def _read(sock: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            return None
        data += more
    return data


def main() -> None:
    """Further argument: resolv.conf."""
    start(lambda loop, words: Resolver(loop, words[0]), 65536)


if __name__ == "__main__":
    main()
