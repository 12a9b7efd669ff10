"""Networks, endpoints and sandboxes as values; they are stored as JSON just like this."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

OPTION = "com.docker.network."
BRIDGE_NAME = OPTION + "bridge.name"
MTU = OPTION + "driver.mtu"
ICC = OPTION + "bridge.enable_icc"
MASQUERADE = OPTION + "bridge.enable_ip_masquerade"
BINDING = OPTION + "bridge.host_binding_ipv4"
INHIBIT = OPTION + "bridge.inhibit_ipv4"
DEFAULT_BRIDGE = OPTION + "bridge.default_bridge"
GATEWAY_MODES = {
    4: OPTION + "bridge.gateway_mode_ipv4",
    6: OPTION + "bridge.gateway_mode_ipv6",
}
IFACE_PREFIX = OPTION + "container_iface_prefix"
PARENT = "parent"
MACVLAN_MODE, IPVLAN_MODE, IPVLAN_FLAG = "macvlan_mode", "ipvlan_mode", "ipvlan_flag"

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})


class Subnet(msgspec.Struct, frozen=True, omit_defaults=True):
    """One subnet of a network; addresses as text without prefix."""

    subnet: str
    gateway: str = ""
    """Empty: none (macvlan with no gateway asked for, internal IPv6 only ...)."""
    ip_range: str = ""
    """Automatic addresses come out of this part only; empty: out of the whole subnet."""
    aux: dict[str, str] = {}
    asked: bool = False
    """The subnet was given by the user; only then may a container ask for an address in it."""
    gateway_asked: bool = False

    @property
    def network(self) -> IPNetwork:
        return ipaddress.ip_network(self.subnet)

    @property
    def version(self) -> int:
        return 6 if ":" in self.subnet else 4

    @property
    def router(self) -> str:
        """Where containers' default route leads: the gateway, which is the bridge's own address,
        or another host, by Docker's auxiliary addresses of these names."""
        return self.aux.get(f"DefaultGatewayIPv{self.version}") or self.gateway

    @property
    def prefix(self) -> int:
        return int(self.subnet.rpartition("/")[2])


class Network(msgspec.Struct, frozen=True, omit_defaults=True):
    """A network; ``driver`` is bridge, host, null, macvlan or ipvlan."""

    id: str
    name: str
    driver: str
    created: str
    subnets: list[Subnet] = []
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    internal: bool = False
    attachable: bool = False
    ipv4: bool = True
    ipv6: bool = False
    ipam_driver: str = "default"
    ipam_options: dict[str, str] | None = None
    device: str = ""
    """Bridge interface, or the parent interface of macvlan."""
    config_only: bool = False
    config_from: str = ""
    predefined: bool = False
    scope: str = "local"

    def flag(self, option: str, default: bool) -> bool:
        value = self.options.get(option)
        return default if value is None else value in _TRUE

    def number(self, option: str) -> int:
        value = self.options.get(option, "")
        return int(value) if value.isdigit() else 0

    @property
    def direct(self) -> bool:
        """Whether packets leave a container without a gateway: the kernel routes them between the
        parent and its children, and asks no neighbour for an address (ipvlan beyond ``l2``)."""
        return self.driver == "ipvlan" and self.options.get(IPVLAN_MODE) in ("l3", "l3s")

    @property
    def default_bridge(self) -> bool:
        """Docker's ``bridge`` network: no names but links, no addresses of one's own choice."""
        return self.predefined and self.driver == "bridge"

    @property
    def named(self) -> bool:
        """Whether containers find each other by name here."""
        return not self.predefined

    def subnet_of(self, version: int) -> Subnet | None:
        """The first subnet of the family."""
        return next((each for each in self.subnets if each.version == version), None)


class Endpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A container's place in a network while it runs. Addresses as text without prefix."""

    id: str
    network_id: str
    container_id: str
    interface: str
    """Name inside the container, ``eth0``."""
    host_interface: str = ""
    mac: str = ""
    ipv4: str = ""
    ipv4_prefix: int = 0
    ipv6: str = ""
    ipv6_prefix: int = 0
    gateway4: str = ""
    gateway6: str = ""
    names: list[str] = []
    """What other containers of the network may call it, first the container's name."""


class PortMap(msgspec.Struct, frozen=True):
    """A run of published ports: host ``first`` … maps to container ``target`` … one to one."""

    protocol: str
    host_ip: str
    """``0.0.0.0`` or ``::`` for every address."""
    first: int
    """0: no port of the host; the container's own address is reached (gateway mode routed)."""
    target: int
    count: int = 1

    @property
    def last(self) -> int:
        return self.first + self.count - 1


class Membership(msgspec.Struct, frozen=True, omit_defaults=True):
    """A network that a container belongs to by its configuration, running or not."""

    network: str
    """Name or id, as asked for; the id once the network is known."""
    settings: dict[str, Any] = {}
    """``EndpointSettings`` as asked for, API keys."""


class Sandbox(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the networks know of one container, for as long as the container exists."""

    container_id: str
    name: str
    mode: str
    hostname: str = ""
    memberships: list[Membership] = []
    links: list[str] = []
    """``ID:alias`` of links in the default bridge network."""
    running: bool = False
    namespace: int = 0
    """Inode of the network namespace; 0 while it does not run."""
    ports: list[PortMap] = []
    """Published now; empty while it does not run."""
    exposed: list[str] = []
    """``80/tcp`` that inspect shows without binding."""
    gateway4: str = ""
    """Network id whose gateway is the default route, by family."""
    gateway6: str = ""
    servers: list[str] = []
    """Resolvers asked for by ``--dns``."""
    resolver: bool = False
    """The embedded resolver listens in its namespace."""

    @property
    def own_namespace(self) -> bool:
        """Whether networks can be plugged into it, even if it is a member of none just now."""
        shared = self.mode == "host" or self.mode.startswith("container:")
        return not shared and not self.private

    @property
    def private(self) -> bool:
        """It belongs to the network ``none``, thus to no other until it is taken out of it."""
        return any(each.network == "none" for each in self.memberships)
