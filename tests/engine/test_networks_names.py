"""The embedded resolver as containers meet it: other servers, both transports, fail-over."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from tests.support.networks import SETTINGS, Container, Daemon, end, lookup, request, run

from wherry.networks.names import Names
from wherry.wire.container import EndpointSettings
from wherry.wire.network import NetworkCreate

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("near")]

RESOLVER = "127.0.0.11"


class Server:
    """A name server of the host: every name has ``address``. ``way``: answers, ``silent``,
    ``failing``, or ``cut`` (over UDP only that there is more over TCP)."""

    def __init__(self, at: str, address: str, way: str = "answers") -> None:
        self.address, self.way = address, way
        self.asked: list[str] = []
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((at, 53))
        self._tcp = socket.create_server((at, 53))
        for work in (self._datagrams, self._streams):
            threading.Thread(target=work, daemon=True).start()

    def _reply(self, data: bytes, *, udp: bool) -> bytes | None:
        query = DNSRecord.parse(data)
        self.asked.append(str(query.q.qname).rstrip("."))
        if self.way == "silent":
            return None
        reply = query.reply()
        if self.way == "failing":
            reply.header.rcode = RCODE.SERVFAIL
        elif self.way == "cut" and udp:
            reply.header.tc = 1
        elif query.q.qtype == QTYPE.A:
            reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(self.address), ttl=60))
        packed: bytes = reply.pack()
        return packed

    def _datagrams(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = self._udp.recvfrom(4096)
                if not data:
                    return
                reply = self._reply(data, udp=True)
                if reply is not None:
                    self._udp.sendto(reply, peer)

    def _streams(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._tcp.accept()
                with connection:
                    size = struct.unpack(">H", connection.recv(2))[0]
                    reply = self._reply(connection.recv(size), udp=False)
                    if reply is not None:
                        connection.sendall(struct.pack(">H", len(reply)) + reply)

    def close(self) -> None:
        for sock in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@contextlib.contextmanager
def servers(*ways: tuple[str, str, str]) -> Iterator[list[Server]]:
    made = [Server(*each) for each in ways]
    try:
        yield made
    finally:
        for each in made:
            each.close()


async def asking(daemon: Daemon, *dns: str, network: str = "mine") -> Container:
    if daemon.service.book.named(network) is None:
        await daemon.management.create(NetworkCreate(name=network))
    return await run(daemon, request("asks", network, dns=list(dns)))


def ask(container: Container, name: str, kind: str = "A", *, tcp: bool = False) -> list[str]:
    return container.inside(partial(lookup, name, kind, tcp=tcp))


async def test_own_names_both_ways_over_both_transports(daemon: Daemon) -> None:
    await daemon.management.create(NetworkCreate(name="mine", enable_ipv6=True))
    settings = EndpointSettings(aliases=["other"])
    web = await run(daemon, request("web", "mine", endpoints={"mine": settings}))
    one = await asking(daemon, "127.0.0.1")
    shown = web.network("mine")
    try:
        for tcp in (False, True):
            for name in ("web", "WEB", "other", web.id[:12], "web.mine"):
                assert ask(one, name, tcp=tcp) == [shown["IPAddress"]]
                assert ask(one, name, "AAAA", tcp=tcp) == [shown["GlobalIPv6Address"]]
            back = ".".join(reversed(shown["IPAddress"].split("."))) + ".in-addr.arpa"
            assert ask(one, back, "PTR", tcp=tcp) == ["web.mine."]
    finally:
        web.end()
        one.end()


@pytest.mark.parametrize("tcp", [False, True])
async def test_other_names_come_from_the_hosts_loopback_too(daemon: Daemon, tcp: bool) -> None:
    with servers(("127.0.0.53", "198.51.100.7", "answers")) as (server,):
        one = await asking(daemon, "127.0.0.53")
        try:
            assert ask(one, "example.test", tcp=tcp) == ["198.51.100.7"]
            assert server.asked == ["example.test"]
        finally:
            one.end()


async def test_an_answer_is_kept_for_a_while(daemon: Daemon) -> None:
    with servers(("127.0.0.53", "198.51.100.7", "answers")) as (server,):
        one = await asking(daemon, "127.0.0.53")
        try:
            query = DNSRecord.question("example.test")
            for number in range(5):
                query.header.id = number
                reply = one.inside(lambda: DNSRecord.parse(query.send(RESOLVER, 53, timeout=10)))
                assert (reply.header.id, str(reply.a.rdata)) == (number, "198.51.100.7")
            assert server.asked == ["example.test"]
        finally:
            one.end()


@pytest.mark.parametrize("way", ["failing", "silent", "absent"])
@pytest.mark.parametrize("tcp", [False, True])
async def test_the_next_server_is_asked(daemon: Daemon, way: str, tcp: bool) -> None:
    good = ("127.0.0.54", "198.51.100.8", "answers")
    bad: Sequence[tuple[str, str, str]] = [("127.0.0.53", "", way)] if way != "absent" else []
    with servers(good, *bad):
        one = await asking(daemon, "127.0.0.53", "127.0.0.54")
        try:
            assert patiently(one, "first.test", tcp=tcp) == ["198.51.100.8"]
        finally:
            one.end()


def patiently(container: Container, name: str, *, tcp: bool) -> list[str]:
    query = DNSRecord.question(name)
    reply = container.inside(lambda: DNSRecord.parse(query.send(RESOLVER, 53, tcp=tcp, timeout=60)))
    return [str(each.rdata) for each in reply.rr]


async def test_a_long_answer_is_fetched_over_tcp(daemon: Daemon) -> None:
    with servers(("127.0.0.53", "198.51.100.7", "cut")):
        one = await asking(daemon, "127.0.0.53")
        try:
            query = DNSRecord.question("long.test")
            reply = one.inside(lambda: DNSRecord.parse(query.send(RESOLVER, 53, timeout=30)))
            assert reply.header.tc == 1
            assert patiently(one, "long.test", tcp=True) == ["198.51.100.7"]
        finally:
            one.end()


async def test_internal_networks_get_no_answers_from_outside(daemon: Daemon) -> None:
    await daemon.management.create(NetworkCreate(name="closed", internal=True))
    with servers(("127.0.0.53", "198.51.100.7", "answers")) as (server,):
        one = await asking(daemon, "127.0.0.53", network="closed")
        try:
            assert ask(one, "example.test") == []
            assert ask(one, "asks") == [one.network("closed")["IPAddress"]]
            assert server.asked == []
        finally:
            one.end()


async def test_without_servers_of_its_own_the_hosts_are_asked(tmp_path: Path) -> None:
    """As resolv.conf has them at that moment."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.53\n")
    daemon = Daemon(tmp_path, SETTINGS)
    names = Names(daemon.paths.resolver_socket, str(conf))
    names.reopened_by(daemon.networks._reopen)
    daemon.service.names = daemon.networks._names = names
    await daemon.start()
    try:
        with servers(("127.0.0.53", "198.51.100.7", "answers")):
            one = await asking(daemon)
            assert ask(one, "example.test") == ["198.51.100.7"]
            one.end()
    finally:
        await daemon.dismantle()


async def test_the_same_name_twice_is_every_address(daemon: Daemon) -> None:
    await daemon.management.create(NetworkCreate(name="mine"))
    wanted = [
        request(name, "mine", endpoints={"mine": EndpointSettings(aliases=["pool"])})
        for name in ("one", "two", "three")
    ]
    made = [await run(daemon, each) for each in wanted]
    try:
        addresses = {each.network("mine")["IPAddress"] for each in made}
        assert set(ask(made[0], "pool")) == addresses
        await daemon.service.detach(made[2].id)
        assert set(ask(made[0], "pool")) == addresses - {made[2].network("mine")["IPAddress"]}
    finally:
        end(*made)
