"""Other hosts: a namespace behind a veth reaches published ports through the real stack."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
from functools import partial
from pathlib import Path

import pytest
from tests.support.networks import (
    FAR4,
    FAR6,
    HOST4,
    HOST6,
    SETTINGS,
    Container,
    Daemon,
    Echo,
    ask,
    end,
    inside,
    request,
    run,
    started,
)

from wherry.errors import Internal, Invalid, NotFound, NotImplementedYet
from wherry.linux import netlink, nft
from wherry.linux.netlink import Netlink
from wherry.networks.drivers import available
from wherry.networks.settings import NetworkSettings
from wherry.networks.values import GATEWAY_MODES
from wherry.wire.container import EndpointSettings
from wherry.wire.network import IPAM, IPAMPool, NetworkCreate

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("far")]


@pytest.fixture
def network_settings() -> NetworkSettings:
    return dataclasses.replace(SETTINGS, ipv6=True, fixed_cidr_v6="fd00:90::/64")


async def test_far_host_reaches_published_ports_and_only_those(daemon: Daemon, far: int) -> None:
    ports = {"7000/tcp": [("", "8080")], "7000/udp": [("", "8080")]}
    one = await run(daemon, request("one", ports=ports))
    echoes = [Echo(one.fd, 7000, "one"), Echo(one.fd, 7000, "six", six(one))]
    try:
        assert inside(far, lambda: ask(HOST4, 8080)) == f"one {FAR4}"
        assert inside(far, lambda: ask(HOST4, 8080, udp=True)) == f"one {FAR4}"
        assert inside(far, lambda: ask(HOST6, 8080)) == f"six {FAR6}"
        assert inside(far, lambda: ask(HOST6, 8080, udp=True)) == f"six {FAR6}"
        assert ask(HOST6, 8080).startswith("six ")
        assert inside(far, lambda: ask(HOST4, 7000, timeout=0.3)) == ""
        # Nobody outside reaches a container's own address, nor loopback ports.
        assert inside(far, lambda: ask("10.90.0.2", 7000, timeout=0.3)) == ""
        assert inside(far, lambda: ask(six(one), 7000, timeout=0.3)) == ""
    finally:
        for each in echoes:
            each.close()
        end(one)


def six(container: Container) -> str:
    found: str = container.network()["GlobalIPv6Address"]
    return found


async def test_loopback_and_single_addresses(daemon: Daemon, far: int) -> None:
    ports = {"7000/tcp": [("127.0.0.1", "8080"), (HOST4, "8081")]}
    one = await run(daemon, request("one", ports=ports))
    echo = Echo(one.fd, 7000, "one")
    try:
        assert ask("127.0.0.1", 8080).startswith("one ")
        assert ask("127.0.0.1", 8081) == ""
        assert ask(HOST4, 8081).startswith("one ")
        assert inside(far, lambda: ask(HOST4, 8081)) == f"one {FAR4}"
        assert inside(far, lambda: ask(HOST4, 8080, timeout=0.3)) == ""

        def spoof() -> str:
            index = netlink.index_of("eth0") or 0
            with Netlink() as kernel:
                kernel.run([netlink.set_link("lo", up=False)])
                kernel.run([netlink.add_route(index, gateway=HOST4)])
            return ask("127.0.0.1", 8080, timeout=0.3)

        assert inside(far, spoof) == ""
    finally:
        echo.close()
        end(one)


async def test_container_reaches_the_far_host_with_the_hosts_address(
    daemon: Daemon, far: int
) -> None:
    one = await run(daemon, request("one"))
    echoes = [Echo(far, 9000, "far"), Echo(far, 9000, "far", FAR6)]
    try:
        assert one.inside(lambda: ask(FAR4, 9000)) == f"far {HOST4}"
        assert one.inside(lambda: ask(FAR6, 9000)) == f"far {HOST6}"
        await daemon.management.create(NetworkCreate(name="closed", internal=True))
        two = await run(daemon, request("two", "closed"))
        assert two.network("closed")["Gateway"] == ""
        assert two.inside(lambda: ask(FAR4, 9000, timeout=0.3)) == ""
        end(two)
    finally:
        for each in echoes:
            each.close()
        end(one)


async def test_a_thousand_ports(daemon: Daemon, far: int) -> None:
    one = await run(daemon, request("one", ports={"8000-8999/tcp": [("", "8000-8999")]}))
    first, last = Echo(one.fd, 8000, "first"), Echo(one.fd, 8999, "last")
    try:
        assert inside(far, lambda: ask(HOST4, 8000)) == f"first {FAR4}"
        assert inside(far, lambda: ask(HOST4, 8999)) == f"last {FAR4}"
        assert ask("127.0.0.1", 8999).startswith("last ")
    finally:
        first.close()
        last.close()
        end(one)


async def test_a_udp_flow_is_not_stuck_to_a_container_that_is_gone(
    daemon: Daemon, far: int
) -> None:
    ports = {"7000/udp": [("", "8080")]}
    one = await run(daemon, request("one", ports=ports))
    echo = Echo(one.fd, 7000, "one")

    def open_socket() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(2)
        sock.connect((HOST4, 8080))
        return sock

    def exchange() -> str:
        sock.send(b"?")
        return sock.recv(100).decode()

    with inside(far, open_socket) as sock:
        assert exchange() == f"one {FAR4}"
        echo.close()
        await daemon.service.detach(one.id)
        one.end()
        two = await run(daemon, request("two", ports=ports))
        other = Echo(two.fd, 7000, "two")
        try:
            assert exchange() == f"two {FAR4}"
        finally:
            other.close()
            end(two)


async def test_a_port_in_use_is_named_and_nothing_is_left(daemon: Daemon) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 8090))
        taken.listen()
        with pytest.raises(Internal, match=r"0\.0\.0\.0:8090: address already in use"):
            await daemon.service.attach(request("one", ports={"80/tcp": [("", "8090")]}))
        many = request("many", ports={"80-180/tcp": [("", "8000-8100")]})
        with pytest.raises(Internal, match="8090"):
            await daemon.service.attach(many)
    one = await run(daemon, request("one", ports={"80/tcp": [("", "8090")]}))
    with pytest.raises(Internal, match=r"Bind for 0\.0\.0\.0:8090 failed: port is already"):
        await daemon.service.attach(request("two", ports={"80/tcp": [("", "8090")]}))
    book = daemon.service.book
    assert [each for each in book.endpoints if book.endpoints[each]] == [one.id]
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("0.0.0.0", 8090))
    end(one)


async def test_published_ports_where_containers_do_not_reach_each_other(
    tmp_path: Path, far: int
) -> None:
    """With ``icc`` off they are there for the others through the host, as for everybody."""
    settings = dataclasses.replace(SETTINGS, icc=False, ipv6=True, fixed_cidr_v6="fd00:90::/64")
    async with started(tmp_path, settings) as daemon:
        ports = {"7000/tcp": [("", "8080")], "7000/udp": [("", "8080")]}
        one = await run(daemon, request("one", ports=ports))
        two = await run(daemon, request("two"))
        echoes = [Echo(one.fd, 7000, "one"), Echo(one.fd, 7000, "six", six(one))]
        gateway6 = one.network()["IPv6Gateway"]
        try:
            for udp in (False, True):
                for address in ("10.90.0.1", HOST4, gateway6, HOST6):
                    say = partial(ask, address, 8080, udp=udp, timeout=20)
                    name = "six " if ":" in address else "one "
                    assert two.inside(say).startswith(name), (udp, address)
                    assert one.inside(say).startswith(name), (udp, address)
                assert inside(far, partial(ask, HOST4, 8080, udp=udp, timeout=20)) == f"one {FAR4}"
                for address in ("10.90.0.2", six(one)):
                    assert two.inside(partial(ask, address, 7000, udp=udp, timeout=0.5)) == ""
        finally:
            for each in echoes:
                each.close()
            end(one, two)


async def test_any_free_port_and_one_of_a_range(daemon: Daemon, far: int) -> None:
    one = await run(daemon, request("one", ports={"7000/tcp": [("", "")]}))
    two = await run(daemon, request("two", ports={"7000/tcp": [("", "8100-8101")]}))
    three = await run(daemon, request("three", ports={"7000/tcp": [("", "8100-8101")]}))
    echo = Echo(one.fd, 7000, "one")
    try:
        rows = one.attachment.settings["Ports"]["7000/tcp"]
        assert {row["HostIp"] for row in rows} == {"0.0.0.0", "::"}
        assert len({row["HostPort"] for row in rows}) == 1
        port = int(rows[0]["HostPort"])
        assert inside(far, lambda: ask(HOST4, port)) == f"one {FAR4}"
        found = {
            each.attachment.settings["Ports"]["7000/tcp"][0]["HostPort"] for each in (two, three)
        }
        assert found == {"8100", "8101"}
        with pytest.raises(Internal, match="8100-8101 failed: all ports are allocated"):
            await daemon.service.attach(request("four", ports={"7000/tcp": [("", "8100-8101")]}))
    finally:
        echo.close()
        end(one, two, three)


async def test_routed_networks_open_published_ports_only(daemon: Daemon, far: int) -> None:
    options = {GATEWAY_MODES[4]: "routed", GATEWAY_MODES[6]: "nat"}
    await daemon.management.create(NetworkCreate(name="routed", options=options))
    ports = {"7000/tcp": [("", "8080")], "7002/tcp": [("127.0.0.1", "8081")]}
    # No port of the host leads there: both may have the same one, and a third one it itself.
    one, two = [await run(daemon, request(each, "routed", ports=ports)) for each in ("one", "two")]
    three = await run(daemon, request("three", ports={"7000/tcp": [("", "8080")]}))
    echoes = [Echo(each.fd, 7000, "open") for each in (one, two, three)]
    echoes += [Echo(one.fd, 7001, "shut"), Echo(one.fd, 7002, "own")]
    try:
        for each in (one, two):
            address = each.network("routed")["IPAddress"]
            assert inside(far, partial(ask, address, 7000)) == f"open {FAR4}"
            shown = each.attachment.settings["Ports"]
            opened = [{"HostIp": "0.0.0.0", "HostPort": ""}]
            assert shown == {"7000/tcp": opened, "7002/tcp": None}
        address = one.network("routed")["IPAddress"]
        assert inside(far, lambda: ask(address, 7001, timeout=0.3)) == ""
        # What is published on the loopback address is for this host.
        assert inside(far, lambda: ask(address, 7002, timeout=0.3)) == ""
        assert inside(far, lambda: ask(HOST4, 8080)) == f"open {FAR4}"
    finally:
        for echo in echoes:
            echo.close()
        end(one, two, three)


async def test_macvlan_puts_containers_beside_the_host(daemon: Daemon, far: int) -> None:
    if not available("macvlan"):
        pytest.skip("this kernel has no macvlan")
    pool = IPAMPool(subnet="192.0.2.0/24", gateway=FAR4, ip_range="192.0.2.128/25")
    await daemon.management.create(
        NetworkCreate(
            name="lan",
            driver="macvlan",
            ipam=IPAM(config=[pool]),
            options={"parent": "uplink"},
        )
    )
    one, two = await run(daemon, request("one", "lan")), await run(daemon, request("two", "lan"))
    echo = Echo(one.fd, 7000, "one")
    try:
        address = one.network("lan")["IPAddress"]
        assert address == "192.0.2.128"
        assert two.inside(lambda: ask(address, 7000)) == "one 192.0.2.129"
        assert inside(far, lambda: ask(address, 7000)) == f"one {FAR4}"
    finally:
        echo.close()
        end(one, two)
    for container_id in (one.id, two.id):
        await daemon.service.detach(container_id)
    tagged = NetworkCreate(name="tagged", driver="macvlan", options={"parent": "uplink.50"})
    if not available("vlan"):
        with pytest.raises(NotImplementedYet, match=r"VLAN interface uplink\.50 cannot be made"):
            await daemon.management.create(tagged)
        return
    await daemon.management.create(tagged)
    with Netlink() as kernel:
        assert kernel.link("uplink.50") is not None
        await daemon.management.remove("tagged")
        assert kernel.link("uplink.50") is None


async def test_drivers_that_cannot_work_here_say_so(daemon: Daemon) -> None:
    with pytest.raises(Invalid, match="parent interface nothere was not found"):
        await daemon.management.create(
            NetworkCreate(name="lan", driver="macvlan", options={"parent": "nothere"})
        )
    if not available("ipvlan"):
        with pytest.raises(NotImplementedYet, match="kernel has no ipvlan"):
            await daemon.management.create(
                NetworkCreate(name="lan", driver="ipvlan", options={"parent": "uplink"})
            )
    with pytest.raises(NotFound, match="network lan not found"):
        daemon.management.inspect("lan")


async def test_the_default_route_follows_priority_and_connections(daemon: Daemon) -> None:
    for name in ("aaa", "bbb"):
        await daemon.management.create(NetworkCreate(name=name))
    wanted = request(
        "one",
        "aaa",
        endpoints={"aaa": None, "bbb": EndpointSettings(gw_priority=5)},
        ports={"7000/tcp": [("", "8080")]},
    )
    one = await run(daemon, wanted)
    echo = Echo(one.fd, 7000, "one")

    def gateway() -> str:
        done = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True)
        return done.stdout.split()[2]

    try:
        assert one.inside(gateway) == one.network("bbb")["Gateway"]
        assert ask("127.0.0.1", 8080).startswith("one ")
        await daemon.management.disconnect("bbb", "one")
        assert one.inside(gateway) == one.network("aaa")["Gateway"]
        assert ask("127.0.0.1", 8080).startswith("one ")
        await daemon.management.connect("bbb", "one", EndpointSettings(gw_priority=9))
        again = daemon.service.settings(one.id)["Networks"]["bbb"]
        assert one.inside(gateway) == again["Gateway"]
        assert ask("127.0.0.1", 8080).startswith("one ")
    finally:
        echo.close()
        end(one)


async def test_macvlan_without_parent_is_internal(daemon: Daemon, far: int) -> None:
    await daemon.management.create(NetworkCreate(name="alone", driver="macvlan"))
    assert daemon.management.inspect("alone")["Internal"] is True
    one = await run(daemon, request("one", "alone"))
    two = await run(daemon, request("two", "alone"))
    echo = Echo(one.fd, 7000, "one")
    address = one.network("alone")["IPAddress"]
    try:
        assert one.network("alone")["Gateway"] == ""
        assert two.inside(lambda: ask(address, 7000, timeout=10)).startswith("one ")
        assert two.inside(lambda: ask(HOST4, 22, timeout=0.5)) == ""
        assert inside(far, lambda: ask(address, 7000, timeout=0.5)) == ""
    finally:
        echo.close()
        end(one, two)
    for container_id in (one.id, two.id):
        await daemon.service.detach(container_id)
    device = daemon.service.book.network("alone").device
    assert netlink.index_of(device) is not None
    await daemon.management.remove("alone")
    assert netlink.index_of(device) is None


async def test_the_users_chain_comes_first(daemon: Daemon, far: int) -> None:
    one = await run(daemon, request("one", ports={"7000/tcp": [("", "8080"), ("", "8081")]}))
    echo = Echo(one.fd, 7000, "one")
    table = daemon.networks.firewall.table
    rule = f"meta l4proto tcp ct original proto-dst 8080 ip saddr {FAR4} drop"
    try:
        assert inside(far, lambda: ask(HOST4, 8080, timeout=10)) == f"one {FAR4}"
        nft.run(f"add rule inet {table} user {rule}")
        assert inside(far, lambda: ask(HOST4, 8080, timeout=0.5)) == ""
        assert inside(far, lambda: ask(HOST4, 8081, timeout=10)) == f"one {FAR4}"
        assert ask("127.0.0.1", 8080).startswith("one ")
    finally:
        nft.run(f"flush chain inet {table} user")
        echo.close()
        end(one)


async def test_a_router_of_the_network_other_than_the_bridge(daemon: Daemon) -> None:
    pool = IPAMPool(
        subnet="10.95.0.0/24", auxiliary_addresses={"DefaultGatewayIPv4": "10.95.0.254"}
    )
    await daemon.management.create(NetworkCreate(name="lan", ipam=IPAM(config=[pool])))
    one = await run(daemon, request("one", "lan"))
    try:
        assert one.network("lan")["Gateway"] == "10.95.0.254"
        assert one.network("lan")["IPAddress"] == "10.95.0.2"
    finally:
        end(one)
