"""What a loaded archive says it holds: docker-archive (new and old) and OCI layouts, in one shape.

Reading is generous: an archive that is both is read by its index, and takes the names of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from wherry.errors import Invalid
from wherry.images.worker.documents import document, listed, mapping, objects, of_piece
from wherry.images.worker.legacy import legacy_images
from wherry.images.worker.split import Piece, Pieces

_HEX = re.compile(r"[0-9a-f]{64}")
_DEPTH = 4
"""Of indexes that name indexes."""
NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass
class LoadedImage:
    """A docker-archive image: a configuration and layers that no manifest names yet."""

    config: Piece
    layers: list[Piece]
    names: list[str] = field(default_factory=list)


@dataclass
class LoadedRoot:
    """An OCI root: a manifest or index by digest, with the names it came under."""

    digest: str
    names: list[str] = field(default_factory=list)


@dataclass
class Contents:
    images: list[LoadedImage] = field(default_factory=list)
    roots: list[LoadedRoot] = field(default_factory=list)
    blobs: dict[str, Piece] = field(default_factory=dict)
    """By digest: every content-addressed file of an OCI layout."""


def contents(pieces: Pieces) -> Contents:
    """Understand the archive. ``Invalid`` when it holds no image or names what it does not hold."""
    found = Contents()
    index = pieces.text("index.json")
    if index is not None and pieces.find("oci-layout") is not None:
        _oci(found, pieces, document(index, "index.json"))
    manifest = pieces.text("manifest.json")
    if manifest is not None:
        images = _docker(pieces, document(manifest, "manifest.json"))
        _merge(found, images)
    elif not found.roots:
        repositories = pieces.text("repositories")
        names = document(repositories, "repositories") if repositories is not None else {}
        found.images = [
            LoadedImage(*each) for each in legacy_images(pieces, names if names else {})
        ]
    if not found.images and not found.roots:
        raise Invalid("invalid archive: no manifest.json, index.json or repositories found in it")
    return found


def _oci(found: Contents, pieces: Pieces, index: Any) -> None:
    for name, piece in pieces.files.items():
        folder, _, hex_digest = name.rpartition("/")
        if folder == "blobs/sha256" and _HEX.fullmatch(hex_digest):
            if piece.digest != f"sha256:{hex_digest}":
                raise Invalid(f"blob {name} does not have its digest: it is {piece.digest}")
            found.blobs[piece.digest] = piece
    descriptors = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(descriptors, list):
        raise Invalid("index.json: manifests is missing")
    for descriptor in descriptors:
        digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
        if not isinstance(digest, str) or digest not in found.blobs:
            raise Invalid(f"index.json names {digest}, which is not in the archive")
        annotations = mapping(descriptor.get("annotations"), "index.json: annotations")
        names = [str(annotations[key]) for key in NAME_ANNOTATIONS if annotations.get(key)]
        if len(names) > 1 or (names and not re.search(r"[:/]", names[0])):
            # The second is a mere tag when the first is there, or when it is alone without a name.
            names = names[:1] if re.search(r"[:/]", names[0]) else []
        root = next((each for each in found.roots if each.digest == digest), None)
        if root is None:
            found.roots.append(LoadedRoot(digest, names))
        else:
            root.names += [name for name in names if name not in root.names]


def _docker(pieces: Pieces, manifest: Any) -> list[LoadedImage]:
    if not isinstance(manifest, list) or not all(isinstance(each, dict) for each in manifest):
        raise Invalid("manifest.json: expected a list of images")
    images = []
    for each in manifest:
        config = pieces.find(str(each.get("Config", "")))
        if config is None:
            raise Invalid(f"manifest.json names {each.get('Config')!r}, not in the archive")
        layers = []
        for name in listed(each.get("Layers"), "manifest.json: Layers"):
            layer = pieces.find(str(name))
            if layer is None:
                raise Invalid(f"manifest.json names layer {name!r}, not in the archive")
            layers.append(layer)
        names = [str(name) for name in listed(each.get("RepoTags"), "manifest.json: RepoTags")]
        images.append(LoadedImage(config, layers, names))
    return images


def _merge(found: Contents, images: list[LoadedImage]) -> None:
    """Give the names of docker-archive entries to the OCI roots that hold the same image."""
    below = [_configs_below(root.digest, found.blobs) for root in found.roots if images]
    for image in images:
        for root, configs in zip(found.roots, below, strict=True):
            if image.config.digest in configs:
                root.names += [name for name in image.names if name not in root.names]
                break
        else:
            found.images.append(image)


def manifests_below(
    digest: str, blobs: dict[str, Piece], seen: set[str] | None = None, depth: int = 0
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(digest, document) of every manifest in the archive that ``digest`` leads to, each once."""
    seen = set() if seen is None else seen
    piece = blobs.get(digest)
    if piece is None or digest in seen or depth > _DEPTH:
        return
    seen.add(digest)
    value = mapping(of_piece(piece, digest), digest)
    if not isinstance(value.get("manifests"), list):
        yield digest, value
        return
    for each in objects(value["manifests"], digest):
        yield from manifests_below(str(each.get("digest")), blobs, seen, depth + 1)


def _configs_below(digest: str, blobs: dict[str, Piece]) -> set[str]:
    """Digests of the configurations that a manifest or index leads to inside the archive."""
    found = (mapping(value.get("config"), each) for each, value in manifests_below(digest, blobs))
    return {str(config.get("digest")) for config in found}
