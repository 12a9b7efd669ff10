"""Subnets and addresses: whatever is asked, nothing overlaps and nothing is given twice."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import Forbidden, Invalid, Unavailable
from wherry.networks import ipam
from wherry.networks.values import IPNetwork, Subnet

networks4 = st.builds(
    lambda value, size: ipaddress.IPv4Network((value, size), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(8, 30),
)
small4 = st.builds(
    lambda value, size: ipaddress.IPv4Network((value, size), strict=False),
    st.integers(10 << 24, (11 << 24) - 1),
    st.integers(24, 30),
)


@given(st.lists(networks4, max_size=12))
def test_chosen_subnet_overlaps_nothing(taken: list[ipaddress.IPv4Network]) -> None:
    try:
        chosen = ipam.choose_subnet(ipam.DEFAULT_POOLS, taken, 4)
    except Invalid:
        free = [
            each
            for pool in ipam.DEFAULT_POOLS
            for each in pool.base.subnets(new_prefix=pool.size)
            if not any(each.overlaps(other) for other in taken)
        ]
        assert not free
        return
    assert not any(chosen.overlaps(other) for other in taken)
    assert chosen.prefixlen == 24
    assert any(chosen.network_address in pool.base for pool in ipam.DEFAULT_POOLS)


def test_a_hundred_networks_and_many_more_fit_the_default_pools() -> None:
    taken: list[IPNetwork] = []
    for _ in range(500):
        taken.append(ipam.choose_subnet(ipam.DEFAULT_POOLS, taken, 4))
    assert len(set(taken)) == 500


def test_used_up_pools_are_an_error() -> None:
    pools = ipam.parse_pools([("10.0.0.0/28", 29)])
    first = ipam.choose_subnet(pools, [], 4)
    second = ipam.choose_subnet(pools, [first], 4)
    with pytest.raises(Invalid, match="fully subnetted"):
        ipam.choose_subnet(pools, [first, second], 4)


def test_local_pool_is_a_unique_local_prefix_of_its_own() -> None:
    one, two = ipam.local_pool("/one"), ipam.local_pool("/two")
    assert one.base.network_address in ipaddress.IPv6Network("fd00::/8")
    assert one.base != two.base
    assert ipam.choose_subnet([one], [], 6).prefixlen == 64


@given(small4, st.data())
def test_addresses_are_given_once_until_none_is_left(
    network: ipaddress.IPv4Network, data: st.DataObject
) -> None:
    subnet = Subnet(str(network))
    subnet = Subnet(str(network), gateway=ipam.first_gateway(subnet))
    taken: set[int] = set()
    last = 0
    expected = network.num_addresses - 3
    for _ in range(expected):
        text = ipam.allocate(subnet, taken, last)
        value = int(ipaddress.ip_address(text))
        assert value not in taken
        assert ipaddress.ip_address(text) in network
        assert text != subnet.gateway
        assert value not in (int(network.network_address), int(network.broadcast_address))
        taken.add(value)
        last = value
        if data.draw(st.booleans()) and len(taken) > 1:
            # Given back: it may come again, but only once it is free.
            taken.discard(data.draw(st.sampled_from(sorted(taken))))
    while ipam.room_left(subnet, taken):
        taken.add(int(ipaddress.ip_address(ipam.allocate(subnet, taken, last))))
    with pytest.raises(Unavailable, match="no available IPv4 addresses"):
        ipam.allocate(subnet, taken, last, "net")


def test_an_address_given_back_is_the_last_to_be_given_again() -> None:
    subnet = Subnet("10.0.0.0/29", gateway="10.0.0.1")
    first = ipam.allocate(subnet, set(), 0)
    assert first == "10.0.0.2"
    second = ipam.allocate(subnet, set(), int(ipaddress.ip_address(first)))
    assert second == "10.0.0.3"


@given(st.integers(0, 2**16))
def test_ranges_and_auxiliary_addresses_are_kept_to(seed: int) -> None:
    subnet = Subnet("10.5.0.0/24", "10.5.0.1", "10.5.0.64/28", {"router": "10.5.0.65"}, asked=True)
    text = ipam.allocate(subnet, {int(ipaddress.ip_address("10.5.0.66"))}, seed)
    assert ipaddress.ip_address(text) in ipaddress.ip_network("10.5.0.64/28")
    assert text not in ("10.5.0.65", "10.5.0.66")


def test_wanted_addresses_are_checked() -> None:
    subnets = [Subnet("10.5.0.0/24", "10.5.0.1", asked=True)]
    assert ipam.check_address(subnets, "10.5.0.9", ()) is subnets[0]
    for text, kind, words in (
        ("10.6.0.9", Invalid, "no configured subnet or ip-range contain the IP address 10.6.0.9"),
        ("nonsense", Invalid, "invalid IP address: nonsense"),
        ("10.5.0.1", Forbidden, "Address already in use: 10.5.0.1"),
        ("10.5.0.255", Forbidden, "10.5.0.255"),
        ("10.5.0.7", Forbidden, "10.5.0.7"),
    ):
        with pytest.raises(kind, match=words):
            ipam.check_address(subnets, text, {int(ipaddress.ip_address("10.5.0.7"))})
    with pytest.raises(Invalid, match="user configured subnets"):
        ipam.check_address([Subnet("10.5.0.0/24")], "10.5.0.9", ())


def test_malformed_subnets_are_named() -> None:
    with pytest.raises(Invalid, match=r"invalid subnet 10.0.0.0: invalid CIDR"):
        ipam.parse_network("10.0.0.0")
    with pytest.raises(Invalid, match=r"invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"):
        ipam.parse_network("10.0.0.1/24")
    with pytest.raises(Invalid, match=r"invalid subnet 10.0.0.0/33"):
        ipam.parse_network("10.0.0.0/33")


def test_overlap_names_the_network_in_the_way() -> None:
    with pytest.raises(Forbidden, match=r"Pool overlaps with other one.*network other"):
        ipam.check_overlap(
            ipaddress.ip_network("10.0.0.0/16"), [("other", ipaddress.ip_network("10.0.7.0/24"))]
        )


def test_macs_follow_addresses() -> None:
    assert ipam.mac_of("10.0.0.2", "x") == "02:42:0a:00:00:02"
    assert ipam.mac_of("", "x") == ipam.mac_of("", "x") != ipam.mac_of("", "y")
    assert ipam.check_mac("02-42-AC-11-00-02") == "02:42:ac:11:00:02"
    with pytest.raises(Invalid, match="invalid MAC address 02:42"):
        ipam.check_mac("02:42")
