"""From what a container asks for to its endpoints: order, addresses, names, default routes. Pure
but for the book it reads."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from wherry.errors import Forbidden, Invalid
from wherry.networks import ipam
from wherry.networks.book import Book
from wherry.networks.values import Endpoint, Membership, Network, Sandbox
from wherry.wire.attachment import NetworkRequest
from wherry.wire.container import EndpointSettings

_MODES = {"default": "bridge", "": "bridge"}


def network_of_mode(mode: str) -> str:
    """The network's name for a network mode; empty for ``container:``."""
    if mode.startswith("container:"):
        return ""
    return _MODES.get(mode, mode)


def asked(settings: EndpointSettings | None) -> dict[str, Any]:
    """What the user asked of an endpoint, API keys; what only the daemon knows is left out."""
    if settings is None:
        return {}
    whole: dict[str, Any] = msgspec.to_builtins(settings)
    keys = ("IPAMConfig", "Links", "Aliases", "MacAddress", "DriverOpts", "GwPriority")
    found = {key: whole[key] for key in keys if whole.get(key)}
    if "IPAMConfig" in found:
        addresses = {key: value for key, value in found["IPAMConfig"].items() if value}
        found["IPAMConfig"] = addresses
        if not addresses:
            del found["IPAMConfig"]
    return found


def memberships(request: NetworkRequest) -> list[Membership]:
    """The mode's network first, then the others by name."""
    mode = request.host_config.network_mode or "default"
    main = network_of_mode(mode)
    if not main or request.network_disabled:
        return []
    rest = {_MODES.get(name, name): asked(each) for name, each in request.endpoints.items()}
    first = rest.pop(main, None)
    if first is None and main not in ("bridge", "none", "host"):
        # The mode may name the network by id and the endpoint by name: one and the same.
        first = rest.pop(next(iter(rest)), None) if len(rest) == 1 else None
    settings = dict(first or {})
    if request.mac_address and "MacAddress" not in settings:
        settings["MacAddress"] = request.mac_address
    found = [Membership(main, settings)]
    return found + [Membership(name, rest[name]) for name in sorted(rest)]


def check_settings(network: Network, settings: Mapping[str, Any]) -> None:
    """What a user may ask of an endpoint in this network. ``Invalid`` with Docker's words."""
    wanted = settings.get("IPAMConfig") or {}
    faults: list[str] = []
    if settings.get("Aliases") and not network.named:
        faults.append(
            "network-scoped alias is supported only for containers in user defined networks"
        )
    for version in (4, 6):
        text = wanted.get(f"IPv{version}Address")
        if text:
            faults += _address_faults(network, version, text)
    for text in wanted.get("LinkLocalIPs") or ():
        if _address(text) is None:
            faults.append(f"invalid link-local IP address: {text}")
    if faults:
        lines = faults if len(faults) == 1 else [f"* {each}" for each in faults]
        raise Invalid("\n".join(["invalid endpoint settings:", *lines]))
    if settings.get("MacAddress"):
        ipam.check_mac(settings["MacAddress"])
        if network.driver == "ipvlan":
            raise Invalid("ipvlan interfaces do not support custom mac address assignment")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _address_faults(network: Network, version: int, text: str) -> list[str]:
    faults = []
    if network.predefined:
        faults.append("user specified IP address is supported on user defined networks only")
    address = _address(text)
    if address is None or address.version != version:
        faults.append(f"invalid IPv{version} address: {text}")
    family = [each for each in network.subnets if each.version == version and each.asked]
    if not family:
        faults.append(
            "user specified IP address is supported only when connecting to networks with user "
            "configured subnets"
        )
    elif address is None or not any(address in each.network for each in family):
        faults.append(f"no configured subnet or ip-range contain the IP address {text}")
    return faults


def dns_names(sandbox: Sandbox, settings: Mapping[str, Any]) -> list[str]:
    """What other containers may call it: name, aliases, short id, hostname."""
    names = [sandbox.name, *(settings.get("Aliases") or ()), sandbox.container_id[:12]]
    if sandbox.hostname and sandbox.hostname != sandbox.container_id[:12]:
        names.append(sandbox.hostname)
    return list(dict.fromkeys(each for each in names if each))


