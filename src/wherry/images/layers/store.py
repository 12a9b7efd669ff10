"""All usable layers, whatever back end each was made for."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from wherry.errors import Internal, NotFound
from wherry.images.layers.directory import DirectoryBackend
from wherry.images.layers.erofs import ErofsBackend
from wherry.images.layers.port import LayerBackend
from wherry.oci import digest as digests
from wherry.store.images import ImageTables
from wherry.store.paths import Paths


def layer_backends(paths: Paths) -> list[LayerBackend]:
    """What this host can use, best first: mounted layers where the kernel can, else folders."""
    erofs = ErofsBackend(paths)
    directory = DirectoryBackend()
    return [erofs, directory] if erofs.available() else [directory]


class LayerStore:
    def __init__(self, paths: Paths, tables: ImageTables, backends: Sequence[LayerBackend]) -> None:
        """The first of ``backends`` is what new layers are made for."""
        self._paths = paths
        self._tables = tables
        self._backends = {backend.kind: backend for backend in backends}
        self.preferred = backends[0].kind

    def folder(self, diff_id: str) -> Path:
        return self._paths.layer(digests.hex_of(diff_id))

    def has(self, diff_id: str) -> bool:
        return self._tables.layer(diff_id) is not None

    def size(self, diff_id: str) -> int:
        """Bytes of the layer's regular files; 0 for one that is not usable yet."""
        row = self._tables.layer(diff_id)
        return row.size if row else 0

    def lower_dirs(self, diff_ids: Sequence[str]) -> list[str]:
        """Directories for overlayfs, topmost first; ``diff_ids`` base first.

        A layer that is stacked twice appears once, at its topmost place, since overlayfs refuses
        the same directory twice. ``NotFound`` for a layer that was never made usable.
        """
        directories = []
        for diff_id in dict.fromkeys(reversed(diff_ids)):
            row = self._tables.layer(diff_id)
            if row is None:
                raise NotFound(f"layer {diff_id} is not usable: its image is for another platform")
            directories.append(self._backend(row.kind).usable(self.folder(diff_id)))
        return directories

    def _backend(self, kind: str) -> LayerBackend:
        backend = self._backends.get(kind)
        if backend is None:
            raise Internal(f"this host cannot use layers made for the back end {kind!r}")
        return backend

    def tar(self, diff_id: str) -> Path | None:
        row = self._tables.layer(diff_id)
        if row is None or row.kind not in self._backends:
            return None
        return self._backends[row.kind].tar(self.folder(diff_id))

    def adopt(self, diff_id: str, made: Path) -> None:
        """Rename a finished, synced layer into the store; one that is there already stays."""
        target = self.folder(diff_id)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            made.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise

    def remove(self, diff_id: str) -> Path | None:
        """Take a layer out at once; returns the folder in ``tmp/`` still to be deleted."""
        row = self._tables.layer(diff_id)
        folder = self.folder(diff_id)
        for backend in self._backends.values():
            if row is None or backend.kind == row.kind:
                backend.release(folder)
        self._tables.drop_layer(diff_id)
        return self.discard(folder)

    def discard(self, folder: Path) -> Path | None:
        self._paths.tmp.mkdir(parents=True, exist_ok=True)
        grave = self._paths.tmp / f"removed-{secrets.token_hex(8)}"
        try:
            folder.rename(grave)
        except FileNotFoundError:
            return None
        return grave

    def close(self) -> None:
        for backend in self._backends.values():
            backend.close()

    def stored(self) -> Iterator[str]:
        """Diff ids of every folder in ``layers/``, known or not."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._paths.layers):
                if digests.is_digest(f"sha256:{name}"):
                    yield f"sha256:{name}"
