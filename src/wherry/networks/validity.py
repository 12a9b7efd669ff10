"""Whether what the daemon's configuration says about networks can be; pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from wherry.errors import Invalid

_INTERFACE = re.compile(r"[^\s/:]{1,15}")
_DOMAIN = re.compile(r"\.|[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")
_MTUS = (68, 65535)


def check(values: Mapping[str, Any]) -> None:
    """Options by name, with underscores. ``Invalid`` names the option."""
    mtu = int(values.get("mtu") or 0)
    if mtu and not _MTUS[0] <= mtu <= _MTUS[1]:
        raise Invalid(f"invalid mtu {mtu}: it is from {_MTUS[0]} to {_MTUS[1]}")
    bridge = str(values.get("bridge") or "")
    if bridge and (not _INTERFACE.fullmatch(bridge) or bridge in (".", "..")):
        raise Invalid(f"invalid bridge {bridge!r}: an interface's name has up to 15 letters")
    for text in values.get("dns") or ():
        if not _is_address(str(text)):
            raise Invalid(f"invalid dns {text!r}: it is no address")
    for text in values.get("dns_search") or ():
        if not _DOMAIN.fullmatch(str(text)):
            raise Invalid(f"invalid dns-search {text!r}: it is no domain")
    _check_subnets(values)


def _check_subnets(values: Mapping[str, Any]) -> None:
    bip, inner = (str(values.get(name) or "") for name in ("bip", "fixed_cidr"))
    if bip:
        try:
            found = ipaddress.IPv4Interface(bip)
        except ValueError:
            found = None
        if found is None or "/" not in bip:
            raise Invalid(f"invalid bip {bip!r}: it is an IPv4 address with its prefix")
        if found.network.prefixlen < 31 and found.ip in (found.network[0], found.network[-1]):
            raise Invalid(f"invalid bip {bip!r}: no host of {found.network} can have the address")
        if inner and not _network("fixed-cidr", inner, 4).subnet_of(found.network):
            raise Invalid(f"invalid fixed-cidr {inner!r}: it is not inside of bip {bip}")
    elif inner:
        _network("fixed-cidr", inner, 4)
    if six := str(values.get("fixed_cidr_v6") or ""):
        _network("fixed-cidr-v6", six, 6)


def _network(name: str, text: str, version: int) -> Any:
    kind = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
    try:
        if "/" not in text:
            raise ValueError("it has no prefix")
        return kind(text)
    except ValueError as error:
        raise Invalid(f"invalid {name} {text!r}: {error}") from error


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