def endpoint(
    book: Book,
    network: Network,
    sandbox: Sandbox,
    settings: Mapping[str, Any],
    *,
    interface: str,
) -> Endpoint:
    """A new endpoint with its addresses chosen; nothing is recorded yet."""
    check_settings(network, settings)
    endpoint_id = os.urandom(32).hex()
    wanted = settings.get("IPAMConfig") or {}
    shown = f"{network.name} ({network.id})"
    addresses: dict[int, tuple[str, int, str]] = {4: ("", 0, ""), 6: ("", 0, "")}
    for version in (4, 6):
        family = [each for each in network.subnets if each.version == version]
        text = wanted.get(f"IPv{version}Address")
        taken = book.taken(network.id, version)
        if text:
            subnet = ipam.check_address(network.subnets, text, taken)
            address = str(ipaddress.ip_address(text))
        elif family:
            subnet, address = _free(book, network.id, family, taken, shown)
        else:
            continue
        addresses[version] = (address, subnet.prefix, subnet.router)
    (ipv4, prefix4, gateway4), (ipv6, prefix6, gateway6) = addresses[4], addresses[6]
    closed = network.internal or network.direct
    return Endpoint(
        id=endpoint_id,
        network_id=network.id,
        container_id=sandbox.container_id,
        interface=interface,
        host_interface=f"veth{endpoint_id[:7]}" if network.driver == "bridge" else "",
        mac=_mac(network, settings, ipv4, endpoint_id),
        ipv4=ipv4,
        ipv4_prefix=prefix4,
        ipv6=ipv6,
        ipv6_prefix=prefix6,
        gateway4="" if closed else gateway4,
        gateway6="" if closed else gateway6,
        names=dns_names(sandbox, settings) if network.named else [],
    )


def _mac(network: Network, settings: Mapping[str, Any], ipv4: str, endpoint_id: str) -> str:
    if network.driver == "ipvlan":
        return ""  # the parent's
    asked = settings.get("MacAddress") or ""
    return ipam.check_mac(asked) if asked else ipam.mac_of(ipv4, endpoint_id)


def _free(
    book: Book, network_id: str, family: Sequence[Any], taken: set[int], shown: str
) -> tuple[Any, str]:
    after = book.last_given(network_id, family[0].version)
    failure: Exception | None = None
    for subnet in family:
        try:
            return subnet, ipam.allocate(subnet, taken, after, shown)
        except Exception as error:
            failure = error
    assert failure is not None
    raise failure


def gateways(
    book: Book,
    members: Sequence[Membership],
    endpoints: Sequence[Endpoint],
    networks: Sequence[Network],
) -> dict[int, Endpoint]:
    """Which endpoint has the default route, by family: the highest ``GwPriority``, then the
    first by network name. Internal networks have no way out."""
    by_id = {each.id: each for each in networks}
    priority = {
        book.network(each.network).id: int(each.settings.get("GwPriority") or 0) for each in members
    }
    order = sorted(
        (each for each in endpoints if not by_id[each.network_id].internal),
        key=lambda each: (-priority.get(each.network_id, 0), by_id[each.network_id].name),
    )
    found: dict[int, Endpoint] = {}
    for version in (4, 6):
        for each in order:
            address = each.ipv4 if version == 4 else each.ipv6
            gateway = each.gateway4 if version == 4 else each.gateway6
            if address and (gateway or by_id[each.network_id].direct):
                found[version] = each
                break
    return found


def check_modes(sandbox: Sandbox, network: Network) -> None:
    """Whether a container may be connected to one more network."""
    mode = sandbox.mode
    if mode.startswith("container:"):
        raise Invalid(
            "container sharing network namespace with another container or host cannot be "
            "connected to any other network"
        )
    if mode == "host" or network.driver == "host":
        raise Invalid(
            "container cannot be disconnected from host network or connected to host network"
        )
    if sandbox.private or network.driver == "null":
        raise Invalid(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode"
        )
    if network.config_only:
        raise Forbidden(
            f"cannot connect a container to the configuration-only network {network.name}"
        )
