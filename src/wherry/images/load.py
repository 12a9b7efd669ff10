"""``load``: an archive of images becomes content, usable layers, roots and names, or nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from wherry.errors import Invalid
from wherry.images.adopt import adopt, keep_root, put_document
from wherry.images.catalogue import Catalogue
from wherry.images.content import Lease
from wherry.images.helper import job_folder, run_job
from wherry.images.naming import Names
from wherry.images.service import Progress
from wherry.oci import platform as platforms
from wherry.oci import reference as references
from wherry.oci.image import DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST
from wherry.oci.reference import Reference
from wherry.store.images import ManifestRow
from wherry.store.paths import Paths


def _layer_type(compression: str) -> str:
    return f"{DOCKER_LAYER}.{compression}" if compression else DOCKER_LAYER


def docker_manifest(config: str, config_size: int, layers: Sequence[Sequence[Any]]) -> bytes:
    """The manifest of an image that came without one; ``layers``: (digest, size, compression).

    Its bytes depend on nothing else, so that the same image always has the same digest.
    """
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {"mediaType": DOCKER_CONFIG, "size": config_size, "digest": config},
        "layers": [
            {"mediaType": _layer_type(compression), "size": size, "digest": digest}
            for digest, size, compression in layers
        ],
    }
    return msgspec.json.encode(document)


def worker_platform(text: str | None) -> list[str]:
    wanted = platforms.parse(text) if text else platforms.host()
    return [wanted.os, wanted.architecture, wanted.variant]


class Load:
    def __init__(self, paths: Paths, catalogue: Catalogue, names: Names) -> None:
        self._paths = paths
        self._catalogue = catalogue
        self._names = names

    async def run(
        self, stream: AsyncIterator[bytes], progress: Progress, platform: str | None
    ) -> list[str]:
        """Returns "Loaded image" texts: familiar names, or ids of what has none."""
        catalogue = self._catalogue
        parameters = {
            "known": list(catalogue.tables.layers()),
            "known_blobs": catalogue.tables.inflated(),
            "platform": worker_platform(platform),
            "backend": catalogue.layers.preferred,
        }
        with catalogue.content.lease() as lease:
            lease.hold(parameters["known"])
            async with job_folder(self._paths) as folder:
                result = await run_job("load", folder, parameters, stream=stream)
                for image in result["images"]:
                    for name in image["names"]:
                        references.parse(name)
                await adopt(catalogue, lease, result)
            return await self._name(lease, result, progress)

    async def _name(self, lease: Lease, result: dict[str, Any], progress: Progress) -> list[str]:
        loaded: list[str] = []
        roots: list[tuple[str, list[str]]] = []
        for image in result["images"]:
            manifest = docker_manifest(image["config"], image["config_size"], image["layers"])
            roots.append((await put_document(self._catalogue, lease, manifest), image["names"]))
        roots += [(root["digest"], root["names"]) for root in result["roots"]]
        # All images of the archive appear with their names at once, or none does.
        with self._catalogue.tables.database.transaction():
            for digest, names in roots:
                rows = keep_root(self._catalogue, digest)
                if not rows:
                    raise Invalid(f"no image of {digest} is complete in the archive")
                loaded += self._tag(digest, rows, names, progress)
        return loaded

    def _tag(
        self, digest: str, rows: list[ManifestRow], names: Sequence[str], progress: Progress
    ) -> list[str]:
        image_id = self._catalogue.primary(digest)
        parsed = (_tagged(name) for name in names)
        tagged = list(dict.fromkeys(each for each in parsed if each is not None))
        for reference in tagged:
            old = self._names.set(reference, digest, action="load")
            if old is not None and old != image_id:
                familiar = reference.familiar()
                progress(
                    {
                        "stream": f"The image {familiar} already exists, renaming the old one "
                        f"with ID {old} to empty string\n"
                    }
                )
            progress({"stream": f"Loaded image: {reference.familiar()}\n"})
        if not tagged:
            self._names.loaded(image_id)
            progress({"stream": f"Loaded image ID: {image_id}\n"})
            return [image_id]
        return [reference.familiar() for reference in tagged]


def _tagged(name: str) -> Reference | None:
    """A name from an archive; one that no reference can have leaves the image without it."""
    try:
        return references.parse(name).with_default_tag()
    except Invalid:
        return None
