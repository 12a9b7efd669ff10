"""Bridge networks on the real kernel: addresses, reachability, isolation, published ports."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.networks import SETTINGS, Daemon, Echo, ask, end, request, run

from wherry.errors import Conflict
from wherry.linux import netlink, nft
from wherry.linux.netlink import Netlink
from wherry.networks.settings import NetworkSettings
from wherry.networks.values import Network
from wherry.wire.filters import Filters
from wherry.wire.network import NetworkCreate

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("near")]


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


async def test_links_are_open_where_containers_do_not_reach_each_other(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, icc=False)
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


CARD, CARD_ADDRESS = "card0", ("192.0.2.9", 24)


def add_card() -> int:
    """An interface of the host that is no bridge, with an address."""
    with Netlink() as kernel:
        kernel.run([netlink.add_pair(CARD, "card1")])
        index = netlink.index_of(CARD)
        assert index
        kernel.run(
            [netlink.set_link(CARD, up=True), netlink.add_address(index, *CARD_ADDRESS)],
        )
    return index


def addresses(index: int) -> list[tuple[str, int]]:
    with Netlink() as kernel:
        return [(text, size) for _, text, size in kernel.addresses(index) if ":" not in text]


async def test_an_interface_that_is_no_bridge_is_not_taken(daemon: Daemon) -> None:
    index = add_card()
    wanted = NetworkCreate(name="mine", options={"com.docker.network.bridge.name": CARD})
    before = nft.run("list ruleset")
    with pytest.raises(Conflict, match=f"^existing interface {CARD} is not a bridge$"):
        await daemon.management.create(wanted)
    assert addresses(index) == [CARD_ADDRESS]
    assert nft.run("list ruleset") == before
    assert daemon.service.book.named("mine") is None


async def test_a_bridge_of_the_user_is_taken_and_left(daemon: Daemon) -> None:
    with Netlink() as kernel:
        kernel.run([netlink.add_bridge("users0", "02:00:00:00:00:09")])
    index = netlink.index_of("users0")
    assert index
    await daemon.management.create(
        NetworkCreate(name="mine", options={"com.docker.network.bridge.name": "users0"})
    )
    assert len(addresses(index)) == 1
    await daemon.management.remove("mine")
    assert netlink.index_of("users0") == index


async def test_the_daemons_bridge_must_be_a_bridge(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = add_card()
    daemon = await Daemon(tmp_path, NetworkSettings(bridge=CARD)).start()
    try:
        said = f"network bridge cannot be made: existing interface {CARD} is not a bridge"
        assert said in caplog.text
        assert addresses(index) == [CARD_ADDRESS]
        assert CARD not in nft.run("list ruleset")
        with pytest.raises(Conflict, match="is not a bridge"):
            await daemon.service.attach(request("one"))
    finally:
        await daemon.dismantle()
    assert addresses(index) == [CARD_ADDRESS]
    assert netlink.index_of(CARD) == index


async def test_prune_leaves_what_a_container_has_come_to_belong_to(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        await daemon.management.create(NetworkCreate(name=name))
    driver = daemon.service.drivers["bridge"]
    remove = driver.remove

    async def slowly(network: Network, others: Sequence[Network]) -> None:
        daemon.service.enrol(request("late", "second"))
        await remove(network, others)

    monkeypatch.setattr(driver, "remove", slowly)
    assert await daemon.management.prune(Filters()) == ["first"]
    monkeypatch.undo()
    assert daemon.service.book.network("second").name == "second"
