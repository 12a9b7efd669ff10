"""A bridge that somebody deletes comes back by itself, with what runs on it."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
from functools import partial
from pathlib import Path

import pytest
from tests.support.networks import (
    SETTINGS,
    Daemon,
    Echo,
    ask,
    delete_bridge,
    end,
    eventually,
    lookup,
    request,
    rules,
    run,
    started,
)

from wherry.errors import Forbidden
from wherry.linux import netlink, netns, nft
from wherry.linux.netlink import Netlink
from wherry.networks.settings import NetworkSettings
from wherry.networks.values import Network
from wherry.wire.network import NetworkCreate

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("near")]

PORTS = {"7000/tcp": [("", "8080")]}
OWN = {"com.docker.network.bridge.name": "users0"}


def reached(address: str, port: int, name: str) -> bool:
    return ask(address, port, timeout=1).startswith(f"{name} ")


async def test_containers_that_run_are_connected_again(daemon: Daemon) -> None:
    """Nothing has to be started or stopped for it."""
    await daemon.management.create(NetworkCreate(name="mine", enable_ipv6=True))
    one = await run(daemon, request("one", "mine", ports=PORTS))
    two = await run(daemon, request("two", "mine"))
    seen = one.network("mine")
    echoes = [Echo(one.fd, 7000, "one"), Echo(one.fd, 7000, "six", seen["GlobalIPv6Address"])]
    gateway = daemon.service.book.network("mine").subnets[0].gateway
    try:
        for _ in range(2):
            delete_bridge(daemon, "mine")
            for way in (seen["IPAddress"], gateway):
                port = 8080 if way == gateway else 7000
                await eventually(partial(two.inside, partial(reached, way, port, "one")))
            await eventually(
                lambda: two.inside(lambda: reached(seen["GlobalIPv6Address"], 7000, "six"))
            )
            await eventually(lambda: reached("127.0.0.1", 8080, "one"))
            # A container reaches its own published port.
            await eventually(lambda: one.inside(lambda: reached(gateway, 8080, "one")))
            assert two.inside(lambda: lookup("one")) == [seen["IPAddress"]]
    finally:
        for each in echoes:
            each.close()
        end(one, two)


async def test_a_container_that_starts_finds_those_that_run(daemon: Daemon) -> None:
    one = await run(daemon, request("one"))
    delete_bridge(daemon)
    two = await run(daemon, request("two"))
    echo = Echo(one.fd, 7000, "one")
    try:
        assert two.inside(lambda: ask("10.90.0.2", 7000)) == "one 10.90.0.3"
        assert ask("10.90.0.2", 7000) == "one 10.90.0.1"
    finally:
        echo.close()
        end(one, two)


async def test_a_network_without_containers_gets_its_bridge_too(daemon: Daemon) -> None:
    await daemon.management.create(NetworkCreate(name="mine"))
    device = daemon.service.book.network("mine").device
    delete_bridge(daemon, "mine")
    await eventually(lambda: netlink.index_of(device) is not None)


async def test_links_work_again_where_containers_do_not_reach_each_other(tmp_path: Path) -> None:
    async with started(tmp_path, dataclasses.replace(SETTINGS, icc=False)) as daemon:
        db = await run(daemon, request("db", ports={"7000/tcp": []}))
        web = await run(daemon, request("web", links=[f"{db.id}:db"]))
        echo = Echo(db.fd, 7000, "db")
        address = db.network()["IPAddress"]
        try:
            assert web.inside(lambda: ask(address, 7000, timeout=10)).startswith("db ")
            delete_bridge(daemon)

            def reached_by_nobodys_memory() -> bool:
                subprocess.run(["ip", "neigh", "flush", "all"], check=True)
                return reached(address, 7000, "db")

            await eventually(lambda: web.inside(reached_by_nobodys_memory))
        finally:
            echo.close()
            end(db, web)


async def test_a_container_is_connected_to_a_network_whose_bridge_is_missing(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, not only when the daemon has noticed."""
    await daemon.management.create(NetworkCreate(name="mine"))
    one, two = await run(daemon, request("one", "mine")), await run(daemon, request("two"))
    daemon.networks.watch.close()
    delete_bridge(daemon, "mine")
    echo = Echo(one.fd, 7000, "one")
    address = one.network("mine")["IPAddress"]
    try:
        await daemon.management.connect("mine", two.id)
        assert two.inside(lambda: ask(address, 7000, timeout=10)).startswith("one ")
    finally:
        echo.close()
        end(one, two)


