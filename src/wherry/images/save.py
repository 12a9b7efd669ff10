"""``save``: images as one tar that is an OCI layout and a docker-archive at once.

Blobs are written exactly as they are stored, so digests, multi-platform indexes and the bytes of
every layer survive a round trip. ``index.json`` serves OCI readers and current Docker,
``manifest.json`` serves Docker 20.10 and docker-archive readers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from wherry.errors import Invalid, NotFound
from wherry.images import graph
from wherry.images.catalogue import Catalogue, missing
from wherry.images.naming import Names
from wherry.oci import digest as digests
from wherry.oci import reference as references
from wherry.oci.image import Manifest
from wherry.oci.reference import Reference
from wherry.store.images import ManifestRow
from wherry.trees import tarfmt, tarwrite

_CHUNK = 1 << 20


@dataclass
class _Root:
    row: ManifestRow
    """The image that ``manifest.json`` names: the one for this host, or for the platform asked."""
    names: list[Reference] = field(default_factory=list)


class Save:
    def __init__(self, catalogue: Catalogue, names: Names) -> None:
        self._catalogue = catalogue
        self._names = names

    def select(self, names: Sequence[str], platform: str | None) -> list[_Root]:
        """What the names stand for; a repository without a tag stands for all of its tags.

        Raises ``NotFound`` before anything is written.
        """
        roots: dict[str, _Root] = {}
        for name in names:
            for row, reference in self._found(name, platform):
                root = roots.setdefault(row.digest if platform else row.target, _Root(row))
                if reference is not None and reference not in root.names:
                    root.names.append(reference)
        return list(roots.values())

    def _found(self, name: str, platform: str | None) -> list[tuple[ManifestRow, Reference | None]]:
        wanted: Reference | None = None
        with contextlib.suppress(Invalid):
            wanted = references.parse(name)
        if wanted is not None and wanted.is_name_only:
            known = [references.parse(row.name) for row in self._catalogue.tables.references()]
            tagged = [each for each in known if each.repository == wanted.repository and each.tag]
            if tagged:
                return [
                    (self._catalogue.find(each.canonical(), platform).rows[0], each)
                    for each in tagged
                ]
        named = self._catalogue.find(name, platform)
        reference = named.reference
        if reference is not None and reference.digest:
            reference = None
        return [(named.rows[0], reference)]

    async def stream(
        self, names: Sequence[str], platform: str | None
    ) -> AsyncGenerator[bytes, None]:
        """The archive. Names are looked up at once, content is held until the end."""
        if not names:
            raise missing("")
        roots = self.select(names, platform)
        content = self._catalogue.content
        with content.lease() as lease:
            blobs: set[str] = set()
            for root in roots:
                start = root.row.digest if platform else root.row.target
                blobs |= await asyncio.to_thread(graph.blobs_of, content, start)
            lease.hold(blobs)
            yield _member(b"blobs/", tarfmt.DIRECTORY) + _member(b"blobs/sha256/", tarfmt.DIRECTORY)
            for digest in sorted(blobs):
                path = content.locate(digest)
                if path is None:
                    # An image of another platform that was never here in full.
                    continue
                name = b"blobs/sha256/" + digests.hex_of(digest).encode()
                async with aclosing(_file(name, path)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            yield b"".join(
                [
                    _document(b"index.json", self._index(roots, platform)),
                    _document(b"manifest.json", self._manifest(roots)),
                    _document(b"oci-layout", {"imageLayoutVersion": "1.0.0"}),
                    tarwrite.END,
                ]
            )
            for image_id in dict.fromkeys(root.row.image_id for root in roots):
                self._names.say("save", image_id, image_id)

    def _index(self, roots: Sequence[_Root], platform: str | None) -> dict[str, Any]:
        manifests: list[dict[str, Any]] = []
        for root in roots:
            digest = root.row.digest if platform else root.row.target
            data = self._catalogue.content.read(digest)
            node = graph.decode(data, digest)
            kind = node.media_type or (
                "application/vnd.oci.image.index.v1+json"
                if node.index is not None
                else "application/vnd.oci.image.manifest.v1+json"
            )
            base: dict[str, Any] = {"mediaType": kind, "digest": digest, "size": len(data)}
            for name in root.names:
                annotations = {
                    "io.containerd.image.name": name.canonical(),
                    "org.opencontainers.image.ref.name": name.tag,
                }
                manifests.append({**base, "annotations": annotations})
            if not root.names:
                manifests.append(base)
        return {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        }

    def _manifest(self, roots: Sequence[_Root]) -> list[dict[str, Any]]:
        entries = []
        for root in roots:
            data = self._catalogue.content.read(root.row.digest)
            manifest = msgspec.json.decode(data, type=Manifest)
            entries.append(
                {
                    "Config": _blob_name(manifest.config.digest),
                    "RepoTags": [name.familiar() for name in root.names] or None,
                    "Layers": [_blob_name(layer.digest) for layer in manifest.layers],
                }
            )
        return entries


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{digests.hex_of(digest)}"


def _member(name: bytes, kind: bytes, size: int = 0) -> bytes:
    mode = 0o755 if kind == tarfmt.DIRECTORY else 0o644
    return tarwrite.member(name, kind, tarwrite.Attributes(mode=mode), size=size)


def _document(name: bytes, value: object) -> bytes:
    data = msgspec.json.encode(value)
    return _member(name, tarfmt.REGULAR, len(data)) + data + tarwrite.padding(len(data))


async def _file(name: bytes, path: Path) -> AsyncGenerator[bytes, None]:
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except FileNotFoundError as error:
        raise NotFound(f"content {path.name} is gone") from error
    with file:
        size = path.stat().st_size
        yield _member(name, tarfmt.REGULAR, size)
        while data := await asyncio.to_thread(file.read, _CHUNK):
            yield data
        yield tarwrite.padding(size)
