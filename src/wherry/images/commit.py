"""``commit``: a container's writable layer becomes the new top layer of an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wherry.images.adopt import adopt
from wherry.images.catalogue import Catalogue
from wherry.images.helper import job_folder, run_job
from wherry.images.importer import tagged_name
from wherry.images.naming import Names
from wherry.images.newimage import NewImage, NewLayer, make_image
from wherry.images.service import Image
from wherry.oci import platform as platforms
from wherry.store.paths import Paths


class Commit:
    def __init__(self, paths: Paths, catalogue: Catalogue, names: Names) -> None:
        self._paths = paths
        self._catalogue = catalogue
        self._names = names

    async def run(
        self,
        parent: Image | None,
        upper: str,
        *,
        reference: str | None,
        config: Mapping[str, Any],
        author: str,
        comment: str,
        created_by: str,
        container_id: str,
    ) -> str:
        """Returns the new image's id. Only what differs from ``parent`` goes into the layer."""
        name = tagged_name(reference)
        catalogue = self._catalogue
        known = list(catalogue.tables.layers())
        with catalogue.content.lease() as lease:
            lease.hold(known)
            if parent is not None:
                lease.hold([parent.id, parent.manifest, parent.target])
            async with job_folder(self._paths) as folder:
                parameters = {
                    "known": known,
                    "backend": catalogue.layers.preferred,
                    "lower": catalogue.layers.lower_dirs(parent.layers) if parent else [],
                    "upper": upper,
                }
                result = await run_job("commit", folder, parameters)
                await adopt(catalogue, lease, result)
            layer = NewLayer(result["diff_id"], result["tar_size"]) if result["diff_id"] else None
            own = parent.config if parent else None
            return await make_image(
                catalogue,
                self._names,
                lease,
                NewImage(
                    platform=platforms.normalise(own.os or "linux", own.architecture, own.variant)
                    if own
                    else platforms.host(),
                    config=config,
                    layer=layer,
                    parent=parent,
                    author=author,
                    comment=comment,
                    created_by=created_by,
                    container=container_id,
                ),
                name,
            )
