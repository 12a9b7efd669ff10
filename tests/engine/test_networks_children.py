"""macvlan and ipvlan: containers beside the host on a card or a VLAN, as a far host sees them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from tests.support.host import needs_interfaces
from tests.support.networks import (
    FAR4,
    FAR6,
    SETTINGS,
    Container,
    Daemon,
    Echo,
    ask,
    end,
    inside,
    request,
    run,
)

from wherry.errors import Conflict, Invalid
from wherry.linux import netlink
from wherry.linux.netlink import Netlink
from wherry.networks.drivers import available
from wherry.wire.container import EndpointSettings
from wherry.wire.network import IPAM, IPAMPool, NetworkCreate

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("far")]

needs_vlan = needs_interfaces("vlan")
needs_macvlan = needs_interfaces("macvlan")
needs_ipvlan = needs_interfaces("ipvlan")

TAG, TAGGED4, TAGGED6 = 10, "198.51.100.2", "2001:db8:10::2"
"""A VLAN of the far host, and its addresses there."""


def network(name: str, driver: str, parent: str, *subnets: str, **options: str) -> NetworkCreate:
    """``subnets``: with the gateway behind a comma."""
    pools = [IPAMPool(subnet=net, gateway=gw) for net, _, gw in (s.partition(",") for s in subnets)]
    return NetworkCreate(
        name=name,
        driver=driver,
        enable_ipv6=any(":" in each for each in subnets),
        ipam=IPAM(config=pools),
        options={"parent": parent, **options},
    )


def give(device: str, *addresses: str, vlan: int = 0) -> None:
    """Addresses for an interface of the calling thread's namespace, or its VLAN."""
    with Netlink() as kernel:
        if vlan:
            parent = netlink.index_of(device) or 0
            device = f"{device}.{vlan}"
            kernel.run([netlink.add_child("vlan", device, parent=parent, mode=vlan)])
        index = netlink.index_of(device) or 0
        sizes = [64 if ":" in each else 24 for each in addresses]
        pairs = zip(addresses, sizes, strict=True)
        kernel.run([netlink.add_address(index, each, size) for each, size in pairs])


def mac(name: str) -> str:
    """Of an interface of the calling thread's namespace."""
    shown = subprocess.run(["ip", "-j", "link", "show", name], capture_output=True, check=True)
    return str(json.loads(shown.stdout)[0]["address"])


def card(container: Container) -> str:
    return container.inside(partial(mac, "eth0"))


def addresses(container: Container, name: str) -> Sequence[str]:
    row = container.network(name)
    return [each for each in (row["IPAddress"], row["GlobalIPv6Address"]) if each]


def meet(one: Container, two: Container, name: str, far: int, far_addresses: Sequence[str]) -> None:
    """Each reaches each, and the far host reaches and is reached."""
    listening = [*addresses(one, name), *far_addresses]
    spaces = [one.fd] * len(addresses(one, name)) + [far] * len(far_addresses)
    echoes = [
        Echo(fd, 7000, address, address) for fd, address in zip(spaces, listening, strict=True)
    ]
    try:
        for address in addresses(one, name):
            six = int(":" in address)
            theirs = addresses(two, name)[six]
            assert two.inside(partial(ask, address, 7000, timeout=20)) == f"{address} {theirs}"
            seen = far_addresses[six]
            assert inside(far, partial(ask, address, 7000, timeout=20)) == f"{address} {seen}"
            assert inside(far, partial(ask, address, 7000, udp=True, timeout=20)).endswith(seen)
            assert one.inside(partial(ask, seen, 7000, timeout=20)) == f"{seen} {address}"
    finally:
        for each in echoes:
            each.close()


async def leave(daemon: Daemon, *containers: Container) -> None:
    for each in containers:
        await daemon.service.detach(each.id)
    end(*containers)


@needs_vlan
@needs_macvlan
async def test_macvlan_on_a_vlan(daemon: Daemon, far: int) -> None:
    inside(far, partial(give, "eth0", TAGGED4, TAGGED6, vlan=TAG))
    pools = (f"198.51.100.0/24,{TAGGED4}", f"2001:db8:10::/64,{TAGGED6}")
    await daemon.management.create(network("tagged", "macvlan", f"uplink.{TAG}", *pools))
    one, two = [await run(daemon, request(name, "tagged")) for name in ("one", "two")]
    try:
        meet(one, two, "tagged", far, (TAGGED4, TAGGED6))
        assert one.network("tagged")["Gateway"] == TAGGED4
        assert card(one) == one.network("tagged")["MacAddress"] != card(two)
    finally:
        await leave(daemon, one, two)
    await daemon.management.remove("tagged")
    assert netlink.index_of(f"uplink.{TAG}") is None


@needs_vlan
@needs_macvlan
@pytest.mark.parametrize("first", ["one", "two"])
async def test_two_networks_on_a_vlan(daemon: Daemon, tmp_path: Path, first: str) -> None:
    """The interface that the first has made stays for the other, and goes with it."""
    name = f"uplink.{TAG}"
    for number, each in enumerate(("one", "two")):
        await daemon.management.create(network(each, "macvlan", name, f"10.96.{number}.0/24,"))
    await daemon.management.remove(first)
    index = netlink.index_of(name)
    assert index is not None
    await daemon.close()
    daemon.dead = True
    again = await Daemon(tmp_path, SETTINGS).start()
    try:
        # With no container running the interfaces went, and are there again.
        assert netlink.index_of(name) is not None
        await again.management.remove({"one": "two", "two": "one"}[first])
        assert netlink.index_of(name) is None
    finally:
        await again.dismantle()


