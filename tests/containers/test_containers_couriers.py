"""Couriers against real servers on the loopback interface."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.certificates import certificates

from wherry.containers.shipping.courier import Courier, Errand, load_place
from wherry.containers.shipping.options import Target, target
from wherry.containers.shipping.origin import Origin
from wherry.linux.tasks import spawn

LIMIT = 60.0
ORIGIN = Origin(
    id="0123456789ab" * 5 + "cdef",
    name="web",
    image_id="sha256:1",
    image_name="shop",
    command=["run"],
    created="2026-01-01T00:00:00Z",
    hostname="host1",
    tag="t",
)


def line(number: int, flag: str = "F", text: str = "") -> bytes:
    return f"2026-01-01T00:00:00.{number:09}+00:00 stdout {flag} {text or number}\n".encode()


class Sent:
    """What a server got, and waiting for it."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self._changed = asyncio.Event()

    def add(self, message: bytes) -> None:
        self.messages.append(message)
        self._changed.set()

    async def until(self, true: Callable[[list[bytes]], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not true(self.messages):
                self._changed.clear()
                await self._changed.wait()

    async def numbers(self, last: int) -> list[int]:
        """The numbers at the ends of the messages, once the last is there."""
        await self.until(lambda found: any(_number(each) == last for each in found))
        return [_number(each) for each in self.messages]


def _number(message: bytes) -> int:
    return int(message.split()[-1])


class Work:
    """One container's log and its courier."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.cursor = folder / "sent"
        self.log.write_bytes(b"")
        self.written = 0
        self.running = True

    def write(self, count: int) -> None:
        with self.log.open("ab") as file:
            file.write(b"".join(line(self.written + n) for n in range(count)))
        self.written += count

    def courier(
        self, driver: str, options: dict[str, str], *, backlog: int = 0, journal: str = ""
    ) -> Courier:
        wanted: Target = target(driver, options)
        errand = Errand(driver, wanted, ORIGIN, self.log, self.cursor, backlog)
        return Courier(errand, lambda: self.running, journal)

    def sent_bytes(self) -> int:
        place = load_place(self.cursor)
        return place.offset if place is not None else 0

    async def finish(self, courier: Courier, task: asyncio.Task[None]) -> None:
        """The container ends: its courier sends what is left and ends too."""
        self.running = False
        courier.wake.set()
        async with asyncio.timeout(LIMIT):
            await task


async def until(true: Callable[[], bool]) -> None:
    for _ in range(int(LIMIT * 100)):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


@asynccontextmanager
async def running(courier: Courier) -> AsyncIterator[asyncio.Task[None]]:
    task = spawn(courier.run(), name="courier")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, sent: Sent) -> None:
        self.sent = sent

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.sent.add(data)


class Lines:
    """A server of a stream; ``end`` ends each message. ``drop`` closes all connections."""

    def __init__(self, sent: Sent, end: bytes = b"\n") -> None:
        self.sent = sent
        self.end = end
        self.writers: set[asyncio.StreamWriter] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.sent.add((await reader.readuntil(self.end)).removesuffix(self.end))
        self.writers.discard(writer)
        writer.close()

    def drop(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


async def test_syslog_over_udp(work: Work) -> None:
    sent = Sent()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Datagrams(sent), local_addr=("127.0.0.1", 0)
    )
    port = transport.get_extra_info("sockname")[1]
    work.write(20)
    courier = work.courier("syslog", {"syslog-address": f"udp://127.0.0.1:{port}"})
    async with running(courier) as task:
        assert await sent.numbers(19) == list(range(20))
        assert sent.messages[0].startswith(b"<30>Jan ")
        work.write(5)
        await work.finish(courier, task)
        assert await sent.numbers(24) == list(range(25))
    transport.close()


@pytest.mark.parametrize("kind", ["tcp", "unix", "unixgram", "unix-datagram"])
async def test_syslog_over_a_local_stream(work: Work, tmp_path: Path, kind: str) -> None:
    sent = Sent()
    server: Any
    if kind == "tcp":
        server = await asyncio.start_server(Lines(sent), "127.0.0.1", 0)
        address = f"tcp://127.0.0.1:{port_of(server)}"
    elif kind == "unix":
        server = await asyncio.start_unix_server(Lines(sent), tmp_path / "s")
        address = f"unix://{tmp_path}/s"
    else:
        # ``unix://`` also reaches a socket of datagrams, as /dev/log usually is one.
        server, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Datagrams(sent), local_addr=str(tmp_path / "s"), family=socket.AF_UNIX
        )
        address = f"{'unix' if kind == 'unix-datagram' else 'unixgram'}://{tmp_path}/s"
    options = {"syslog-address": address, "syslog-format": "rfc5424micro"}
    courier = work.courier("syslog", options)
    work.write(2000)
    async with running(courier) as task:
        await work.finish(courier, task)
        assert await sent.numbers(1999) == list(range(2000))
        assert sent.messages[0].startswith(b"<30>1 2026-01-01T")
    server.close()


async def test_syslog_over_tls(work: Work, tmp_path: Path) -> None:
    certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.pem")
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    sent = Sent()
    server = await asyncio.start_server(Lines(sent), "127.0.0.1", 0, ssl=context)
    options = {
        "syslog-address": f"tcp+tls://127.0.0.1:{port_of(server)}",
        "syslog-tls-ca-cert": f"{tmp_path}/ca.pem",
        "syslog-tls-cert": f"{tmp_path}/client.pem",
        "syslog-tls-key": f"{tmp_path}/client.key",
    }
    work.write(10)
    courier = work.courier("syslog", options)
    async with running(courier) as task:
        await work.finish(courier, task)
        assert await sent.numbers(9) == list(range(10))
    work.running = True
    work.write(1)
    stranger = work.courier("syslog", {**options, "syslog-tls-ca-cert": f"{tmp_path}/otherca.pem"})
    async with running(stranger):
        await until(lambda: stranger.away)
    server.close()


async def test_gelf_over_udp_and_tcp(work: Work) -> None:
    sent = Sent()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Datagrams(sent), local_addr=("127.0.0.1", 0)
    )
    address = f"udp://127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    options = {"gelf-address": address, "gelf-compression-type": "zlib"}
    work.write(3)
    courier = work.courier("gelf", options)
    async with running(courier):
        await sent.until(lambda found: len(found) == 3)
    texts = [json.loads(zlib.decompress(each))["short_message"] for each in sent.messages]
    assert texts == ["0", "1", "2"]
    transport.close()

    over_tcp = Sent()
    server = await asyncio.start_server(Lines(over_tcp, b"\0"), "127.0.0.1", 0)
    work.cursor.unlink()
    courier = work.courier("gelf", {"gelf-address": f"tcp://127.0.0.1:{port_of(server)}"})
    async with running(courier) as task:
        await work.finish(courier, task)
        await over_tcp.until(lambda found: len(found) == 3)
    assert [json.loads(each)["_container_name"] for each in over_tcp.messages] == ["web"] * 3
    server.close()


async def fluentd(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, got: Sent, answers: int
) -> None:
    """A forward server that confirms ``answers`` batches, and then ends without a word."""
    data = b""
    with suppress(ConnectionError):
        while block := await reader.read(65536):
            data += block
            try:
                _, events, option = msgspec.msgpack.decode(data)
            except msgspec.DecodeError:
                continue
            data = b""
            if "chunk" in option:
                if answers == 0:
                    break
                answers -= 1
                writer.write(msgspec.msgpack.encode({"ack": option["chunk"]}))
            for event in events:
                got.add(event[1]["log"].encode())
    writer.close()


async def test_fluentd_confirms_batches(work: Work) -> None:
    """A batch without an answer is sent again to the next connection."""
    got = Sent()
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await fluentd(reader, writer, got, answers=0 if connections == 1 else 1000)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    options = {
        "fluentd-address": f"127.0.0.1:{port_of(server)}",
        "fluentd-request-ack": "true",
    }
    work.write(3000)
    courier = work.courier("fluentd", options)
    async with running(courier) as task:
        await work.finish(courier, task)
    assert [_number(each) for each in got.messages] == list(range(3000))
    assert connections == 2
    server.close()


async def test_journald(work: Work, tmp_path: Path) -> None:
    sent = Sent()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Datagrams(sent), local_addr=str(tmp_path / "journal"), family=socket.AF_UNIX
    )
    work.write(2)
    courier = work.courier("journald", {}, journal=str(tmp_path / "journal"))
    async with running(courier) as task:
        await work.finish(courier, task)
        await sent.until(lambda found: len(found) == 2)
    assert b"\nCONTAINER_NAME=web\n" in sent.messages[0]
    assert sent.messages[1].endswith(b"MESSAGE=1\n")
    transport.close()


async def test_a_server_that_is_away_gets_everything_when_it_comes(work: Work) -> None:
    reserved = socket.socket()
    reserved.bind(("127.0.0.1", 0))
    port = reserved.getsockname()[1]
    sent = Sent()
    courier = work.courier("syslog", {"syslog-address": f"tcp://127.0.0.1:{port}"})
    work.write(100)
    async with running(courier):
        await until(lambda: courier.away)
        work.write(100)
        reserved.listen()
        server = await asyncio.start_server(Lines(sent), sock=reserved)
        assert await sent.numbers(199) == list(range(200))
        assert not courier.away
    server.close()


async def test_a_connection_that_breaks_loses_nothing(work: Work) -> None:
    sent = Sent()
    lines = Lines(sent)
    server = await asyncio.start_server(lines, "127.0.0.1", 0)
    courier = work.courier("syslog", {"syslog-address": f"tcp://127.0.0.1:{port_of(server)}"})
    async with running(courier) as task:
        for turn in range(1, 5):
            work.write(50)
            await sent.numbers(turn * 50 - 1)
            lines.drop()
        work.write(50)
        await work.finish(courier, task)
        numbers = await sent.numbers(249)
    assert sorted(set(numbers)) == list(range(250))
    server.close()


async def test_a_connection_is_made_when_there_is_something_to_send(work: Work) -> None:
    """A server that closes idle connections is left alone, and a daemon's start is quiet."""
    sent = Sent()
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            sent.add(await reader.readline())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    options = {"syslog-address": f"tcp://127.0.0.1:{port_of(server)}"}
    courier = work.courier("syslog", options)
    async with running(courier) as task:
        for number in range(3):
            work.write(1)
            await sent.numbers(number)
            await until(lambda: work.sent_bytes() == work.log.stat().st_size)
        await work.finish(courier, task)
    assert {_number(each) for each in sent.messages} == {0, 1, 2}
    before = connections
    again = work.courier("syslog", options)
    async with running(again) as task:
        await work.finish(again, task)
    assert connections == before
    server.close()


async def test_the_place_is_kept_through_a_kill_and_a_rotation(work: Work) -> None:
    sent = Sent()
    server = await asyncio.start_server(Lines(sent), "127.0.0.1", 0)
    options = {"syslog-address": f"tcp://127.0.0.1:{port_of(server)}"}
    work.write(10)
    async with running(work.courier("syslog", options)):
        await sent.until(lambda found: len(found) == 10)
        await until(lambda: work.sent_bytes() == work.log.stat().st_size)
    work.write(5)
    work.log.rename(work.log.with_name("log.1"))
    work.log.write_bytes(b"")
    work.write(5)
    again = work.courier("syslog", options)
    async with running(again) as task:
        await work.finish(again, task)
        assert await sent.numbers(19) == list(range(20))
    server.close()


async def test_a_small_buffer_keeps_what_is_new(work: Work) -> None:
    sent = Sent()
    server = await asyncio.start_server(Lines(sent), "127.0.0.1", 0)
    options = {"syslog-address": f"tcp://127.0.0.1:{port_of(server)}"}
    work.write(5000)
    courier = work.courier("syslog", options, backlog=1000)
    async with running(courier) as task:
        await work.finish(courier, task)
        numbers = await sent.numbers(4999)
    assert numbers == list(range(5000 - len(numbers), 5000))
    assert 150 < len(numbers) < 250
    server.close()


async def test_pieces_of_a_line_go_as_one(work: Work) -> None:
    sent = Sent()
    server = await asyncio.start_server(Lines(sent), "127.0.0.1", 0)
    work.log.write_bytes(line(1, "P", "one ") + line(2, "P", "two ") + line(3, "F", "3"))
    with work.log.open("ab") as file:
        file.write(line(4, "P", "open 4"))
    courier = work.courier("syslog", {"syslog-address": f"tcp://127.0.0.1:{port_of(server)}"})
    async with running(courier) as task:
        await work.finish(courier, task)
        await sent.until(lambda found: len(found) == 2)
    assert [each.partition(b": ")[2] for each in sent.messages] == [b"one two 3", b"open 4"]
    server.close()
