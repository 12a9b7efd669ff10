"""The daemon is killed at every step of every change of networks; the next one puts it right."""

from __future__ import annotations

import errno
import itertools
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.engine.networks_victim import PORTS
from tests.support.networks import SETTINGS, Container, Daemon, Echo, ask, eventually, request, run

from wherry.linux import netlink, nft
from wherry.linux.netlink import Netlink
from wherry.networks import bridges
from wherry.wire.network import NetworkCreate

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("near")]

USUAL = {"7000/tcp": [("", "8080")]}
MOST = 60
"""Steps that no change has."""


@pytest.fixture
def victim(near: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.engine.networks_victim"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        assert process.stdin
        process.stdin.close()


class Scene:
    """A data root, its running container ``one``, and a process that is killed on demand."""

    def __init__(self, root: Path, process: subprocess.Popen[str]) -> None:
        self.root = root
        self.process = process
        self.one: Container | None = None

    @property
    def running(self) -> dict[str, int]:
        return {self.one.id: self.one.pid} if self.one else {}

    def kill(self, change: str, step: int) -> str:
        """``killed``, or ``done`` when there were fewer steps."""
        assert self.process.stdin
        assert self.process.stdout
        words = {"root": str(self.root), "running": self.running, "change": change, "step": step}
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer in ("killed", "done"), f"{change}, step {step}: {answer}"
        return answer

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Daemon]:
        """The next daemon, which is abandoned as if killed too."""
        made = await Daemon(self.root, SETTINGS).start(self.running)
        try:
            yield made
        except BaseException:
            await made.dismantle()
            raise
        made.abandon()


async def prepare(daemon: Daemon, scene: Scene) -> None:
    """Networks ``home`` and ``spare``; the container in the first."""
    book = daemon.service.book
    for name in ("made",):
        if book.named(name) is not None:
            await daemon.management.remove(name)
    for name in ("home", "spare"):
        if book.named(name) is None:
            await daemon.management.create(NetworkCreate(name=name))
    if scene.one is None:
        scene.one = await run(daemon, request("one", "home", ports=USUAL))
    seen = daemon.service.settings(scene.one.id)["Networks"]
    if "spare" in seen:
        await daemon.management.disconnect("spare", "one")
    if "home" not in seen:
        await daemon.management.connect("home", "one")
    await daemon.service.change_ports(request("one", "home", ports=USUAL))


def interfaces() -> dict[str, tuple[str, int]]:
    """Name -> (alias, group)."""
    with Netlink() as kernel:
        return {each.name: (each.alias, each.group) for each in kernel.links()}


async def agree(daemon: Daemon, scene: Scene) -> None:
    """Kernel and book say the same, and every address is one container's."""
    table, book = daemon.networks.firewall.table, daemon.service.book
    devices = {each.device for each in book.networks.values() if each.driver == "bridge"}
    rows = [each for found in book.endpoints.values() for each in found]
    ports = {each.host_interface for each in rows}

    def ours() -> set[str]:
        start = f"wherry:{table}:"
        groups = {bridges.group_of(table), bridges.live_group(table), bridges.port_group(table)}
        return {
            name
            for name, (alias, group) in interfaces().items()
            if alias.startswith(start) or group in groups or name.startswith(("br-", "veth"))
        }

    await eventually(lambda: ours() == devices | ports)
    assert {each.container_id for each in rows} <= set(scene.running)
    addresses = [(each.network_id, text) for each in rows for text in (each.ipv4, each.ipv6)]
    known = [each for each in addresses if each[1]]
    assert len(set(known)) == len(known)
    if scene.one is not None:
        inside = scene.one.inside(interfaces)
        mine = [each for each in rows if each.container_id == scene.one.id]
        assert set(inside) == {"lo", *(each.interface for each in mine)}
        shown = daemon.service.settings(scene.one.id)
        inner = {each["IPAddress"] for each in shown["Networks"].values()}
        assert inner == {each.ipv4 for each in mine}
        published = {
            (each["HostIp"], int(each["HostPort"])) for each in shown["Ports"].get("7000/tcp") or ()
        }
        for key in itertools.product(("0.0.0.0", "::"), (8080, 8081)):
            assert taken(*key) == (key in published), key


