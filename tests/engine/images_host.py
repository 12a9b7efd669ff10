"""An image engine on a data root of its own, for tests with the real kernel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from wherry.images.engine import ImageEngine
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

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root / "data", root / "run")
        self.paths.data.mkdir(mode=0o700, exist_ok=True)
        self.recorder = Recorder()
        self.open()

    def open(self) -> None:
        self.database = Database(self.paths.database)
        self.engine = ImageEngine(self.database, self.paths, self.recorder, self.recorder)

    def reopen(self) -> None:
        self.database.close()
        self.open()


async def chunks(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
