"""What the life cycle asks of its neighbours, cut to what it uses.

Adapters: ``networks`` and ``volumes`` implement these; ``containers.plain`` holds the forms that
need neither (network modes none, host, container; no volumes).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from wherry.wire.attachment import NetworkAttachment, NetworkRequest
from wherry.wire.container import HostConfig, Mount, NetworkingConfig
from wherry.wire.mounts import MountPoint, MountRequest, RootView

__all__ = [
    "EventSink",
    "MountPoint",
    "MountRequest",
    "NetworkAttachment",
    "NetworkRequest",
    "Networking",
    "RootView",
    "Volumes",
]


class Networking(Protocol):
    def check(
        self, host_config: HostConfig, networking: NetworkingConfig | None
    ) -> tuple[HostConfig, list[str]]:
        """At create: validate, fill the default network mode; returns it and warnings."""

    def enrol(self, request: NetworkRequest) -> None:
        """At create, once the id is known: which networks the container belongs to.

        Inspect shows them from now on, and networks can be connected before the first start.
        """

    async def adopt(self, running: Mapping[str, int]) -> None:
        """At daemon start: the containers that run, with their first process's pid.

        Their namespaces are taken over; what belongs to any other container is released.
        """

    async def attach(self, request: NetworkRequest) -> NetworkAttachment:
        """At start: namespace, addresses, ports. All or nothing."""

    async def change_ports(self, request: NetworkRequest) -> None:
        """Other published ports (those of ``request.host_config``), at once where it runs.

        All of them, or an error and what was before. Ports that stay, ephemeral ones too, are
        not touched. Where the container does not run, they are only checked.
        """

    async def relink(self, request: NetworkRequest) -> None:
        """``request.host_config.links`` have changed."""

    async def detach(self, container_id: str) -> None:
        """After exit. Idempotent; never raises for what is gone already."""

    async def forget(self, container_id: str) -> None:
        """At remove: drop what was reserved for the container."""

    async def renamed(self, container_id: str, name: str) -> None: ...

    def settings(self, container_id: str) -> Mapping[str, Any]:
        """``NetworkSettings`` for inspect and list, running or not."""


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

    def unknown(self, mounts: Sequence[Mount]) -> list[str]:
        """Names of volumes that ``extend`` would make."""

    async def extend(
        self, container_id: str, mounts: Sequence[Mount], present: Sequence[MountPoint]
    ) -> list[MountPoint]:
        """Further mounts for a container that exists, planned as by ``plan``: the new ones."""

    async def add(
        self, container_id: str, points: Sequence[MountPoint], root: RootView, first: int
    ) -> list[Mapping[str, Any]]:
        """While it runs: as ``prepare``, numbering from ``first``; ``withdraw`` undoes it."""

    async def withdraw(
        self, container_id: str, points: Sequence[MountPoint], first: int, made: Sequence[str]
    ) -> None:
        """Undo ``extend`` and ``add``: ``points`` are all that stays, ``made`` what ``unknown``
        said before. Idempotent."""

    async def retain(
        self, container_id: str, points: Sequence[MountPoint]
    ) -> Sequence[tuple[str, bool]]:
        """Let go of every volume that none of ``points`` names. Idempotent."""

    async def forget(
        self, container_id: str, points: Sequence[MountPoint], *, remove_anonymous: bool
    ) -> None:
        """At remove."""

    async def adopt(self, containers: Collection[str], running: Collection[str]) -> None:
        """At the daemon's start, before any container is settled: the ids that exist and that
        run. Drops and finishes what a crash left."""


class EventSink(Protocol):
    """Where services publish what happened; the daemon's bus keeps and streams it."""

    def publish(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        """``kind``: container, image, volume, network, daemon; ``action``: Docker's word."""
