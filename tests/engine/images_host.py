"""An image engine on a data root of its own, for tests with the real kernel."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from wherry.images.engine import ImageEngine
from wherry.images.layers.directory import DirectoryBackend
from wherry.images.layers.port import LayerBackend
from wherry.store.database import Database
from wherry.store.paths import Paths


class Recorder:
    """``EventSink`` and ``ImageUsers`` at once."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, str]]] = []
        self.users: dict[str, list[tuple[str, bool]]] = {}

    def publish(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        assert kind == "image"
        self.events.append((action, actor_id, dict(attributes)))

    def using(self, image_id: str) -> list[tuple[str, bool]]:
        return self.users.get(image_id, [])


class Host:
    """One engine; ``reopen`` is a daemon's restart."""

    def __init__(self, root: Path, *, unpack: bool = False) -> None:
        """``unpack``: as on a kernel that cannot mount layers."""
        self._unpack = unpack
        self.paths = Paths(root / "data", root / "run")
        self.paths.data.mkdir(mode=0o700, exist_ok=True)
        self.recorder = Recorder()
        self.open()

    def open(self) -> None:
        self.database = Database(self.paths.database)
        backends: list[LayerBackend] | None = [DirectoryBackend()] if self._unpack else None
        self.engine = ImageEngine(
            self.database, self.paths, self.recorder, self.recorder, backends=backends
        )

    def reopen(self) -> None:
        """As after a daemon's death: nothing is closed in order but the database."""
        self.database.close()
        self.open()

    def close(self) -> None:
        self.engine.close()
        self.database.close()

    def stored(self) -> tuple[list[str], list[str]]:
        """Names in ``blobs/`` and in ``layers/``."""
        return _names(self.paths.blobs), _names(self.paths.layers)

    async def leftovers(self) -> list[str]:
        """What is in ``tmp/`` once the background deletions are done."""
        for task in asyncio.all_tasks():
            if task.get_name() == "erase":
                await task
        return _names(self.paths.tmp)


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


async def chunks(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
