"""Drivers: how a kind of network exists on this host. One more is one more class here.

A driver makes and removes what the network needs on the host, and says which interface an
endpoint is; the service does addresses, namespaces, names and ports, which are the same for all.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Protocol

from wherry.errors import Conflict, Forbidden, Invalid, NotImplementedYet
from wherry.linux import netlink, netns
from wherry.linux.netlink import Netlink, NetlinkError
from wherry.linux.tasks import spawn
from wherry.networks import bridges
from wherry.networks.firewall import Firewall
from wherry.networks.ruleset import BridgeRules
from wherry.networks.values import (
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
    Endpoint,
    Network,
)
from wherry.networks.wiring import Interface
from wherry.networks.zones import Zones

_QUIET = 1.0
"""Seconds without a removal before what was put aside is deleted."""


class Driver(Protocol):
    """A kind of network on this host."""

    publishes: bool
    """Whether ports can be published: the host sees the traffic."""

    def check(self, network: Network, others: Sequence[Network]) -> None:
        """Refuse what this host or driver cannot do, before anything is made."""

    async def create(self, network: Network) -> None:
        """Make what the network needs; idempotent, and repairs what is missing."""

    async def remove(self, network: Network, others: Sequence[Network] = ()) -> None:
        """Take it away, but for what ``others`` use too. No error for what is gone already."""

    def interface(self, network: Network, endpoint: Endpoint) -> Interface:
        """The endpoint's interface, without default routes."""


def _addresses(endpoint: Endpoint) -> list[tuple[str, int]]:
    found = []
    if endpoint.ipv4:
        found.append((endpoint.ipv4, endpoint.ipv4_prefix))
    if endpoint.ipv6:
        found.append((endpoint.ipv6, endpoint.ipv6_prefix))
    return found


class Sweeper:
    """Deletes what was put aside, together, once nothing has been put aside for a while."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._timer: asyncio.TimerHandle | None = None
        self._links: set[str] = set()

    def later(self, links: Sequence[str] = ()) -> None:
        """Also delete the host's ``links``, if they still exist by then."""
        self._links.update(links)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_QUIET, self._start)

    def _start(self) -> None:
        self._timer = None
        spawn(self.now(), name="network sweep")

    async def now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        links, self._links = self._links, set()
        await asyncio.to_thread(self._sweep, links)

    def _sweep(self, links: set[str]) -> None:
        bridges.sweep(self._table, links)


def rules_of(network: Network) -> BridgeRules:
    """The firewall's view of a bridge network."""
    modes = {each: network.options.get(name, "") for each, name in GATEWAY_MODES.items()}
    masquerade = network.flag(MASQUERADE, True)
    return BridgeRules(
        device=network.device,
        subnets=tuple(each.subnet for each in network.subnets),
        internal=network.internal,
        icc=network.flag(ICC, True),
        masquerade=tuple(
            version
            for version in (4, 6)
            if masquerade and modes[version] in ("", "nat", "nat-unprotected")
        ),
        open=tuple(version for version in (4, 6) if modes[version] == "nat-unprotected"),
    )


