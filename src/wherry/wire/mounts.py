"""Mounts as the containers and the volumes hand them to each other (values only)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry.wire.container import HostConfig

OPERATION = "operation-"
"""How the holder of a mount is called that is no container, but passing work of the daemon."""


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
    """Driver's own notes: subpath, nocopy, anonymous, idmap, image, layers, limited ..."""

    @property
    def image(self) -> str:
        """Id of the image that is mounted; "" for other types."""
        return str(self.extra.get("image", ""))

    @property
    def limited(self) -> bool:
        """Whether a project quota limits what it holds, which the container must not lift."""
        return bool(self.extra.get("limited"))


@dataclass(frozen=True)
class RootView:
    """The container's root as mounted for copy-up: lower directories topmost first, and upper."""

    lower: Sequence[str]
    upper: Path
    user: Callable[[], tuple[int, int]] = lambda: (0, 0)
    """Numeric user and group of the container's first process, looked up when it matters."""
