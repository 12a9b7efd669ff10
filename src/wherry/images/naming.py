"""Giving names to roots and taking them away, with their events."""

from __future__ import annotations

from collections.abc import Mapping

from wherry.errors import WherryError
from wherry.images.catalogue import Catalogue
from wherry.images.service import EventSink
from wherry.oci.reference import Reference


class Names:
    def __init__(self, catalogue: Catalogue, events: EventSink) -> None:
        self._catalogue = catalogue
        self._events = events

    def set(self, reference: Reference, target: str, *, action: str = "tag") -> str | None:
        """Point the reference to ``target``; returns the id of the image that lost the name."""
        tables = self._catalogue.tables
        name = reference.with_default_tag().canonical()
        before = tables.reference(name)
        old = self._catalogue.primary(before) if before and before != target else None
        image_id = self._catalogue.primary(target)
        with tables.database.transaction():
            tables.set_reference(name, target)
            tables.set_tagged(image_id)
        self.say(action, image_id, reference.with_default_tag().familiar())
        return old

    def drop(self, reference: Reference, image_id: str) -> None:
        self._catalogue.tables.drop_reference(reference.canonical())
        self.say("untag", image_id, image_id)

    def loaded(self, image_id: str) -> None:
        self.say("load", image_id, image_id)

    def say(self, action: str, image_id: str, name: str) -> None:
        """Publish an image event; attributes are the image's labels and ``name``."""
        self.publish(action, image_id, {**self.attributes(image_id), "name": name})

    def publish(self, action: str, image_id: str, attributes: Mapping[str, str]) -> None:
        self._events.publish("image", action, image_id, attributes)

    def attributes(self, image_id: str) -> dict[str, str]:
        """The image's labels; none when its configuration is no longer here."""
        try:
            labels = (self._catalogue.config(image_id).config or {}).get("Labels")
        except WherryError:
            return {}
        if not isinstance(labels, Mapping):
            return {}
        return {str(key): str(value) for key, value in labels.items()}
