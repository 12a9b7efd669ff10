"""The classic back end: the layer unpacked into ``fs``."""

from __future__ import annotations

from pathlib import Path


class DirectoryBackend:
    kind = "directory"

    def usable(self, folder: Path) -> str:
        return str(folder / "fs")

    def release(self, folder: Path) -> None:
        pass

    def close(self) -> None:
        pass

    def tar(self, folder: Path) -> Path | None:
        return None
