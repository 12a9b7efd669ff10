"""What a stored root leads to: manifests, configurations, layers, read from content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from wherry.errors import Invalid
from wherry.images.content import ContentStore
from wherry.oci import digest as digests
from wherry.oci.image import Descriptor, ImageConfig, Index, Manifest

_DEPTH = 4
_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_index = msgspec.json.Decoder(Index)
_manifest = msgspec.json.Decoder(Manifest)
_config = msgspec.json.Decoder(ImageConfig)


class _Kind(msgspec.Struct, rename="camel"):
    media_type: str = ""
    manifests: Any = None
    layers: Any = None
    config: Any = None


_kind = msgspec.json.Decoder(_Kind)


@dataclass(frozen=True)
class Node:
    """One document of the graph: an index or a manifest."""

    digest: str
    media_type: str
    index: Index | None
    manifest: Manifest | None
    size: int


def decode(data: bytes, digest: str) -> Node:
    """``Invalid`` for anything that is neither an index nor a manifest."""
    try:
        kind = _kind.decode(data)
        if kind.manifests is not None:
            return Node(digest, kind.media_type, _index.decode(data), None, len(data))
        if kind.config is not None:
            return Node(digest, kind.media_type, None, _manifest.decode(data), len(data))
    except _BROKEN as error:
        raise Invalid(f"manifest {digest}: {error}") from error
    raise Invalid(f"manifest {digest}: neither an index nor an image manifest")


def decode_config(data: bytes, digest: str) -> ImageConfig:
    """``Invalid``: not an image configuration."""
    try:
        config = _config.decode(data)
    except _BROKEN as error:
        raise Invalid(f"image configuration {digest}: {error}") from error
    for diff_id in config.rootfs.diff_ids:
        digests.parse(diff_id)
    return config


def walk(
    content: ContentStore, digest: str, seen: set[str] | None = None, depth: int = 0
) -> Iterator[Node]:
    """The root and every index and manifest below it that is here, depth first, each once."""
    seen = set() if seen is None else seen
    if depth > _DEPTH or digest in seen or not content.has(digest):
        return
    seen.add(digest)
    node = decode(content.read(digest), digest)
    yield node
    if node.index is not None:
        for child in node.index.manifests:
            yield from walk(content, child.digest, seen, depth + 1)


def blobs_of(content: ContentStore, digest: str) -> set[str]:
    """Digests of everything that the root names, documents and layers, here or not."""
    named = {digest}
    for node in walk(content, digest):
        named.add(node.digest)
        children: list[Descriptor] = []
        if node.index is not None:
            children = node.index.manifests
        elif node.manifest is not None:
            children = [node.manifest.config, *node.manifest.layers]
            if node.manifest.subject is not None:
                children.append(node.manifest.subject)
        named |= {child.digest for child in children}
    return named


def complete_images(
    content: ContentStore, digest: str
) -> Iterator[tuple[Node, Manifest, ImageConfig]]:
    """Every image below the root whose configuration and layers are all here, in order."""
    for node in walk(content, digest):
        manifest = node.manifest
        if manifest is None or not content.has(manifest.config.digest):
            continue
        if not all(content.has(layer.digest) for layer in manifest.layers):
            continue
        try:
            config = decode_config(content.read(manifest.config.digest), manifest.config.digest)
        except Invalid:
            continue
        if len(config.rootfs.diff_ids) == len(manifest.layers):
            yield node, manifest, config
