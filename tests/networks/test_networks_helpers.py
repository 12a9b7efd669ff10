"""The helper processes and the daemon's side of them, where something goes wrong in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from dnslib import EDNS0, QTYPE, RR, A, DNSRecord

from wherry.errors import Unavailable
from wherry.networks import helper as helpers
from wherry.networks.forwarder import process as forwarder
from wherry.networks.helper import Helper
from wherry.networks.names import Names, View
from wherry.networks.resolver.process import Resolver
from wherry.networks.resolver.upstream import lifetime
from wherry.networks.sidecar import Loop


def datagrams() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(10)
    return sock


class Asked:
    """A resolver in this process with one container, whose turns the test takes."""

    def __init__(self, tmp_path: Path, servers: Sequence[str]) -> None:
        self.loop = Loop(str(tmp_path / "control"), "1")
        self.resolver = Resolver(self.loop, "/nowhere")
        udp, tcp = datagrams(), socket.socket()
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        self.client = datagrams()
        self.client.connect(udp.getsockname())
        message = {"do": "put", "id": "c", "networks": {}, "servers": list(servers)}
        self.resolver.obey(message, [udp.detach(), tcp.detach()])
        self.query = DNSRecord.question("far.example")

    def ask(self) -> None:
        self.client.send(bytes(self.query.pack()))

    def turn(self) -> int:
        """How many sockets had something."""
        ready = self.loop.selector.select(10)
        for key, events in ready:
            key.data(key.fileobj, events)
        return len(ready)


def answered(sock: socket.socket) -> None:
    """One query to ``sock`` gets its answer."""
    data, address = sock.recvfrom(4096)
    query = DNSRecord.parse(data)
    reply = query.reply()
    reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A("192.0.2.7"), ttl=60))
    sock.sendto(bytes(reply.pack()), address)


def test_two_servers_that_answer_at_the_same_time(tmp_path: Path) -> None:
    with datagrams() as first, datagrams() as second:
        servers = [f"127.0.0.1#{each.getsockname()[1]}" for each in (first, second)]
        made = Asked(tmp_path, servers)
        made.ask()
        made.turn()
        for pending in made.resolver._pending:
            pending.next = 0.0
        made.resolver.tick()
        answered(first)
        answered(second)
        assert made.turn() == 2
        reply = DNSRecord.parse(made.client.recv(4096))
        assert [str(each.rdata) for each in reply.rr] == ["192.0.2.7"]


def test_a_server_that_is_no_address_is_passed_over(tmp_path: Path) -> None:
    with datagrams() as good:
        made = Asked(tmp_path, ["127.0.0.1#x", f"127.0.0.1#{good.getsockname()[1]}"])
        made.ask()
        made.turn()
        answered(good)
        made.turn()
        assert DNSRecord.parse(made.client.recv(4096)).rr


def test_an_answer_with_nothing_but_options_is_kept_shortly() -> None:
    reply = DNSRecord.question("x.example").reply()
    reply.add_ar(EDNS0(udp_len=1232))
    assert lifetime(bytes(reply.pack())) == 3
    reply.header.ar, reply.header.a = 0, 1
    made = DNSRecord.question("x.example").reply()
    made.rr.append(EDNS0(udp_len=1232))
    made.set_header_qa()
    assert lifetime(bytes(made.pack())) == 3


class Idle:
    """A service that does nothing."""

    def obey(self, message: Mapping[str, Any], fds: list[int]) -> tuple[dict[str, Any], list[int]]:
        return {"heard": message["do"]}, []

    def wait(self) -> float:
        return 0.01

    def tick(self) -> None:
        raise ValueError("a defect")

    def busy(self) -> bool:
        return True


def test_a_helper_outlives_a_defect(tmp_path: Path) -> None:
    loop = Loop(str(tmp_path / "control"), "1")
    read, write = os.pipe()

    def broken(file: int, events: int) -> None:
        os.read(file, 1)
        raise KeyError("a defect")

    loop.selector.register(read, selectors.EVENT_READ, broken)
    thread = threading.Thread(target=loop.run, args=(Idle(),), daemon=True)
    thread.start()
    os.write(write, b"x")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(10)
        sock.connect(str(tmp_path / "control"))
        sock.send(json.dumps({"do": "anything"}).encode())
        assert json.loads(sock.recv(4096)) == {"heard": "anything"}
        sock.send(json.dumps({"do": "stop"}).encode())
        sock.recv(4096)
    thread.join(10)
    assert not thread.is_alive()
    os.close(read)
    os.close(write)


def test_the_spare_descriptor_is_closed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be a connection's by then."""
    spare = forwarder._Spare()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)

        def full(*_: object) -> int:
            raise OSError(24, "Too many open files")

        with monkeypatch.context() as patched:
            patched.setattr("wherry.networks.forwarder.process.os.open", full)
            spare.refuse(listening)
        other = os.dup(0)
        try:
            spare.refuse(listening)
            os.fstat(other)
        finally:
            os.close(other)


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Helper]:
    """The daemon's side of a helper that answers slowly, with what it was told."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(str(tmp_path / "control"))
    listening.listen()

    def carry(connection: socket.socket) -> None:
        with connection, contextlib.suppress(BrokenPipeError):
            while data := connection.recv(4096):
                threading.Event().wait(0.3)
                connection.send(json.dumps({"heard": json.loads(data)["do"]}).encode())

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=carry, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield Helper("test helper", "no.module", tmp_path / "control")
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


async def test_the_answer_to_a_cancelled_message_is_nobodys(answering: Helper) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await answering.send({"do": "first"})
    assert (await answering.send({"do": "second"}))["heard"] == "second"
    answering.close()


async def test_a_helper_that_does_not_start_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helpers, "_START", 0.2)
    (tmp_path / "dozing.py").write_text("import time\ndef main():\n    time.sleep(600)\n")
    made = Helper("test helper", "dozing", tmp_path / "control", (), lambda: [str(tmp_path)])
    started = []
    start = made._start_process

    def remember(ready: int) -> Any:
        started.append(start(ready))
        return started[-1]

    monkeypatch.setattr(made, "_start_process", remember)
    with pytest.raises(Unavailable):
        await made.send({"do": "anything"})
    assert started
    assert all(each.poll() is not None for each in started)


class Dying(Helper):
    """Without a process, which ends once, after ``left`` messages."""

    def __init__(self, names: Names) -> None:
        super().__init__("none", "none", Path("none"))
        self.names = names
        self.left = -1
        self.has: set[str] = set()
        self.whole = asyncio.Event()

    async def send(
        self, message: Mapping[str, Any], fds: Sequence[int] = (), *, start: bool = True
    ) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self.left == 0:
            self.has.clear()
            self.names._started(message["id"])
        self.left -= 1
        if fds:
            self.has.add(message["id"])
        if self.has == set("abc"):
            self.whole.set()
        return {}


async def test_a_resolver_that_dies_while_it_is_told_is_told_again(tmp_path: Path) -> None:
    names = Names(tmp_path / "control")

    async def sockets(container_id: str) -> list[socket.socket]:
        return [socket.socket()]

    names.reopened_by(sockets)
    helper = Dying(names)
    names.helper = helper
    for each in "abc":
        await names.put(each, View(networks={}), await sockets(each))
    helper.left = 2
    helper.has.clear()
    helper.whole.clear()
    names._ended()
    async with asyncio.timeout(10):
        await helper.whole.wait()
    names._restoring.closed = True
