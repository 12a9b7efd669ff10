"""Putting the room together, for the composition root and for tests."""

from __future__ import annotations

from wherry.linux.namespaces import PrivateMounts
from wherry.store.database import Database
from wherry.store.paths import Paths
from wherry.store.volumes import VolumeTable
from wherry.volumes.archive import VolumeArchive
from wherry.volumes.containers import ContainerVolumes
from wherry.volumes.copyup import CopyUp
from wherry.volumes.hostmounts import HostMounts
from wherry.volumes.local import LocalDriver
from wherry.volumes.ports import Events, ImageMounts, Peers
from wherry.volumes.registry import Drivers, Plugins
from wherry.volumes.service import VolumeService


def build(
    database: Database,
    paths: Paths,
    private: PrivateMounts,
    events: Events,
    peers: Peers,
    *,
    images: ImageMounts | None = None,
    plugins: Plugins | None = None,
) -> tuple[VolumeService, VolumeArchive, ContainerVolumes]:
    """The service and what goes beyond Docker, for the API, and the port for the life cycle.

    ``peers``: mount points of a container by its reference; ``images``: for
    mounts of type image. Call ``ContainerVolumes.adopt`` at start-up, when
    it is known which containers exist and run.
    """
    local = LocalDriver(paths, private.calls)
    service = VolumeService(VolumeTable(database), Drivers(local, plugins), events)
    archive = VolumeArchive(service)
    mounts = ContainerVolumes(
        service,
        archive,
        peers,
        CopyUp(private, paths.mounts / ".look"),
        HostMounts(paths, private.calls, images),
    )
    return service, archive, mounts
