"""The volumes room on the real kernel, below one directory, with an image of two layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wherry.linux.mounts import make_private_directory, read_mounts
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.syscalls import MNT_DETACH, LinuxSyscalls
from wherry.store.database import Database
from wherry.store.paths import Paths
from wherry.volumes import build
from wherry.volumes.quota import Quotas
from wherry.wire.container import HostConfig
from wherry.wire.mounts import MountPoint, MountRequest, RootView


class Silent:
    def publish(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        return None


class VolumesHost:
    """What a daemon has of volumes. ``root`` may hold what an earlier one has left."""

    def __init__(self, root: Path, calls: LinuxSyscalls | None = None) -> None:
        self.root_folder = root
        self.paths = Paths(root / "data", root / "run")
        self.paths.data.mkdir(exist_ok=True)
        self.calls = calls or LinuxSyscalls()
        make_private_directory(self.calls, self.paths.mounts)
        self.database = Database(self.paths.database)
        self.image = root / "image"
        self.upper = root / "upper"
        self.image.mkdir(exist_ok=True)
        self.upper.mkdir(exist_ok=True)
        self.service, self.archive, self.mounts = build(
            self.database,
            self.paths,
            PrivateMounts(self.calls),
            Silent(),
            lambda ref: [],
            images=self,
        )

    def resolve(self, reference: str) -> tuple[str, tuple[str, ...]]:
        return f"sha256:{reference}", ("base", "top")

    def lower_dirs(self, layers: Sequence[str]) -> list[str]:
        assert list(layers) == ["base", "top"]
        return [str(self.upper), str(self.image)]

    @property
    def root(self) -> RootView:
        return RootView([str(self.image)], self.upper)

    def data(self, name: str) -> Path:
        return self.paths.volumes / name / "_data"

    async def start(
        self, container_id: str = "c1", image_volumes: Sequence[str] = (), **host: Any
    ) -> list[str]:
        """Sources of the OCI mounts."""
        points = await self.plan(container_id, image_volumes, **host)
        mounts = await self.mounts.prepare(container_id, points, self.root)
        return [str(each["source"]) for each in mounts]

    async def plan(
        self, container_id: str, image_volumes: Sequence[str] = (), **host: Any
    ) -> list[MountPoint]:
        request = MountRequest(container_id, HostConfig(**host), image_volumes)
        points, _ = await self.mounts.plan(request)
        return points

    def without_quota(self) -> None:
        """Sizes are those of disk images, whatever the file system below can."""
        self.service.drivers.local.quotas = Quotas(self.calls, mounts=list)

    def mounted(self) -> list[str]:
        """What is mounted below the root, without the directory that always is."""
        base = str(self.root_folder.resolve())
        mine = [each.target for each in read_mounts() if each.target.startswith(f"{base}/")]
        return [each for each in mine if each != str(self.paths.mounts.resolve())]

    def loop_devices(self) -> list[str]:
        """Files below the root that a loop device holds, deleted ones too."""
        base = str(self.root_folder.resolve())
        found = []
        for each in Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                name = each.read_text().strip()
            except OSError:
                continue
            if name.startswith(f"{base}/"):
                found.append(name)
        return found

    def close(self) -> None:
        self.database.close()
        base = str(self.root_folder.resolve())
        for entry in reversed(read_mounts()):
            if entry.target.startswith(f"{base}/"):
                with suppress(OSError):  # one may take others with it
                    self.calls.umount(entry.target, MNT_DETACH)
