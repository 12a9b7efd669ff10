"""Published ports: from ``HostConfig.PortBindings`` to runs of ports. Pure.

A run (``PortMap``) of a thousand ports is one value, and later one element of a firewall map.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wherry.errors import Invalid
from wherry.networks.values import PortMap
from wherry.wire.container import PortBinding

PROTOCOLS = ("tcp", "udp", "sctp")
WILD = frozenset({"0.0.0.0", "::"})
"""Host addresses that stand for all of their family."""
_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


@dataclass(frozen=True)
class Wanted:
    """A run that is asked for: ``first`` 0 means any free host port, ``choice`` > ``count``
    that one out of the host range will do (``8000-8010:80``)."""

    protocol: str
    host_ip: str
    first: int
    target: int
    count: int = 1
    choice: int = 1


def parse_range(text: str) -> tuple[int, int]:
    """``80`` or ``80-90`` to (first, last). ``Invalid`` names the text."""
    found = _PORT.fullmatch(text)
    if found is None:
        raise Invalid(f'invalid port specification: "{text}"')
    first = int(found[1])
    last = int(found[2] or first)
    if last < first or last > 65535:
        raise Invalid(f'invalid port specification: "{text}"')
    return first, last


def parse_key(key: str) -> tuple[int, int, str]:
    """``80``, ``80/tcp``, ``80-90/udp`` to (first, last, protocol)."""
    ports, _, protocol = key.partition("/")
    protocol = (protocol or "tcp").lower()
    if protocol not in PROTOCOLS:
        raise Invalid(f"invalid proto: {protocol}")
    first, last = parse_range(ports)
    if not first:
        raise Invalid(f'invalid port specification: "{key}"')
    return first, last, protocol


def check_host_ip(text: str) -> str:
    """Normal form of a host address; empty stays empty."""
    bare = text.removeprefix("[").removesuffix("]")
    if not bare:
        return ""
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError as error:
        raise Invalid(f"invalid host IP address: {text}") from error


def wanted_ports(
    bindings: Mapping[str, Sequence[PortBinding] | None], exposed: Iterable[str], publish_all: bool
) -> list[Wanted]:
    """Every run that the request asks for; ``host_ip`` is empty where any will do.

    ``Invalid`` for a malformed key, port or address, and for ranges of unequal length.
    """
    found: list[Wanted] = []
    bound: set[tuple[int, str]] = set()
    for key, entries in bindings.items():
        first, last, protocol = parse_key(key)
        bound.update((port, protocol) for port in range(first, last + 1))
        for entry in entries or [PortBinding()]:
            found.append(_wanted(key, first, last, protocol, entry))
    if publish_all:
        for key in exposed:
            first, last, protocol = parse_key(key)
            for port in range(first, last + 1):
                if (port, protocol) not in bound:
                    found.append(Wanted(protocol, "", 0, port))
    return join(found)


def _wanted(key: str, first: int, last: int, protocol: str, entry: PortBinding) -> Wanted:
    host_ip = check_host_ip(entry.host_ip or "")
    count = last - first + 1
    if not entry.host_port or entry.host_port == "0":
        if count > 1:
            raise Invalid(f"a range of container ports needs a range of host ports: {key}")
        return Wanted(protocol, host_ip, 0, first)
    low, high = parse_range(entry.host_port)
    size = high - low + 1
    if count > 1 and size != count:
        raise Invalid(
            f"invalid ranges specified for container and host Ports: {key} and {entry.host_port}"
        )
    return Wanted(protocol, host_ip, low, first, count, choice=size if count == 1 else 1)


def bound_to(wanted: Wanted, host_ip: str) -> Wanted:
    """The same run on one address of the host."""
    return dataclasses.replace(wanted, host_ip=host_ip)


def join(entries: Sequence[Wanted]) -> list[Wanted]:
    """Neighbours become one run: clients send a range as one binding a port."""
    result: list[Wanted] = []
    order = sorted(entries, key=lambda e: (e.protocol, e.host_ip, e.first - e.target, e.target))
    for each in order:
        last = result[-1] if result else None
        if (
            last is not None
            and each.first
            and last.first
            and each.choice == last.choice == 1
            and (each.protocol, each.host_ip) == (last.protocol, last.host_ip)
            and each.target == last.target + last.count
            and each.first == last.first + last.count
        ):
            result[-1] = Wanted(
                last.protocol, last.host_ip, last.first, last.target, last.count + each.count
            )
        elif each != last:
            result.append(each)
    return result


def opened(wanted: Iterable[Wanted], families: Iterable[int]) -> list[PortMap]:
    """Runs without ports of the host, where containers are reached by their own addresses.

    They are disjoint, whatever asked for them: the host's addresses tell families apart, no more.
    But what is bound to a loopback address is for the host alone, which needs no opening.
    """
    wanted = [each for each in wanted if not _is_loopback(each.host_ip)]
    runs: list[PortMap] = []
    for version in families:
        address = {4: "0.0.0.0", 6: "::"}[version]
        ports = {
            (each.protocol, each.target + step)
            for each in wanted
            if not each.host_ip or (":" in each.host_ip) == (":" in address)
            for step in range(each.count)
        }
        for protocol, port in sorted(ports):
            last = runs[-1] if runs else None
            if (
                last is not None
                and (last.protocol, last.host_ip) == (protocol, address)
                and last.target + last.count == port
            ):
                runs[-1] = PortMap(protocol, address, 0, last.target, last.count + 1)
            else:
                runs.append(PortMap(protocol, address, 0, port))
    return runs


def _is_loopback(host_ip: str) -> bool:
    return bool(host_ip) and ipaddress.ip_address(host_ip).is_loopback


def overlap(one: PortMap, other: PortMap) -> int | None:
    """The first host port that both claim, or None. An unspecified address claims all of its
    family."""
    if one.protocol != other.protocol:
        return None
    if (":" in one.host_ip) != (":" in other.host_ip):
        return None
    if one.host_ip != other.host_ip and not {one.host_ip, other.host_ip} & WILD:
        return None
    first = max(one.first, other.first)
    return first if first <= min(one.last, other.last) else None


def render(
    maps: Iterable[PortMap], exposed: Iterable[str]
) -> dict[str, list[dict[str, str]] | None]:
    """``NetworkSettings.Ports``: ``{"80/tcp": [{"HostIp": ..., "HostPort": ...}] | None}``.

    ``HostPort`` is empty where no port of the host leads there (gateway mode routed), as Docker's.
    """
    ports: dict[str, list[dict[str, str]] | None] = {}
    for key in exposed:
        first, last, protocol = parse_key(key)
        for port in range(first, last + 1):
            ports[f"{port}/{protocol}"] = None
    for each in maps:
        for step in range(each.count):
            key = f"{each.target + step}/{each.protocol}"
            rows = ports.get(key) or []
            host = str(each.first + step) if each.first else ""
            rows.append({"HostIp": each.host_ip, "HostPort": host})
            ports[key] = rows
    for shown in ports.values():
        # Docker's order: the higher host port first, then IPv4.
        (shown or []).sort(key=lambda row: (-int(row["HostPort"] or 0), ":" in row["HostIp"]))
    return ports
