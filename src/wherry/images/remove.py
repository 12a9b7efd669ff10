"""``rmi``: Docker's rules for untagging and deleting (``daemon/images/image_delete.go``).

Hard conflicts (a child image, a running container) cannot be forced; soft ones (several names, a
stopped container) can. A forced removal under a stopped container hides the image: its content
stays until the container is gone.
"""

from __future__ import annotations

import re

from wherry.errors import Conflict
from wherry.images.catalogue import Catalogue
from wherry.images.gc import Collector
from wherry.images.inspection import chain_ids
from wherry.images.naming import Names
from wherry.images.service import Image, ImageUsers
from wherry.oci.reference import Reference

Row = dict[str, str]
_SHORT = 12


def short(identity: str) -> str:
    return identity.removeprefix("sha256:")[:_SHORT]


def one_repository(names: list[Reference]) -> bool:
    """At most one tag, and every digest reference in the same repository."""
    if len(names) <= 1:
        return True
    tags = [each for each in names if not each.digest]
    digests = {each.repository for each in names if each.digest}
    if len(tags) > 1:
        return False
    single = tags[0] if tags else names[0]
    return digests == {single.repository}


class Remove:
    def __init__(
        self, catalogue: Catalogue, names: Names, users: ImageUsers, collector: Collector
    ) -> None:
        self._catalogue = catalogue
        self._names = names
        self._users = users
        self._collector = collector

    def run(self, name: str, *, force: bool, prune_parents: bool) -> list[Row]:
        """Rows ``Untagged`` and ``Deleted`` in Docker's order."""
        found = self._catalogue.find(name)
        image_id = found.image_id
        rows: list[Row] = []
        by_reference = found.reference is not None and not self._is_id(image_id, name)
        if by_reference:
            assert found.reference is not None
            if self._untag_one(found.reference, image_id, force, rows):
                return rows
        else:
            self._untag_all_of_one(image_id, force, rows)
        self._delete(image_id, rows, force=force, prune=prune_parents, quiet=by_reference)
        return rows

    @staticmethod
    def _is_id(image_id: str, name: str) -> bool:
        text = name.removeprefix("sha256:")
        return bool(re.fullmatch(r"[0-9a-f]+", text)) and image_id[7:].startswith(text)

    def _untag_one(self, reference: Reference, image_id: str, force: bool, rows: list[Row]) -> bool:
        """Drop the given name; True when the image still has others and stays."""
        references = self._catalogue.references_of(image_id)
        if not force and one_repository(references):
            users = self._users.using(image_id)
            if users:
                shown = reference.with_default_tag().familiar()
                raise Conflict(
                    f'conflict: unable to remove repository reference "{shown}" (must force) - '
                    f"container {short(users[0][0])} is using its referenced image "
                    f"{short(image_id)}"
                )
        dropped = self._exact(reference, references)
        self._drop(dropped, image_id, rows)
        left = self._catalogue.references_of(image_id)
        if not dropped.digest and not any(
            each.repository == dropped.repository and not each.digest for each in left
        ):
            # Only digests of the repository are left: they go with its last tag.
            for each in left:
                if each.repository == dropped.repository:
                    self._drop(each, image_id, rows)
            left = self._catalogue.references_of(image_id)
        return bool(left)

    @staticmethod
    def _exact(wanted: Reference, references: list[Reference]) -> Reference:
        """The stored name that ``wanted`` found: ``repo:tag@digest`` may stand for either."""
        texts = {each.canonical(): each for each in references}
        for candidate in (wanted, wanted.without_tag()):
            if candidate.canonical() in texts:
                return texts[candidate.canonical()]
        same = [each for each in references if each.repository == wanted.repository]
        return same[0] if same else wanted

    def _untag_all_of_one(self, image_id: str, force: bool, rows: list[Row]) -> None:
        references = self._catalogue.references_of(image_id)
        if one_repository(references):
            conflict = self._conflict(image_id, soft=not force, names=False)
            if conflict:
                raise conflict[0]
            for each in references:
                self._drop(each, image_id, rows)

    def _drop(self, reference: Reference, image_id: str, rows: list[Row]) -> None:
        self._names.drop(reference, image_id)
        shown = reference.without_tag() if reference.digest else reference
        rows.append({"Untagged": shown.familiar()})

    def _conflict(
        self, image_id: str, *, soft: bool, names: bool = True
    ) -> tuple[Conflict, bool] | None:
        """(the error, whether a container is the reason), or None."""
        if self._has_children(image_id):
            return self._error(image_id, True, "image has dependent child images"), False
        users = self._users.using(image_id)
        for container, running in users:
            if running:
                text = f"image is being used by running container {short(container)}"
                return self._error(image_id, True, text), True
        if soft and names and self._catalogue.references_of(image_id):
            text = "image is referenced in multiple repositories"
            return self._error(image_id, False, text), False
        if soft and users:
            text = f"image is being used by stopped container {short(users[0][0])}"
            return self._error(image_id, False, text), True
        return None

    def _has_children(self, image_id: str) -> bool:
        return any(
            parent == image_id and self._catalogue.tables.manifests_of_image(child)
            for child, parent in self._catalogue.tables.parents().items()
        )

    @staticmethod
    def _error(image_id: str, hard: bool, reason: str) -> Conflict:
        how = "cannot be forced" if hard else "must be forced"
        return Conflict(f"conflict: unable to delete {short(image_id)} ({how}) - {reason}")

    def _delete(
        self, image_id: str, rows: list[Row], *, force: bool, prune: bool, quiet: bool
    ) -> None:
        conflict = self._conflict(image_id, soft=not force)
        if conflict is not None:
            dangling = not (self._catalogue.references_of(image_id) or self._has_children(image_id))
            if quiet and (not dangling or conflict[1]):
                return
            raise conflict[0]
        tables = self._catalogue.tables
        parent = tables.parent(image_id)
        image = self._catalogue.image(tables.manifests_of_image(image_id)[0])
        for each in self._catalogue.references_of(image_id):
            self._drop(each, image_id, rows)
        labels_said = self._names.attributes(image_id)
        used = bool(self._users.using(image_id))
        targets = self._catalogue.targets_of(image_id) or [image.target]
        with tables.database.transaction():
            for target in targets:
                if used:
                    tables.hide_target(target)
                else:
                    tables.drop_target(target)
            tables.drop_notes(image_id)
        swept = self._collector.sweep()
        self._names.publish("delete", image_id, {**labels_said, "name": image_id})
        rows.append({"Deleted": image_id})
        rows += self._deleted_layers(image, set(swept.layers))
        if prune and parent and tables.manifests_of_image(parent):
            self._delete(parent, rows, force=False, prune=True, quiet=True)

    @staticmethod
    def _deleted_layers(image: Image, gone: set[str]) -> list[Row]:
        chains = chain_ids(image.layers)
        return [
            {"Deleted": chains[depth]}
            for depth in range(len(image.layers) - 1, -1, -1)
            if image.layers[depth] in gone
        ]
