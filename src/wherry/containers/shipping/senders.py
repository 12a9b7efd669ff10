"""Connections to servers of logs. All raise ``OSError`` when a server is away or refuses."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import secrets
import socket
import ssl
import struct
import termios
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from wherry.containers.joiner import Pieces
from wherry.containers.shipping import formats
from wherry.containers.shipping.options import JOURNAL, Address, Fluentd, Gelf, Syslog, Target
from wherry.containers.shipping.origin import Origin
from wherry.runtime.logline import Entry

_CONNECT = 10.0
_ACK = 60.0
"""Seconds that a fluentd server may take to confirm a batch."""
LOCAL_SYSLOG = ("/dev/log", "/var/run/syslog", "/var/run/log")


class Sender(Protocol):
    async def send(self, entries: Sequence[Entry]) -> None:
        """Hand lines over; waits while the server does not take them."""

    def settled(self) -> bool:
        """Whether the other side has taken everything, as far as anybody can know. Raises
        ``OSError`` where it has not and never will."""

    def alive(self) -> bool:
        """False when the server has closed the connection."""

    async def close(self) -> None: ...


async def open_sender(target: Target, origin: Origin, *, journal: str = JOURNAL) -> Sender:
    """Connect. Raises ``OSError``; ``journal`` is journald's socket."""
    if isinstance(target, Syslog):
        return await _syslog(target, origin)
    if isinstance(target, Gelf):
        return await _gelf(target, origin)
    if isinstance(target, Fluentd):
        reader, writer = await _stream(target.address)
        return FluentdSender(reader, writer, origin, target)
    connected = _local(socket.SOCK_DGRAM, journal)
    pieces = Pieces()
    return DatagramSender(
        connected, lambda entry: [formats.journald(entry, origin, pieces.of(entry))]
    )


async def _syslog(target: Syslog, origin: Origin) -> Sender:
    pid = os.getpid()

    def message(entry: Entry) -> bytes:
        return formats.syslog(entry, origin, target, pid)

    address = target.address
    if address is not None and address.scheme == "udp":
        return DatagramSender(await _datagrams(address), lambda entry: [message(entry)])
    if address is not None and address.scheme in ("tcp", "tcp+tls"):
        reader, writer = await _stream(address, target)
        return StreamSender(reader, writer, lambda lines: b"".join(map(message, lines)))
    return await _local_syslog(address, message)


async def _local_syslog(address: Address | None, message: Callable[[Entry], bytes]) -> Sender:
    """A socket of this host: datagrams or a stream, whichever it is."""
    paths = LOCAL_SYSLOG if address is None else (address.path,)
    first = socket.SOCK_STREAM if address and address.scheme == "unix" else socket.SOCK_DGRAM
    other = socket.SOCK_DGRAM if first == socket.SOCK_STREAM else socket.SOCK_STREAM
    failure: OSError = FileNotFoundError(errno.ENOENT, "no syslog on this host: none of", *paths)
    for path in paths:
        for kind in (first, other):
            try:
                connected = _local(kind, path)
            except OSError as error:
                failure = error if error.errno != errno.ENOENT or address else failure
                if error.errno != errno.EPROTOTYPE:
                    break
                continue
            if kind == socket.SOCK_DGRAM:
                return DatagramSender(connected, lambda entry: [message(entry)])
            reader, writer = await asyncio.open_unix_connection(sock=connected)
            return StreamSender(reader, writer, lambda lines: b"".join(map(message, lines)))
    raise failure


async def _gelf(target: Gelf, origin: Origin) -> Sender:
    if target.address.scheme == "udp":
        return DatagramSender(
            await _datagrams(target.address),
            lambda entry: formats.gelf_packets(formats.gelf(entry, origin), target),
        )
    reader, writer = await _stream(target.address)
    return StreamSender(
        reader,
        writer,
        lambda lines: formats.joined([formats.gelf(entry, origin) for entry in lines]),
    )


def _local(kind: socket.SocketKind, path: str) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX, kind)
    try:
        connected.connect(path)
        connected.setblocking(False)
    except BaseException:
        connected.close()
        raise
    return connected


