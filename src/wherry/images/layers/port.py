"""What a back end of the layer store does with a finished layer's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class LayerBackend(Protocol):
    """One way to keep a layer. Making one is the helper process's work (``images.worker``)."""

    kind: str

    def usable(self, folder: Path) -> str:
        """A directory to stack with overlayfs; made so on first use (a mount, if need be)."""

    def release(self, folder: Path) -> None:
        """The layer is about to be removed: undo what ``usable`` did. Idempotent."""

    def close(self) -> None:
        """The daemon ends: drop what ``usable`` made. Running containers do not notice."""

    def tar(self, folder: Path) -> Path | None:
        """The layer's plain tar, where the back end keeps it."""
