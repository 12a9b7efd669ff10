"""Which subnet a network gets and which address an endpoint: arithmetic on values, nothing else.

Subnets are cut from default pools that are small (/24), so that a hundred networks fit, and never
overlap anything that the host routes already. Addresses are handed out in rotation: one that was
given back is the last to be given again, so that neighbours' caches have forgotten it.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from wherry.errors import Exhausted, Forbidden, Invalid, Unavailable
from wherry.networks.values import IPNetwork, Subnet


@dataclass(frozen=True)
class Pool:
    """``base`` cut into subnets of prefix length ``size``."""

    base: IPNetwork
    size: int


DEFAULT_POOLS: tuple[Pool, ...] = (
    *(Pool(ipaddress.ip_network(f"172.{n}.0.0/16"), 24) for n in range(17, 32)),
    Pool(ipaddress.ip_network("192.168.0.0/16"), 24),
)


def parse_network(text: str, what: str = "subnet") -> IPNetwork:
    """``Invalid``, with Docker's words, unless ``text`` is a CIDR block without host bits."""
    if "/" not in text:
        raise Invalid(
            f"invalid network config:\ninvalid {what} {text}: invalid CIDR block notation"
        )
    try:
        found = ipaddress.ip_interface(text)
    except ValueError as error:
        raise Invalid(
            f"invalid network config:\ninvalid {what} {text}: invalid CIDR block notation"
        ) from error
    if found.ip != found.network.network_address:
        raise Invalid(
            f"invalid network config:\ninvalid {what} {text}: it should be {found.network}"
        )
    return found.network


def parse_pools(entries: Iterable[tuple[str, int]]) -> tuple[Pool, ...]:
    """``default-address-pools`` of the configuration: (base, size) of each."""
    pools = []
    for text, size in entries:
        base = parse_network(text, "address pool base")
        if not base.prefixlen <= size <= base.max_prefixlen:
            raise Invalid(f"invalid default address pool {text}: size {size} is out of range")
        pools.append(Pool(base, size))
    return tuple(pools)


def local_pool(seed: str) -> Pool:
    """The /48 of unique local addresses (RFC 4193) of this daemon; networks get /64s of it."""
    digest = hashlib.sha256(seed.encode()).digest()[:5]
    prefix = bytes([0xFD]) + digest + bytes(10)
    return Pool(ipaddress.IPv6Network((prefix, 48)), 64)


def _bounds(network: IPNetwork) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)


