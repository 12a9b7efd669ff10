"""What removing images would do, by the rules of ``remove.py`` and ``gc.py``; changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from wherry.images.inspection import chain_ids
from wherry.images.listing import Held
from wherry.oci.reference import Reference


@dataclass
class _Step:
    """One image: its names that go and, when the image itself goes, the layers it lets go."""

    image_id: str
    untagged: list[Reference] = field(default_factory=list)
    deleted: bool = False
    lost: frozenset[str] = frozenset()


class Rehearsal:
    """The images as they would be after some were removed.

    ``roots``: image -> its roots; ``holds``: every root that stays in a sweep -> the digests and
    diff ids it needs; ``leased``: what work in progress needs; ``used``: does a container use it?
    """

    def __init__(
        self,
        held: Held,
        roots: Mapping[str, Collection[str]],
        holds: Mapping[str, frozenset[str]],
        leased: Collection[str],
        used: Callable[[str], bool],
    ) -> None:
        self._images = dict(held.images)
        self._layers = {image_id: image.layers for image_id, image in held.images.items()}
        self._names = {image_id: list(names) for image_id, names in held.names.items()}
        self._parents = held.parents
        self._roots = roots
        self._holds = holds
        self._users = Counter(leased)
        for needed in holds.values():
            self._users.update(needed)
        self._used = used
        self._steps: list[_Step] = []

    def lost(self, digest: str) -> bool:
        """Would a sweep take it?"""
        return self._users[digest] <= 0

    def remove(self, image_id: str, names: Sequence[Reference]) -> None:
        """Take ``names`` from an image; without any left (or none given) the image goes."""
        if image_id not in self._images:
            return
        step = _Step(image_id)
        self._steps.append(step)
        for name in names:
            self._untag(step, name)
        if not self._names[image_id] and not self._has_children(image_id):
            self._delete(step)

    def _untag(self, step: _Step, name: Reference) -> None:
        left = self._names[step.image_id]
        if name not in left:
            return
        gone = [name]
        others = [each for each in left if each.repository == name.repository and each != name]
        if not name.digest and all(each.digest for each in others):
            gone += others
        for each in gone:
            left.remove(each)
        step.untagged += gone

    def _has_children(self, image_id: str) -> bool:
        return any(
            parent == image_id and child in self._images for child, parent in self._parents.items()
        )

    def _delete(self, step: _Step) -> None:
        image_id = step.image_id
        del self._images[image_id]
        before = {layer for layer in self._layers[image_id] if not self.lost(layer)}
        for root in self._roots[image_id]:
            self._users.subtract(self._holds[root])
        step.deleted = True
        step.lost = frozenset(layer for layer in before if self.lost(layer))
        parent = self._parents.get(image_id)
        if parent in self._images and not self._names[parent] and not self._used(parent):
            self.remove(parent, ())

    def rows(self, usable: Collection[str]) -> list[dict[str, str]]:
        """As ``rmi`` answers; ``usable``: diff ids of the layers that are there."""
        rows = []
        for step in self._steps:
            for name in step.untagged:
                shown = name.without_tag() if name.digest else name
                rows.append({"Untagged": shown.familiar()})
            if step.deleted:
                rows.append({"Deleted": step.image_id})
                layers = self._layers[step.image_id]
                chains = chain_ids(layers)
                rows += [
                    {"Deleted": chains[depth]}
                    for depth in range(len(layers) - 1, -1, -1)
                    if layers[depth] in step.lost and layers[depth] in usable
                ]
        return rows
