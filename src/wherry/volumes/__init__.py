"""Volumes, bind mounts, tmpfs, mount planning."""

from wherry.volumes.archive import VolumeArchive
from wherry.volumes.containers import ContainerVolumes
from wherry.volumes.service import VolumeService
from wherry.volumes.setup import build

__all__ = ["ContainerVolumes", "VolumeArchive", "VolumeService", "build"]
