"""The content store: blobs by digest, exactly as they came, and leases on what is in flight.

A blob enters by rename after its digest was verified and its bytes are on the disk, so every file
in ``blobs/`` is whole. Layers whose uncompressed tar is kept by the layer store are found there:
``locate`` knows both places.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wherry.errors import Exhausted, Internal, NotFound
from wherry.oci import digest as digests
from wherry.store.paths import Paths


class Lease:
    """Digests that no sweep may touch while the lease is held."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._held: list[str] = []

    def hold(self, names: Iterable[str]) -> None:
        for name in names:
            self._counts[name] += 1
            self._held.append(name)

    def release(self) -> None:
        for name in self._held:
            self._counts[name] -= 1
            if self._counts[name] <= 0:
                del self._counts[name]
        self._held.clear()


class ContentStore:
    def __init__(self, paths: Paths, layer_tar: Callable[[str], Path | None]) -> None:
        """``layer_tar``: where the layer store keeps the plain tar of a diff id, if it does."""
        self._paths = paths
        self._layer_tar = layer_tar
        self._leased: Counter[str] = Counter()

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        lease = Lease(self._leased)
        try:
            yield lease
        finally:
            lease.release()

    def leased(self) -> frozenset[str]:
        return frozenset(self._leased)

    def blob_path(self, digest: str) -> Path:
        """Where the blob is, or would be, in ``blobs/``."""
        return self._paths.blob(digests.hex_of(digests.parse(digest)))

    def locate(self, digest: str) -> Path | None:
        """A file with exactly this content, or None."""
        path = self.blob_path(digest)
        if path.exists():
            return path
        return self._layer_tar(digest)

    def has(self, digest: str) -> bool:
        return digests.is_digest(digest) and self.locate(digest) is not None

    def read(self, digest: str) -> bytes:
        """A document's bytes, verified. ``NotFound``: not here; ``Internal``: damaged on disk."""
        path = self.locate(digest)
        if path is None:
            raise NotFound(f"content {digest} is not here")
        data = path.read_bytes()
        if digests.of_bytes(data) != digest:
            raise Internal(f"content {digest} is damaged on disk")
        return data

    def put(self, data: bytes) -> str:
        """Store a small document (manifest, configuration); returns its digest."""
        digest = digests.of_bytes(data)
        path = self.blob_path(digest)
        if path.exists():
            return digest
        path.parent.mkdir(parents=True, exist_ok=True)
        self._paths.tmp.mkdir(parents=True, exist_ok=True)
        part = self._paths.tmp / f"blob-{secrets.token_hex(8)}"
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise Exhausted(f"cannot store {digest}: {error.strerror}") from error
        sync_folder(path.parent)
        return digest

    def adopt(self, digest: str, part: Path) -> None:
        """Rename a verified, synced file of the same file system into the store."""
        path = self.blob_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        part.rename(path)

    def remove(self, digest: str) -> None:
        self.blob_path(digest).unlink(missing_ok=True)

    def stored(self) -> Iterator[str]:
        """Digests of every file in ``blobs/``."""
        try:
            names = os.listdir(self._paths.blobs)
        except FileNotFoundError:
            return
        for name in names:
            if digests.is_digest(f"sha256:{name}"):
                yield f"sha256:{name}"


def sync_folder(path: Path) -> None:
    """Make renames in the folder survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
