"""A new image from one new layer: import, commit and the built-in base end here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from wherry.errors import Internal
from wherry.images.adopt import keep_root, put_document
from wherry.images.catalogue import Catalogue
from wherry.images.content import Lease
from wherry.images.load import docker_manifest
from wherry.images.naming import Names
from wherry.images.service import Image
from wherry.oci.image import Manifest
from wherry.oci.platform import Platform
from wherry.oci.reference import Reference
from wherry.wire.durations import rfc3339


@dataclass(frozen=True)
class NewLayer:
    diff_id: str
    tar_size: int


@dataclass(frozen=True)
class NewImage:
    """What goes into the configuration. ``config``: execution parameters with the API's keys."""

    platform: Platform
    config: Mapping[str, Any]
    layer: NewLayer | None
    """None: nothing changed; the image has its parent's layers."""
    parent: Image | None = None
    author: str = ""
    comment: str = ""
    created_by: str = ""
    container: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


def history_of(parent: Image | None) -> list[dict[str, Any]]:
    if parent is None or not parent.config.history:
        return []
    return [dict(msgspec.to_builtins(entry)) for entry in parent.config.history]


def compact(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is empty: how the OCI configuration is written. Docker keeps empty labels."""
    return {
        key: value
        for key, value in config.items()
        if value not in (None, "", False, [], {}) or (key == "Labels" and value == {})
    }


def document(new: NewImage, created: str) -> bytes:
    """The configuration blob."""
    entry: dict[str, Any] = {"created": created}
    for key, text in (
        ("author", new.author),
        ("created_by", new.created_by),
        ("comment", new.comment),
    ):
        if text:
            entry[key] = text
    if new.layer is None:
        entry["empty_layer"] = True
    layers = list(new.parent.layers) if new.parent else []
    if new.layer is not None:
        layers.append(new.layer.diff_id)
    value: dict[str, Any] = {
        "architecture": new.platform.architecture,
        "os": new.platform.os,
        "created": created,
        "config": compact(new.config),
        "rootfs": {"type": "layers", "diff_ids": layers},
        "history": [*history_of(new.parent), entry],
    }
    if new.platform.variant:
        value["variant"] = new.platform.variant
    if new.author:
        value["author"] = new.author
    if new.container:
        value["container"] = new.container
    value.update(new.extra)
    return msgspec.json.encode(value)


def parent_layers(catalogue: Catalogue, parent: Image | None) -> list[Sequence[Any]]:
    """(digest, size, compression) of the parent's layers, as its manifest has them."""
    if parent is None:
        return []
    manifest = msgspec.json.decode(catalogue.content.read(parent.manifest), type=Manifest)
    found: list[Sequence[Any]] = []
    for layer in manifest.layers:
        _, _, suffix = layer.media_type.replace("+", ".").rpartition(".tar")
        found.append((layer.digest, layer.size, suffix.removeprefix(".")))
    return found


async def make_image(
    catalogue: Catalogue, names: Names, lease: Lease, new: NewImage, name: Reference | None
) -> str:
    """Store configuration and manifest, keep and name them; returns the image id."""
    config = document(new, rfc3339(time.time_ns()))
    wanted = [name] if name is not None else []
    return await store_image(catalogue, names, lease, config, wanted, new.parent, new.layer)


async def store_image(
    catalogue: Catalogue,
    names: Names,
    lease: Lease,
    config: bytes,
    wanted: Sequence[Reference],
    parent: Image | None,
    layer: NewLayer | None,
) -> str:
    """The image appears with its names and its parent at once, or not at all."""
    layers = parent_layers(catalogue, parent)
    if layer is not None:
        layers.append((layer.diff_id, layer.tar_size, ""))
    image_id = await put_document(catalogue, lease, config)
    manifest = docker_manifest(image_id, len(config), layers)
    root = await put_document(catalogue, lease, manifest)
    with catalogue.tables.database.transaction():
        if not keep_root(catalogue, root):
            raise Internal(f"the new image {image_id} is not whole")
        if parent is not None:
            catalogue.tables.set_parent(image_id, parent.id)
        for name in wanted:
            names.set(name, root)
    return image_id
