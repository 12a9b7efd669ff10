"""``image prune``: dangling images, or every image that no container uses."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from wherry.errors import Conflict, NotFound
from wherry.images.catalogue import Catalogue
from wherry.images.gc import Collector, in_use
from wherry.images.listing import Held, created_of, labels_of
from wherry.images.rehearsal import Rehearsal
from wherry.images.remove import Remove
from wherry.images.service import EventSink, ImageUsers
from wherry.oci.reference import Reference
from wherry.wire.prune import Choice


class Prune:
    def __init__(
        self,
        catalogue: Catalogue,
        users: ImageUsers,
        remove: Remove,
        collector: Collector,
        events: EventSink,
    ) -> None:
        self._catalogue = catalogue
        self._users = users
        self._remove = remove
        self._collector = collector
        self._events = events

    def run(
        self,
        filters: Mapping[str, Sequence[str]],
        *,
        dry_run: bool = False,
        without: Collection[str] = (),
    ) -> dict[str, Any]:
        """``ImagesDeleted`` and ``SpaceReclaimed`` (bytes of layers).

        ``dry_run``: only say which; ``without``: ids of containers to be taken as removed.
        """
        choice = Choice(filters, "dangling")
        dangling_only = choice.filters.boolean("dangling", True)
        held = Held(self._catalogue)
        chosen = self._chosen(choice, held, dangling_only, without)
        if dry_run:
            return self._foretold(chosen, held, without)
        before = self._layer_bytes()
        rows: list[dict[str, str]] = []
        for image_id, names in chosen:
            for name in [each.canonical() for each in names] or [image_id]:
                try:
                    rows += self._remove.run(name, force=False, prune_parents=True)
                except (Conflict, NotFound):
                    continue
        self._collector.sweep()
        freed = max(0, before - self._layer_bytes())
        self._events.publish("image", "prune", "", {"reclaimed": str(freed)})
        return {"ImagesDeleted": rows or None, "SpaceReclaimed": freed}

    def _chosen(
        self, choice: Choice, held: Held, dangling_only: bool, without: Collection[str]
    ) -> list[tuple[str, list[Reference]]]:
        """Images, and which of their names: with name patterns only those that match."""
        found = []
        for image_id, image in held.images.items():
            names = held.names[image_id]
            if dangling_only and (names or image_id in held.with_children):
                continue
            if not choice.takes(labels_of(image), created_of(image)):
                continue
            wanted = [each for each in names if choice.names(*_spellings(each))]
            if (names and not wanted) or not (names or choice.names()):
                continue
            if not in_use(self._users, image_id, without):
                found.append((image_id, wanted))
        return found

    def _foretold(
        self,
        chosen: list[tuple[str, list[Reference]]],
        held: Held,
        without: Collection[str],
    ) -> dict[str, Any]:
        roots = {
            image_id: self._catalogue.targets_of(image_id) or [image.target]
            for image_id, image in held.images.items()
        }
        kept = self._collector.roots(without)
        rehearsal = Rehearsal(
            held,
            {image_id: set(targets) & kept for image_id, targets in roots.items()},
            {root: self._collector.held_by(root) for root in kept},
            self._catalogue.content.leased(),
            lambda image_id: in_use(self._users, image_id, without),
        )
        for image_id, names in chosen:
            rehearsal.remove(image_id, names)
        sizes = {layer: row.size for layer, row in self._catalogue.tables.layers().items()}
        freed = sum(size for layer, size in sizes.items() if rehearsal.lost(layer))
        return {"ImagesDeleted": rehearsal.rows(set(sizes)) or None, "SpaceReclaimed": freed}

    def _layer_bytes(self) -> int:
        return sum(row.size for row in self._catalogue.tables.layers().values())


def _spellings(name: Reference) -> tuple[str, ...]:
    """What a pattern may match: as ``images`` shows it, with or without the tag, and in full."""
    return name.familiar(), name.familiar_name, name.canonical(), name.repository