async def _datagrams(address: Address) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await asyncio.wait_for(
        loop.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM), _CONNECT
    )
    family, kind, protocol, _, place = found[0]
    connected = socket.socket(family, kind, protocol)
    try:
        connected.setblocking(False)
        connected.connect(place)
    except BaseException:
        connected.close()
        raise
    return connected


async def _stream(
    address: Address, secure: Syslog | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.scheme == "unix":
        return await asyncio.wait_for(asyncio.open_unix_connection(address.path), _CONNECT)
    context = None
    if address.scheme == "tcp+tls" and secure is not None:
        context = await asyncio.to_thread(_context, secure)
    return await asyncio.wait_for(
        asyncio.open_connection(address.host, address.port, ssl=context), _CONNECT
    )


def _context(target: Syslog) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=target.ca or None)
    if not target.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if target.certificate:
        context.load_cert_chain(target.certificate, target.key)
    return context


class DatagramSender:
    """One packet or several a line. What the network drops nobody hears of; a host that refuses
    says so."""

    def __init__(
        self, connected: socket.socket, packets: Callable[[Entry], Sequence[bytes]]
    ) -> None:
        self._socket = connected
        self._packets = packets

    async def send(self, entries: Sequence[Entry]) -> None:
        loop = asyncio.get_running_loop()
        for entry in entries:
            for packet in self._packets(entry):
                if packet:
                    await self._one(loop, packet)
        refused = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if refused:
            raise OSError(refused, os.strerror(refused))

    async def _one(self, loop: asyncio.AbstractEventLoop, packet: bytes) -> None:
        try:
            await loop.sock_sendall(self._socket, packet)
        except OSError as error:
            # A line that no packet can hold would hold all others up for ever.
            if error.errno != errno.EMSGSIZE:
                raise

    def settled(self) -> bool:
        return True

    def alive(self) -> bool:
        return True

    async def close(self) -> None:
        self._socket.close()


class StreamSender:
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        encode: Callable[[Sequence[Entry]], bytes],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._encode = encode

    async def send(self, entries: Sequence[Entry]) -> None:
        await self._write(self._encode(entries))

    async def _write(self, data: bytes) -> None:
        if not self.alive():
            raise _closed()
        self._writer.write(data)
        await self._writer.drain()

    def alive(self) -> bool:
        """A server that has closed its side may still take bytes, and drop them."""
        return not (self._reader.at_eof() or self._writer.is_closing())

    def settled(self) -> bool:
        """Nothing waits here, and the peer's kernel has acknowledged the rest."""
        if self._writer.is_closing():
            raise _closed()
        if not self._writer.transport.get_write_buffer_size() and not self._unacknowledged():
            return True
        if not self.alive():
            raise _closed()
        return False

    def _unacknowledged(self) -> int:
        handle = self._writer.get_extra_info("socket")
        with suppress(OSError):
            waiting = fcntl.ioctl(handle.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
            return int(struct.unpack("i", waiting)[0])
        return 0

    async def close(self) -> None:
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()


def _closed() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "the server closed the connection")


class FluentdSender(StreamSender):
    """Batches; with ``fluentd-request-ack`` each is confirmed before the next."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        origin: Origin,
        target: Fluentd,
    ) -> None:
        pieces = self._pieces = Pieces()
        super().__init__(
            reader, writer, lambda lines: formats.fluentd(lines, origin, target, pieces)
        )
        self._origin = origin
        self._target = target

    async def send(self, entries: Sequence[Entry]) -> None:
        if not self._target.ack:
            await super().send(entries)
            return
        chunk = secrets.token_urlsafe(12)
        await self._write(formats.fluentd(entries, self._origin, self._target, self._pieces, chunk))
        answer, confirmed = b"", None
        while confirmed is None:
            more = await asyncio.wait_for(self._reader.read(4096), _ACK)
            if not more:
                raise ConnectionResetError(errno.ECONNRESET, "no answer from the server")
            answer += more
            confirmed = formats.fluentd_answer(answer)
        if confirmed != chunk:
            raise ConnectionResetError(errno.EPROTO, "the server confirmed another batch")
