"""Layers of images for other platforms are made usable when somebody wants one."""

from __future__ import annotations

import msgspec

from wherry.errors import NotFound
from wherry.images.adopt import adopt
from wherry.images.catalogue import Catalogue
from wherry.images.helper import job_folder, run_job
from wherry.images.service import Image
from wherry.oci.image import Manifest
from wherry.store.paths import Paths


async def prepare(paths: Paths, catalogue: Catalogue, image: Image) -> None:
    """Idempotent. ``NotFound``: a layer's content is not here."""
    missing = [diff_id for diff_id in image.layers if not catalogue.layers.has(diff_id)]
    if not missing:
        return
    content = catalogue.content
    manifest = msgspec.json.decode(content.read(image.manifest), type=Manifest)
    blobs = dict(zip(image.layers, (each.digest for each in manifest.layers), strict=True))
    with content.lease() as lease:
        lease.hold([*image.layers, *blobs.values()])
        wanted = []
        for diff_id in dict.fromkeys(missing):
            path = content.locate(blobs[diff_id])
            if path is None:
                raise NotFound(f"content {blobs[diff_id]} is not here")
            wanted.append([diff_id, blobs[diff_id], str(path)])
        async with job_folder(paths) as folder:
            parameters = {"wanted": wanted, "backend": catalogue.layers.preferred}
            await adopt(catalogue, lease, await run_job("prepare", folder, parameters))
