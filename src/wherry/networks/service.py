"""Containers and their networks: attach at start, detach after exit, and what inspect shows.

Implements ``Networking`` of ``wherry.containers.ports``. ``networks.management`` has the calls
about networks themselves. The order of an attach is: decide and record (database), then make
(namespace, interfaces, firewall, names); a failure takes back what was made, and after a crash
``adopt`` gives back whatever was recorded for a container that does not run.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from wherry.errors import Invalid, NotFound, WherryError
from wherry.linux import conntrack
from wherry.networks import bridges, planning, portspec, render, wiring
from wherry.networks.book import Book, Events
from wherry.networks.drivers import Driver, Sweeper
from wherry.networks.firewall import Firewall
from wherry.networks.hostports import HostPorts
from wherry.networks.names import Names, View
from wherry.networks.ruleset import Published
from wherry.networks.settings import NetworkSettings
from wherry.networks.spaces import Spaces
from wherry.networks.values import (
    BINDING,
    GATEWAY_MODE_4,
    GATEWAY_MODE_6,
    Endpoint,
    Membership,
    Network,
    PortMap,
    Sandbox,
)
from wherry.networks.wiring import RESOLVER, Interface, Namespace
from wherry.wire.attachment import NetworkAttachment, NetworkRequest
from wherry.wire.container import HostConfig, NetworkingConfig

_log = logging.getLogger(__name__)


class NetworkService:
    """The networks of running containers. The event loop's thread only."""

    def __init__(
        self,
        *,
        book: Book,
        settings: NetworkSettings,
        drivers: Mapping[str, Driver],
        firewall: Firewall,
        sweeper: Sweeper,
        spaces: Spaces,
        names: Names,
        events: Events,
    ) -> None:
        self.book = book
        self.settings_of_daemon = settings
        self.drivers = drivers
        self.firewall = firewall
        self.sweeper = sweeper
        self.spaces = spaces
        self.names = names
        self.events = events
        self.ports = HostPorts()
        self.on_adopt: Callable[[Mapping[str, int]], Awaitable[None]] | None = None
        self._locks: dict[str, asyncio.Lock] = {}
        self._shown: dict[str, tuple[Any, dict[str, Any]]] = {}

    def lock(self, container_id: str) -> asyncio.Lock:
        """One change of a container's networks at a time."""
        return self._locks.setdefault(container_id, asyncio.Lock())

    # At create

    def check(
        self, host_config: HostConfig, networking: NetworkingConfig | None
    ) -> tuple[HostConfig, list[str]]:
        """Fill the default network mode, refuse what could never start. See ``Networking``."""
        mode = host_config.network_mode or "default"
        warnings: list[str] = []
        if mode in ("default", "bridge") and self.book.named("bridge") is None:
            mode = "none"
            warnings.append("This daemon runs without a default bridge: network mode none is used.")
        bindings = host_config.port_bindings or {}
        portspec.wanted_ports(bindings, (), False)
        if mode.startswith("container:") and (bindings or host_config.publish_all_ports):
            raise Invalid(
                "conflicting options: port publishing and the container type network mode"
            )
        if mode == "host" and bindings:
            warnings.append("Published ports are discarded when using host network mode")
        main = planning.network_of_mode(mode)
        known = self.book.named(main) if main else None
        for name, settings in ((networking and networking.endpoints_config) or {}).items():
            network = self.book.named(planning.network_of_mode(name)) or known
            if network is not None:
                planning.check_settings(network, planning.asked(settings))
        filled: HostConfig = msgspec.structs.replace(host_config, network_mode=mode)
        return filled, warnings

    def enrol(self, request: NetworkRequest) -> None:
        """Record which networks a new container belongs to."""
        self.book.put_sandbox(
            Sandbox(
                container_id=request.container_id,
                name=request.name,
                mode=request.host_config.network_mode or "default",
                hostname=request.hostname,
                memberships=planning.memberships(request),
                links=list(request.host_config.links or ()),
                servers=list(request.host_config.dns or self.settings_of_daemon.dns),
            )
        )

    # At start

    async def adopt(self, running: Mapping[str, int]) -> None:
        """At daemon start. See ``Networking``."""
        if self.on_adopt is not None:
            await self.on_adopt(running)

    async def attach(self, request: NetworkRequest) -> NetworkAttachment:
        """Namespace, addresses, ports. All or nothing."""
        async with self.lock(request.container_id):
            if request.container_id not in self.book.sandboxes:
                self.enrol(request)
            if self.book.sandboxes[request.container_id].running:
                await self._release(request.container_id)
            sandbox = msgspec.structs.replace(
                self.book.sandboxes[request.container_id],
                name=request.name,
                hostname=request.hostname,
                running=True,
                exposed=list(request.exposed_ports),
            )
            if not self._has_interfaces(sandbox):
                return self._plain(sandbox)
            try:
                return await self._attach(request, sandbox)
            except BaseException:
                await asyncio.shield(self._release(request.container_id))
                raise

    def _has_interfaces(self, sandbox: Sandbox) -> bool:
        return bool(sandbox.memberships) and sandbox.mode not in ("host", "none")

    def _plain(self, sandbox: Sandbox) -> NetworkAttachment:
        self.book.start(sandbox, ())
        namespace = None if sandbox.mode == "host" else ""
        return NetworkAttachment(namespace, self.settings(sandbox.container_id))

    async def _attach(self, request: NetworkRequest, sandbox: Sandbox) -> NetworkAttachment:
        endpoints, networks = self._plan(sandbox)
        routes = planning.gateways(self.book, sandbox.memberships, endpoints, networks)
        named = any(each.named for each in networks)
        sandbox = msgspec.structs.replace(
            sandbox,
            resolver=named,
            gateway4=routes[4].network_id if 4 in routes else "",
            gateway6=routes[6].network_id if 6 in routes else "",
        )
        # Recorded before the first await: nobody else is given these addresses.
        self.book.start(sandbox, endpoints)
        ports = await self._take_ports(request, sandbox, routes)
        if ports:
            sandbox = msgspec.structs.replace(sandbox, ports=ports)
            self.book.put_sandbox(sandbox)
        space = await self.spaces.take(sandbox.container_id, resolver=named)
        interfaces = [
            self._interface(network, endpoint, routes, ports)
            for network, endpoint in zip(networks, endpoints, strict=True)
        ]
        await self._plug(space, interfaces, networks)
        await self._publish(sandbox, fresh=True)
        if named:
            await self.names.put(sandbox.container_id, self.view(sandbox), space.sockets)
        self._remember(sandbox, space)
        for network in networks:
            self.tell("connect", network, sandbox.container_id)
        return NetworkAttachment(
            namespace=self.spaces.path(sandbox.container_id),
            settings=self.settings(sandbox.container_id),
            hosts=self._hosts(request, endpoints, networks),
            **self._resolving(request, named),
        )

    def _remember(self, sandbox: Sandbox, space: Namespace) -> None:
        self.book.sandboxes[sandbox.container_id] = msgspec.structs.replace(
            sandbox, namespace=space.inode
        )

    def _plan(self, sandbox: Sandbox) -> tuple[list[Endpoint], list[Network]]:
        endpoints, networks = [], []
        for number, member in enumerate(sandbox.memberships):
            network = self.book.network(member.network)
            if network.config_only or network.driver in ("host", "null"):
                raise Invalid(f"cannot connect a container to network {network.name}")
            endpoints.append(
                planning.endpoint(
                    self.book,
                    network,
                    sandbox,
                    member.settings,
                    interface=f"eth{number}",
                )
            )
            networks.append(network)
        return endpoints, networks

    def _interface(
        self,
        network: Network,
        endpoint: Endpoint,
        routes: Mapping[int, Endpoint],
        published: Sequence[PortMap],
    ) -> Interface:
        found = self.drivers[network.driver].interface(network, endpoint)
        first = routes.get(4) is not None and routes[4].id == endpoint.id
        second = routes.get(6) is not None and routes[6].id == endpoint.id
        return dataclasses.replace(
            found,
            gateway4=endpoint.gateway4 if first else "",
            gateway6=endpoint.gateway6 if second else "",
            direct4=first and network.driver == "ipvlan",
            hairpin=bool(published) and (first or second) and network.driver == "bridge",
        )

    async def _plug(
        self, space: Namespace, interfaces: Sequence[Interface], networks: Sequence[Network]
    ) -> None:
        try:
            await asyncio.to_thread(wiring.plug, space, interfaces)
        except NotFound as error:
            # Somebody removed a bridge by hand: make it again, with everything on it.
            _log.warning("%s; it is made again", error.message)
            for network in networks:
                await self.restore(network)
            await asyncio.to_thread(wiring.plug, space, interfaces)

    async def restore(self, network: Network) -> None:
        """Make what is missing of a network, and put its containers back on its bridge."""
        await self.drivers[network.driver].create(network)
        if network.driver == "bridge":
            names = {each.host_interface for each in self.book.members(network.id)}
            await asyncio.to_thread(
                bridges.adopt_ports, network.device, lambda link: link.name in names
            )

    # Ports

    async def _take_ports(
        self, request: NetworkRequest, sandbox: Sandbox, routes: Mapping[int, Endpoint]
    ) -> list[PortMap]:
        host = request.host_config
        wanted = portspec.wanted_ports(
            host.port_bindings or {}, request.exposed_ports, bool(host.publish_all_ports)
        )
        if not wanted:
            return []
        families, binding = [], self.settings_of_daemon.binding
        for version, endpoint in routes.items():
            network = self.book.network(endpoint.network_id)
            if self.drivers[network.driver].publishes:
                families.append(version)
                binding = network.options.get(BINDING) or binding
        if binding and binding not in ("0.0.0.0", "::"):
            wanted = [each if each.host_ip else portspec.bound_to(each, binding) for each in wanted]
        endpoint_name = f"{sandbox.name} ({sandbox.container_id})"
        take = (sandbox.container_id, endpoint_name, wanted, families)
        if sum(each.count for each in wanted) > 256:
            return await asyncio.to_thread(self.ports.take, *take)
        return self.ports.take(*take)

    async def _publish(self, sandbox: Sandbox, *, fresh: bool) -> None:
        """Put the container's ports into the firewall, and forget flows to them."""
        entries = self._published(sandbox)
        if not entries:
            return
        for device in {
            self.book.networks[each].device for each in (sandbox.gateway4, sandbox.gateway6) if each
        }:
            bridges.allow_loopback(device)
        self.firewall.set_published(sandbox.container_id, entries)
        await self.firewall.sync()
        datagrams = [each for each in sandbox.ports if each.protocol == "udp"]
        if fresh and datagrams:
            runs = [(each.first, each.last) for each in datagrams]
            await asyncio.to_thread(conntrack.forget_udp, (), runs)

    async def publish_again(self, sandbox: Sandbox) -> None:
        """The default route has moved to another network: so do the ports."""
        if sandbox.ports:
            self.firewall.set_published(sandbox.container_id, self._published(sandbox))
            await self._publish(sandbox, fresh=True)
            await self.firewall.sync()

    def publish_adopted(self, sandbox: Sandbox) -> None:
        """Ports of a container that went on without us; the firewall is synced by the caller."""
        self.firewall.set_published(sandbox.container_id, self._published(sandbox))

    def _published(self, sandbox: Sandbox) -> list[Published]:
        found = []
        endpoints = {each.network_id: each for each in self.endpoints(sandbox.container_id)}
        for run in sandbox.ports:
            six = ":" in run.host_ip
            network_id = sandbox.gateway6 if six else sandbox.gateway4
            endpoint = endpoints.get(network_id)
            if endpoint is None:
                continue
            mode = GATEWAY_MODE_6 if six else GATEWAY_MODE_4
            found.append(
                Published(
                    run,
                    endpoint.ipv6 if six else endpoint.ipv4,
                    routed=self.book.networks[network_id].options.get(mode) == "routed",
                )
            )
        return found

    def endpoints(self, container_id: str) -> Sequence[Endpoint]:
        return self.book.endpoints.get(container_id, ())

    # Names and files

    def view(self, sandbox: Sandbox) -> View:
        """What the resolver must know of a container."""
        endpoints = self.endpoints(sandbox.container_id)
        networks = [self.book.networks[each.network_id] for each in endpoints]
        links: dict[str, str] = {}
        for member in sandbox.memberships:
            for link in member.settings.get("Links") or ():
                target, _, alias = link.partition(":")
                links[alias or target] = target
        return View(
            networks={
                endpoint.network_id: [endpoint.names, endpoint.ipv4, endpoint.ipv6, network.name]
                for endpoint, network in zip(endpoints, networks, strict=True)
                if network.named
            },
            links=links,
            servers=list(sandbox.servers),
            forward=not all(each.internal for each in networks),
        )

    def _resolving(self, request: NetworkRequest, named: bool) -> dict[str, Any]:
        host, daemon = request.host_config, self.settings_of_daemon
        search = tuple(host.dns_search or daemon.dns_search)
        options = tuple(host.dns_options or daemon.dns_options)
        if not named:
            return {
                "nameservers": tuple(host.dns or daemon.dns),
                "search": search,
                "dns_options": options,
            }
        if not any(each.startswith("ndots:") for each in options):
            options = (*options, "ndots:0")
        return {"nameservers": (RESOLVER,), "search": search, "dns_options": options}

    def _hosts(
        self, request: NetworkRequest, endpoints: Sequence[Endpoint], networks: Sequence[Network]
    ) -> list[tuple[str, Sequence[str]]]:
        names = [request.hostname]
        if request.domainname:
            names.insert(0, f"{request.hostname}.{request.domainname}")
        lines: list[tuple[str, Sequence[str]]] = []
        if any(each.default_bridge for each in networks):
            lines += self._link_lines(request.host_config.links or ())
        for endpoint in endpoints:
            for address in (endpoint.ipv4, endpoint.ipv6):
                if address and request.hostname:
                    lines.append((address, names))
        return lines

    def _link_lines(self, links: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
        """``--link`` in the default bridge network: /etc/hosts is all there is."""
        lines: list[tuple[str, Sequence[str]]] = []
        for link in links:
            ref, _, alias = link.partition(":")
            other = self.book.sandbox(ref)
            alias = alias.rpartition("/")[2] or other.name
            short = other.container_id[:12]
            names = list(dict.fromkeys(each for each in (alias, short, other.name) if each))
            found = self.endpoints(other.container_id)
            if not found:
                raise Invalid(f"Cannot link to a non running container: /{other.name} AS {alias}")
            for endpoint in found:
                if self.book.networks[endpoint.network_id].default_bridge:
                    lines += [(text, names) for text in (endpoint.ipv4, endpoint.ipv6) if text]
        return lines

    def tell(self, action: str, network: Network, container_id: str = "") -> None:
        """Publish a network event."""
        kind = "null" if network.driver == "null" else network.driver
        attributes = {"name": network.name, "type": kind}
        if container_id:
            attributes["container"] = container_id
        self.events.publish("network", action, network.id, attributes)

    # After exit

    async def detach(self, container_id: str) -> None:
        """Give everything back. Idempotent; never raises for what is gone already."""
        async with self.lock(container_id):
            await self._release(container_id)

    async def _release(self, container_id: str) -> None:
        sandbox = self.book.sandboxes.get(container_id)
        if sandbox is None:
            self.ports.release(container_id)
            self.spaces.drop(container_id)
            return
        endpoints = list(self.endpoints(container_id))
        try:
            if sandbox.resolver:
                await self.names.drop(container_id)
            if sandbox.ports:
                await self._unpublish(sandbox, endpoints)
        except (WherryError, OSError) as error:
            _log.error("container %s: releasing its network: %s", container_id, error)
        self.ports.release(container_id)
        self.spaces.drop(container_id)
        gone = self.book.stop(
            container_id,
            msgspec.structs.replace(
                sandbox,
                running=False,
                namespace=0,
                ports=[],
                gateway4="",
                gateway6="",
                resolver=False,
            ),
        )
        links = [each.host_interface for each in gone if each.host_interface]
        if links:
            self.sweeper.later(links)
        for each in gone:
            network = self.book.networks.get(each.network_id)
            if network is not None:
                self.tell("disconnect", network, container_id)

    async def _unpublish(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> None:
        self.firewall.set_published(sandbox.container_id, ())
        await self.firewall.sync()
        if any(each.protocol == "udp" for each in sandbox.ports):
            addresses = [each.ipv4 for each in endpoints] + [each.ipv6 for each in endpoints]
            wanted = [each for each in addresses if each]
            await asyncio.to_thread(conntrack.forget_udp, wanted, ())

    async def forget(self, container_id: str) -> None:
        """The container is removed."""
        await self.detach(container_id)
        self.book.stop(container_id, None)
        self._locks.pop(container_id, None)
        self._shown.pop(container_id, None)

    async def renamed(self, container_id: str, name: str) -> None:
        """Names that the resolver gives follow the container's name."""
        async with self.lock(container_id):
            sandbox = self.book.sandboxes.get(container_id)
            if sandbox is None:
                return
            sandbox = msgspec.structs.replace(sandbox, name=name)
            self.book.put_sandbox(sandbox)
            settings = self._asked(sandbox)
            for endpoint in list(self.endpoints(container_id)):
                network = self.book.networks[endpoint.network_id]
                if network.named:
                    names = planning.dns_names(sandbox, settings.get(network.id, {}))
                    self.book.replace_endpoint(msgspec.structs.replace(endpoint, names=names))
            if sandbox.resolver:
                await self.names.put(container_id, self.view(sandbox))

    def _asked(self, sandbox: Sandbox) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for member in sandbox.memberships:
            try:
                found[self.book.network(member.network).id] = member.settings
            except WherryError:
                continue
        return found

    # Inspect

    def settings(self, container_id: str) -> Mapping[str, Any]:
        """``NetworkSettings`` for inspect and list, running or not."""
        sandbox = self.book.sandboxes.get(container_id)
        if sandbox is None:
            return {}
        rows = self.endpoints(container_id)
        stamp = (sandbox, tuple(rows))
        known = self._shown.get(container_id)
        if known is not None and known[0] == stamp:
            return known[1]
        shown = self._render(sandbox, rows)
        self._shown[container_id] = (stamp, shown)
        return shown

    def _render(self, sandbox: Sandbox, rows: Sequence[Endpoint]) -> dict[str, Any]:
        live = {each.network_id: each for each in rows}
        networks: dict[str, Any] = {}
        default = None
        for member in sandbox.memberships:
            try:
                network = self.book.network(member.network)
            except WherryError:
                networks[member.network] = render.endpoint(member, None, "", None)
                continue
            names = planning.dns_names(sandbox, member.settings) if network.named else None
            endpoint = live.get(network.id)
            row = render.endpoint(member, endpoint, network.id, names)
            if endpoint is None and sandbox.running and network.driver in ("host", "null"):
                seed = f"{sandbox.container_id}{network.id}"
                row["EndpointID"] = hashlib.sha256(seed.encode()).hexdigest()
            networks[network.name] = row
            if network.default_bridge:
                default = row
        key = ""
        if rows:
            key = self.spaces.path(sandbox.container_id)
        elif sandbox.mode == "host":
            key = self.spaces.path("default")
        return render.settings(sandbox, networks, key, sandbox.ports, default)

    def member(self, sandbox: Sandbox, network: Network) -> Membership | None:
        """The container's membership in the network, by whatever name it was asked for."""
        for each in sandbox.memberships:
            try:
                if self.book.network(each.network).id == network.id:
                    return each
            except WherryError:
                continue
        return None