def choose_subnet(pools: Sequence[Pool], taken: Iterable[IPNetwork], version: int) -> IPNetwork:
    """The first free subnet of the pools that overlaps nothing taken.

    Raises ``Invalid`` (400, as Docker) when the pools are used up.
    """
    busy = sorted(_bounds(each) for each in taken if each.version == version)
    for pool in pools:
        if pool.base.version != version:
            continue
        first, last = _bounds(pool.base)
        step = 1 << (pool.base.max_prefixlen - pool.size)
        at = first
        for low, high in busy:
            if high < at:
                continue
            if low > at + step - 1:
                break
            at += ((high - at) // step + 1) * step
        if at + step - 1 <= last:
            address = ipaddress.ip_address(at) if version == 4 else ipaddress.IPv6Address(at)
            return ipaddress.ip_network(f"{address}/{pool.size}")
    raise Invalid("all predefined address pools have been fully subnetted")


def check_overlap(subnet: IPNetwork, taken: Iterable[tuple[str, IPNetwork]]) -> None:
    """``taken``: (network's name, its subnet). ``Forbidden`` names the network in the way."""
    for name, other in taken:
        if subnet.version == other.version and subnet.overlaps(other):
            raise Forbidden(
                "invalid pool request: Pool overlaps with other one on this address space: "
                f"{subnet} and {other} of network {name}"
            )


def usable(subnet: Subnet) -> tuple[int, int]:
    """First and last address that may be handed out automatically, as integers."""
    whole = subnet.network
    first, last = _bounds(whole)
    if whole.version == 4:
        if whole.prefixlen < 31:
            first, last = first + 1, last - 1
    elif whole.prefixlen < 127:
        first += 1
    if subnet.ip_range:
        low, high = _bounds(ipaddress.ip_network(subnet.ip_range))
        first, last = max(first, low), min(last, high)
    return first, last


def reserved(subnet: Subnet) -> set[int]:
    """Gateway and auxiliary addresses."""
    texts = [*subnet.aux.values(), *([subnet.gateway] if subnet.gateway else [])]
    return {int(ipaddress.ip_address(each)) for each in texts}


def first_gateway(subnet: Subnet) -> str:
    """The gateway that a subnet gets by itself: its range's first free address."""
    first, last = usable(subnet)
    busy = {int(ipaddress.ip_address(each)) for each in subnet.aux.values()}
    while first in busy and first < last:
        first += 1
    return _text(first, subnet.version)


def _text(value: int, version: int) -> str:
    return str(ipaddress.IPv4Address(value) if version == 4 else ipaddress.IPv6Address(value))


def allocate(subnet: Subnet, taken: Collection[int], after: int = 0, network: str = "") -> str:
    """The next free address beyond ``after`` (an integer), from the start again at the end.

    Raises ``Unavailable`` when there is none; ``network`` is how the message names it.
    """
    first, last = usable(subnet)
    busy = reserved(subnet)
    start = after + 1 if first <= after < last else first
    size = last - first + 1
    # A free address is found after at most as many steps as addresses are in use.
    for step in range(min(size, len(taken) + len(busy) + 1)):
        value = first + (start - first + step) % size
        if value not in taken and value not in busy:
            return _text(value, subnet.version)
    raise Unavailable(
        f"no available IPv{subnet.version} addresses on this network's address pools: {network}"
    )


def check_address(subnets: Sequence[Subnet], text: str, taken: Collection[int]) -> Subnet:
    """The subnet in which a wanted address lies; it may be handed out.

    Raises ``Invalid`` when it is outside, is none, or the subnet was not chosen by the user;
    ``Forbidden`` when it is in use.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise Invalid(f"invalid endpoint settings:\ninvalid IP address: {text}") from error
    family = [each for each in subnets if each.version == address.version]
    if family and not any(each.asked for each in family):
        raise Invalid(
            "invalid endpoint settings:\nuser specified IP address is supported only when "
            "connecting to networks with user configured subnets"
        )
    subnet = next((each for each in family if address in each.network), None)
    if subnet is None:
        raise Invalid(
            "invalid endpoint settings:\nno configured subnet or ip-range contain the IP address "
            f"{text}"
        )
    value = int(address)
    first, last = _bounds(subnet.network)
    edge = address.version == 4 and subnet.network.prefixlen < 31 and value in (first, last)
    if edge or value in taken or value in reserved(subnet):
        raise Forbidden(f"Address already in use: {text}")
    return subnet


def mac_of(ipv4: str, endpoint_id: str) -> str:
    """A locally administered MAC: from the IPv4 address where there is one.

    The same address then always has the same MAC, so that a neighbour's cache never lies.
    """
    if ipv4:
        tail = ipaddress.IPv4Address(ipv4).packed
    else:
        tail = hashlib.sha256(endpoint_id.encode()).digest()[:4]
    return (b"\x02\x42" + tail).hex(":")


def check_mac(text: str) -> str:
    """Normal form of a MAC; ``Invalid``: "invalid mac address"."""
    raw = text.strip().lower().replace("-", ":")
    parts = raw.split(":")
    good = len(parts) == 6 and all(
        len(each) == 2 and all(digit in "0123456789abcdef" for digit in each) for each in parts
    )
    if not good:
        raise Invalid(f"invalid MAC address {text}")
    return raw


def room_left(subnet: Subnet, taken: Collection[int]) -> int:
    """How many addresses can still be handed out."""
    first, last = usable(subnet)
    busy = {each for each in (*taken, *reserved(subnet)) if first <= each <= last}
    return max(0, last - first + 1 - len(busy))


def require_room(subnet: Subnet) -> None:
    """``Exhausted`` for a range in which no address can be handed out at all."""
    if not room_left(subnet, ()):
        raise Exhausted(f"no address can be handed out of {subnet.ip_range or subnet.subnet}")
