"""The networks of one daemon, put together: what the composition root builds and starts."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import logging
import os
import socket
from collections.abc import Mapping, Sequence

import msgspec

from wherry.errors import Unavailable, WherryError
from wherry.linux.tasks import spawn
from wherry.networks import bridges, ipam, naming, ruleset, wiring
from wherry.networks.book import Book, Events
from wherry.networks.bridgewatch import BridgeWatch
from wherry.networks.drivers import (
    BridgeDriver,
    ChildDriver,
    Driver,
    PlainDriver,
    Sweeper,
    rules_of,
)
from wherry.networks.firewall import Firewall
from wherry.networks.management import NetworkManagement, now
from wherry.networks.names import Names, View
from wherry.networks.neighbours import Neighbours
from wherry.networks.service import NetworkService
from wherry.networks.settings import NetworkSettings
from wherry.networks.spaces import Spaces
from wherry.networks.values import (
    BINDING,
    BRIDGE_NAME,
    DEFAULT_BRIDGE,
    ICC,
    MASQUERADE,
    MTU,
    Network,
    Sandbox,
    Subnet,
)
from wherry.networks.zones import Zones
from wherry.store.database import Database
from wherry.store.networks import NetworkTable
from wherry.store.paths import Paths

_log = logging.getLogger(__name__)


class Networks:
    """``service`` for containers, ``management`` for the API; ``start`` before both."""

    DRIVERS = ("bridge", "host", "ipvlan", "macvlan", "null")

    def __init__(
        self, *, paths: Paths, database: Database, settings: NetworkSettings, events: Events
    ) -> None:
        if not settings.bridge:
            settings = dataclasses.replace(settings, bridge=default_bridge(str(paths.data)))
        self._settings = settings
        self._book = Book(NetworkTable(database))
        table = ruleset.table_name(str(paths.data))
        self._table = table
        self._local = ipam.local_pool(str(paths.data))
        self.firewall = Firewall(table, host_rules=settings.host_firewall)
        self._sweeper = Sweeper(table)
        self._spaces = Spaces(paths.netns)
        self._names = Names(paths.resolver_socket)
        self._names.reopened_by(self._reopen)
        zones = Zones(self.firewall.bridges, allowed=settings.iptables)
        bridge = BridgeDriver(table, self.firewall, zones, self._sweeper)
        drivers: dict[str, Driver] = {
            "bridge": bridge,
            "macvlan": ChildDriver("macvlan", table),
            "ipvlan": ChildDriver("ipvlan", table),
            "host": PlainDriver(),
            "null": PlainDriver(),
        }
        self.service = NetworkService(
            book=self._book,
            settings=settings,
            drivers=drivers,
            firewall=self.firewall,
            sweeper=self._sweeper,
            spaces=self._spaces,
            names=self._names,
            events=events,
            forwarder_socket=paths.forwarder_socket,
        )
        self._warnings: list[str] = []
        allowed = (("iptables", settings.iptables), ("ip6tables", settings.ip6tables))
        programs = [program for program, may in allowed if may]
        self._neighbours = Neighbours(bridges.live_group(table), zones, programs)
        self._meeting = asyncio.Lock()
        self._attending = False
        self.service.on_adopt = self._adopt
        self.management = NetworkManagement(self.service, local=self._local)
        self.management.on_bridge = self._attend
        self.watch = BridgeWatch(self._book, repair=self.management.repair, foreign=bridge.foreign)
        self._predefine()

    # Start

    async def start(self) -> None:
        """Make every network of the database exist, and nothing else of ours.

        A network that cannot be made is logged and left: its containers fail to start with the
        reason, everything else works.
        """
        await asyncio.to_thread(self._spaces.clean)
        wanted = [each for each in self._book.networks.values() if not each.config_only]
        with contextlib.suppress(OSError):
            ports = {e.host_interface for rows in self._book.endpoints.values() for e in rows}
            stray = await asyncio.to_thread(
                bridges.strays, self._table, list(self._book.networks), ports
            )
            await asyncio.to_thread(self._clear, [each.name for each in stray])
        # The first change of the firewall knows all of it already: nothing that goes on is cut.
        others = await asyncio.to_thread(bridges.others)
        for network in wanted:
            if network.driver == "bridge" and network.device not in others:
                self.firewall.set_bridge(network.id, rules_of(network))
        for sandbox in self._book.sandboxes.values():
            if sandbox.running and sandbox.ports:
                self.service.publisher.announce(sandbox)
        self.service.announce_links()
        for network in wanted:
            try:
                await self.service.drivers[network.driver].create(network)
            except (OSError, WherryError) as error:
                _log.error("network %s cannot be made: %s", network.name, error)
        if any(each.driver == "bridge" for each in wanted):
            await self._attend()
            self._spaces.fill(False)

    async def _attend(self) -> None:
        """From the first bridge on: the host forwards, and what others do to bridges and rules is
        noticed."""
        if self._attending:
            return
        self._attending = True
        ipv6 = any(each.ipv6 for each in self._book.networks.values() if not each.config_only)
        await asyncio.to_thread(bridges.enable_forwarding, ipv6=ipv6)
        self.watch.start()
        try:
            await self.firewall.sync()
            self.firewall.on_others = self._look_again
            self.firewall.watch()
            await self._meet_neighbours()
        except WherryError as error:
            _log.error("the firewall cannot be written: %s", error.message)

    def _clear(self, names: Sequence[str]) -> None:
        wiring.delete_links(names)
        bridges.sweep(self._table)

    def _predefine(self) -> None:
        for name, driver in (("host", "host"), ("none", "null")):
            if self._book.named(name) is None:
                self._book.add_network(
                    Network(
                        id=os.urandom(32).hex(),
                        name=name,
                        driver=driver,
                        created=now(),
                        predefined=True,
                    )
                )
        old = self._book.named("bridge")
        if self._settings.bridge == "none":
            if old is not None and not self._book.members(old.id):
                self._book.remove_network(old)
            return
        new = self._default_bridge(old)
        if old is None:
            self._book.add_network(new)
        elif old != new:
            self._book.update_network(new)

    def _default_bridge(self, old: Network | None) -> Network:
        settings = self._settings
        subnets = self._default_subnets(old)
        options = {
            DEFAULT_BRIDGE: "true",
            ICC: str(settings.icc).lower(),
            MASQUERADE: str(settings.masquerade).lower(),
            BINDING: settings.binding or "0.0.0.0",
            BRIDGE_NAME: settings.bridge,
            MTU: str(settings.mtu or 1500),
        }
        return Network(
            id=old.id if old else os.urandom(32).hex(),
            name="bridge",
            driver="bridge",
            created=old.created if old else now(),
            subnets=subnets,
            options=options,
            ipv6=any(each.version == 6 for each in subnets),
            device=settings.bridge,
            predefined=True,
        )

    def _default_subnets(self, old: Network | None) -> list[Subnet]:
        settings = self._settings
        subnet = settings.default_subnet() or (old.subnet_of(4) if old else None)
        if subnet is None:
            subnet = self._given_by_interface() or self._choose(settings.pools, 4)
        found = [subnet]
        if settings.ipv6:
            six = settings.fixed_cidr_v6
            if six:
                chosen = Subnet(str(ipam.parse_network(six, "fixed-cidr-v6")))
                found.append(_with_gateway(chosen))
            else:
                before = old.subnet_of(6) if old else None
                found.append(before or self._choose((self._local,), 6))
        return [settings.routed(each) for each in found]

    def _given_by_interface(self) -> Subnet | None:
        """A bridge that the user made beforehand brings its own address."""
        link = bridges.find(self._settings.bridge)
        if link is None or link.kind != "bridge" or link.alias.startswith("wherry:"):
            return None
        for text, prefix in bridges.addresses_of(link.index):
            if ":" not in text:
                network = ipaddress.ip_interface(f"{text}/{prefix}").network
                return Subnet(str(network), text, gateway_asked=True)
        return None

    def _choose(self, pools: Sequence[ipam.Pool], version: int) -> Subnet:
        ours = [subnet.network for each in self._book.networks.values() for subnet in each.subnets]
        host = [
            ipaddress.ip_network(f"{text}/{size}", strict=False)
            for text, size, device in bridges.host_networks()
            if device != self._settings.bridge
        ]
        return _with_gateway(Subnet(str(ipam.choose_subnet(pools, [*ours, *host], version))))

    # Adopt

    async def _adopt(self, running: Mapping[str, int]) -> None:
        for container_id, sandbox in list(self._book.sandboxes.items()):
            pid = running.get(container_id)
            if not sandbox.running and pid is None:
                continue
            if pid is None:
                await self.service.detach(container_id)
            elif sandbox.own_namespace:
                self._take_over(sandbox, pid)
        await self.service.open_links()
        await self.firewall.sync()
        await self._adopt_ports()
        await self._put_back()
        for container_id in running.keys() & self._book.endpoints.keys():
            try:
                await self.management.mend(container_id)
            except (OSError, WherryError) as error:
                _log.error("container %s: its networks: %s", container_id, error)
        await self._adopt_names()

    def _take_over(self, sandbox: Sandbox, pid: int) -> None:
        container_id = sandbox.container_id
        try:
            space = self._spaces.adopt(container_id, pid)
        except (FileNotFoundError, ProcessLookupError):
            _log.info("container %s has ended meanwhile", container_id)  # its end is seen to later
            return
        except OSError as error:
            _log.error("container %s: its network is lost: %s", container_id, error)
            return
        if sandbox.namespace and sandbox.namespace != space.inode:
            _log.warning("container %s: it runs in another network namespace", container_id)
        self._book.sandboxes[container_id] = msgspec.structs.replace(sandbox, namespace=space.inode)
        if sandbox.ports:
            self.service.publisher.adopt(sandbox)

    async def _adopt_ports(self) -> None:
        publisher = self.service.publisher
        running = [each for each in self._book.sandboxes.values() if each.running and each.ports]
        try:
            await publisher.forwarding.adopt(
                {each.container_id: publisher.forwards(each) for each in running}
            )
        except (OSError, WherryError) as error:
            _log.error("published ports of containers: %s", error)
        for each in running:
            # What a forwarder has given up can be held now.
            publisher.ports.held(each.container_id)

    async def _put_back(self) -> None:
        """Bridges that had to be made again get their containers back."""
        for network in list(self._book.networks.values()):
            if network.driver == "bridge" and self._book.members(network.id):
                try:
                    await self.service.restore(network)
                except (OSError, WherryError) as error:
                    _log.error("network %s: %s", network.name, error)

    async def _adopt_names(self) -> None:
        views: dict[str, View] = {}
        for container_id, sandbox in self._book.sandboxes.items():
            if sandbox.running and sandbox.resolver and self._spaces.get(container_id):
                views[container_id] = naming.view(self._book, sandbox)
        try:
            for container_id in await self._names.adopt(views):
                sockets = await self._reopen(container_id)
                await self._names.put(container_id, views[container_id], list(sockets))
        except (OSError, WherryError) as error:
            _log.error("names of containers: %s", error)

    async def _reopen(self, container_id: str) -> Sequence[socket.socket]:
        space = self._spaces.get(container_id)
        if space is None:
            raise Unavailable(f"container {container_id} does not run")
        return await asyncio.to_thread(wiring.listen_inside, space)

    async def rest(self) -> None:
        """The daemon is idle: give back memory that can be filled again."""
        await self.firewall.rest()

    # End

    async def close(self) -> None:
        """The daemon ends: containers keep their networks, ports and names.

        When none runs, nothing of ours stays on the host; the next start makes it again.
        """
        self.watch.close()
        await self.watch.finished()
        if not any(each.running for each in self._book.sandboxes.values()):
            await self._take_down()
        self.firewall.close()
        with contextlib.suppress(OSError):
            await self._sweeper.now()
        self._names.close()
        self.service.publisher.forwarding.close()
        self._spaces.close()

    async def dismantle(self) -> None:
        """Take away everything of ours on this host, and let go of what runs."""
        for container_id in list(self._book.sandboxes):
            await self.service.detach(container_id)
        await self.close()

    async def _take_down(self) -> None:
        await asyncio.to_thread(self._neighbours.part)
        for network in list(self._book.networks.values()):
            if not network.config_only:
                with contextlib.suppress(OSError, WherryError):
                    await self.service.drivers[network.driver].remove(network)
        await self._names.stop()
        await self.service.publisher.forwarding.stop()
        with contextlib.suppress(OSError, WherryError):
            await self.firewall.remove()

    @property
    def host_gateway(self) -> str:
        """What ``host-gateway`` stands for: the default bridge's addresses, with commas."""
        if self._settings.host_gateway:
            return self._settings.host_gateway
        bridge = self._book.named("bridge")
        found = [each.gateway for each in bridge.subnets if each.gateway] if bridge else []
        return ",".join(found)

    def warnings(self) -> list[str]:
        """For ``/info``: what of this host is in the networks' way."""
        return list(self._warnings)

    def _look_again(self) -> None:
        spawn(self._meet_neighbours(), name="firewall neighbours")

    async def _meet_neighbours(self) -> None:
        async with self._meeting:
            found = await asyncio.to_thread(self._neighbours.come_to_terms)
        for each in found:
            if each not in self._warnings:
                _log.warning("%s", each.removeprefix("WARNING: "))
        self._warnings = found


def default_bridge(data_root: str) -> str:
    """``wherry0``; daemons with other data roots have bridges of their own beside it."""
    table = ruleset.table_name(data_root)
    return "wherry0" if table == "wherry" else f"wherry-{table.removeprefix('wherry_')}"


def _with_gateway(subnet: Subnet) -> Subnet:
    if subnet.gateway:
        return subnet
    return msgspec.structs.replace(subnet, gateway=ipam.first_gateway(subnet))
