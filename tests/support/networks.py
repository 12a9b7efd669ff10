"""A host of its own for network tests: namespaces instead of machines, nothing outside touched."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from dnslib import DNSRecord

from wherry.linux import netlink, netns, nft
from wherry.linux.netlink import Netlink
from wherry.networks.assembly import Networks
from wherry.networks.settings import NetworkSettings
from wherry.store.database import Database
from wherry.store.paths import Paths
from wherry.wire.attachment import NetworkAttachment, NetworkRequest
from wherry.wire.container import EndpointSettings, HostConfig, PortBinding

T = TypeVar("T")

SETTINGS = NetworkSettings(bip="10.90.0.1/24")
"""Of a daemon that no other is asked for."""


@contextmanager
def own_host() -> Iterator[int]:
    """The calling thread, and those it starts, live in a network namespace of their own."""
    fd = netns.create()
    try:
        with netns.entered(fd):
            with Netlink() as kernel:
                kernel.run([netlink.set_link(index=1, up=True)])
            no_waiting()
            yield fd
    finally:
        os.close(fd)


def no_waiting() -> None:
    """IPv6 addresses of the calling thread's namespace can be used at once."""
    for scope in ("all", "default"):
        netns.write_sysctl(f"ipv6/conf/{scope}/disable_ipv6", "0")
        netns.write_sysctl(f"ipv6/conf/{scope}/accept_dad", "0")


HOST4, FAR4, HOST6, FAR6 = "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"


@contextmanager
def far_host() -> Iterator[int]:
    """The namespace of another host; the calling thread's, of ``own_host``, is linked to it."""
    fd = netns.create()
    try:
        inside(fd, no_waiting)
        with Netlink() as kernel:
            kernel.run([netlink.add_bridge("uplink", "02:00:00:00:00:01")])
            uplink = netlink.index_of("uplink")
            assert uplink
            veth = netlink.add_veth(
                "wire", master=uplink, peer="eth0", peer_mac="02:00:00:00:00:02", namespace=fd
            )
            kernel.run(
                [
                    netlink.add_address(uplink, HOST4, 24),
                    netlink.add_address(uplink, HOST6, 64),
                    veth,
                ]
            )
        inside(fd, _set_up_far)
        yield fd
    finally:
        os.close(fd)


def _set_up_far() -> None:
    index = netlink.index_of("eth0") or 0
    with Netlink() as kernel:
        kernel.run(
            [
                netlink.set_link(index=1, up=True),
                netlink.set_link(index=index, up=True),
                netlink.add_address(index, FAR4, 24),
                netlink.add_address(index, FAR6, 64),
                netlink.add_route(index, gateway=HOST4),
                netlink.add_route(index, gateway=HOST6),
            ]
        )


class Recorder:
    """Events as they are published."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, str]]] = []

    def publish(self, kind: str, action: str, actor_id: str, attributes: dict[str, str]) -> None:
        self.events.append((kind, action, attributes))


class Daemon:
    """The networks room on a data root, without the rest of a daemon."""

    def __init__(self, root: Path, settings: NetworkSettings | None = None) -> None:
        self.paths = Paths(root / "data", root / "run")
        self.paths.data.mkdir(parents=True, exist_ok=True)
        self.paths.run.mkdir(parents=True, exist_ok=True)
        self.database = Database(self.paths.database)
        self.events = Recorder()
        self.dead = False
        self.networks = Networks(
            paths=self.paths,
            database=self.database,
            settings=settings or NetworkSettings(),
            events=self.events,
        )
        self.service = self.networks.service
        self.management = self.networks.management

    async def start(self, running: dict[str, int] | None = None) -> Daemon:
        await self.networks.start()
        await self.service.adopt(running or {})
        return self

    async def close(self) -> None:
        await self.networks.close()
        self.database.close()

    async def dismantle(self) -> None:
        if self.dead:
            return
        for container_id in list(self.service.book.sandboxes):
            await self.service.forget(container_id)
        await self.networks.dismantle()
        self.database.close()

    def abandon(self) -> None:
        """As SIGKILL: descriptors are closed, nothing is taken back or said to anybody."""
        self.dead = True
        self.networks.watch.close()
        self.networks.firewall.close()
        self.service.names.close()
        self.service.publisher.forwarding.close()
        self.service.spaces.close()
        for container_id in list(self.service.book.sandboxes):
            self.service.publisher.ports.release(container_id)
        self.database.close()


class Container:
    """A process in a namespace: what a runtime would have started."""

    def __init__(self, request: NetworkRequest, attachment: NetworkAttachment) -> None:
        self.id = request.container_id
        self.attachment = attachment
        assert attachment.namespace is not None
        fd = os.open(attachment.namespace, os.O_RDONLY)

        def start() -> subprocess.Popen[bytes]:
            with netns.entered(fd):
                return subprocess.Popen(["sleep", "600"])

        self.process = netns.in_thread(start)
        os.close(fd)
        self.fd = os.open(f"/proc/{self.process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @property
    def pid(self) -> int:
        return self.process.pid

    def network(self, name: str = "bridge") -> dict[str, Any]:
        found: dict[str, Any] = self.attachment.settings["Networks"][name]
        return found

    def inside(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the container's namespace."""
        return inside(self.fd, work)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self.fd)


