"""Names, ids and prefixes to images; what is stored as one view for all verbs."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from dataclasses import dataclass

from wherry.errors import Invalid, NotFound
from wherry.images import graph
from wherry.images.content import ContentStore
from wherry.images.layers.store import LayerStore
from wherry.images.service import Image
from wherry.oci import platform as platforms
from wherry.oci import reference as references
from wherry.oci.image import ImageConfig
from wherry.oci.platform import Platform
from wherry.oci.reference import Reference
from wherry.store.images import ImageTables, ManifestRow

_HEX_ID = re.compile(r"[0-9a-f]{1,64}")
_CACHED = 128


@dataclass(frozen=True)
class Named:
    """What a user's text stands for."""

    rows: list[ManifestRow]
    """Its images, best for this host first. Never empty."""
    reference: Reference | None
    """The reference, when the text was one; None for an id or its prefix."""

    @property
    def image_id(self) -> str:
        return self.rows[0].image_id


def missing(name: str) -> NotFound:
    """Docker's words, with the tag it looked for."""
    shown = name
    if not name.startswith("sha256:"):
        try:
            shown = references.parse(name).with_default_tag().familiar()
        except Invalid:
            pass
    return NotFound(f"No such image: {shown}")


class Catalogue:
    def __init__(self, tables: ImageTables, content: ContentStore, layers: LayerStore) -> None:
        self.tables = tables
        self.content = content
        self.layers = layers
        self.adopting = asyncio.Lock()
        self._images: OrderedDict[tuple[str, str], Image] = OrderedDict()
        self._configs: OrderedDict[str, ImageConfig] = OrderedDict()

    # ---- names

    def find(self, name: str, platform: str | None = None) -> Named:
        """By full id, reference (tag, digest or both), or unique id prefix, in Docker's order.

        Raises ``NotFound`` "No such image: NAME", ``Invalid`` for malformed text or platform.
        """
        wanted = platforms.parse(platform) if platform else None
        digest = name if name.startswith("sha256:") else f"sha256:{name}"
        if _HEX_ID.fullmatch(digest[7:]) and len(digest) == 71:
            rows = self.tables.manifests_of_image(digest) or self.tables.manifests(digest)
            if rows:
                return Named(self._ordered(rows, wanted, name), None)
        if not name.startswith("sha256:") and not re.fullmatch(r"[0-9a-f]{64}", name):
            reference = references.parse(name)
            target = self.target_of(reference)
            if target is not None:
                rows = self.tables.manifests(target)
                if rows:
                    return Named(self._ordered(rows, wanted, name), reference.with_default_tag())
        prefix = name.removeprefix("sha256:")
        if _HEX_ID.fullmatch(prefix):
            ids = self.tables.images_starting(prefix)
            if len(ids) == 1:
                rows = self.tables.manifests_of_image(ids[0])
                return Named(self._ordered(rows, wanted, name), None)
            if len(ids) > 1:
                raise NotFound(f"No such image: {name}: the id prefix is not unique")
        raise missing(name)

    def target_of(self, reference: Reference) -> str | None:
        """The root that a reference names: by tag, by digest, or by tag checked with digest."""
        whole = reference.with_default_tag()
        if not whole.digest:
            return self.tables.reference(whole.canonical())
        target = self.tables.reference(whole.without_tag().canonical())
        if target is None:
            # A digest names the same content under any tag of its repository.
            for row in self.tables.references_to(whole.digest):
                if references.parse(row.name).repository == whole.repository:
                    return row.target
        return target

    def _ordered(
        self, rows: list[ManifestRow], wanted: Platform | None, name: str
    ) -> list[ManifestRow]:
        """Best for the platform first. With ``wanted`` only what fits it."""
        target = wanted or platforms.host()

        def place(row: ManifestRow) -> int:
            own = platforms.normalise(row.os, row.architecture, row.variant)
            rank = platforms.rank(own, target)
            return 1000 if rank is None else rank

        ordered = sorted(rows, key=place)
        if wanted is not None and place(ordered[0]) == 1000:
            held = platforms.normalise(rows[0].os, rows[0].architecture, rows[0].variant)
            raise NotFound(
                f"image with reference {name} was found but its platform ({held}) does not "
                f"match the specified platform ({wanted})"
            )
        return ordered

    # ---- values

    def config(self, image_id: str) -> ImageConfig:
        found = self._configs.get(image_id)
        if found is None:
            found = graph.decode_config(self.content.read(image_id), image_id)
            self._configs[image_id] = found
            if len(self._configs) > _CACHED:
                self._configs.popitem(last=False)
        return found

    def image(self, row: ManifestRow) -> Image:
        key = (row.target, row.digest)
        found = self._images.get(key)
        if found is None:
            config = self.config(row.image_id)
            layers = tuple(config.rootfs.diff_ids)
            found = Image(
                id=row.image_id,
                target=row.target,
                manifest=row.digest,
                config=config,
                layers=layers,
                size=sum(self.layers.size(diff_id) for diff_id in layers),
            )
            self._images[key] = found
            if len(self._images) > _CACHED:
                self._images.popitem(last=False)
        return found

    def forget(self) -> None:
        """Something was added or removed: sizes and places may differ."""
        self._images.clear()

    def references_of(self, image_id: str) -> list[Reference]:
        """Every reference to any root whose image for this host is ``image_id``, sorted."""
        names = []
        for target in dict.fromkeys(row.target for row in self.tables.manifests_of_image(image_id)):
            if self.primary(target) == image_id:
                names += [row.name for row in self.tables.references_to(target)]
        return [references.parse(name) for name in sorted(set(names))]

    def primary(self, target: str) -> str:
        """The image that a root means on this host: what list, inspect and run show."""
        return self._ordered(self.tables.manifests(target), None, target)[0].image_id

    def targets_of(self, image_id: str) -> list[str]:
        """Roots whose image for this host is ``image_id``."""
        rows = self.tables.manifests_of_image(image_id)
        return [
            target
            for target in dict.fromkeys(row.target for row in rows)
            if self.primary(target) == image_id
        ]
