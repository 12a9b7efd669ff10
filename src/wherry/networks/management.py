"""The calls about networks: create, list, inspect, remove, prune, connect, disconnect."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from wherry.errors import Conflict, Forbidden, Internal, Invalid, NotFound, WherryError
from wherry.networks import bridges, definition, ipam, naming, planning, render, wiring
from wherry.networks.definition import Surroundings
from wherry.networks.service import NetworkService
from wherry.networks.values import Endpoint, IPNetwork, Membership, Network, Sandbox
from wherry.wire.container import EndpointSettings
from wherry.wire.filters import Filters, timestamp
from wherry.wire.network import NetworkCreate
from wherry.wire.patterns import found
from wherry.wire.prune import Choice

_LIST_FILTERS = ("dangling", "driver", "id", "label", "label!", "name", "scope", "type")


class NetworkManagement:
    """What ``/networks`` asks. Shares the service's state and locks."""

    def __init__(self, service: NetworkService, *, local: ipam.Pool):
        self._service = service
        self._book = service.book
        self._local = local
        self._creating: dict[str, list[IPNetwork]] = {}
        self._changing = asyncio.Lock()
        self.on_bridge: Callable[[], Awaitable[None]] | None = None
        """Called when there is a bridge more; idempotent."""

    # Create and remove

    async def create(self, request: NetworkCreate) -> tuple[str, str]:
        """Returns the id and a warning ("" for none). All or nothing."""
        definition.check_name(request.name)
        if self._book.named(request.name) is not None:
            raise Conflict(f"network with name {request.name} already exists")
        if request.config_from and request.config_from.network:
            request = self._from_config(request)
        async with self._changing:
            host = await asyncio.to_thread(bridges.host_networks)
            network = definition.define(request, os.urandom(32).hex(), now(), self._around(host))
            return await self._make(network)

    async def _make(self, network: Network) -> tuple[str, str]:
        others = self._made()
        driver = self._service.drivers[network.driver]
        if not network.config_only:
            driver.check(network, others)
        self._book.add_network(network)
        try:
            if not network.config_only:
                await driver.create(network)
        except BaseException:
            self._book.remove_network(network)
            await asyncio.shield(driver.remove(network, others))
            raise
        if network.driver == "bridge" and not network.config_only and self.on_bridge is not None:
            await self.on_bridge()
        if network.ipv6:
            await asyncio.to_thread(bridges.enable_forwarding, ipv6=True)
        self._service.tell("create", network)
        return network.id, ""

    def _made(self) -> list[Network]:
        """Networks that have something on this host."""
        return [each for each in self._book.networks.values() if not each.config_only]

    def _from_config(self, request: NetworkCreate) -> NetworkCreate:
        name = (request.config_from and request.config_from.network) or ""
        if request.config_only:
            raise Forbidden(
                "a configuration network cannot depend on another configuration network"
            )
        try:
            source = self._book.network(name)
        except NotFound as error:
            raise NotFound(f'configuration network "{name}" does not exist') from error
        if not source.config_only:
            raise Forbidden(f'"{name}" is not a configuration-only network')
        for given, what in (
            (request.ipam and request.ipam.config, "IPAM"),
            (request.options, "driver options"),
            (request.labels, "labels"),
        ):
            if given:
                raise Forbidden(
                    f"user specified configurations are not supported if the network "
                    f"depends on a configuration network ({what})"
                )
        pools = [
            {
                "Subnet": each.subnet,
                "IPRange": each.ip_range,
                "Gateway": each.gateway,
                "AuxiliaryAddresses": each.aux,
            }
            for each in source.subnets
        ]
        whole = msgspec.to_builtins(request) | {
            "Options": source.options,
            "Labels": source.labels,
            "Internal": source.internal,
            "EnableIPv6": source.ipv6,
            "IPAM": {"Driver": source.ipam_driver, "Config": pools},
        }
        return msgspec.convert(whole, type=NetworkCreate)

    def _around(self, host: Sequence[tuple[str, int, str]]) -> Surroundings:
        ours = {each.device for each in self._book.networks.values()}
        return Surroundings(
            pools=self._service.settings_of_daemon.pools,
            local=self._local,
            networks=[
                (network.name, subnet.network)
                for network in self._book.networks.values()
                if not network.config_only
                for subnet in network.subnets
            ],
            host=[
                ipaddress.ip_network(f"{text}/{size}", strict=False)
                for text, size, device in host
                if device not in ours
            ],
        )

    async def remove(self, ref: str) -> None:
        """``Forbidden`` for predefined networks and those in use."""
        network = self._book.network(ref)
        if network.predefined:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        async with self._changing:
            await self._remove(network)

    async def _remove(self, network: Network) -> None:
        if network.id not in self._book.networks:
            raise NotFound(f"network {network.name} not found")
        members = self._book.members(network.id)
        if members:
            names = ", ".join(
                f'name:"{self._book.sandboxes[each.container_id].name}" id:"{each.id[:12]}"'
                for each in members
            )
            raise Forbidden(
                f"error while removing network: network {network.name} has active endpoints "
                f"({names})"
            )
        users = [e.name for e in self._book.networks.values() if e.config_from == network.name]
        if network.config_only and users:
            raise Forbidden(f'configuration network "{network.name}" is in use by {users[0]}')
        self._book.remove_network(network)
        if not network.config_only:
            await self._service.drivers[network.driver].remove(network, self._made())
        self._service.tell("destroy", network)

    async def repair(self, network_id: str) -> None:
        """Make what was taken from a network by hand; nothing where it is removed by now."""
        async with self._changing:
            network = self._book.networks.get(network_id)
            if network is not None:
                await self._service.restore(network)

    async def prune(
        self, filters: Filters, *, dry_run: bool = False, without: Collection[str] = ()
    ) -> list[str]:
        """Remove every network that no container belongs to; returns their names.

        Configurations (``config_only``) stay, as with Docker: no container can belong to them.
        ``dry_run``: only say which; ``without``: ids of containers to be taken as removed.
        """
        choice = Choice(filters)
        used = self._used(without)
        gone = []
        for network in list(self._book.networks.values()):
            if network.predefined or network.config_only or network.id in used:
                continue
            if not choice.names(network.name):
                continue
            if not choice.takes(network.labels, _nanoseconds(network.created)):
                continue
            if dry_run or await self._pruned(network):
                gone.append(network.name)
        if not dry_run:
            self._service.events.publish("network", "prune", "", {"reclaimed": "0"})
        return gone

    async def _pruned(self, network: Network) -> bool:
        """Remove one that was chosen, if no container has come to belong to it; whether it is
        gone."""
        async with self._changing:
            if network.id in self._used():
                return False
            try:
                await self._remove(network)
            except WherryError:
                return False
        return True

    def _used(self, without: Collection[str] = ()) -> set[str]:
        """Networks that some container belongs to, running or not."""
        found = set()
        for container, sandbox in self._book.sandboxes.items():
            if container in without:
                continue
            for member in sandbox.memberships:
                try:
                    found.add(self._book.network(member.network).id)
                except WherryError:
                    continue
        return found

    # Look

    def inspect(self, ref: str, *, scope: str = "") -> dict[str, Any]:
        """``GET /networks/{id}``."""
        network = self._book.network(ref)
        if scope and scope != network.scope:
            raise NotFound(f"network {ref} not found")
        members = [
            (each, self._book.sandboxes[each.container_id].name)
            for each in self._book.members(network.id)
            if each.container_id in self._book.sandboxes
        ]
        return render.network(network, members)

    def list(self, filters: Filters) -> list[dict[str, Any]]:
        """``GET /networks``, oldest first; without containers, as Docker since 1.28."""
        filters.validate(_LIST_FILTERS)
        kinds = filters.values_of("type")
        for kind in kinds:
            if kind not in ("custom", "builtin"):
                raise Invalid(f"invalid filter: 'type'='{kind}'")
        dangling = filters.boolean("dangling") if filters.values_of("dangling") else None
        used = self._used() if dangling is not None else set()
        rows = []
        for network in self._book.networks.values():
            if kinds and ("builtin" if network.predefined else "custom") not in kinds:
                continue
            if dangling is not None:
                unused = not network.predefined and network.id not in used
                if unused is not dangling:
                    continue
            if (
                filters.exact("driver", network.driver)
                and filters.exact("scope", network.scope)
                and _contains(filters.values_of("name"), network.name)
                and _contains(filters.values_of("id"), network.id)
                and filters.labels(network.labels)
            ):
                rows.append(render.network(network))
        return rows

    # Connect and disconnect

    async def connect(
        self, ref: str, container: str, settings: EndpointSettings | None = None
    ) -> None:
        """Add a container to a network, at once if it runs, else at its next start."""
        network = self._book.network(ref)
        container_id = self._book.sandbox(container).container_id
        async with self._service.lock(container_id):
            sandbox = self._book.sandbox(container_id)
            planning.check_modes(sandbox, network)
            if self._service.member(sandbox, network) is not None:
                raise Forbidden(
                    f"endpoint with name {sandbox.name} already exists in network {network.name}"
                )
            wanted = planning.asked(settings)
            planning.check_settings(network, wanted)
            changed = msgspec.structs.replace(
                sandbox, memberships=[*sandbox.memberships, Membership(network.id, wanted)]
            )
            if not sandbox.running:
                self._book.put_sandbox(changed)
                return
            await self._connect(network, sandbox, changed, wanted)
        self._service.tell("connect", network, container_id)

    async def _connect(
        self, network: Network, before: Sandbox, after: Sandbox, wanted: Mapping[str, Any]
    ) -> None:
        container_id = after.container_id
        space = self._service.spaces.get(container_id)
        if space is None:
            raise Internal(f"the network namespace of container {before.name} is lost")
        names = {each.interface for each in self._service.endpoints(container_id)}
        number = next(n for n in range(len(names) + 1) if f"eth{n}" not in names)
        endpoint = planning.endpoint(
            self._book,
            network,
            after,
            wanted,
            interface=f"eth{number}",
        )
        self._book.add_endpoint(endpoint)
        try:
            interface = self._service.drivers[network.driver].interface(network, endpoint)
            await self._service.plug(space, [interface], [network])
            self._book.put_sandbox(after)
            await self._settle(after)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(wiring.unplug, space, endpoint.interface))
            self._book.remove_endpoint(endpoint)
            self._book.put_sandbox(before)
            await asyncio.shield(self._settle(before))
            raise

    async def _settle(self, sandbox: Sandbox) -> None:
        """Default routes, published ports and names after the set of networks has changed."""
        container_id = sandbox.container_id
        space = self._service.spaces.get(container_id)
        if space is None:
            return
        routes = self._gateways(sandbox)
        gateway4, gateway6 = _chosen(routes)
        moved = (gateway4, gateway6) != (sandbox.gateway4, sandbox.gateway6)
        named = self._named(container_id)
        changed = msgspec.structs.replace(
            sandbox,
            gateway4=gateway4,
            gateway6=gateway6,
            resolver=named or sandbox.resolver,
        )
        # Recorded when it is done: a kill in between leaves something that ``mend`` sees.
        if moved:
            await asyncio.to_thread(wiring.reroute, space, _routes(self._book.networks, routes))
        self._book.put_sandbox(changed)
        if moved and changed.ports:
            await self._service.publisher.publish(changed, fresh=True)
        if named and not sandbox.resolver:
            space.sockets = await asyncio.to_thread(wiring.listen_inside, space)
        if changed.resolver:
            view = naming.view(self._book, changed)
            await self._service.names.put(container_id, view, space.sockets)
            self._service.announce_names(container_id)
        if (gateway4 or gateway6) and not changed.ports:
            await self._publish(changed)

    async def _publish(self, sandbox: Sandbox) -> None:
        """A container that was in no network that publishes may be in one now: its ports are
        taken, all of them, or it is an error as at a start."""
        request = (
            self._service.request_of(sandbox.container_id) if self._service.request_of else None
        )
        if request is not None and self._service.publisher.asks(request):
            await self._service.publisher.change(request, sandbox)

    def _named(self, container_id: str) -> bool:
        """Whether one of the networks that it is in gives names."""
        return any(
            self._book.networks[each.network_id].named
            for each in self._service.endpoints(container_id)
        )

    async def disconnect(self, ref: str, container: str, *, force: bool = False) -> None:
        """Take a container out of a network."""
        network = self._book.network(ref)
        try:
            container_id = self._book.sandbox(container).container_id
        except NotFound:
            if force:
                return
            raise
        async with self._service.lock(container_id):
            sandbox = self._book.sandbox(container_id)
            if sandbox.mode == "host" or network.driver == "host":
                raise Invalid(
                    "container cannot be disconnected from host network or connected to host "
                    "network"
                )
            member = self._service.member(sandbox, network)
            if member is None:
                # Docker answers 500 here, and clients go by it.
                raise Internal(
                    f"container {sandbox.container_id} is not connected to network {network.name}"
                )
            changed = msgspec.structs.replace(
                sandbox, memberships=[each for each in sandbox.memberships if each is not member]
            )
            found = [
                each
                for each in self._service.endpoints(container_id)
                if each.network_id == network.id
            ]
            if sandbox.running and sandbox.private and not changed.private:
                await self._open(container_id)
            self._book.put_sandbox(changed)
            if found:
                await self._disconnect(found[0], changed)
            elif not sandbox.running:
                return
        self._service.tell("disconnect", network, container_id)

    async def _open(self, container_id: str) -> None:
        """A running container leaves ``none``: the runtime's namespace is ours to plug into."""
        pid = self._service.pid_of(container_id) if self._service.pid_of else 0
        try:
            space = self._service.spaces.adopt(container_id, pid)
        except OSError as error:
            raise Internal(
                f"the network namespace of container {container_id} is lost: {error}"
            ) from error
        await asyncio.to_thread(wiring.equip, space)

    async def _disconnect(self, endpoint: Endpoint, sandbox: Sandbox) -> None:
        space = self._service.spaces.get(sandbox.container_id)
        if space is not None:
            await asyncio.to_thread(wiring.unplug, space, endpoint.interface)
        self._book.remove_endpoint(endpoint)
        await self._settle(sandbox)

    async def mend(self, container_id: str) -> None:
        """At the daemon's start: a connect or disconnect of a running container that was cut
        short. Only what the container is a member of stays."""
        async with self._service.lock(container_id):
            sandbox = self._book.sandboxes[container_id]
            space = self._service.spaces.get(container_id)
            cut = False
            for endpoint in list(self._service.endpoints(container_id)):
                network = self._book.networks[endpoint.network_id]
                if self._service.member(sandbox, network) is None:
                    if space is not None:
                        await asyncio.to_thread(wiring.unplug, space, endpoint.interface)
                    self._book.remove_endpoint(endpoint)
                    cut = True
            chosen = _chosen(self._gateways(sandbox))
            unserved = self._named(container_id) and not sandbox.resolver
            if cut or unserved or chosen != (sandbox.gateway4, sandbox.gateway6):
                await self._settle(sandbox)
                return
            if sandbox.resolver:
                self._service.announce_names(container_id)
            if space is not None and (sandbox.gateway4 or sandbox.gateway6) and not sandbox.ports:
                await self._publish(sandbox)

    def _gateways(self, sandbox: Sandbox) -> dict[int, Endpoint]:
        """Which endpoint should have the default route, by family."""
        endpoints = list(self._service.endpoints(sandbox.container_id))
        networks = [self._book.networks[each.network_id] for each in endpoints]
        return planning.gateways(self._book, sandbox.memberships, endpoints, networks)


def _chosen(routes: Mapping[int, Endpoint]) -> tuple[str, str]:
    """Network ids of the default routes."""
    chosen = {version: each.network_id for version, each in routes.items()}
    return chosen.get(4, ""), chosen.get(6, "")


def _routes(
    networks: Mapping[str, Network], routes: Mapping[int, Endpoint]
) -> list[tuple[str, str, str, Sequence[int]]]:
    found: list[tuple[str, str, str, Sequence[int]]] = []
    for version, each in routes.items():
        direct = [version] if networks[each.network_id].direct else []
        gateways = (each.gateway4, "") if version == 4 else ("", each.gateway6)
        found.append((each.interface, *gateways, direct))
    return found


def now() -> str:
    """The time as Docker writes it, with nanoseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def _nanoseconds(created: str) -> int:
    return timestamp(created)


def _contains(values: Sequence[str], text: str) -> bool:
    """Docker matches names and ids of networks by any part of them."""
    return not values or any(value in text or found(value, text) for value in values)
