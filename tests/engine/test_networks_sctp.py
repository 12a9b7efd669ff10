"""Published SCTP ports: from a far host, the host itself, the container and its neighbours."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
from functools import partial
from pathlib import Path

import pytest
from tests.support.host import needs_sctp
from tests.support.networks import (
    FAR4,
    FAR6,
    HOST4,
    HOST6,
    SETTINGS,
    Container,
    Daemon,
    end,
    inside,
    request,
    run,
    started,
)

from wherry.networks.settings import NetworkSettings

SCTP = socket.IPPROTO_SCTP

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("far"),
    needs_sctp(),
]

WIDE = dataclasses.replace(SETTINGS, ipv6=True, fixed_cidr_v6="fd00:90::/64")
PORTS = {"7000/sctp": [("", "8080")], "7000/tcp": [("", "8080")]}


@pytest.fixture
def network_settings() -> NetworkSettings:
    return WIDE


class SctpEcho:
    """Answers every message with its name, whom it sees, and the message."""

    def __init__(self, fd: int, port: int, name: str, address: str) -> None:
        self.name = name

        def listen() -> socket.socket:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM, SCTP)
            sock.bind((address, port))
            sock.listen()
            # The kernel wakes nobody who waits in a listening socket that is closed.
            sock.settimeout(0.2)
            return sock

        self.sock = inside(fd, listen)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while not self.done.is_set():
            with contextlib.suppress(OSError):
                connection, peer = self.sock.accept()
                with connection:
                    connection.settimeout(20)
                    connection.send(f"{self.name} {peer[0]} ".encode() + connection.recv(100))

    def close(self) -> None:
        self.done.set()
        self.thread.join()
        self.sock.close()


def ask(address: str, port: int, timeout: float = 20.0) -> str:
    """What the server answers to a message; "" where nobody does."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, SCTP) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect((address, port))
            sock.send(b"hello")
            return sock.recv(200).decode()
        except OSError:
            return ""


def serve(container: Container) -> list[SctpEcho]:
    row = container.network()
    four, six = row["IPAddress"], row["GlobalIPv6Address"]
    return [SctpEcho(container.fd, 7000, name, at) for name, at in (("four", four), ("six", six))]


def close(*servers: SctpEcho) -> None:
    for each in servers:
        each.close()


async def test_everybody_reaches_a_published_port(daemon: Daemon, far: int) -> None:
    one = await run(daemon, request("one", ports=PORTS))
    two = await run(daemon, request("two"))
    servers = serve(one)
    try:
        assert inside(far, partial(ask, HOST4, 8080)) == f"four {FAR4} hello"
        assert inside(far, partial(ask, HOST6, 8080)) == f"six {FAR6} hello"
        for address in ("127.0.0.1", HOST4):
            assert ask(address, 8080).startswith("four "), address
        assert ask(HOST6, 8080).startswith("six ")
        for each in (one, two):
            assert each.inside(partial(ask, HOST4, 8080)).startswith("four ")
            assert each.inside(partial(ask, HOST6, 8080)).startswith("six ")
        # Neighbours reach each other without publishing; nobody else does.
        address = one.network()["IPAddress"]
        assert two.inside(partial(ask, address, 7000)).startswith("four ")
        assert inside(far, partial(ask, address, 7000, 0.5)) == ""
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM, SCTP) as other,
            pytest.raises(OSError, match="in use"),
        ):
            other.bind(("0.0.0.0", 8080))
    finally:
        close(*servers)
        end(one, two)


async def test_a_port_goes_with_its_container(daemon: Daemon, far: int) -> None:
    one = await run(daemon, request("one", ports=PORTS))
    servers = serve(one)
    try:
        assert inside(far, partial(ask, HOST4, 8080)) == f"four {FAR4} hello"
        await daemon.service.detach(one.id)
        assert inside(far, partial(ask, HOST4, 8080, 0.5)) == ""
    finally:
        close(*servers)
        end(one)
    two = await run(daemon, request("two", ports=PORTS))
    servers = serve(two)
    try:
        assert inside(far, partial(ask, HOST4, 8080)) == f"four {FAR4} hello"
    finally:
        close(*servers)
        end(two)


async def test_with_the_hosts_firewall_the_forwarder_serves_it(tmp_path: Path, far: int) -> None:
    async with started(tmp_path, dataclasses.replace(WIDE, host_firewall=True)) as daemon:
        one = await run(daemon, request("one", ports=PORTS))
        servers = serve(one)
        try:
            assert inside(far, partial(ask, HOST4, 8080)).startswith("four ")
            assert inside(far, partial(ask, HOST6, 8080)).startswith("six ")
            assert ask("127.0.0.1", 8080).startswith("four ")
        finally:
            close(*servers)
            end(one)