class BridgeDriver:
    """A Linux bridge a network, its gateway addresses on it, a veth an endpoint."""

    publishes = True

    def __init__(self, table: str, firewall: Firewall, zones: Zones, sweeper: Sweeper) -> None:
        self._table = table
        self._firewall = firewall
        self._zones = zones
        self._sweeper = sweeper
        self._refused: dict[str, Conflict] = {}
        """By network id, why its interface cannot be used: containers are told when they start."""
        self._foreign: set[str] = set()

    def check(self, network: Network, others: Sequence[Network]) -> None:
        versions = [each.version for each in network.subnets]
        if len(versions) > len(set(versions)):
            raise Forbidden("bridge driver doesn't support multiple subnets")
        for other in others:
            if other.driver == "bridge" and other.device == network.device:
                raise Conflict(
                    f"cannot create network {network.id} ({network.device}): conflicts with "
                    f"network {other.id} ({other.device}): networks have same bridge name"
                )

    async def create(self, network: Network) -> None:
        alias = bridges.alias_of(self._table, network.id)
        hidden = network.flag(INHIBIT, False)
        # Before the firewall has the name: rules of a bridge on a card would cut the host off.
        users = BRIDGE_NAME in network.options and await self._users(network, alias)
        spec = bridges.BridgeSpec(
            device=network.device,
            alias=alias,
            group=bridges.live_group(self._table),
            addresses=[
                (each.gateway, each.prefix)
                for each in network.subnets
                if each.gateway and not (hidden and each.version == 4)
            ],
            mtu=network.number(MTU),
            ipv6=network.ipv6,
            own=not users,
        )
        (self._foreign.add if users else self._foreign.discard)(network.id)
        # Rules first: no packet passes a bridge that they do not know.
        self._firewall.set_bridge(network.id, rules_of(network))
        try:
            await asyncio.gather(
                self._firewall.sync(),
                asyncio.to_thread(bridges.ensure, spec, network.id),
                self._settle_zones(),
            )
        except BaseException:
            self._firewall.set_bridge(network.id, None)
            await self._firewall.sync()
            raise

    async def _settle_zones(self) -> None:
        if self._zones.active:
            await asyncio.to_thread(self._zones.settle)

    def foreign(self, network: Network) -> bool:
        """Whether the network's bridge was the user's when it was last seen to."""
        return network.id in self._foreign

    async def _users(self, network: Network, alias: str) -> bool:
        """Whether the named bridge is one that the user made; ``Conflict`` if it is none."""
        link = await asyncio.to_thread(bridges.find, network.device)
        try:
            bridges.check_kind(link)
        except Conflict as error:
            self._refused[network.id] = error
            raise
        self._refused.pop(network.id, None)
        return link is not None and link.alias != alias and not link.alias.startswith("wherry:")

    async def remove(self, network: Network, others: Sequence[Network] = ()) -> None:
        self._refused.pop(network.id, None)
        self._foreign.discard(network.id)
        self._firewall.set_bridge(network.id, None)
        await asyncio.to_thread(
            bridges.put_aside,
            network.device,
            self._table,
            bridges.alias_of(self._table, network.id),
        )
        await self._firewall.sync()
        await self._settle_zones()
        self._sweeper.later()

    def interface(self, network: Network, endpoint: Endpoint) -> Interface:
        if network.id in self._refused:
            raise Conflict(self._refused[network.id].message)
        return Interface(
            kind="veth",
            parent=network.device,
            name=endpoint.interface,
            mac=endpoint.mac,
            host_name=endpoint.host_interface,
            group=bridges.port_group(self._table),
            mtu=network.number(MTU),
            isolated=not network.flag(ICC, True),
            addresses=_addresses(endpoint),
        )


