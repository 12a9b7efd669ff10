"""What the networks know, in memory and in the database: networks, sandboxes, endpoints."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from wherry.errors import Invalid, NotFound
from wherry.networks.values import Endpoint, Network, Sandbox
from wherry.store.networks import EndpointRow, NetworkTable


class Events(Protocol):
    """Where happenings are told; the daemon's bus."""

    def publish(
        self, kind: str, action: str, actor_id: str, attributes: dict[str, str]
    ) -> None: ...


def _row(endpoint: Endpoint) -> EndpointRow:
    return EndpointRow(
        endpoint.id,
        endpoint.network_id,
        endpoint.container_id,
        endpoint.ipv4,
        endpoint.ipv6,
        msgspec.json.encode(endpoint),
    )


class Book:
    """The loop's thread only. Changes reach the database before memory."""

    def __init__(self, table: NetworkTable) -> None:
        self._table = table
        self.networks: dict[str, Network] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        self.endpoints: dict[str, list[Endpoint]] = {}
        """Container id -> its endpoints, in order of their interfaces."""
        self._names: dict[str, str] = {}
        self._taken: dict[tuple[str, int], set[int]] = {}
        self._last: dict[tuple[str, int], int] = {}
        for body in table.networks():
            self._keep(msgspec.json.decode(body, type=Network))
        for body in table.sandboxes():
            sandbox = msgspec.json.decode(body, type=Sandbox)
            self.sandboxes[sandbox.container_id] = sandbox
        for body in table.endpoints():
            self._hold(msgspec.json.decode(body, type=Endpoint))

    # Networks

    def network(self, ref: str) -> Network:
        """By full id, name or unique id prefix. ``NotFound``: "network REF not found"."""
        found = self.networks.get(ref) or self.networks.get(self._names.get(ref, ""))
        if found is not None:
            return found
        matches = [each for key, each in self.networks.items() if ref and key.startswith(ref)]
        if len(matches) > 1:
            raise Invalid(f"network {ref} is ambiguous ({len(matches)} matches found on ID prefix)")
        if not matches:
            raise NotFound(f"network {ref} not found")
        return matches[0]

    def named(self, name: str) -> Network | None:
        return self.networks.get(self._names.get(name, ""))

    def add_network(self, network: Network) -> None:
        """``Conflict`` when the name is in use."""
        self._table.add_network(network.id, network.name, msgspec.json.encode(network))
        self._keep(network)

    def update_network(self, network: Network) -> None:
        self._table.update_network(network.id, msgspec.json.encode(network))
        self._keep(network)

    def remove_network(self, network: Network) -> None:
        self._table.remove_network(network.id)
        del self.networks[network.id]
        self._names.pop(network.name, None)
        for version in (4, 6):
            self._taken.pop((network.id, version), None)
            self._last.pop((network.id, version), None)

    def _keep(self, network: Network) -> None:
        self.networks[network.id] = network
        self._names[network.name] = network.id

    # Containers

    def sandbox(self, ref: str) -> Sandbox:
        """By full id, name (with or without slash) or unique id prefix."""
        found = self.sandboxes.get(ref)
        if found is not None:
            return found
        bare = ref.removeprefix("/")
        named = [each for each in self.sandboxes.values() if each.name == bare]
        if named:
            return named[0]
        matches = [each for key, each in self.sandboxes.items() if ref and key.startswith(ref)]
        if len(matches) > 1:
            raise Invalid(f"multiple IDs found with provided prefix: {ref}")
        if not matches:
            raise NotFound(f"No such container: {ref}")
        return matches[0]

    def put_sandbox(self, sandbox: Sandbox) -> None:
        self._table.put_sandbox(sandbox.container_id, msgspec.json.encode(sandbox))
        self.sandboxes[sandbox.container_id] = sandbox

    def start(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> None:
        """Record a container that is about to run, with all its endpoints."""
        self._table.start(
            sandbox.container_id, msgspec.json.encode(sandbox), [_row(each) for each in endpoints]
        )
        self.sandboxes[sandbox.container_id] = sandbox
        for each in endpoints:
            self._hold(each)

    def stop(self, container_id: str, sandbox: Sandbox | None) -> list[Endpoint]:
        """The endpoints are given back; ``sandbox`` None forgets the container too."""
        self._table.stop(container_id, msgspec.json.encode(sandbox) if sandbox else None)
        if sandbox is None:
            self.sandboxes.pop(container_id, None)
        else:
            self.sandboxes[container_id] = sandbox
        gone = self.endpoints.pop(container_id, [])
        for each in gone:
            self._give_back(each)
        return gone

    def add_endpoint(self, endpoint: Endpoint) -> None:
        self._table.add_endpoint(_row(endpoint))
        self._hold(endpoint)

    def replace_endpoint(self, endpoint: Endpoint) -> None:
        """The same endpoint with other names or gateways; its addresses stay."""
        self._table.update_endpoint(endpoint.id, msgspec.json.encode(endpoint))
        rows = self.endpoints[endpoint.container_id]
        rows[[each.id for each in rows].index(endpoint.id)] = endpoint

    def remove_endpoint(self, endpoint: Endpoint) -> None:
        self._table.remove_endpoint(endpoint.id)
        rows = self.endpoints.get(endpoint.container_id, [])
        self.endpoints[endpoint.container_id] = [each for each in rows if each.id != endpoint.id]
        self._give_back(endpoint)

    def members(self, network_id: str) -> list[Endpoint]:
        """The running endpoints of a network."""
        return [
            each
            for rows in self.endpoints.values()
            for each in rows
            if each.network_id == network_id
        ]

    # Addresses

    def taken(self, network_id: str, version: int) -> set[int]:
        return self._taken.setdefault((network_id, version), set())

    def last_given(self, network_id: str, version: int) -> int:
        """The address handed out last, 0 for none: the next one is looked for beyond it."""
        return self._last.get((network_id, version), 0)

    def _hold(self, endpoint: Endpoint) -> None:
        self.endpoints.setdefault(endpoint.container_id, []).append(endpoint)
        for version, value in _addresses(endpoint):
            self.taken(endpoint.network_id, version).add(value)
            self._last[endpoint.network_id, version] = value

    def _give_back(self, endpoint: Endpoint) -> None:
        for version, value in _addresses(endpoint):
            self.taken(endpoint.network_id, version).discard(value)


def _addresses(endpoint: Endpoint) -> Iterable[tuple[int, int]]:
    if endpoint.ipv4:
        yield 4, int(ipaddress.IPv4Address(endpoint.ipv4))
    if endpoint.ipv6:
        yield 6, int(ipaddress.IPv6Address(endpoint.ipv6))
