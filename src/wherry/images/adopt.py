"""Taking a finished job's pieces into the stores: renames first, then the database.

A crash between the two leaves files that no row names; the next sweep removes them. The lease keeps
a sweep of this process off them meanwhile.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wherry.images.catalogue import Catalogue
from wherry.images.content import Lease, sync_folder
from wherry.images.graph import complete_images, decode
from wherry.oci import platform as platforms
from wherry.store.images import ManifestRow


async def adopt(catalogue: Catalogue, lease: Lease, result: Mapping[str, Any]) -> None:
    """Take ``blobs``, ``layers`` and ``inflated`` of a job's result. Idempotent by content.

    One at a time: a layer whose row is not written yet must not pass for one that a crash left.
    """
    async with catalogue.adopting:
        await _adopt(catalogue, lease, result)


async def _adopt(catalogue: Catalogue, lease: Lease, result: Mapping[str, Any]) -> None:
    content, layers, tables = catalogue.content, catalogue.layers, catalogue.tables
    lease.hold(digest for digest, _, _ in result["blobs"])
    lease.hold(each["diff_id"] for each in result["layers"])
    blobs = [each for each in result["blobs"] if not content.has(each[0])]
    for each in result["layers"]:
        if not layers.has(each["diff_id"]):
            stale = layers.discard(layers.folder(each["diff_id"]))
            if stale is not None:
                # Left by a crash before its row was written: made anew, not trusted.
                await asyncio.to_thread(shutil.rmtree, stale, ignore_errors=True)

    def rename() -> None:
        folders = set()
        for digest, part, _ in blobs:
            content.adopt(digest, Path(part))
            folders.add(content.blob_path(digest).parent)
        for each in result["layers"]:
            layers.adopt(each["diff_id"], Path(each["folder"]))
            folders.add(layers.folder(each["diff_id"]).parent)
        for folder in folders:
            sync_folder(folder)

    await asyncio.to_thread(rename)
    with tables.database.transaction():
        for digest, _, size in result["blobs"]:
            if not content.blob_path(digest).exists():
                continue
            tables.put_blob(digest, size, result["inflated"].get(digest, ""))
        for each in result["layers"]:
            tables.put_layer(each["diff_id"], each["kind"], each["size"])
    catalogue.forget()


async def put_document(catalogue: Catalogue, lease: Lease, data: bytes) -> str:
    """Store a small document; returns its digest."""
    digest = await asyncio.to_thread(catalogue.content.put, data)
    lease.hold([digest])
    catalogue.tables.put_blob(digest, len(data))
    return digest


def keep_root(catalogue: Catalogue, digest: str) -> list[ManifestRow]:
    """Make ``digest`` a root that is kept until removed; returns its images (never none)."""
    node = decode(catalogue.content.read(digest), digest)
    rows = []
    for found, manifest, config in complete_images(catalogue.content, digest):
        own = platforms.normalise(config.os or "linux", config.architecture, config.variant)
        rows.append(
            ManifestRow(
                target=digest,
                digest=found.digest,
                image_id=manifest.config.digest,
                os=own.os,
                architecture=own.architecture,
                variant=own.variant,
            )
        )
    if rows:
        catalogue.tables.put_target(digest, node.media_type, rows)
        catalogue.forget()
    return rows
