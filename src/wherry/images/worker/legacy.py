"""Archives of Docker before 1.10: ``repositories``, and ``<id>/json`` with ``<id>/layer.tar``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wherry.errors import Invalid
from wherry.images.worker.documents import document, listed, mapping
from wherry.images.worker.split import Piece, Pieces
from wherry.oci import digest as digests

_V1_ONLY = ("id", "parent", "Size", "parent_id", "layer_id", "throwaway", "layers")


def legacy_images(pieces: Pieces, repositories: Any) -> list[tuple[Piece, list[Piece], list[str]]]:
    """(configuration made from the old documents, layers base first, names) of every image."""
    if not isinstance(repositories, dict):
        raise Invalid("repositories: expected an object")
    names: dict[str, list[str]] = {}
    for repository, tags in repositories.items():
        for tag, image_id in (tags if isinstance(tags, dict) else {}).items():
            names.setdefault(str(image_id), []).append(f"{repository}:{tag}")
    if not names:
        held = [name[:-5] for name in pieces.files if name.endswith("/json")]
        parents = {str(_v1(pieces, image_id).get("parent") or "") for image_id in held}
        names = {image_id: [] for image_id in held if image_id not in parents}
    return [(*_convert(pieces, image_id), tags) for image_id, tags in sorted(names.items())]


def _v1(pieces: Pieces, image_id: str) -> dict[str, Any]:
    data = pieces.text(f"{image_id}/json")
    if data is None:
        raise Invalid(f"repositories names {image_id!r}, which is not in the archive")
    return mapping(document(data, f"{image_id}/json"), f"{image_id}/json")


def _convert(pieces: Pieces, image_id: str) -> tuple[Piece, list[Piece]]:
    chain: list[dict[str, Any]] = []
    layers: list[Piece] = []
    following: str | None = image_id
    while following:
        if len(chain) > 1000:
            raise Invalid(f"image {image_id!r} has parents without end")
        value = _v1(pieces, following)
        layer = pieces.find(f"{following}/layer.tar")
        if layer is None:
            raise Invalid(f"{following}/layer.tar is not in the archive")
        chain.append(value)
        layers.append(layer)
        following = str(value["parent"]) if value.get("parent") else None
    chain.reverse()
    layers.reverse()
    config = {key: value for key, value in chain[-1].items() if key not in _V1_ONLY}
    config.setdefault("os", "linux")
    config.setdefault("architecture", "amd64")
    config["rootfs"] = {"type": "layers", "diff_ids": [layer.digest for layer in layers]}
    config["history"] = [_history(value) for value in chain]
    data = json.dumps(config, separators=(",", ":"), sort_keys=True).encode()
    return _written(layers[-1].path.parent, data), layers


def _history(value: dict[str, Any]) -> dict[str, Any]:
    settings = mapping(value.get("container_config"), "container_config")
    command = listed(settings.get("Cmd"), "container_config: Cmd")
    entry = {
        "created": value.get("created"),
        "created_by": " ".join(map(str, command)),
        "author": value.get("author"),
        "comment": value.get("comment"),
    }
    return {key: text for key, text in entry.items() if text}


def _written(folder: Path, data: bytes) -> Piece:
    """Named by its content: images may have their topmost layer in common."""
    digest = digests.of_bytes(data)
    path = folder / f"{digests.hex_of(digest)}.config"
    path.write_bytes(data)
    return Piece(path, digest, len(data))
