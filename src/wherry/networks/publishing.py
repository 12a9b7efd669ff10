"""Published ports of running containers: the host's ports, firewall, forwarder, tracked flows.

What is published is in the sandbox (``PortMap``); which of a container's endpoints the ports lead
to is decided by its default routes.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from wherry.linux import conntrack
from wherry.networks import bridges, portspec
from wherry.networks.book import Book
from wherry.networks.drivers import Driver
from wherry.networks.firewall import Firewall
from wherry.networks.forwarding import Forward, Forwarding
from wherry.networks.hostports import Families, HostPorts, has_sockets
from wherry.networks.portspec import Wanted
from wherry.networks.ruleset import Published
from wherry.networks.settings import NetworkSettings
from wherry.networks.values import (
    BINDING,
    GATEWAY_MODES,
    ICC,
    Endpoint,
    Network,
    PortMap,
    Sandbox,
)
from wherry.wire.attachment import NetworkRequest

_MANY = 256
"""More ports than this are looked at in a thread."""


class Publisher:
    """The event loop's thread only; callers hold the container's lock."""

    def __init__(
        self,
        book: Book,
        settings: NetworkSettings,
        drivers: Mapping[str, Driver],
        firewall: Firewall,
        forwarder_socket: Path,
    ) -> None:
        self._book = book
        self._settings = settings
        self._drivers = drivers
        self._firewall = firewall
        self.ports = HostPorts()
        self.forwarding = Forwarding(forwarder_socket, self.ports.held)

    async def take(
        self, request: NetworkRequest, sandbox: Sandbox, routes: Mapping[int, Endpoint]
    ) -> list[PortMap]:
        """The ports that the request asks for, or an error and none. See ``HostPorts``.

        A routed network needs no port of the host: its containers may have the same ones.
        """
        wanted, families, routed = self._wanted(request, routes)
        if not wanted and not sandbox.ports:
            return []
        name = f"{sandbox.name} ({sandbox.container_id})"
        take = (sandbox.container_id, name, wanted, families)
        if sum(each.count for each in wanted) > _MANY:
            taken = await asyncio.to_thread(self.ports.take, *take)
        else:
            taken = self.ports.take(*take)
        return [*taken, *portspec.opened(wanted, routed)]

    def asks(self, request: NetworkRequest) -> bool:
        """Whether the container shall have published ports."""
        return bool(_runs(request))

    def _wanted(
        self, request: NetworkRequest, routes: Mapping[int, Endpoint]
    ) -> tuple[list[Wanted], Families, list[int]]:
        """The runs; the families that get ports of the host; those whose network is routed."""
        wanted = _runs(request)
        families: list[int] = []
        routed: list[int] = []
        binding = self._settings.binding
        for version, endpoint in routes.items():
            network = self._book.network(endpoint.network_id)
            if self._drivers[network.driver].publishes:
                mode = network.options.get(GATEWAY_MODES[version])
                (routed if mode == "routed" else families).append(version)
                binding = network.options.get(BINDING) or binding
        extra = [6] if 4 in families and 6 not in (*families, *routed) and self._serves_six else []
        if binding and binding not in portspec.WILD:
            wanted = [each if each.host_ip else portspec.bound_to(each, binding) for each in wanted]
        return wanted, lambda protocol: families + (extra if has_sockets(protocol) else []), routed

    @property
    def _serves_six(self) -> bool:
        """Whether the forwarder leads IPv6 to a container that has none."""
        proxied = self._settings.userland_proxy or self._settings.host_firewall
        return proxied and bridges.has_ipv6()

    async def publish(self, sandbox: Sandbox, *, fresh: bool) -> None:
        """Bring firewall and forwarder to the container's ports.

        ``fresh``: forget flows to them."""
        entries = self.entries(sandbox)
        self._firewall.set_published(sandbox.container_id, entries)
        ready = [
            asyncio.to_thread(bridges.serve_published, device, [port])
            for device, port in self._ways(sandbox)
        ]
        await asyncio.gather(self._firewall.sync(), *ready)
        await self.forwarding.put(sandbox.container_id, self.forwards(sandbox))
        # What the forwarder has given up can be held again.
        self.ports.held(sandbox.container_id)
        if fresh:
            await self._forget_flows(sandbox.ports)

    def _ways(self, sandbox: Sandbox) -> set[tuple[str, str]]:
        """(bridge, port of the bridge) through which the container's published ports lead."""
        found = set()
        for endpoint in self._book.endpoints.get(sandbox.container_id, ()):
            network = self._book.networks[endpoint.network_id]
            chosen = network.id in (sandbox.gateway4, sandbox.gateway6)
            if sandbox.ports and chosen and self._drivers[network.driver].publishes:
                found.add((network.device, endpoint.host_interface))
        return found

    async def restore(self, network: Network) -> None:
        """The network's bridge was made again: make it ready for what is published."""
        ways: set[tuple[str, str]] = set()
        for endpoint in self._book.members(network.id):
            sandbox = self._book.sandboxes.get(endpoint.container_id)
            ways |= self._ways(sandbox) if sandbox else set()
        ports = [port for device, port in ways if device == network.device]
        if ports:
            await asyncio.to_thread(bridges.serve_published, network.device, ports)

    async def change(self, request: NetworkRequest, sandbox: Sandbox) -> Sandbox:
        """Other ports for a container that runs: all of them, or an error and what was before.

        Ports that stay are not touched, nor what is connected through them. Returns the sandbox
        as it is then, recorded.
        """
        endpoints = {e.network_id: e for e in self._book.endpoints.get(sandbox.container_id, ())}
        routes = {
            version: endpoints[each]
            for version, each in ((4, sandbox.gateway4), (6, sandbox.gateway6))
            if each in endpoints
        }
        before = sandbox.ports
        ports = await self.take(request, sandbox, routes)
        changed = msgspec.structs.replace(sandbox, ports=ports, exposed=list(request.exposed_ports))
        self._book.put_sandbox(changed)
        try:
            await self.publish(changed, fresh=False)
        except BaseException:
            self._book.put_sandbox(sandbox)
            self.ports.release(sandbox.container_id)
            self.ports.adopt(sandbox.container_id, _of_the_host(before))
            await asyncio.shield(self.publish(sandbox, fresh=False))
            raise
        gone = [each for each in before if each not in ports]
        await self._forget_flows([*gone, *(each for each in ports if each not in before)])
        return changed

    async def _forget_flows(self, runs: Sequence[PortMap]) -> None:
        runs = _of_the_host(runs)
        datagrams = [(each.first, each.last) for each in runs if each.protocol == "udp"]
        if datagrams:
            await asyncio.to_thread(conntrack.forget_udp, (), datagrams)

    def adopt(self, sandbox: Sandbox) -> None:
        """Ports of a container that went on without us; firewall and forwarder are brought to
        them by the caller, all together."""
        self.ports.adopt(sandbox.container_id, _of_the_host(sandbox.ports))
        self.announce(sandbox)

    def announce(self, sandbox: Sandbox) -> None:
        """The next change of the firewall shall have the container's ports."""
        self._firewall.set_published(sandbox.container_id, self.entries(sandbox))

    async def withdraw(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> None:
        """The container has ended: take its ports out of the firewall."""
        self._firewall.set_published(sandbox.container_id, ())
        await self._firewall.sync()
        await self.forwarding.drop(sandbox.container_id)
        if any(each.protocol == "udp" for each in sandbox.ports):
            addresses = [each.ipv4 for each in endpoints] + [each.ipv6 for each in endpoints]
            wanted = [each for each in addresses if each]
            await asyncio.to_thread(conntrack.forget_udp, wanted, ())

    def entries(self, sandbox: Sandbox) -> list[Published]:
        """The container's ports as the firewall sees them."""
        return [
            Published(
                run,
                address,
                routed=self._routed(sandbox, run),
                served=self._settings.userland_proxy and self._apart(sandbox, run),
            )
            for run, address in self._targets(sandbox)
            if (":" in run.host_ip) == (":" in address)
        ]

    def forwards(self, sandbox: Sandbox) -> list[Forward]:
        """The container's ports that the forwarder serves."""
        found = []
        for run, address in self._targets(sandbox):
            # The kernel translates nothing between the families, nor from ::1.
            needed = ":" in run.host_ip and (":" not in address or run.host_ip in ("::", "::1"))
            needed = needed or self._apart(sandbox, run)
            wanted = self._settings.host_firewall or (needed and self._settings.userland_proxy)
            if wanted and not self._routed(sandbox, run):
                found.append(Forward(run, address))
        return found

    def _targets(self, sandbox: Sandbox) -> Iterator[tuple[PortMap, str]]:
        """Every run with the address that it leads to: of its family, where there is one."""
        endpoints = {e.network_id: e for e in self._book.endpoints.get(sandbox.container_id, ())}
        first, second = endpoints.get(sandbox.gateway4), endpoints.get(sandbox.gateway6)
        four, six = first.ipv4 if first else "", second.ipv6 if second else ""
        for run in sandbox.ports:
            address = (six or four) if ":" in run.host_ip else four
            if address:
                yield run, address

    def _network(self, sandbox: Sandbox, run: PortMap) -> Network | None:
        six = ":" in run.host_ip
        return self._book.networks.get(sandbox.gateway6 if six else sandbox.gateway4)

    def _routed(self, sandbox: Sandbox, run: PortMap) -> bool:
        network = self._network(sandbox, run)
        mode = GATEWAY_MODES[6 if ":" in run.host_ip else 4]
        return network is not None and network.options.get(mode) == "routed"

    def _apart(self, sandbox: Sandbox, run: PortMap) -> bool:
        """Whether containers of the same network reach the port only by a socket of the host."""
        network = self._network(sandbox, run)
        if network is None or network.flag(ICC, True):
            return False
        loopback = ipaddress.ip_address(run.host_ip).is_loopback
        return not loopback and has_sockets(run.protocol)


def _of_the_host(runs: Sequence[PortMap]) -> list[PortMap]:
    return [each for each in runs if each.first]


def _runs(request: NetworkRequest) -> list[Wanted]:
    host = request.host_config
    return portspec.wanted_ports(
        host.port_bindings or {}, request.exposed_ports, bool(host.publish_all_ports)
    )