class ChildDriver:
    """macvlan and ipvlan: an interface of the container's own on a parent of the host.

    ``parent`` may be ``eth0.50``: the VLAN interface is made, and removed with the network.
    Without a parent the network is internal, on an interface of our own that leads nowhere: a
    dummy, or where the kernel has none, a veth whose other end nobody has.
    """

    publishes = False

    def __init__(self, kind: str, table: str) -> None:
        self.kind = kind
        self._table = table

    def check(self, network: Network, others: Sequence[Network]) -> None:
        if network.device == "lo":
            raise Invalid(f"loopback interface is not a valid {self.kind} parent link")
        if not available(self.kind):
            raise NotImplementedYet(f"this host's kernel has no {self.kind} interfaces")
        for other in others:
            if other.device != network.device or other.driver not in ("macvlan", "ipvlan"):
                continue
            if other.driver != self.kind or not self._share(network, other):
                raise Conflict(
                    f"network {other.name} is already using parent interface {network.device}"
                )

    def _share(self, network: Network, other: Network) -> bool:
        """Whether both can have interfaces on one parent. ``passthru`` has it alone; all ipvlan
        of a parent have one mode, and the kernel would change it for those that run."""
        if self.kind == "macvlan":
            return "passthru" not in (each.options.get(MACVLAN_MODE) for each in (network, other))
        defaults = ((IPVLAN_MODE, "l2"), (IPVLAN_FLAG, "bridge"))
        ours, theirs = (
            [each.options.get(option) or default for option, default in defaults]
            for each in (network, other)
        )
        return ours == theirs

    async def create(self, network: Network) -> None:
        await asyncio.to_thread(self._create, network)

    def _create(self, network: Network) -> None:
        name = network.device
        if netlink.index_of(name) is not None:
            return
        alias = bridges.alias_of(self._table, network.id)
        if not network.options.get(PARENT):
            self._make_end(name, alias)
            return
        base, dot, tag = name.rpartition(".")
        parent = netlink.index_of(base) if dot else None
        if parent is None or not tag.isdigit() or not 1 <= int(tag) <= 4094:
            raise Invalid(f"parent interface {name} was not found on this host")
        with Netlink() as kernel:
            try:
                kernel.run(
                    [
                        netlink.add_child("vlan", name, parent=parent, mode=int(tag)),
                        netlink.set_link(name, up=True, alias=alias),
                    ]
                )
            except NetlinkError as error:
                raise NotImplementedYet(
                    f"VLAN interface {name} cannot be made: {error.strerror}"
                ) from error

    def _make_end(self, name: str, alias: str) -> None:
        marked = netlink.set_link(name, up=True, alias=alias)
        with Netlink() as kernel:
            try:
                kernel.run([netlink.add_dummy(name), marked])
            except NetlinkError:
                other = f"dn-{name[3:]}"
                kernel.run(
                    [netlink.add_pair(name, other), netlink.set_link(other, up=True), marked]
                )

    async def remove(self, network: Network, others: Sequence[Network] = ()) -> None:
        alias = bridges.alias_of(self._table, network.id)
        sharing = [each for each in others if each.device == network.device]
        if not sharing:
            await asyncio.to_thread(bridges.delete_owned, network.device, alias)
        else:
            heir = bridges.alias_of(self._table, sharing[0].id)
            await asyncio.to_thread(bridges.hand_over, network.device, alias, heir)

    def interface(self, network: Network, endpoint: Endpoint) -> Interface:
        if self.kind == "macvlan":
            mode = netlink.MACVLAN_MODES[network.options.get(MACVLAN_MODE) or "bridge"]
        else:
            mode = netlink.IPVLAN_MODES[network.options.get(IPVLAN_MODE) or "l2"]
        flag = network.options.get(IPVLAN_FLAG) if self.kind == "ipvlan" else ""
        return Interface(
            kind=self.kind,
            parent=network.device,
            name=endpoint.interface,
            mac=endpoint.mac,
            mode=mode,
            flags=netlink.IPVLAN_FLAGS[flag or "bridge"],
            mtu=network.number(MTU),
            addresses=_addresses(endpoint),
        )


class PlainDriver:
    """host and none: nothing to make, no interfaces."""

    publishes = False

    def check(self, network: Network, others: Sequence[Network]) -> None:
        return None

    async def create(self, network: Network) -> None:
        return None

    async def remove(self, network: Network, others: Sequence[Network] = ()) -> None:
        return None

    def interface(self, network: Network, endpoint: Endpoint) -> Interface:
        raise Invalid(f"network {network.name} has no interfaces")


def available(kind: str) -> bool:
    """Whether the kernel can make such interfaces: tried in a namespace that is thrown away."""
    if kind not in _probed:
        _probed[kind] = netns.in_thread(lambda: _try(kind))
    return _probed[kind]


_probed: dict[str, bool] = {}


def _try(kind: str) -> bool:
    fd = netns.create()
    try:
        with netns.entered(fd), Netlink() as kernel:
            kernel.run([netlink.add_bridge("probe", "02:42:00:00:00:01")])
            parent = netlink.index_of("probe") or 0
            kernel.run(
                [
                    netlink.add_child(
                        kind, "child", parent=parent, mode=2 if kind == "ipvlan" else 4, up=False
                    )
                ]
            )
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
