"""The job ``load``: an archive of images from standard input into pieces the daemon can adopt."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry.errors import Invalid
from wherry.images.worker import archive, layer
from wherry.images.worker.archive import Contents, manifests_below
from wherry.images.worker.documents import mapping, objects, of_piece
from wherry.images.worker.inflate import compression
from wherry.images.worker.layer import Made
from wherry.images.worker.split import Piece, split

Say = Callable[[dict[str, Any]], None]


@dataclass
class Loader:
    """One load; ``known`` are usable layers the daemon has, ``known_blobs`` blob -> diff id."""

    folder: Path
    known: set[str]
    known_blobs: dict[str, str]
    platform: tuple[str, str, str]
    backend: str
    say: Say
    made: dict[str, Made] = field(default_factory=dict)
    inflated: dict[str, str] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)
    """Digests of pieces that became part of a layer and are no blob any more."""

    def run(self, chunks: Iterator[bytes]) -> dict[str, Any]:
        try:
            pieces = split(chunks, self.folder)
        except Invalid as error:
            raise Invalid(f"Error processing tar file: {error.message}") from error
        contents = archive.contents(pieces)
        blobs: dict[str, Piece] = {}
        images = []
        for image in contents.images:
            config = of_piece(image.config, "image configuration")
            self._usable(config, image.layers)
            for piece in (image.config, *image.layers):
                blobs[piece.digest] = piece
            images.append(
                {
                    "config": image.config.digest,
                    "config_size": image.config.size,
                    "layers": [
                        [each.digest, each.size, _compression_of(each, self.moved)]
                        for each in image.layers
                    ],
                    "names": image.names,
                }
            )
        blobs |= contents.blobs
        for root in contents.roots:
            self._usable_root(root.digest, contents)
        return {
            "images": images,
            "roots": [{"digest": each.digest, "names": each.names} for each in contents.roots],
            "blobs": [
                [digest, str(piece.path), piece.size]
                for digest, piece in blobs.items()
                if digest not in self.moved
            ],
            "layers": [vars(each) for each in self.made.values()],
            "inflated": self.inflated,
        }

    # ---- which layers

    def _usable_root(self, digest: str, contents: Contents) -> None:
        """Make the layers of the image for our platform usable; of the first when none fits."""
        manifests = list(_manifests(digest, contents.blobs))
        if not manifests:
            raise Invalid(f"{digest}: no image of it is complete in the archive")
        best = min(manifests, key=lambda each: _distance(each[1], self.platform))
        self._usable(best[1], best[2])

    def _usable(self, config: Any, layers: list[Piece]) -> None:
        wanted = diff_ids(config)
        if len(wanted) != len(layers):
            raise Invalid(
                f"invalid manifest, layers length mismatch: expected {len(wanted)}, "
                f"got {len(layers)}"
            )
        for index, (diff_id, piece) in enumerate(zip(wanted, layers, strict=True)):
            got = self._layer(diff_id, piece)
            if got != diff_id:
                raise Invalid(
                    f'invalid diffID for layer {index}: expected "{diff_id}", got "{got}"'
                )

    def _layer(self, diff_id: str, piece: Piece) -> str:
        """Make one layer usable unless it is; returns its real diff id."""
        known = self.inflated.get(piece.digest) or self.known_blobs.get(piece.digest)
        if known and (known in self.known or known in self.made):
            return known
        if piece.digest in self.known or piece.digest in self.made:
            return piece.digest
        out = self.folder / f"layer-{len(self.made)}"
        tar, digest = layer.plain_tar(piece.path, out.with_suffix(".tar"))
        if digest:
            self.inflated[piece.digest] = digest
        got = digest or piece.digest
        if got == diff_id and got not in self.known and got not in self.made:
            self.made[got] = layer.make(tar, got, out, self.backend)
            if tar == piece.path and not tar.exists():
                self.moved.add(piece.digest)
        if digest and tar.exists():
            tar.unlink()
        self.say({"layer": diff_id, "size": piece.size})
        return got


def diff_ids(config: Any) -> list[str]:
    rootfs = config.get("rootfs") if isinstance(config, dict) else None
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if found is None:
        found = []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise Invalid("invalid image configuration: rootfs.diff_ids is not a list of digests")
    return found


def _manifests(digest: str, blobs: dict[str, Piece]) -> Iterator[tuple[str, Any, list[Piece]]]:
    """(manifest digest, its configuration, its layers) of every complete image below ``digest``."""
    for found, value in manifests_below(digest, blobs):
        config = blobs.get(str(mapping(value.get("config"), found).get("digest")))
        layers = [
            blobs.get(str(each.get("digest"))) for each in objects(value.get("layers"), found)
        ]
        complete = [each for each in layers if each is not None]
        if config is None or len(complete) != len(layers):
            continue
        settings = of_piece(config, config.digest)
        if isinstance(settings, dict) and isinstance(settings.get("rootfs"), dict):
            yield found, settings, complete


def _distance(config: Any, platform: tuple[str, str, str]) -> int:
    """0: the platform itself; more: less and less like it."""
    os_name, architecture, variant = platform
    if (config.get("os"), config.get("architecture")) != (os_name, architecture):
        return 2
    return 0 if (config.get("variant") or "") == variant else 1


def _compression_of(piece: Piece, moved: set[str]) -> str:
    if piece.digest in moved or not os.path.exists(piece.path):
        return ""
    with piece.path.open("rb") as file:
        return compression(file.read(8))