async def test_what_the_daemon_takes_away_itself_stays_away(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored: list[str] = []
    restore = daemon.service.restore

    async def counted(network: Network) -> None:
        restored.append(network.name)
        await restore(network)

    monkeypatch.setattr(daemon.service, "restore", counted)
    for number in range(3):
        await daemon.management.create(NetworkCreate(name=f"n{number}"))
        await daemon.management.remove(f"n{number}")
    await daemon.networks._sweeper.now()
    # The one that somebody else deletes afterwards is heard of last.
    await daemon.management.create(NetworkCreate(name="mine"))
    delete_bridge(daemon, "mine")
    await eventually(lambda: bool(restored))
    assert restored == ["mine"]


async def test_a_network_that_is_removed_before_it_is_repaired(daemon: Daemon) -> None:
    await daemon.management.create(NetworkCreate(name="mine"))
    device = daemon.service.book.network("mine").device
    network_id = daemon.service.book.network("mine").id
    delete_bridge(daemon, "mine")
    await daemon.management.remove("mine")
    await daemon.management.repair(network_id)
    assert netlink.index_of(device) is None
    with pytest.raises(Forbidden):
        await daemon.management.remove("bridge")


def add_users_bridge() -> None:
    with Netlink() as kernel:
        kernel.run([netlink.add_bridge("users0", "02:00:00:00:00:09")])


async def test_a_bridge_of_the_user_is_waited_for(daemon: Daemon) -> None:
    """Its owner makes it again; one of ours in its place would be in his way."""
    add_users_bridge()
    await daemon.management.create(NetworkCreate(name="mine", options=OWN))
    await daemon.management.create(NetworkCreate(name="other"))
    one = await run(daemon, request("one", "mine", ports=PORTS))
    echo = Echo(one.fd, 7000, "one")
    try:
        delete_bridge(daemon, "mine")
        delete_bridge(daemon, "other")
        other = daemon.service.book.network("other").device
        await eventually(lambda: netlink.index_of(other) is not None)
        assert netlink.index_of("users0") is None
        add_users_bridge()
        await eventually(lambda: reached("127.0.0.1", 8080, "one"))
        with Netlink() as kernel:
            link = kernel.link("users0")
        assert link is not None
        assert link.alias == ""
    finally:
        echo.close()
        end(one)


async def test_what_was_not_heard_is_looked_for(daemon: Daemon) -> None:
    """The kernel told more than the socket could hold."""
    await daemon.management.create(NetworkCreate(name="mine"))
    device = daemon.service.book.network("mine").device
    links = daemon.networks.watch.links
    assert links is not None
    links.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    # The loop does not run meanwhile: nobody listens, and the last word finds no room.
    with Netlink() as kernel:
        for number in range(8):
            kernel.run([netlink.add_bridge(f"gone{number}", "02:00:00:00:00:08")])
            kernel.run([netlink.delete_link(f"gone{number}")])
    delete_bridge(daemon, "mine")
    await eventually(lambda: netlink.index_of(device) is not None)


async def test_the_first_network_of_a_daemon_without_a_default_one_is_seen_to(
    tmp_path: Path,
) -> None:
    netns.write_sysctl("ipv4/ip_forward", "0")
    async with started(tmp_path, NetworkSettings(bridge="none")) as daemon:
        assert netns.read_sysctl("ipv4/ip_forward") == "0"
        await daemon.management.create(NetworkCreate(name="mine"))
        assert netns.read_sysctl("ipv4/ip_forward") == "1"
        device = daemon.service.book.network("mine").device
        before = rules(daemon)
        delete_bridge(daemon, "mine")
        await eventually(lambda: netlink.index_of(device) is not None)
        nft.run("flush ruleset")
        table = daemon.networks.firewall.table
        await eventually(lambda: table in nft.run("list tables"))
        assert rules(daemon) == before
