"""The images service: what the API and the containers ask of images. (Contract; see methods.)"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from wherry.oci.image import ImageConfig

Progress = Callable[[Mapping[str, Any]], None]
"""Receives Docker progress objects: {"status":..., "id":..., "progressDetail":{...}}."""


@dataclass(frozen=True)
class Image:
    """A runnable image: one platform of what a reference names."""

    id: str
    """Config digest, ``sha256:...``."""
    target: str
    """Digest of the manifest or index that references point to."""
    manifest: str
    config: ImageConfig
    layers: tuple[str, ...]
    """Diff ids, base first."""
    size: int
    """Bytes of all layers made usable."""


class ImageUsers(Protocol):
    """Who uses images; given to the service so that nothing in use is removed."""

    def using(self, image_id: str) -> list[tuple[str, bool]]:
        """(container id, running) of the containers made from the image, or mounting it."""


class EventSink(Protocol):
    """Where services publish what happened (the same shape as ``containers.ports.EventSink``)."""

    def publish(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        """``kind`` is "image" here; ``action``: Docker's word (tag, untag, delete, load ...)."""


class Images(Protocol):
    """Implemented by ``images.engine.ImageEngine``."""

    def get(self, name: str, platform: str | None = None) -> Image:
        """By reference, id or unique id prefix. ``NotFound``: "No such image: NAME"."""

    def lower_dirs(self, layers: Sequence[str]) -> list[str]:
        """Directories of an image's ``layers``, topmost first, for overlayfs."""

    async def prepare(self, image: Image) -> None:
        """Make the layers usable that are not: those of an image for another platform."""

    def summaries(
        self, filters: Mapping[str, Sequence[str]], *, all: bool, shared_size: bool = False
    ) -> list[dict[str, Any]]:
        """Rows of ``GET /images/json``."""

    def inspect(self, name: str, platform: str | None = None) -> dict[str, Any]: ...

    def history(self, name: str, platform: str | None = None) -> list[dict[str, Any]]: ...

    def tag(self, name: str, repo: str, tag: str) -> None: ...

    def remove(self, name: str, *, force: bool, prune_parents: bool) -> list[dict[str, str]]:
        """Rows {"Untagged": ...} and {"Deleted": ...}."""

    async def prune(
        self,
        filters: Mapping[str, Sequence[str]],
        *,
        dry_run: bool = False,
        without: Collection[str] = (),
    ) -> dict[str, Any]:
        """Remove what no container uses; ``dry_run``: only say what a prune would remove, with
        the containers ``without`` taken as removed."""

    async def load(
        self, stream: AsyncIterator[bytes], progress: Progress, *, platform: str | None = None
    ) -> list[str]:
        """docker-archive or OCI-layout tar in any usual compression -> loaded references/ids."""

    def save(
        self, names: Sequence[str], *, platform: str | None = None
    ) -> AsyncGenerator[bytes, None]: ...

    async def import_(
        self,
        stream: AsyncIterator[bytes],
        *,
        reference: str | None,
        message: str,
        changes: Sequence[str],
        platform: str | None,
        progress: Progress,
    ) -> str:
        """A root file system tar -> a one-layer image; returns its id."""

    async def commit(
        self,
        parent: Image | None,
        upper: str,
        *,
        reference: str | None,
        config: Mapping[str, Any],
        author: str,
        comment: str,
        created_by: str,
        container_id: str,
    ) -> str:
        """Make ``upper`` (overlayfs upperdir) the new top layer; ``config`` has the API's keys."""

    def diff(self, lower: Sequence[str], upper: str) -> list[tuple[str, int]]:
        """Changes of a container: (path, 0 modified | 1 added | 2 deleted), sorted."""

    async def pull(
        self, name: str, tag: str, progress: Progress, *, platform: str | None = None
    ) -> None:
        """``tag`` may be a tag, a digest or "". ``NotImplementedYet`` but for the built-in base."""

    async def ensure_base(self) -> Image:
        """Make ``wherry/busybox`` (and ``busybox``) from the host's busybox if it is not there."""

    def disk_usage(self) -> dict[str, Any]: ...

    async def reconcile(self) -> None:
        """Start-up: remove half-made ingests and layers, blobs that nothing names."""
