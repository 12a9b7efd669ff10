"""Bridge networks on the real kernel: addresses, reachability, isolation, published ports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.engine.networks_host import Container, Daemon, Echo, ask, own_host, request, run

from wherry.networks.settings import NetworkSettings
from wherry.wire.network import NetworkCreate

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _host() -> Iterator[int]:
    with own_host() as fd:
        yield fd


@pytest.fixture
async def daemon(_host: int, tmp_path: Path) -> AsyncIterator[Daemon]:
    made = await Daemon(tmp_path, NetworkSettings(bip="10.90.0.1/24")).start()
    try:
        yield made
    finally:
        await made.dismantle()


async def test_two_containers_reach_each_other(daemon: Daemon) -> None:
    one, two = await run(daemon, request("one")), await run(daemon, request("two"))
    echo = Echo(one.fd, 7000, "one")
    try:
        assert one.network()["IPAddress"] == "10.90.0.2"
        assert one.network()["MacAddress"] == "02:42:0a:5a:00:02"
        assert two.network()["IPAddress"] == "10.90.0.3"
        assert two.inside(lambda: ask("10.90.0.2", 7000)) == "one 10.90.0.3"
        assert ask("10.90.0.2", 7000) == "one 10.90.0.1"
    finally:
        echo.close()
        end(one, two)


async def test_networks_are_isolated_from_each_other(daemon: Daemon) -> None:
    await daemon.management.create(NetworkCreate(name="left"))
    await daemon.management.create(NetworkCreate(name="right"))
    one, two = await run(daemon, request("one", "left")), await run(daemon, request("two", "right"))
    echo = Echo(one.fd, 7000, "one")
    address = one.network("left")["IPAddress"]
    try:
        assert ask(address, 7000).startswith("one ")
        assert two.inside(lambda: ask(address, 7000, timeout=0.5)) == ""
    finally:
        echo.close()
        end(one, two)


async def test_published_port_from_the_host_and_from_neighbours(daemon: Daemon) -> None:
    one = await run(
        daemon, request("one", ports={"7000/tcp": [("", "8080")], "7000/udp": [("", "8080")]})
    )
    two = await run(daemon, request("two"))
    await daemon.management.create(NetworkCreate(name="other"))
    three = await run(daemon, request("three", "other"))
    echo = Echo(one.fd, 7000, "one")
    try:
        assert ask("127.0.0.1", 8080) == "one 10.90.0.1"
        assert ask("10.90.0.1", 8080).startswith("one ")
        assert ask("127.0.0.1", 8080, udp=True).startswith("one ")
        assert one.inside(lambda: ask("10.90.0.1", 8080)) == "one 10.90.0.1"
        assert two.inside(lambda: ask("10.90.0.1", 8080)) == "one 10.90.0.1"
        gateway = three.network("other")["Gateway"]
        assert three.inside(lambda: ask(gateway, 8080)).startswith("one ")
        assert ask("127.0.0.1", 7000) == ""
        assert one.attachment.settings["Ports"]["7000/tcp"] == [
            {"HostIp": "0.0.0.0", "HostPort": "8080"},
            {"HostIp": "::", "HostPort": "8080"},
        ]
    finally:
        echo.close()
        end(one, two, three)


def end(*containers: Container) -> None:
    for each in containers:
        each.end()


async def test_links_are_open_where_containers_do_not_reach_each_other(tmp_path: Path) -> None:
    settings = NetworkSettings(bip="10.90.0.1/24", icc=False)
    daemon = await Daemon(tmp_path, settings).start()
    try:
        db = await run(daemon, request("db", ports={"7000/tcp": [], "7000/udp": []}))
        other = await run(daemon, request("other"))
        web = await run(daemon, request("web", links=[f"{db.id}:db"]))
        echoes = [Echo(db.fd, 7000, "db"), Echo(db.fd, 7001, "shut"), Echo(web.fd, 7000, "web")]
        address = db.network()["IPAddress"]
        try:
            assert web.inside(lambda: ask(address, 7000, timeout=10)).startswith("db ")
            assert web.inside(lambda: ask(address, 7000, udp=True, timeout=10)).startswith("db ")
            assert web.inside(lambda: ask(address, 7001, timeout=0.5)) == ""
            assert other.inside(lambda: ask(address, 7000, timeout=0.5)) == ""
            back = web.network()["IPAddress"]
            assert db.inside(lambda: ask(back, 7000, timeout=0.5)) == ""
            await daemon.service.relink(request("web"))
            assert web.inside(lambda: ask(address, 7000, timeout=0.5)) == ""
        finally:
            for each in echoes:
                each.close()
            end(db, other, web)
    finally:
        await daemon.dismantle()