@needs_vlan
async def test_a_vlan_of_the_users_own_stays(daemon: Daemon) -> None:
    give("uplink", "198.51.100.1", vlan=TAG)
    await daemon.management.create(network("tagged", "macvlan", f"uplink.{TAG}", "10.96.0.0/24,"))
    await daemon.management.remove("tagged")
    assert netlink.index_of(f"uplink.{TAG}") is not None


@needs_ipvlan
async def test_ipvlan_l2_has_the_parents_address_on_the_wire(daemon: Daemon, far: int) -> None:
    inside(far, partial(give, "eth0", TAGGED4, TAGGED6))
    pools = (f"198.51.100.0/24,{TAGGED4}", f"2001:db8:10::/64,{TAGGED6}")
    await daemon.management.create(network("lan", "ipvlan", "uplink", *pools))
    one, two = [await run(daemon, request(name, "lan")) for name in ("one", "two")]
    try:
        meet(one, two, "lan", far, (TAGGED4, TAGGED6))
        row = one.network("lan")
        assert (row["Gateway"], row["IPv6Gateway"], row["MacAddress"]) == (TAGGED4, TAGGED6, "")
        assert card(one) == card(two) == mac("uplink")
        asked = EndpointSettings(mac_address="02:00:00:00:00:09")
        with pytest.raises(Invalid, match="ipvlan interfaces do not support custom mac address"):
            await run(daemon, request("three", "lan", endpoints={"lan": asked}))
        with pytest.raises(Conflict, match="lan is already using parent interface uplink"):
            await daemon.management.create(
                network("other", "ipvlan", "uplink", "10.96.0.0/24,", ipvlan_mode="l3")
            )
        with pytest.raises(Conflict, match="lan is already using parent interface uplink"):
            await daemon.management.create(network("other", "macvlan", "uplink", "10.96.0.0/24,"))
    finally:
        await leave(daemon, one, two)


@needs_ipvlan
@pytest.mark.parametrize("mode", ["l3", "l3s"])
@pytest.mark.parametrize("parent", ["uplink", f"uplink.{TAG}"])
async def test_ipvlan_is_routed_by_the_parents_host(
    daemon: Daemon, far: int, mode: str, parent: str
) -> None:
    """The far host has a route to the containers' subnets; they need no gateway."""
    ours, theirs = ("192.0.2.1", "2001:db8::1"), [FAR4, FAR6]
    if parent != "uplink":
        if not available("vlan"):
            pytest.skip("this kernel has no vlan interfaces")
        ours, theirs = ("198.51.100.1", "2001:db8:10::1"), [TAGGED4, TAGGED6]
        inside(far, partial(give, "eth0", TAGGED4, TAGGED6, vlan=TAG))
    await daemon.management.create(
        network("routed", "ipvlan", parent, "10.96.0.0/24,", "fd00:96::/64,", ipvlan_mode=mode)
    )
    if parent != "uplink":
        give(parent, *ours)
    # The far host's default routes lead to HOST4 and HOST6; on a VLAN it needs its own.
    inside(far, partial(route, ours))
    one, two = [await run(daemon, request(name, "routed")) for name in ("one", "two")]
    try:
        row = one.network("routed")
        assert (row["Gateway"], row["IPv6Gateway"], row["MacAddress"]) == ("", "", "")
        meet(one, two, "routed", far, theirs)
        # Another network comes and goes: the way out is the same after it.
        await daemon.management.create(NetworkCreate(name="aside", internal=True))
        await daemon.management.connect("aside", one.id, EndpointSettings())
        await daemon.management.disconnect("aside", one.id)
        meet(one, two, "routed", far, theirs)
    finally:
        await leave(daemon, one, two)
    await daemon.management.remove("routed")
    assert (netlink.index_of(parent) is None) == (parent != "uplink")


def route(gateways: Sequence[str]) -> None:
    """The calling thread's default routes lead there."""
    index = netlink.index_of("eth0" if gateways[0].startswith("192.0.2.") else f"eth0.{TAG}") or 0
    with Netlink() as kernel:
        kernel.run([netlink.add_route(index, gateway=each) for each in gateways])


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        pytest.param("macvlan", {"macvlan_mode": "private"}, marks=needs_macvlan, id="macvlan"),
        pytest.param("ipvlan", {"ipvlan_flag": "private"}, marks=needs_ipvlan, id="ipvlan"),
    ],
)
async def test_a_private_network_keeps_neighbours_apart(
    daemon: Daemon, far: int, driver: str, options: dict[str, str]
) -> None:
    inside(far, partial(give, "eth0", TAGGED4))
    pool = f"198.51.100.0/24,{TAGGED4}"
    await daemon.management.create(network("apart", driver, "uplink", pool, **options))
    one, two = [await run(daemon, request(name, "apart")) for name in ("one", "two")]
    address = addresses(one, "apart")[0]
    echo = Echo(one.fd, 7000, "one")
    try:
        assert inside(far, partial(ask, address, 7000, timeout=20)) == f"one {TAGGED4}"
        assert two.inside(partial(ask, address, 7000, timeout=0.5)) == ""
    finally:
        echo.close()
        await leave(daemon, one, two)