def end(*containers: Container) -> None:
    for each in containers:
        each.end()


def inside(fd: int, work: Callable[[], T]) -> T:
    def run() -> T:
        with netns.entered(fd):
            return work()

    return netns.in_thread(run)


def request(
    name: str,
    mode: str = "default",
    *,
    ports: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    endpoints: dict[str, EndpointSettings | None] | None = None,
    **host: Any,
) -> NetworkRequest:
    """``ports``: ``{"80/tcp": [(host address, host port)]}``."""
    bindings = {
        key: [PortBinding(host_ip=ip, host_port=port) for ip, port in rows]
        for key, rows in (ports or {}).items()
    }
    container_id = (name.encode().hex() + "0" * 64)[:64]
    return NetworkRequest(
        container_id=container_id,
        name=name,
        hostname=container_id[:12],
        domainname="",
        host_config=HostConfig(network_mode=mode, port_bindings=dict(bindings), **host),
        endpoints=endpoints or {},
        exposed_ports=sorted(bindings),
    )


async def run(daemon: Daemon, wanted: NetworkRequest) -> Container:
    return Container(wanted, await daemon.service.attach(wanted))


@contextlib.asynccontextmanager
async def started(
    root: Path, settings: NetworkSettings = SETTINGS, **running: Container
) -> AsyncIterator[Daemon]:
    """A daemon, perhaps the next one, with the containers that have gone on."""
    daemon = await Daemon(root, settings).start({each.id: each.pid for each in running.values()})
    try:
        yield daemon
    finally:
        await daemon.dismantle()


async def eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for what the daemon, on this loop, does by itself."""
    limit = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < limit, "it did not happen in time"
        await asyncio.sleep(0.02)


def rules(daemon: Daemon) -> str:
    """The daemon's table, as nft lists it."""
    return nft.run(f"list table inet {daemon.networks.firewall.table}")


def delete_bridge(daemon: Daemon, network: str = "bridge") -> None:
    """As somebody at the host's keyboard would."""
    with Netlink() as kernel:
        kernel.run([netlink.delete_link(daemon.service.book.network(network).device)])


class Echo:
    """A TCP and UDP server that answers with who it is and whom it sees."""

    def __init__(self, fd: int, port: int, name: str, address: str = "0.0.0.0") -> None:
        self.name = name
        family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def open_sockets() -> list[socket.socket]:
            made = []
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                sock = socket.socket(family, kind)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, port))
                made.append(sock)
            made[0].listen(64)
            return made

        self.tcp, self.udp = inside(fd, open_sockets)
        threading.Thread(target=self._streams, daemon=True).start()
        threading.Thread(target=self._datagrams, daemon=True).start()

    def _streams(self) -> None:
        while True:
            try:
                connection, peer = self.tcp.accept()
            except OSError:
                return
            with connection:
                connection.sendall(f"{self.name} {peer[0]}".encode())

    def _datagrams(self) -> None:
        while True:
            try:
                _, peer = self.udp.recvfrom(2048)
                if peer is None:
                    return
                self.udp.sendto(f"{self.name} {peer[0]}".encode(), peer)
            except OSError:
                return

    def close(self) -> None:
        for each in (self.tcp, self.udp):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()


def lookup(
    name: str, kind: str = "A", *, tcp: bool = False, server: str = "127.0.0.11"
) -> list[str]:
    """Answers of the resolver of the calling thread's namespace; none for an error."""
    query = DNSRecord.question(name, kind)
    try:
        reply = DNSRecord.parse(query.send(server, 53, tcp=tcp, timeout=3))
    except OSError:
        return []
    return [str(each.rdata) for each in reply.rr]


def ask(address: str, port: int, *, udp: bool = False, timeout: float = 20.0) -> str:
    """What the echo server says; "" when nobody answers: say how long that may take."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect((address, port))
            if udp:
                sock.send(b"?")
            return sock.recv(200).decode()
        except OSError:
            return ""
