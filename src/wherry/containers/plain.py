"""Networking and volumes of their smallest form: network modes none, host and container; binds.

They implement the ports of ``containers.ports`` for a daemon without networks and volumes.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from wherry.errors import Invalid, NotImplementedYet
from wherry.wire.attachment import NetworkAttachment, NetworkRequest
from wherry.wire.container import HostConfig, Mount, NetworkingConfig
from wherry.wire.mounts import MountPoint, MountRequest, RootView


class PlainNetworking:
    """Modes none and host; ``container:`` is joined by the life cycle itself."""

    def check(
        self, host_config: HostConfig, networking: NetworkingConfig | None
    ) -> tuple[HostConfig, list[str]]:
        mode = host_config.network_mode or "default"
        warnings: list[str] = []
        if mode in ("default", "bridge"):
            mode = "none"
            warnings.append("No bridge network is there: the container gets network mode none.")
        elif mode not in ("none", "host") and not mode.startswith("container:"):
            raise NotImplementedYet(
                f"network {mode}: this daemon runs with the modes none, host and container only"
            )
        filled: HostConfig = msgspec.structs.replace(host_config, network_mode=mode)
        return filled, warnings

    def enrol(self, request: NetworkRequest) -> None:
        return None

    async def adopt(self, running: Mapping[str, int]) -> None:
        return None

    async def attach(self, request: NetworkRequest) -> NetworkAttachment:
        mode = request.host_config.network_mode or "none"
        return NetworkAttachment(
            namespace=None if mode == "host" else "",
            settings={},
        )

    async def change_ports(self, request: NetworkRequest) -> None:
        return None

    async def relink(self, request: NetworkRequest) -> None:
        return None

    async def detach(self, container_id: str) -> None:
        return None

    async def forget(self, container_id: str) -> None:
        return None

    async def renamed(self, container_id: str, name: str) -> None:
        return None

    def settings(self, container_id: str) -> Mapping[str, Any]:
        return {}


class PlainVolumes:
    """Bind mounts of ``-v SOURCE:TARGET[:ro]``; image volumes stay in the writable layer."""

    async def plan(self, request: MountRequest) -> tuple[list[MountPoint], list[str]]:
        points = []
        for bind in request.host_config.binds or ():
            parts = bind.split(":")
            if len(parts) not in (2, 3) or not parts[0].startswith("/"):
                raise Invalid(f"invalid volume specification: '{bind}'")
            target = posixpath.normpath(parts[1])
            if not target.startswith("/") or target == "/":
                raise Invalid(f"invalid mount path: '{parts[1]}' mount path must be absolute")
            rw = "ro" not in (parts[2].split(",") if len(parts) == 3 else ())
            options = ("rbind", "rprivate", "rw" if rw else "ro")
            mode = parts[2] if len(parts) == 3 else ""
            points.append(
                MountPoint(
                    "bind",
                    target,
                    parts[0],
                    mode=mode,
                    rw=rw,
                    propagation="rprivate",
                    options=options,
                )
            )
        if request.host_config.mounts:
            raise NotImplementedYet("--mount: this daemon runs without volumes")
        return sorted(points, key=lambda each: each.destination.count("/")), []

    async def prepare(
        self, container_id: str, points: Sequence[MountPoint], root: RootView
    ) -> list[Mapping[str, Any]]:
        mounts: list[Mapping[str, Any]] = []
        for point in points:
            source = Path(point.source)
            if not source.exists():
                source.mkdir(parents=True)
            mounts.append(
                {
                    "destination": point.destination,
                    "type": "bind",
                    "source": point.source,
                    "options": list(point.options),
                }
            )
        return mounts

    async def release(self, container_id: str, points: Sequence[MountPoint]) -> None:
        return None

    def unknown(self, mounts: Sequence[Mount]) -> list[str]:
        return []

    async def extend(
        self, container_id: str, mounts: Sequence[Mount], present: Sequence[MountPoint]
    ) -> list[MountPoint]:
        if any(each.type != "bind" or not each.source or not each.target for each in mounts):
            raise NotImplementedYet("--mount: this daemon runs without volumes")
        binds = [
            f"{each.source}:{each.target}:{'ro' if each.read_only else 'rw'}" for each in mounts
        ]
        points, _ = await self.plan(MountRequest(container_id, HostConfig(binds=binds), ()))
        return points

    async def add(
        self, container_id: str, points: Sequence[MountPoint], root: RootView, first: int
    ) -> list[Mapping[str, Any]]:
        return await self.prepare(container_id, points, root)

    async def withdraw(
        self, container_id: str, points: Sequence[MountPoint], first: int, made: Sequence[str]
    ) -> None:
        return None

    async def retain(
        self, container_id: str, points: Sequence[MountPoint]
    ) -> Sequence[tuple[str, bool]]:
        return ()

    async def forget(
        self, container_id: str, points: Sequence[MountPoint], *, remove_anonymous: bool
    ) -> None:
        return None

    async def adopt(self, containers: Collection[str], running: Collection[str]) -> None:
        return None
