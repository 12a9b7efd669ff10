"""Bodies of the volume endpoints (API v1.24-v1.55)."""

from __future__ import annotations

from typing import Any

from wherry.wire.container import Wire


class VolumeCreate(Wire):
    """``POST /volumes/create``. ``cluster_volume_spec`` is for clusters only."""

    name: str | None = None
    driver: str | None = None
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: dict[str, Any] | None = None


class VolumeUpdate(Wire):
    """``POST /wherry/volumes/{name}/update``, beyond Docker. ``size``: bytes."""

    size: int | None = None
    labels: dict[str, str] | None = None
    remove_labels: list[str] | None = None


class VolumeClone(Wire):
    """``POST /wherry/volumes/{name}/clone``, beyond Docker. ``name``: of the new volume."""

    name: str | None = None
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