def taken(address: str, port: int) -> bool:
    """Whether a server could not have the port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind((address, port))
        except OSError:
            return True
    return False


CHANGES = ("create", "remove", "connect", "disconnect", "attach", "detach", "ports")


@pytest.mark.parametrize("change", CHANGES)
async def test_killed_at_every_step(
    change: str, tmp_path: Path, victim: subprocess.Popen[str]
) -> None:
    scene = Scene(tmp_path, victim)
    try:
        async with scene.daemon() as first:
            await prepare(first, scene)
        for step in range(1, MOST):
            answer = scene.kill(change, step)
            if change == "detach" and scene.one is not None:
                scene.one.end()
                scene.one = None
            async with scene.daemon() as after:
                await agree(after, scene)
                await prepare(after, scene)
                other = await run(after, request("other", "home", ports=PORTS))
                await agree_with(after, scene, other)
                other.end()
                await after.service.forget(other.id)
            if answer == "done":
                break
        else:
            raise AssertionError(f"{change} has more than {MOST} steps")
    finally:
        last = await Daemon(tmp_path, SETTINGS).start(scene.running)
        if scene.one is not None:
            scene.one.end()
        await last.dismantle()
    await eventually(lambda: set(interfaces()) == {"lo"})


async def agree_with(daemon: Daemon, scene: Scene, other: Container) -> None:
    """A container started afterwards has an address and a port of its own."""
    assert scene.one is not None
    mine = daemon.service.settings(scene.one.id)["Networks"]["home"]["IPAddress"]
    assert other.network("home")["IPAddress"] not in ("", mine)
    assert other.attachment.settings["Ports"]["7000/tcp"][0]["HostPort"] == "8090"
    assert ask("127.0.0.1", 8090) == ""


async def test_a_reboot_leaves_only_what_is_on_disk(
    tmp_path: Path, victim: subprocess.Popen[str]
) -> None:
    """All of the kernel's state and the run directory are gone, as after a power cut."""
    daemon = await Daemon(tmp_path, SETTINGS).start()
    scene = Scene(tmp_path, victim)
    await prepare(daemon, scene)
    one = scene.one
    assert one is not None
    resolver = daemon.service.names.helper.process
    forwarder = daemon.service.publisher.forwarding.helper.process
    daemon.abandon()
    one.end()
    for process in (resolver, forwarder):
        assert process is not None
        process.kill()
        process.wait()
    for entry in sorted((tmp_path / "run").rglob("*"), reverse=True):
        entry.rmdir() if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    nft.run("flush ruleset")
    with Netlink() as kernel:
        for name in interfaces():
            kernel.run([netlink.delete_link(name)], ignore=(errno.ENODEV, errno.EOPNOTSUPP))
    assert set(interfaces()) == {"lo"}
    scene.one = None
    after = await Daemon(tmp_path, SETTINGS).start()
    try:
        names = {each.name for each in after.service.book.networks.values()}
        assert names == {"bridge", "host", "none", "home", "spare"}
        await agree(after, scene)
        assert after.service.book.members(after.service.book.network("home").id) == []
        again = await run(after, request("one", "home", ports={"7000/tcp": [("", "8080")]}))
        echo = Echo(again.fd, 7000, "one")
        assert ask("127.0.0.1", 8080).startswith("one ")
        echo.close()
        again.end()
    finally:
        await after.dismantle()


async def test_a_veth_that_nobody_knows_goes_at_the_next_start(tmp_path: Path) -> None:
    daemon = await Daemon(tmp_path, SETTINGS).start()
    one = await run(daemon, request("one"))
    endpoint = daemon.service.endpoints(one.id)[0]
    # The namespace outlives its container (somebody is inside), and the daemon is killed between
    # the record's end and the interface's.
    daemon.service.book.stop(one.id, None)
    daemon.abandon()
    assert endpoint.host_interface in interfaces()
    after = await Daemon(tmp_path, SETTINGS).start()
    try:
        assert endpoint.host_interface not in interfaces()
    finally:
        one.end()
        await after.dismantle()
