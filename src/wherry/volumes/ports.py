"""What the volumes ask of others, and what a volume driver must do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from wherry.store.volumes import VolumeRow
from wherry.wire.mounts import MountPoint

LOCAL = "local"


class Events(Protocol):
    """The daemon's bus, as much of it as is used here."""

    def publish(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        """``kind`` is ``volume``; ``action``: create, mount, unmount, destroy, prune."""


class Driver(Protocol):
    """Where volumes of one kind live. Calls about one volume never overlap."""

    name: str
    scope: str
    """``local`` or ``global``."""

    async def create(self, row: VolumeRow) -> VolumeRow:
        """Make it; returns the row with what the driver decided. Nothing is left on failure."""

    async def remove(self, row: VolumeRow) -> None:
        """Drop it and its data. Idempotent."""

    def path(self, row: VolumeRow) -> str:
        """``Mountpoint`` of inspect; '' when only a mount tells."""

    async def mount(self, row: VolumeRow, holder: str) -> str:
        """Make the data reachable; returns the directory."""

    async def unmount(self, row: VolumeRow, holder: str, *, last: bool) -> None:
        """``holder`` needs it no more; ``last``: nobody else does. Idempotent."""

    async def status(self, row: VolumeRow) -> Mapping[str, Any] | None:
        """``Status`` of inspect; None for none."""


class ImageMounts(Protocol):
    """What is needed of the images for ``--mount type=image``."""

    def resolve(self, reference: str) -> tuple[str, tuple[str, ...]]:
        """Id and layers (diff ids, base first) of an image. Raises ``NotFound``."""

    def lower_dirs(self, layers: Sequence[str]) -> list[str]:
        """Directories of the layers, topmost first. Raises ``NotFound``."""


class Peers(Protocol):
    """Other containers, for ``--volumes-from``."""

    def __call__(self, ref: str) -> Sequence[MountPoint]:
        """Mount points of a container. Raises ``NotFound``."""
