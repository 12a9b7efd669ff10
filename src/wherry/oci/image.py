"""OCI image spec 1.1 documents as values, read from OCI and Docker media types alike.

Unknown keys are ignored when read and never needed: a blob's bytes are kept as they came.
"""

from __future__ import annotations

from typing import Any

import msgspec

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"

INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})


class PlatformDoc(msgspec.Struct, omit_defaults=True):
    """``platform`` of a descriptor."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: list[str] | None = msgspec.field(default=None, name="os.features")


class Descriptor(msgspec.Struct, omit_defaults=True, rename="camel"):
    """A pointer to content: type, digest and size in bytes."""

    media_type: str = ""
    digest: str = ""
    size: int = 0
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    platform: PlatformDoc | None = None
    artifact_type: str | None = None


class Manifest(msgspec.Struct, omit_defaults=True, rename="camel"):
    """An image manifest; layers are base first."""

    schema_version: int = 2
    media_type: str = ""
    config: Descriptor = msgspec.field(default_factory=Descriptor)
    layers: list[Descriptor] = msgspec.field(default_factory=list)
    annotations: dict[str, str] | None = None
    artifact_type: str | None = None
    subject: Descriptor | None = None


class Index(msgspec.Struct, omit_defaults=True, rename="camel"):
    """An image index (manifest list)."""

    schema_version: int = 2
    media_type: str = ""
    manifests: list[Descriptor] = msgspec.field(default_factory=list)
    annotations: dict[str, str] | None = None


class RootFS(msgspec.Struct):
    type: str = "layers"
    diff_ids: list[str] = msgspec.field(default_factory=list)


class History(msgspec.Struct, omit_defaults=True):
    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool = False


class ImageConfig(msgspec.Struct, omit_defaults=True):
    """The image configuration blob.

    ``config`` keeps the execution parameters with their own (Pascal case) keys, Docker's
    additions (Healthcheck, OnBuild, Shell, ArgsEscaped) included.
    """

    architecture: str = ""
    os: str = ""
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    author: str = ""
    created: str | None = None
    config: dict[str, Any] | None = None
    rootfs: RootFS = msgspec.field(default_factory=RootFS)
    history: list[History] | None = None
    container: str | None = None
    container_config: dict[str, Any] | None = None
    docker_version: str | None = None
    parent: str | None = None
