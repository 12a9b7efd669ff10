"""What the daemon's configuration says about networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from wherry.errors import Invalid
from wherry.networks import ipam, validity
from wherry.networks.values import Subnet


@dataclass(frozen=True)
class NetworkSettings:
    """Values of ``wherryd``'s flags and ``daemon.json``; the defaults are Docker's."""

    bridge: str = ""
    """Interface of the default network; ``none``: there is no such network; empty: ``wherry0``,
    or for a data root of one's own a name made from it."""
    bip: str = ""
    fixed_cidr: str = ""
    fixed_cidr_v6: str = ""
    ipv6: bool = False
    icc: bool = True
    masquerade: bool = True
    mtu: int = 0
    binding: str = ""
    """Host address of ports published without one."""
    pools: tuple[ipam.Pool, ...] = ipam.DEFAULT_POOLS
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    gateway: str = ""
    gateway_v6: str = ""
    """Default route of the default bridge's containers; empty: the bridge."""
    host_gateway: str = ""
    """What ``host-gateway`` stands for, with commas; empty: the default bridge's addresses."""
    host_firewall: bool = False
    """Published ports obey the host's INPUT rules (``"firewall": "host"``)."""
    userland_proxy: bool = True
    """The forwarder serves what the kernel cannot translate (IPv6 to IPv4, ``[::1]``)."""

    iptables: bool = True
    """Two rules may be appended to an iptables FORWARD chain that drops (``neighbours``)."""
    ip6tables: bool = True

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> NetworkSettings:
        """From option names with underscores. ``Invalid`` names the option."""
        validity.check(values)
        firewall = str(values.get("firewall") or "docker")
        if firewall not in ("docker", "host"):
            raise Invalid(f"invalid firewall {firewall!r}: docker or host")
        binding = str(values.get("ip") or "")
        if binding:
            try:
                ipaddress.ip_address(binding)
            except ValueError as error:
                raise Invalid(f"invalid ip {binding!r}") from error
        gateway_ips = str(values.get("host_gateway_ip") or "")
        for each in gateway_ips.split(",") if gateway_ips else ():
            try:
                ipaddress.ip_address(each)
            except ValueError as error:
                raise Invalid(f"invalid host-gateway-ip {gateway_ips!r}: {each!r}") from error
        for name in ("default_gateway", "default_gateway_v6"):
            text = str(values.get(name) or "")
            try:
                good = not text or (":" in str(ipaddress.ip_address(text))) == name.endswith("v6")
            except ValueError:
                good = False
            if not good:
                raise Invalid(f"invalid {name.replace('_', '-')} {text!r}")
        return cls(
            gateway_v6=str(values.get("default_gateway_v6") or ""),
            host_gateway=gateway_ips,
            bridge=str(values.get("bridge") or ""),
            bip=str(values.get("bip") or ""),
            fixed_cidr=str(values.get("fixed_cidr") or ""),
            fixed_cidr_v6=str(values.get("fixed_cidr_v6") or ""),
            ipv6=bool(values.get("ipv6", False)),
            icc=bool(values.get("icc", True)),
            masquerade=bool(values.get("ip_masq", True)),
            mtu=int(values.get("mtu") or 0),
            binding="" if binding in ("0.0.0.0", "::") else binding,
            pools=_pools(values.get("default_address_pools")),
            dns=tuple(str(each) for each in values.get("dns") or ()),
            dns_search=tuple(str(each) for each in values.get("dns_search") or ()),
            dns_options=tuple(str(each) for each in values.get("dns_opts") or ()),
            gateway=str(values.get("default_gateway") or ""),
            host_firewall=firewall == "host",
            iptables=bool(values.get("iptables", True)),
            ip6tables=bool(values.get("ip6tables", True)),
            userland_proxy=bool(values.get("userland_proxy", True)),
        )

    def default_subnet(self) -> Subnet | None:
        """The default bridge's IPv4 subnet where the configuration gives it."""
        if not self.bip:
            if self.fixed_cidr:
                network = ipam.parse_network(self.fixed_cidr, "fixed-cidr")
                return Subnet(str(network), ipam.first_gateway(Subnet(str(network))))
            return None
        try:
            found = ipaddress.ip_interface(self.bip)
        except ValueError as error:
            raise Invalid(
                f"invalid bip {self.bip!r}: an address with its prefix is expected"
            ) from error
        inner = str(ipam.parse_network(self.fixed_cidr, "fixed-cidr")) if self.fixed_cidr else ""
        return Subnet(str(found.network), str(found.ip), inner, gateway_asked=True)

    def routed(self, subnet: Subnet) -> Subnet:
        """``subnet`` of the default bridge with the default gateway that was configured."""
        gateway = self.gateway if subnet.version == 4 else self.gateway_v6
        name = f"DefaultGatewayIPv{subnet.version}"
        aux = {key: value for key, value in subnet.aux.items() if key != name}
        if gateway:
            if ipaddress.ip_address(gateway) not in subnet.network:
                raise Invalid(f"invalid default gateway {gateway}: it is not in {subnet.subnet}")
            aux[name] = gateway
        chosen: Subnet = msgspec.structs.replace(subnet, aux=aux)
        return chosen


def _pools(value: Any) -> tuple[ipam.Pool, ...]:
    """``[{"base": "10.0.0.0/8", "size": 24}]`` or ``["base=10.0.0.0/8,size=24"]``."""
    if not value:
        return ipam.DEFAULT_POOLS
    entries: list[tuple[str, int]] = []
    for each in value:
        fields: Mapping[str, Any]
        if isinstance(each, str):
            fields = dict(part.partition("=")[::2] for part in each.split(","))
        else:
            fields = each
        try:
            entries.append((str(fields["base"]), int(fields["size"])))
        except (KeyError, TypeError, ValueError) as error:
            raise Invalid(f"invalid default address pool {each!r}: base and size") from error
    return ipam.parse_pools(entries)
