"""Ports that the forwarder serves: IPv6 to IPv4, ``[::1]``, and all with ``firewall: host``."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import random
import socket
import threading
from functools import partial
from pathlib import Path

import pytest
from tests.support.networks import (
    FAR4,
    HOST4,
    HOST6,
    SETTINGS,
    Daemon,
    Echo,
    ask,
    eventually,
    inside,
    request,
    run,
    started,
)

from wherry.errors import NotImplementedYet
from wherry.linux import nft

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("far")]

GUARDED = dataclasses.replace(SETTINGS, host_firewall=True)
BOTH = {"7000/tcp": [("", "8080")], "7000/udp": [("", "8080")]}


class Mirror:
    """A TCP server in a container that sends everything back, then its end."""

    def __init__(self, fd: int, port: int) -> None:
        self.listener = inside(fd, lambda: socket.create_server(("0.0.0.0", port)))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._reflect, args=(connection,), daemon=True).start()

    def _reflect(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def dial(address: str, port: int) -> socket.socket:
    sock = socket.create_connection((address, port), timeout=30)
    sock.settimeout(30)
    return sock


def said(sock: socket.socket, text: bytes) -> bytes:
    """What a mirror answers."""
    sock.sendall(text)
    data = b""
    while len(data) < len(text):
        more = sock.recv(1 << 16)
        assert more, "the connection has ended"
        data += more
    return data


def exchange(address: str, port: int, data: bytes) -> bytes:
    """Send all, end, and read to the end."""
    with dial(address, port) as sock:

        def send() -> None:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        found = bytearray()
        while more := sock.recv(1 << 16):
            found += more
        sender.join()
        return bytes(found)


def pid_of(daemon: Daemon) -> int:
    process = daemon.service.publisher.forwarding.helper.process
    assert process is not None
    return process.pid


async def test_ipv6_clients_reach_a_container_that_has_none(tmp_path: Path, far: int) -> None:
    async with started(tmp_path, SETTINGS) as daemon:
        one = await run(daemon, request("one", ports=BOTH))
        echo = Echo(one.fd, 7000, "one")
        try:
            for udp in (False, True):
                assert inside(far, partial(ask, HOST6, 8080, udp=udp)) == "one 10.90.0.1"
                assert ask("::1", 8080, udp=udp) == "one 10.90.0.1"
            assert inside(far, lambda: ask(HOST4, 8080)) == f"one {FAR4}"
        finally:
            echo.close()
            one.end()
        await daemon.service.detach(one.id)
        assert inside(far, lambda: ask(HOST6, 8080)) == ""
        with socket.create_server(("::", 8080), family=socket.AF_INET6):
            pass


async def test_without_the_proxy_there_is_no_forwarder(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, userland_proxy=False)
    async with started(tmp_path, settings) as daemon:
        one = await run(daemon, request("one", ports=BOTH))
        one.end()
        assert one.attachment.settings["Ports"]["7000/tcp"] == [
            {"HostIp": "0.0.0.0", "HostPort": "8080"}
        ]
        assert daemon.service.publisher.forwarding.helper.process is None


async def test_much_data_both_ways_and_many_at_once(tmp_path: Path, far: int) -> None:
    async with started(tmp_path, GUARDED) as daemon:
        one = await run(daemon, request("one", ports={"7000/tcp": [("", "8080")]}))
        mirror = Mirror(one.fd, 7000)
        data = random.Random(1).randbytes(3_000_000)
        try:
            assert inside(far, lambda: exchange(HOST4, 8080, data)) == data
            found: list[bytes] = []

            def one_of_many() -> None:
                found.append(inside(far, lambda: exchange(HOST4, 8080, data[:100_000])))

            threads = [threading.Thread(target=one_of_many) for _ in range(20)]
            for each in threads:
                each.start()
            for each in threads:
                await asyncio.to_thread(each.join)
            assert found == [data[:100_000]] * 20
        finally:
            mirror.close()
            one.end()


async def test_input_rules_decide_with_the_hosts_firewall(tmp_path: Path, far: int) -> None:
    async with started(tmp_path, GUARDED) as daemon:
        one = await run(daemon, request("one", ports=BOTH))
        two = await run(daemon, request("two"))
        echo = Echo(one.fd, 7000, "one")

        def from_far(address: str, *, udp: bool = False, timeout: float = 10.0) -> str:
            return inside(far, lambda: ask(address, 8080, udp=udp, timeout=timeout))

        try:
            for udp in (False, True):
                assert from_far(HOST4, udp=udp) == "one 10.90.0.1"
                assert from_far(HOST6, udp=udp) == "one 10.90.0.1"
                assert two.inside(partial(ask, "10.90.0.1", 8080, udp=udp)) != ""
            # As ``ufw deny 8080`` would have it.
            nft.run(
                "table inet guard {\n chain input {\n type filter hook input priority 0;\n"
                ' iifname "uplink" th dport 8080 drop\n }\n}\n'
            )
            for udp in (False, True):
                assert from_far(HOST4, udp=udp, timeout=0.5) == ""
                assert from_far(HOST6, udp=udp, timeout=0.5) == ""
                assert ask("127.0.0.1", 8080, udp=udp).startswith("one ")
            nft.run("delete table inet guard")
            assert from_far(HOST4) == "one 10.90.0.1"
            await daemon.service.change_ports(request("one", ports={"7000/tcp": [("", "8081")]}))
            assert from_far(HOST4) == ""
            assert inside(far, lambda: ask(HOST4, 8081)) == "one 10.90.0.1"
        finally:
            echo.close()
            one.end()
            two.end()


async def test_a_thousand_ports_are_one_process(tmp_path: Path, far: int) -> None:
    async with started(tmp_path, GUARDED) as daemon:
        wanted = request("one", ports={"8000-8999/tcp": [("", "8000-8999")]})
        before = len(os.listdir("/proc/self/fd"))
        one = await run(daemon, wanted)
        first, last = Echo(one.fd, 8000, "first"), Echo(one.fd, 8999, "last")
        try:
            assert inside(far, lambda: ask(HOST4, 8000)) == "first 10.90.0.1"
            assert inside(far, lambda: ask(HOST6, 8999)) == "last 10.90.0.1"
            status = Path(f"/proc/{pid_of(daemon)}/status").read_text()
            resident = next(each for each in status.splitlines() if each.startswith("VmRSS"))
            assert int(resident.split()[1]) < 40_000
            assert len(os.listdir("/proc/self/fd")) < before + 100
        finally:
            first.close()
            last.close()
            one.end()


async def test_it_goes_on_without_the_daemon_and_is_restarted_when_killed(
    tmp_path: Path, far: int
) -> None:
    first = await Daemon(tmp_path, GUARDED).start()
    one = await run(first, request("one", ports=BOTH))
    mirror = Mirror(one.fd, 7000)
    forwarder = first.service.publisher.forwarding.helper.process
    assert forwarder is not None
    talk = inside(far, lambda: dial(HOST4, 8080))
    try:
        assert said(talk, b"before") == b"before"
        first.abandon()
        assert said(talk, b"without") == b"without"
        with inside(far, lambda: dial(HOST4, 8080)) as other:
            assert said(other, b"new") == b"new"
        async with started(tmp_path, GUARDED, one=one) as second:
            assert said(talk, b"after") == b"after"
            assert second.service.publisher.forwarding.helper.process is None
            assert forwarder.poll() is None
            forwarder.kill()
            forwarder.wait()
            helper = second.service.publisher.forwarding.helper
            await eventually(lambda: helper.process is not None)

            def works() -> bool:
                try:
                    with inside(far, lambda: dial(HOST4, 8080)) as sock:
                        return said(sock, b"again") == b"again"
                except (OSError, AssertionError):
                    return False

            await eventually(works)
            # Now the daemon holds the listening socket: who comes meanwhile waits.
            again = helper.process
            assert again is not None
            again.kill()
            await asyncio.to_thread(again.wait)
            with inside(far, lambda: dial(HOST4, 8080)) as waiting:
                answer = await asyncio.to_thread(said, waiting, b"patience")
                assert answer == b"patience"
    finally:
        talk.close()
        mirror.close()
        one.end()
        forwarder.wait()


async def test_another_version_takes_over_and_old_connections_last(
    tmp_path: Path, far: int
) -> None:
    first = await Daemon(tmp_path, GUARDED).start()
    one = await run(first, request("one", ports=BOTH))
    mirror = Mirror(one.fd, 7000)
    old = first.service.publisher.forwarding.helper.process
    assert old is not None
    talk = inside(far, lambda: dial(HOST4, 8080))
    try:
        assert said(talk, b"before") == b"before"
        first.abandon()
        second = Daemon(tmp_path, GUARDED)
        second.service.publisher.forwarding.helper.version = "another"
        await second.start({one.id: one.pid})
        try:
            assert pid_of(second) != old.pid
            assert said(talk, b"still") == b"still"
            with inside(far, lambda: dial(HOST4, 8080)) as other:
                assert said(other, b"new") == b"new"
            talk.close()
            await asyncio.to_thread(old.wait, 60)
        finally:
            await second.dismantle()
    finally:
        talk.close()
        mirror.close()
        one.end()


async def test_connections_end_with_their_container(tmp_path: Path, far: int) -> None:
    async with started(tmp_path, GUARDED) as daemon:
        one = await run(daemon, request("one", ports={"7000/tcp": [("", "8080")]}))
        mirror = Mirror(one.fd, 7000)
        with inside(far, lambda: dial(HOST4, 8080)) as talk:
            assert said(talk, b"hello") == b"hello"
            one.end()
            await daemon.service.detach(one.id)
            with pytest.raises(ConnectionResetError):
                await asyncio.to_thread(talk.recv, 10)
        mirror.close()
        with socket.create_server(("0.0.0.0", 8080)):
            pass


async def test_sctp_where_the_kernel_can(tmp_path: Path, far: int) -> None:
    wanted = request("one", ports={"7000/sctp": [("", "8080")]})
    async with started(tmp_path, GUARDED) as daemon:
        try:
            socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).close()
        except OSError:
            with pytest.raises(NotImplementedYet, match="port 8080/sctp cannot be published"):
                await daemon.service.attach(wanted)
            return
        one = await run(daemon, wanted)

        def listen() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)
            sock.bind(("0.0.0.0", 7000))
            sock.listen()
            return sock

        def dial_sctp() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)
            sock.settimeout(30)
            sock.connect((HOST4, 8080))
            return sock

        with inside(one.fd, listen) as server, inside(far, dial_sctp) as client:
            client.send(b"question")
            accepted, _ = await asyncio.to_thread(server.accept)
            with accepted:
                assert accepted.recv(100) == b"question"
                accepted.send(b"answer")
                assert client.recv(100) == b"answer"
        one.end()


async def test_sctp_needs_no_forwarder_in_the_other_mode(tmp_path: Path) -> None:
    async with started(tmp_path, SETTINGS) as daemon:
        one = await run(daemon, request("one", ports={"7000/sctp": [("", "8080")]}))
        one.end()
        rows = one.attachment.settings["Ports"]["7000/sctp"]
        assert {"HostIp": "0.0.0.0", "HostPort": "8080"} in rows
        assert ". sctp . 8080" in nft.run(f"list table inet {daemon.networks.firewall.table}") or (
            "132 . 8080" in nft.run(f"list table inet {daemon.networks.firewall.table}")
        )


async def test_published_ports_need_no_forwarding_by_the_host(tmp_path: Path, far: int) -> None:
    """With the host's firewall, one that drops all forwarded packets is in nobody's way."""
    nft.run(
        "table inet guard {\n chain forward {\n type filter hook forward priority 0;"
        " policy drop;\n }\n}\n"
    )
    settings = dataclasses.replace(GUARDED, iptables=False, ip6tables=False)
    async with started(tmp_path, settings) as daemon:
        one = await run(daemon, request("one", ports=BOTH))
        echo = Echo(one.fd, 7000, "one")
        try:
            for address in (HOST4, HOST6):
                for udp in (False, True):
                    wanted = partial(ask, address, 8080, udp=udp, timeout=10)
                    assert inside(far, wanted) == "one 10.90.0.1"
        finally:
            echo.close()
            one.end()


async def test_a_running_container_follows_a_change_of_the_mode(tmp_path: Path, far: int) -> None:
    """One port that cannot be served (this one is somebody else's by then) stops no other."""
    first = await Daemon(tmp_path, SETTINGS).start()
    many = {"7000/tcp": [("", "8080"), ("", "8081")], "7000/sctp": [("", "8080")]}
    one = await run(first, request("one", ports=many))
    echo = Echo(one.fd, 7000, "one")
    first.abandon()
    try:
        assert inside(far, lambda: ask(HOST4, 8080)) == f"one {FAR4}"
        with socket.create_server(("0.0.0.0", 8081)):
            async with started(tmp_path, GUARDED, one=one):
                assert inside(far, lambda: ask(HOST4, 8080)) == "one 10.90.0.1"
                assert inside(far, lambda: ask(HOST6, 8080)) == "one 10.90.0.1"
    finally:
        echo.close()
        one.end()
