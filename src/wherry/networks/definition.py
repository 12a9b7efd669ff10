"""From the request to create a network to the network: names, options, subnets. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wherry.errors import Forbidden, Invalid, NotFound, NotImplementedYet
from wherry.networks import ipam
from wherry.networks.values import (
    BINDING,
    BRIDGE_NAME,
    GATEWAY_MODES,
    ICC,
    INHIBIT,
    IPVLAN_FLAG,
    IPVLAN_MODE,
    MACVLAN_MODE,
    MASQUERADE,
    MTU,
    PARENT,
    IPNetwork,
    Network,
    Subnet,
)
from wherry.wire.network import IPAMPool, NetworkCreate

DRIVERS = ("bridge", "host", "null", "macvlan", "ipvlan")
CHILDREN = ("macvlan", "ipvlan")
"""Drivers that need a parent interface; without one the network is internal."""
PREDEFINED = ("bridge", "host", "none")
RESERVED_NAMES = frozenset({*PREDEFINED, "default"})
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_INTERFACE = re.compile(r"[^\s/:]{1,15}")
_BOOLEAN = frozenset({"1", "t", "T", "TRUE", "true", "True"}) | frozenset(
    {"0", "f", "F", "FALSE", "false", "False"}
)
_GATEWAY_MODES = frozenset({"", "nat", "nat-unprotected", "routed", "isolated"})
CHILD_OPTIONS = {
    MACVLAN_MODE: ("macvlan", ("bridge", "vepa", "passthru", "private"), "mode "),
    IPVLAN_MODE: ("ipvlan", ("l2", "l3", "l3s"), "mode "),
    IPVLAN_FLAG: ("ipvlan", ("bridge", "private", "vepa"), ""),
}
"""Option -> its driver, its values (the first is the default), what Docker calls such a value."""


@dataclass(frozen=True)
class Surroundings:
    """What a new network must get along with."""

    pools: Sequence[ipam.Pool]
    local: ipam.Pool
    """Where IPv6 subnets come from by themselves."""
    networks: Sequence[tuple[str, IPNetwork]]
    """(network's name, subnet) of ours."""
    host: Sequence[IPNetwork]
    """What the host routes elsewhere."""


def check_name(name: str) -> None:
    """Docker's rule for names; predefined names are refused."""
    if name in RESERVED_NAMES:
        raise Forbidden(f"operation is not permitted on predefined {name} network")
    if not _NAME.fullmatch(name):
        raise Invalid(f"invalid network name {name!r}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")


def define(request: NetworkCreate, network_id: str, created: str, around: Surroundings) -> Network:
    """The network as it will be; ``Invalid``, ``Forbidden``, ``NotFound`` name what is wrong."""
    check_name(request.name)
    driver = request.driver or "bridge"
    if driver in ("host", "null", "none"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver == "overlay":
        raise NotImplementedYet("overlay networks need a cluster, and this daemon is in none")
    if driver not in DRIVERS:
        raise NotFound(f"could not find plugin {driver} in v1 plugin registry: plugin not found")
    if request.ingress:
        raise NotImplementedYet("ingress networks belong to a cluster, and this daemon is in none")
    if request.scope not in (None, "", "local"):
        raise Invalid(f"invalid scope {request.scope}: this daemon knows the scope local only")
    options = dict(request.options or {})
    check_options(driver, options)
    want4 = request.enable_ipv4 is not False
    want6 = bool(request.enable_ipv6)
    if not want4 and not want6:
        raise Invalid("IPv4 or IPv6 must be enabled")
    # Without a gateway nothing leads out: to say so is the caller's part, as with Docker.
    isolated = "isolated" in (options.get(each) for each in GATEWAY_MODES.values())
    if isolated and driver == "bridge" and not (request.internal or request.config_only):
        raise Invalid("gateway mode 'isolated' can only be used for an internal network")
    settings = request.ipam
    plugin = (settings and settings.driver) or "default"
    if plugin not in ("default", "null"):
        raise NotFound(f"could not find plugin {plugin} in v1 plugin registry: plugin not found")
    subnets: list[Subnet] = []
    if plugin == "default" and not request.config_only:
        subnets = _subnets(request, want4, want6, options, around)
    elif settings and request.config_only:
        subnets = [_asked(each) for each in settings.config or () if each.subnet]
    return Network(
        id=network_id,
        name=request.name,
        driver=driver,
        created=created,
        subnets=subnets,
        options=options,
        labels=dict(request.labels or {}),
        internal=bool(request.internal) or (driver in CHILDREN and not options.get(PARENT)),
        attachable=bool(request.attachable),
        ipv4=want4,
        ipv6=want6,
        ipam_driver=plugin,
        ipam_options=dict(settings.options) if settings and settings.options else None,
        device=device_of(driver, network_id, options),
        config_only=bool(request.config_only),
        config_from=(request.config_from and request.config_from.network) or "",
    )


def device_of(driver: str, network_id: str, options: Mapping[str, str]) -> str:
    if driver == "bridge":
        return options.get(BRIDGE_NAME) or f"br-{network_id[:12]}"
    return options.get(PARENT) or f"dm-{network_id[:12]}"


def check_options(driver: str, options: Mapping[str, str]) -> None:
    """``Invalid`` names the option. Unknown options are kept and ignored, as Docker does."""
    for name in (ICC, MASQUERADE, INHIBIT):
        value = options.get(name)
        if value is not None and value not in _BOOLEAN:
            raise Invalid(f"invalid value for {name}: {value!r} is not a boolean")
    size = options.get(MTU)
    if size is not None and not (size.isdigit() and (int(size) == 0 or 68 <= int(size) <= 65535)):
        raise Invalid(f"invalid MTU {size!r} ({MTU}): 68 to 65535 can be used")
    device = options.get(BRIDGE_NAME)
    if device is not None and not _INTERFACE.fullmatch(device):
        raise Invalid(f"invalid bridge name {device!r} ({BRIDGE_NAME})")
    binding = options.get(BINDING)
    if binding:
        try:
            ipaddress.IPv4Address(binding)
        except ValueError as error:
            raise Invalid(f"invalid host address {binding!r} ({BINDING})") from error
    for name in GATEWAY_MODES.values():
        if options.get(name, "") not in _GATEWAY_MODES:
            raise Invalid(f"unknown gateway mode {options[name]!r} ({name})")
    for option, (owner, known, which) in CHILD_OPTIONS.items():
        if driver == owner and (options.get(option) or known[0]) not in known:
            raise Invalid(
                f"requested {option.replace('_', ' ')} '{options[option]}' is not valid, "
                f"'{known[0]}' {which}is the {owner} driver default"
            )


def _subnets(
    request: NetworkCreate,
    want4: bool,
    want6: bool,
    options: Mapping[str, str],
    around: Surroundings,
) -> list[Subnet]:
    entries = (request.ipam and request.ipam.config) or []
    asked = [_asked(each) for each in entries if each.subnet]
    found: list[Subnet] = []
    taken = list(around.networks)
    for each in asked:
        if (each.version == 6 and not want6) or (each.version == 4 and not want4):
            continue
        ipam.check_overlap(each.network, taken)
        taken.append((request.name, each.network))
        found.append(each)
    busy = [each for _, each in taken] + list(around.host)
    loose = [each for each in entries if not each.subnet]
    for version, wanted, pools in ((4, want4, around.pools), (6, want6, (around.local,))):
        if wanted and not any(each.version == version for each in found):
            extra = [pool for pool in around.pools if pool.base.version == version]
            chosen = ipam.choose_subnet([*extra, *pools], busy, version)
            spare = next((e for e in loose if _version(e) in (version, 0)), None)
            found.append(_loose(chosen, spare))
    return [_with_gateway(each, request, options) for each in found]


def _version(entry: IPAMPool) -> int:
    text = entry.gateway or entry.ip_range or ""
    return 0 if not text else (6 if ":" in text else 4)


def _loose(chosen: IPNetwork, entry: IPAMPool | None) -> Subnet:
    if entry is not None and (entry.gateway or entry.ip_range):
        value = entry.gateway or entry.ip_range
        raise Invalid(f"invalid network config:\nno subnet was given that contains {value}")
    return Subnet(str(chosen))


def _asked(entry: IPAMPool) -> Subnet:
    network = ipam.parse_network(entry.subnet or "")
    subnet = Subnet(
        subnet=str(network),
        gateway=_inside(network, "gateway", entry.gateway) if entry.gateway else "",
        ip_range=_range(network, entry.ip_range) if entry.ip_range else "",
        aux={
            name: _inside(network, f"auxiliary address {name}", text)
            for name, text in (entry.auxiliary_addresses or {}).items()
        },
        asked=True,
        gateway_asked=bool(entry.gateway),
    )
    ipam.require_room(subnet)
    return subnet


def _inside(network: IPNetwork, what: str, text: str) -> str:
    try:
        address = ipaddress.ip_address(text.partition("/")[0])
    except ValueError as error:
        raise Invalid(f"invalid network config:\ninvalid {what} {text}: invalid address") from error
    if address not in network:
        raise Invalid(
            f"invalid network config:\ninvalid {what} {text}: parent subnet {network} doesn't "
            "contain this address"
        )
    return str(address)


def _range(network: IPNetwork, text: str) -> str:
    inner = ipam.parse_network(text, "ip-range")
    if inner.version == network.version and inner.prefixlen < network.prefixlen:
        reason = f"CIDR block is bigger than its parent subnet {network}"
    elif not overlapping(inner, [network]):
        reason = f"parent subnet {network} doesn't contain ip-range"
    else:
        return str(inner)
    raise Invalid(f"invalid network config:\ninvalid ip-range {text}: {reason}")


def _with_gateway(subnet: Subnet, request: NetworkCreate, options: Mapping[str, str]) -> Subnet:
    if subnet.gateway:
        return subnet
    mode = options.get(GATEWAY_MODES[subnet.version], "")
    if mode == "isolated" or subnet.network.num_addresses < 4:
        return subnet
    gateway = ipam.first_gateway(subnet)
    return Subnet(
        subnet.subnet, gateway, subnet.ip_range, subnet.aux, subnet.asked, subnet.gateway_asked
    )


def overlapping(subnet: IPNetwork, others: Iterable[IPNetwork]) -> bool:
    return any(subnet.version == each.version and subnet.overlaps(each) for each in others)
