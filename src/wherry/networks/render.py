"""Networks, endpoints and ``NetworkSettings`` as the Engine API writes them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from wherry.networks import portspec
from wherry.networks.values import Endpoint, Membership, Network, PortMap, Sandbox, Subnet


def _pool(subnet: Subnet) -> dict[str, Any]:
    row: dict[str, Any] = {"Subnet": subnet.subnet}
    if subnet.ip_range:
        row["IPRange"] = subnet.ip_range
    # Docker shows a gateway that it chose only in a subnet that it chose too.
    if subnet.gateway and (subnet.gateway_asked or not subnet.asked):
        row["Gateway"] = subnet.gateway
    if subnet.aux:
        row["AuxiliaryAddresses"] = dict(subnet.aux)
    return row


def network(value: Network, endpoints: Iterable[tuple[Endpoint, str]] = ()) -> dict[str, Any]:
    """``GET /networks/{id}``; ``endpoints`` with their containers' names, none in the list."""
    return {
        "Name": value.name,
        "Id": value.id,
        "Created": value.created,
        "Scope": value.scope,
        "Driver": value.driver,
        "EnableIPv4": value.ipv4,
        "EnableIPv6": value.ipv6,
        "IPAM": {
            "Driver": value.ipam_driver,
            "Options": value.ipam_options if value.ipam_options or value.predefined else {},
            "Config": [_pool(each) for each in value.subnets] or None,
        },
        "Internal": value.internal,
        "Attachable": value.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": value.config_from},
        "ConfigOnly": value.config_only,
        "Containers": {
            each.container_id: {
                "Name": name,
                "EndpointID": each.id,
                "MacAddress": each.mac,
                "IPv4Address": f"{each.ipv4}/{each.ipv4_prefix}" if each.ipv4 else "",
                "IPv6Address": f"{each.ipv6}/{each.ipv6_prefix}" if each.ipv6 else "",
            }
            for each, name in endpoints
        },
        "Options": dict(value.options),
        "Labels": dict(value.labels),
    }


def endpoint(
    member: Membership,
    live: Endpoint | None,
    network_id: str,
    names: list[str] | None,
) -> dict[str, Any]:
    """``EndpointSettings`` of inspect: what was asked for, and what is while it runs."""
    asked = member.settings
    return {
        "IPAMConfig": asked.get("IPAMConfig"),
        "Links": asked.get("Links"),
        "Aliases": asked.get("Aliases"),
        "MacAddress": live.mac if live else (asked.get("MacAddress") or ""),
        "DriverOpts": asked.get("DriverOpts"),
        "GwPriority": asked.get("GwPriority") or 0,
        "NetworkID": network_id,
        "EndpointID": live.id if live else "",
        "Gateway": live.gateway4 if live else "",
        "IPAddress": live.ipv4 if live else "",
        "IPPrefixLen": live.ipv4_prefix if live else 0,
        "IPv6Gateway": live.gateway6 if live else "",
        "GlobalIPv6Address": live.ipv6 if live else "",
        "GlobalIPv6PrefixLen": live.ipv6_prefix if live else 0,
        "DNSNames": names,
    }


def _sandbox_id(sandbox: Sandbox) -> str:
    return hashlib.sha256(f"sandbox {sandbox.container_id}".encode()).hexdigest()


def settings(
    sandbox: Sandbox | None,
    networks: Mapping[str, Mapping[str, Any]],
    key: str,
    ports: Iterable[PortMap],
    default: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """``NetworkSettings``. ``default``: the endpoint in the default bridge network, whose values
    are repeated at the top for old clients."""
    running = bool(sandbox and sandbox.running)
    top = default or {}
    return {
        "Bridge": "",
        "SandboxID": _sandbox_id(sandbox) if sandbox and running else "",
        "SandboxKey": key if running else "",
        "Ports": portspec.render(ports, sandbox.exposed) if sandbox and running else {},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": top.get("EndpointID", ""),
        "Gateway": top.get("Gateway", ""),
        "GlobalIPv6Address": top.get("GlobalIPv6Address", ""),
        "GlobalIPv6PrefixLen": top.get("GlobalIPv6PrefixLen", 0),
        "IPAddress": top.get("IPAddress", ""),
        "IPPrefixLen": top.get("IPPrefixLen", 0),
        "IPv6Gateway": top.get("IPv6Gateway", ""),
        "MacAddress": top.get("MacAddress", ""),
        "Networks": dict(networks),
    }
