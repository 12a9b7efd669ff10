"""What the life cycle asks of its neighbours, cut to what it uses.

Adapters: ``networks`` and ``volumes`` implement these; ``containers.plain`` holds the forms that
need neither (network modes none, host, container; no volumes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from wherry.wire.container import EndpointSettings, HostConfig, NetworkingConfig


@dataclass(frozen=True)
class NetworkRequest:
    """A container about to start, as the networks see it."""

    container_id: str
    name: str
    hostname: str
    domainname: str
    host_config: HostConfig
    endpoints: dict[str, EndpointSettings | None]
    exposed_ports: Sequence[str]
    """``80/tcp`` forms from the image and the request."""
    network_disabled: bool = False
    mac_address: str | None = None


@dataclass(frozen=True)
class NetworkAttachment:
    """A namespace with its interfaces, ready for the runtime to join."""

    namespace: str | None
    """Path of a network namespace for the OCI spec; None: the host's own."""
    settings: Mapping[str, Any]
    """``NetworkSettings`` of inspect, API keys (Networks, Ports, SandboxKey, ...)."""
    hosts: Sequence[tuple[str, Sequence[str]]] = ()
    """(address, names) lines for /etc/hosts beyond localhost."""
    nameservers: Sequence[str] = ()
    search: Sequence[str] = ()
    dns_options: Sequence[str] = ()


class Networking(Protocol):
    def check(
        self, host_config: HostConfig, networking: NetworkingConfig | None
    ) -> tuple[HostConfig, list[str]]:
        """At create: validate, fill the default network mode; returns it and warnings."""

    async def attach(self, request: NetworkRequest) -> NetworkAttachment:
        """At start: namespace, addresses, ports. All or nothing."""

    async def detach(self, container_id: str) -> None:
        """After exit. Idempotent; never raises for what is gone already."""

    async def forget(self, container_id: str) -> None:
        """At remove: drop what was reserved for the container."""

    async def renamed(self, container_id: str, name: str) -> None: ...

    def settings(self, container_id: str) -> Mapping[str, Any]:
        """``NetworkSettings`` for inspect and list, running or not."""


@dataclass(frozen=True)
class MountRequest:
    """A container about to be created, as the volumes see it."""

    container_id: str
    host_config: HostConfig
    image_volumes: Sequence[str]
    """Paths of ``Config.Volumes``, from the image and the request."""


@dataclass(frozen=True)
class MountPoint:
    """One resolved mount, kept with the container; renders as an entry of inspect's ``Mounts``."""

    type: str
    destination: str
    source: str = ""
    name: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = True
    propagation: str = ""
    options: tuple[str, ...] = ()
    """Options for the OCI mount, e.g. ``rbind``, ``ro``, ``rslave``, ``size=64m``."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Driver's own notes: subpath, nocopy, anonymous, idmap ..."""


@dataclass(frozen=True)
class RootView:
    """The container's root as mounted for copy-up: lower directories topmost first, and upper."""

    lower: Sequence[str]
    upper: Path


class Volumes(Protocol):
    async def plan(self, request: MountRequest) -> tuple[list[MountPoint], list[str]]:
        """At create: resolve and validate every mount, make named and anonymous volumes.

        Returns the mount points, in the order to mount them, and warnings. All or nothing.
        """

    async def prepare(
        self, container_id: str, points: Sequence[MountPoint], root: RootView
    ) -> list[Mapping[str, Any]]:
        """At start: OCI ``mounts`` entries; mounts drivers, copies image content up."""

    async def release(self, container_id: str, points: Sequence[MountPoint]) -> None:
        """After exit. Idempotent."""

    async def forget(
        self, container_id: str, points: Sequence[MountPoint], *, remove_anonymous: bool
    ) -> None:
        """At remove."""


class EventSink(Protocol):
    """Where services publish what happened; the daemon's bus keeps and streams it."""

    def publish(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        """``kind``: container, image, volume, network, daemon; ``action``: Docker's word."""
