"""``import``: a root file system's tar becomes an image of one layer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from wherry.errors import Invalid
from wherry.images import changes as instructions
from wherry.images.adopt import adopt
from wherry.images.catalogue import Catalogue
from wherry.images.helper import job_folder, run_job
from wherry.images.naming import Names
from wherry.images.newimage import NewImage, NewLayer, make_image
from wherry.images.service import Progress
from wherry.oci import platform as platforms
from wherry.oci import reference as references
from wherry.oci.reference import Reference
from wherry.store.paths import Paths


def tagged_name(text: str | None) -> Reference | None:
    """The name for a new image; ``Invalid``: malformed, or with a digest."""
    if not text:
        return None
    reference = references.parse(text)
    if reference.digest:
        raise Invalid("cannot import digest reference")
    return reference.with_default_tag()


class Import:
    def __init__(self, paths: Paths, catalogue: Catalogue, names: Names) -> None:
        self._paths = paths
        self._catalogue = catalogue
        self._names = names

    async def run(
        self,
        stream: AsyncIterator[bytes],
        *,
        reference: str | None,
        message: str,
        changes: Sequence[str],
        platform: str | None,
        progress: Progress,
    ) -> str:
        """Returns the new image's id. What is wrong with the words is said before any reading."""
        name = tagged_name(reference)
        config = instructions.apply({}, changes)
        wanted = platforms.parse(platform) if platform else platforms.host()
        catalogue = self._catalogue
        known = list(catalogue.tables.layers())
        with catalogue.content.lease() as lease:
            lease.hold(known)
            async with job_folder(self._paths) as folder:
                parameters = {"known": known, "backend": catalogue.layers.preferred}
                result = await run_job("import", folder, parameters, stream=stream)
                await adopt(catalogue, lease, result)
            image_id = await make_image(
                catalogue,
                self._names,
                lease,
                NewImage(
                    platform=wanted,
                    config=config,
                    layer=NewLayer(result["diff_id"], result["tar_size"]),
                    comment=message or "Imported from -",
                ),
                name,
            )
            self._names.say("import", image_id, image_id)
        progress({"status": image_id})
        return image_id
