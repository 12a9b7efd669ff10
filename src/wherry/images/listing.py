"""``GET /images/json``: filters, rows, shared sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from wherry.images.catalogue import Catalogue
from wherry.images.inspection import created_ns
from wherry.images.service import Image, ImageUsers
from wherry.oci import reference as references
from wherry.oci.reference import Reference
from wherry.store.images import ReferenceRow
from wherry.wire.filters import Filters, timestamp

FILTERS = frozenset({"dangling", "label", "before", "since", "until", "reference"})
SECOND = 1_000_000_000


class Held:
    """Every image once, with all its names: one pass over the tables."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.images: dict[str, Image] = {}
        self.names: dict[str, list[Reference]] = {}
        by_target: dict[str, list[ReferenceRow]] = {}
        for row in catalogue.tables.references():
            by_target.setdefault(row.target, []).append(row)
        for target in catalogue.tables.targets():
            found = catalogue.tables.manifests(target)
            if not found:
                continue
            image_id = catalogue.primary(target)
            image = next(each for each in found if each.image_id == image_id)
            self.images.setdefault(image_id, catalogue.image(image))
            names = self.names.setdefault(image_id, [])
            names += [references.parse(row.name) for row in by_target.get(target, [])]
        self.parents = {
            child: parent
            for child, parent in catalogue.tables.parents().items()
            if child in self.images
        }
        self.with_children = frozenset(self.parents.values())


def created_of(image: Image) -> int:
    return created_ns(image.config.created) or 0


def labels_of(image: Image) -> Mapping[str, str]:
    labels = (image.config.config or {}).get("Labels")
    return labels if isinstance(labels, Mapping) else {}


def summaries(
    catalogue: Catalogue,
    filters: Mapping[str, Sequence[str]],
    *,
    show_all: bool,
    shared_size: bool,
    counts: Mapping[str, int] | None = None,
) -> list[dict[str, Any]]:
    """Newest first. ``counts``: containers per image id, when the caller asked for them."""
    wanted = Filters(filters)
    wanted.validate(FILTERS)
    held = Held(catalogue)
    dangling = wanted.boolean("dangling") if wanted.values_of("dangling") else None
    keep_created = _created_filter(catalogue, wanted)
    shared = _shared_sizes(catalogue, held) if shared_size else {}
    rows = []
    for image_id, image in held.images.items():
        if not keep_created(created_of(image)):
            continue
        if not wanted.labels(labels_of(image)):
            continue
        names = held.names[image_id]
        if not names:
            if wanted.values_of("reference") or dangling is False:
                continue
            # Without a name, a parent of others is an intermediate image: only shown with all.
            if image_id in held.with_children and not show_all:
                continue
        else:
            if dangling:
                continue
            names = [each for each in names if _named(each, wanted.values_of("reference"))]
            if not names:
                continue
        rows.append(_row(image, names, held, shared.get(image_id, -1), counts))
    return sorted(rows, key=lambda row: row["Created"], reverse=True)


def _named(reference: Reference, patterns: Sequence[str]) -> bool:
    return not patterns or any(reference.match(pattern) for pattern in patterns)


def _created_filter(catalogue: Catalogue, wanted: Filters) -> Any:
    """A predicate on creation times from ``before``, ``since`` and ``until``."""
    before: list[int] = []
    since: list[int] = []
    for name in wanted.values_of("before"):
        before.append(created_of(catalogue.image(catalogue.find(name).rows[0])))
    for name in wanted.values_of("since"):
        since.append(created_of(catalogue.image(catalogue.find(name).rows[0])))
    for text in wanted.values_of("until"):
        before.append(timestamp(text))

    def keep(created: int) -> bool:
        return all(created < each for each in before) and all(created > each for each in since)

    return keep


def _row(
    image: Image,
    names: Sequence[Reference],
    held: Held,
    shared: int,
    counts: Mapping[str, int] | None,
) -> dict[str, Any]:
    return {
        "Containers": -1 if counts is None else counts.get(image.id, 0),
        "Created": created_of(image) // SECOND,
        "Id": image.id,
        "Labels": dict(labels_of(image)) or None,
        "ParentId": held.parents.get(image.id, ""),
        "RepoDigests": sorted(each.without_tag().familiar() for each in names if each.digest),
        "RepoTags": sorted(each.familiar() for each in names if not each.digest),
        "SharedSize": shared,
        "Size": image.size,
        "VirtualSize": image.size,
    }


def _shared_sizes(catalogue: Catalogue, held: Held) -> dict[str, int]:
    """Bytes of each image's layers that another image has too."""
    users: Counter[str] = Counter()
    for image in held.images.values():
        users.update(set(image.layers))
    return {
        image_id: sum(
            catalogue.layers.size(layer) for layer in set(image.layers) if users[layer] > 1
        )
        for image_id, image in held.images.items()
    }


def disk_usage(catalogue: Catalogue, users: ImageUsers) -> dict[str, Any]:
    """The images' part of ``GET /system/df``: every layer counted once."""
    held = Held(catalogue)
    counts = {image_id: len(users.using(image_id)) for image_id in held.images}
    rows = summaries(catalogue, {}, show_all=True, shared_size=True, counts=counts)
    layers = sum(row.size for row in catalogue.tables.layers().values())
    return {"Images": rows, "LayersSize": layers}
