"""Mark and sweep: what no root, container or lease holds is let go.

Roots name blobs and layers; roots hidden by a forced removal hold theirs while a container made
from them exists. Taking out is a rename, so it is quick and whole; the disk is freed in the
background.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from wherry.images import graph
from wherry.images.catalogue import Catalogue
from wherry.images.helper import erase
from wherry.images.service import ImageUsers
from wherry.store.paths import Paths


def in_use(users: ImageUsers, image_id: str, without: Collection[str] = ()) -> bool:
    """Does a container use the image, those of ``without`` aside?"""
    return any(container not in without for container, _ in users.using(image_id))


@dataclass
class Swept:
    layers: list[str] = field(default_factory=list)
    """Diff ids."""
    freed: int = 0
    """Bytes: files of layers, and blobs."""


class Collector:
    def __init__(self, paths: Paths, catalogue: Catalogue, users: ImageUsers) -> None:
        self._paths = paths
        self._catalogue = catalogue
        self._users = users
        self._named: dict[str, frozenset[str]] = {}

    def sweep(self) -> Swept:
        """Take out everything unreachable that the database knows."""
        tables, content, layers = (
            self._catalogue.tables,
            self._catalogue.content,
            self._catalogue.layers,
        )
        kept = self.roots()
        for target in {*tables.targets(), *tables.targets(hidden=True)}.difference(kept):
            tables.drop_target(target)
        marked = self._marked(kept)
        graves: list[Path | None] = []
        swept = Swept()
        with tables.database.transaction():
            for digest, size in tables.blobs().items():
                if digest not in marked:
                    tables.drop_blob(digest)
                    graves.append(self._bury(content.blob_path(digest)))
                    swept.freed += size
            for diff_id, row in tables.layers().items():
                if diff_id not in marked:
                    graves.append(layers.remove(diff_id))
                    swept.layers.append(diff_id)
                    swept.freed += row.size
        erase(*graves)
        self._catalogue.forget()
        return swept

    def roots(self, without: Collection[str] = ()) -> set[str]:
        """The roots that stay: those in view, and hidden ones under containers.

        A root without a name whose image has a named root as well is only a leftover.
        ``without``: ids of containers to be taken as removed.
        """
        tables = self._catalogue.tables
        named = {row.target for row in tables.references()}
        images = {self._catalogue.primary(target) for target in named}
        kept = {
            target
            for target in tables.targets()
            if target in named or self._catalogue.primary(target) not in images
        }
        for target in tables.targets(hidden=True):
            rows = tables.manifests(target, hidden=True)
            if any(in_use(self._users, row.image_id, without) for row in rows):
                kept.add(target)
        return kept

    def held_by(self, root: str) -> frozenset[str]:
        """Digests of the blobs and diff ids of the layers that a root needs."""
        held = self._named.get(root)
        if held is None:
            content = self._catalogue.content
            found = graph.blobs_of(content, root)
            for _, _, config in graph.complete_images(content, root):
                found.update(config.rootfs.diff_ids)
            held = self._named[root] = frozenset(found)
        return held

    def _marked(self, roots: Collection[str]) -> set[str]:
        marked = set(self._catalogue.content.leased())
        marked.update(*map(self.held_by, roots))
        for root in set(self._named).difference(roots):
            del self._named[root]
        return marked

    def _bury(self, path: Path) -> Path | None:
        grave = self._paths.tmp / f"removed-{secrets.token_hex(8)}"
        try:
            path.rename(grave)
        except FileNotFoundError:
            return None
        return grave

    async def reconcile(self) -> None:
        """Start-up: empty ``tmp/``, drop files that no row names and rows without their file."""
        self._paths.tmp.mkdir(parents=True, exist_ok=True, mode=0o700)
        tables, content, layers = (
            self._catalogue.tables,
            self._catalogue.content,
            self._catalogue.layers,
        )
        blobs, usable = tables.blobs(), tables.layers()
        stored_blobs = await asyncio.to_thread(lambda: set(content.stored()))
        stored_layers = await asyncio.to_thread(lambda: set(layers.stored()))
        graves: list[Path | None] = [
            entry for entry in self._paths.tmp.iterdir() if self._ours(entry.name)
        ]
        for digest in stored_blobs - set(blobs):
            graves.append(self._bury(content.blob_path(digest)))
        for diff_id in stored_layers - set(usable):
            graves.append(layers.discard(layers.folder(diff_id)))
        for digest in set(blobs) - stored_blobs:
            tables.drop_blob(digest)
        for diff_id in set(usable) - stored_layers:
            tables.drop_layer(diff_id)
        erase(*graves)
        self._drop_broken()
        self.sweep()

    def _ours(self, name: str) -> bool:
        return name.startswith(("job-", "removed-", "blob-"))

    def _drop_broken(self) -> None:
        """Roots whose documents are gone cannot be shown or run: forget them."""
        tables, content = self._catalogue.tables, self._catalogue.content
        for root in [*tables.targets(), *tables.targets(hidden=True)]:
            if not content.has(root) or not any(graph.complete_images(content, root)):
                tables.drop_target(root)
