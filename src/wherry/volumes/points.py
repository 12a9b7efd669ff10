"""From what was asked to mount points, and from mount points to OCI mounts (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from wherry.store.volumes import VolumeRow
from wherry.volumes.ports import LOCAL
from wherry.volumes.spec import DEFAULT_PROPAGATION, Wanted
from wherry.wire.mounts import MountPoint


def bind_options(
    *,
    read_only: bool,
    propagation: str = "",
    non_recursive: bool = False,
    recursion: str = "",
) -> tuple[str, ...]:
    """Options of an OCI bind. Read-only is recursive (``rro``) unless asked otherwise."""
    mode = "rw"
    if read_only:
        mode = "ro" if recursion == "none" or non_recursive else "rro"
    return (
        "bind" if non_recursive else "rbind",
        mode,
        propagation or DEFAULT_PROPAGATION,
    )


def of_wanted(wanted: Wanted) -> MountPoint:
    """A bind or tmpfs mount."""
    extra: dict[str, Any] = {}
    if wanted.kind == "tmpfs":
        if not wanted.listed:
            extra["listed"] = False
        return MountPoint(
            "tmpfs",
            wanted.target,
            rw=not wanted.read_only,
            options=wanted.tmpfs_options,
            extra=extra,
        )
    if wanted.create_source:
        extra["create"] = True
    if wanted.idmap:
        extra["idmap"] = wanted.idmap
    return MountPoint(
        "bind",
        wanted.target,
        source=wanted.source,
        mode=wanted.mode,
        rw=not wanted.read_only,
        propagation=wanted.propagation,
        options=bind_options(
            read_only=wanted.read_only,
            propagation=wanted.propagation,
            non_recursive=wanted.non_recursive,
            recursion=wanted.read_only_recursion,
        ),
        extra=extra,
    )


def of_image(wanted: Wanted, image_id: str, layers: Sequence[str]) -> MountPoint:
    """An image's content, as the name meant it at create."""
    extra: dict[str, Any] = {"image": image_id, "layers": list(layers)}
    if wanted.subpath:
        extra["subpath"] = wanted.subpath
    return MountPoint(
        "image",
        wanted.target,
        source=wanted.source,
        rw=False,
        options=bind_options(read_only=True),
        extra=extra,
    )


def of_volume(wanted: Wanted, row: VolumeRow, path: str) -> MountPoint:
    """A volume's mount. Docker shows mode ``z`` for local ones that were asked for without one."""
    extra: dict[str, Any] = {"volume_id": row.id}
    if not wanted.source:
        extra["anonymous"] = True
    if wanted.no_copy:
        extra["nocopy"] = True
    if row.backing == "quota":
        extra["limited"] = True
    if wanted.subpath:
        extra["subpath"] = wanted.subpath
    mode = wanted.mode or ("" if wanted.implicit or row.driver != LOCAL else "z")
    return MountPoint(
        "volume",
        wanted.target,
        source=path,
        name=row.name,
        driver=row.driver,
        mode=mode,
        rw=not wanted.read_only,
        options=bind_options(read_only=wanted.read_only),
        extra=extra,
    )


def borrowed(point: MountPoint, *, read_only: bool) -> MountPoint:
    """The same mount in another container (``--volumes-from``); nothing is copied up again."""
    rw = point.rw and not read_only
    options = point.options
    if point.rw and not rw:
        options = tuple("rro" if each == "rw" else each for each in options)
    extra = {**point.extra, "nocopy": True} if point.type == "volume" else point.extra
    return replace(point, mode="", rw=rw, options=options, extra=extra)


def listed(point: MountPoint) -> bool:
    return bool(point.extra.get("listed", True))


def oci(point: MountPoint, source: str, *, directory: bool = True) -> Mapping[str, Any]:
    """The entry of ``mounts`` in the runtime spec. ``directory``: whether ``source`` is one.

    Nothing can be mounted below a file, and crun refuses ``rro`` for one.
    """
    kind = "tmpfs" if point.type == "tmpfs" else "bind"
    return {
        "destination": point.destination,
        "type": kind,
        "source": source,
        "options": ["ro" if each == "rro" and not directory else each for each in point.options],
    }
