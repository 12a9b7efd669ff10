"""``image prune``: dangling images, or every image that no container uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wherry.errors import Conflict
from wherry.images.catalogue import Catalogue
from wherry.images.gc import Collector
from wherry.images.listing import Held, created_of, labels_of
from wherry.images.remove import Remove
from wherry.images.service import EventSink, ImageUsers
from wherry.wire.filters import Filters, timestamp

FILTERS = frozenset({"dangling", "label", "label!", "until"})


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

    def run(self, filters: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """``ImagesDeleted`` and ``SpaceReclaimed`` (bytes of layers)."""
        wanted = Filters(filters)
        wanted.validate(FILTERS)
        dangling_only = wanted.boolean("dangling", True)
        until_text = wanted.one("until")
        until = timestamp(until_text) if until_text else None
        held = Held(self._catalogue)
        before = self._layer_bytes()
        rows: list[dict[str, str]] = []
        for image_id, image in held.images.items():
            names = held.names[image_id]
            if dangling_only and (names or image_id in held.with_children):
                continue
            if until is not None and created_of(image) >= until:
                continue
            if not wanted.labels(labels_of(image)) or self._users.using(image_id):
                continue
            for name in [each.canonical() for each in names] or [image_id]:
                try:
                    rows += self._remove.run(name, force=False, prune_parents=True)
                except Conflict:
                    continue
        self._collector.sweep()
        freed = max(0, before - self._layer_bytes())
        self._events.publish("image", "prune", "", {"reclaimed": str(freed)})
        return {"ImagesDeleted": rows or None, "SpaceReclaimed": freed}

    def _layer_bytes(self) -> int:
        return sum(row.size for row in self._catalogue.tables.layers().values())
