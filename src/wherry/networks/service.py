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
from pathlib import Path
from typing import Any

import msgspec

from wherry.errors import Invalid, NotFound, WherryError
from wherry.networks import bridges, linking, naming, planning, portspec, render, wiring
from wherry.networks.book import Book, Events
from wherry.networks.drivers import Driver, Sweeper
from wherry.networks.firewall import Firewall
from wherry.networks.names import Names
from wherry.networks.publishing import Publisher
from wherry.networks.settings import NetworkSettings
from wherry.networks.spaces import Spaces
from wherry.networks.values import ICC, Endpoint, Membership, Network, Sandbox
from wherry.networks.wiring import Interface, Namespace
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
        forwarder_socket: Path,
    ) -> None:
        self.book = book
        self.settings_of_daemon = settings
        self.drivers = drivers
        self.firewall = firewall
        self.sweeper = sweeper
        self.spaces = spaces
        self.names = names
        self.events = events
        self.publisher = Publisher(book, settings, drivers, firewall, forwarder_socket)
        self.on_adopt: Callable[[Mapping[str, int]], Awaitable[None]] | None = None
        self.pid_of: Callable[[str], int] | None = None
        """First process of a container; 0 if it does not run."""
        self.request_of: Callable[[str], NetworkRequest | None] | None = None
        """A container as it asked to be created, with what has changed since."""
        self.on_names: Callable[[str], None] | None = None
        """Told the id of a running container whose names come from the resolver: idempotent."""
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
        if mode == "host" and bindings:
            warnings.append("Published ports are discarded when using host network mode")
        main = planning.network_of_mode(mode)
        known = self.book.named(main) if main else None
        for name, settings in ((networking and networking.endpoints_config) or {}).items():
            network = self.book.named(planning.network_of_mode(name)) or known
            if network is not None:
                try:
                    planning.check_settings(network, planning.asked(settings))
                except Invalid as error:
                    raise Invalid(
                        f"invalid config for network {network.name}: {error.message}"
                    ) from error
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
                links=_links(request),
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
            if not sandbox.own_namespace:
                return self._plain(sandbox)
            try:
                return await self._attach(request, sandbox)
            except BaseException:
                await asyncio.shield(self._release(request.container_id))
                raise

    def _plain(self, sandbox: Sandbox) -> NetworkAttachment:
        self.book.start(sandbox, ())
        self._tell_plain("connect", sandbox)
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
        ports = await self.publisher.take(request, sandbox, routes)
        if ports:
            sandbox = msgspec.structs.replace(sandbox, ports=ports)
            self.book.put_sandbox(sandbox)
        space = await self.spaces.take(sandbox.container_id, resolver=named)
        interfaces = [
            self._interface(network, endpoint, routes)
            for network, endpoint in zip(networks, endpoints, strict=True)
        ]
        await self.plug(space, interfaces, networks)
        if ports:
            await self.publisher.publish(sandbox, fresh=True)
        if named:
            await self.names.put(
                sandbox.container_id, naming.view(self.book, sandbox), space.sockets
            )
        await self.open_links()
        self._remember(sandbox, space)
        for network in networks:
            self.tell("connect", network, sandbox.container_id)
        return NetworkAttachment(
            namespace=self.spaces.path(sandbox.container_id),
            settings=self.settings(sandbox.container_id),
            hosts=naming.host_lines(request, endpoints),
            **naming.resolving(request, self.settings_of_daemon, named),
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
    ) -> Interface:
        found = self.drivers[network.driver].interface(network, endpoint)
        first = routes.get(4) is not None and routes[4].id == endpoint.id
        second = routes.get(6) is not None and routes[6].id == endpoint.id
        return dataclasses.replace(
            found,
            gateway4=endpoint.gateway4 if first else "",
            gateway6=endpoint.gateway6 if second else "",
            direct=[n for n, here in ((4, first), (6, second)) if here and network.direct],
        )

    async def plug(
        self, space: Namespace, interfaces: Sequence[Interface], networks: Sequence[Network]
    ) -> None:
        """Put interfaces into a namespace; ``networks`` are theirs."""
        try:
            await self.spaces.turns.run(wiring.plug, space, interfaces)
        except NotFound as error:
            # Somebody removed a bridge by hand: make it again, with everything on it.
            _log.warning("%s; it is made again", error.message)
            for network in networks:
                await self.restore(network)
            await self.spaces.turns.run(wiring.plug, space, interfaces)

    async def restore(self, network: Network) -> None:
        """Make what is missing of a network, and put its containers back on its bridge."""
        await self.drivers[network.driver].create(network)
        if network.driver == "bridge":
            names = {each.host_interface for each in self.book.members(network.id)}
            isolated = not network.flag(ICC, True)
            await asyncio.to_thread(bridges.adopt_ports, network.device, names, isolated=isolated)
            await self.publisher.restore(network)
            await self.open_links()

    def endpoints(self, container_id: str) -> Sequence[Endpoint]:
        return self.book.endpoints.get(container_id, ())

    def tell(self, action: str, network: Network, container_id: str = "") -> None:
        """Publish a network event."""
        attributes = {"name": network.name, "type": network.driver}
        if container_id:
            attributes["container"] = container_id
        self.events.publish("network", action, network.id, attributes)

    def _tell_plain(self, action: str, sandbox: Sandbox) -> None:
        """The networks ``host`` and ``none`` have no endpoints, but a container joins them."""
        for member in sandbox.memberships:
            network = self.book.named(member.network)
            if network is not None:
                self.tell(action, network, sandbox.container_id)

    # While it runs

    async def change_ports(self, request: NetworkRequest) -> None:
        """Other published ports, at once where the container runs. See ``Networking``."""
        host = request.host_config
        wanted = portspec.wanted_ports(
            host.port_bindings or {}, request.exposed_ports, bool(host.publish_all_ports)
        )
        async with self.lock(request.container_id):
            sandbox = self.book.sandboxes.get(request.container_id)
            if sandbox is None or not sandbox.running:
                return
            if wanted and sandbox.mode.startswith("container:"):
                raise Invalid(
                    "conflicting options: port publishing and the container type network mode"
                )
            if sandbox.own_namespace:
                await self.publisher.change(request, sandbox)

    def announce_names(self, container_id: str) -> None:
        """The resolver serves this container, perhaps only since now."""
        try:
            if self.on_names is not None:
                self.on_names(container_id)
        except OSError as error:
            _log.warning("container %s: resolv.conf: %s", container_id, error)

    async def relink(self, request: NetworkRequest) -> None:
        """See ``Networking``."""
        sandbox = self.book.sandboxes.get(request.container_id)
        if sandbox is not None:
            self.book.put_sandbox(msgspec.structs.replace(sandbox, links=_links(request)))
            await self.open_links()

    async def open_links(self) -> None:
        """Where containers of the default network do not reach each other, links are open."""
        if self.announce_links():
            await self.firewall.sync()

    def announce_links(self) -> bool:
        """The next change of the firewall shall have the links; False where none are needed."""
        bridge = self.book.named("bridge")
        if bridge is None or bridge.flag(ICC, True):
            return False
        rows = linking.rows(self.book, bridge)
        if rows:
            bridges.answer_for_neighbours(bridge.device)
        self.firewall.set_linked(rows)
        return True

    # After exit

    async def detach(self, container_id: str) -> None:
        """Give everything back. Idempotent; never raises for what is gone already."""
        async with self.lock(container_id):
            await self._release(container_id)

    async def _release(self, container_id: str) -> None:
        sandbox = self.book.sandboxes.get(container_id)
        if sandbox is None:
            self.publisher.ports.release(container_id)
            self.spaces.drop(container_id)
            return
        endpoints = list(self.endpoints(container_id))
        try:
            if sandbox.resolver:
                await self.names.drop(container_id)
            if sandbox.ports:
                await self.publisher.withdraw(sandbox, endpoints)
        except (WherryError, OSError) as error:
            _log.error("container %s: releasing its network: %s", container_id, error)
        self.publisher.ports.release(container_id)
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
        if gone:
            try:
                await self.open_links()
            except (WherryError, OSError) as error:
                _log.error("links of the default network: %s", error)
        interfaces = [each.host_interface for each in gone if each.host_interface]
        if interfaces:
            self.sweeper.later(interfaces)
        for each in gone:
            network = self.book.networks.get(each.network_id)
            if network is not None:
                self.tell("disconnect", network, container_id)
        if sandbox.running and not sandbox.own_namespace:
            self._tell_plain("disconnect", sandbox)

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
                await self.names.put(container_id, naming.view(self.book, sandbox))

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
            endpoint = live.get(network.id)
            names = planning.dns_names(sandbox, member.settings) if network.named else None
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


def _links(request: NetworkRequest) -> list[str]:
    mode = planning.network_of_mode(request.host_config.network_mode or "default")
    return list(request.host_config.links or ()) if mode == "bridge" else []
