"""Mounts put into, and taken out of, the mount namespace of a process that runs.

The mount is made here as a detached tree (``open_tree``, ``fsopen``), then a thread of its own
joins the other namespace (``setns``) and attaches it (``move_mount``), Linux 5.12 and up. In that
thread ``/`` is the other's root: whatever links it holds lead nowhere else. Nothing may be
imported there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from wherry.linux.mounts import parse_mountinfo
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.syscalls import (
    AT_RECURSIVE,
    CLONE_NEWNS,
    MNT_DETACH,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    OPEN_TREE_CLONE,
    Syscalls,
)

_PROPAGATIONS = {"private": MS_PRIVATE, "slave": MS_SLAVE, "shared": MS_SHARED}
_ATTRIBUTES = {
    "ro": MOUNT_ATTR_RDONLY,
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "noatime": 0x10,
    "strictatime": 0x20,
    "nodiratime": 0x80,
}
"""Options of a mount (not of its file system): ``MOUNT_ATTR_*`` of ``linux/mount.h``."""


def detached(calls: Syscalls, mount: Mapping[str, Any]) -> int:
    """Descriptor of a tree that is mounted nowhere yet, made from an OCI mount of type bind or
    tmpfs. Raises ``OSError``."""
    options = [str(each) for each in mount.get("options") or ()]
    if mount["type"] == "tmpfs":
        return _tmpfs(calls, options)
    recursive = "bind" not in options
    tree = calls.open_tree(
        str(mount["source"]), OPEN_TREE_CLONE | (AT_RECURSIVE if recursive else 0)
    )
    try:
        for option in options:
            change = _PROPAGATIONS.get(option.removeprefix("r"))
            if change is not None:
                calls.mount_setattr(
                    tree, "", propagation=change, recursive=option.startswith("r") and recursive
                )
        if "rro" in options or "ro" in options:
            calls.mount_setattr(
                tree, "", set_flags=MOUNT_ATTR_RDONLY, recursive="rro" in options and recursive
            )
    except BaseException:
        calls.close(tree)
        raise
    return tree


def _tmpfs(calls: Syscalls, options: Sequence[str]) -> int:
    context = calls.fsopen("tmpfs")
    try:
        attributes = 0
        for option in options:
            key, equals, value = option.partition("=")
            if equals:
                calls.fsconfig_string(context, key, value)
            else:
                attributes |= _ATTRIBUTES.get(option, 0)
        calls.fsconfig_create(context)
        return calls.fsmount(context, attributes)
    finally:
        calls.close(context)


class Place(NamedTuple):
    """What a target is, as a process sees it."""

    path: str
    """Free of links."""
    taken: bool
    """Something is mounted right there."""
    above: bool
    """Something is mounted below it, which a mount there would cover."""


def is_above(path: str, others: Iterable[str]) -> bool:
    """Whether one of the others lies below the path; both are absolute and free of links."""
    start = path.rstrip("/") + "/"
    return any(each.startswith(start) and each != start for each in others)


class LiveMounts:
    """Mounts of a process's namespace, named by its pid."""

    def __init__(self, private: PrivateMounts) -> None:
        self._private = private

    async def places(self, pid: int, targets: Sequence[str]) -> dict[str, Place]:
        """By target. Raises ``OSError``."""
        return await self._private.run(lambda: _places(self._private.calls, pid, targets))

    async def attach(self, pid: int, mount: Mapping[str, Any]) -> None:
        """Mount for the process and all that share its namespace; the target is made if it is
        missing. Raises ``OSError``, and has then mounted nothing."""
        await self._private.run(lambda: _attach(self._private.calls, pid, mount))

    async def detach(self, pid: int, target: str) -> None:
        """Take the topmost mount at ``target`` away, if there is one; files that are open below
        it stay open. Raises ``OSError``."""
        await self._private.run(lambda: _detach(self._private.calls, pid, target))


def _points(pid: int) -> set[str]:
    """Raises ``ProcessLookupError`` for one that has ended, a zombie too."""
    path = f"/proc/{pid}/mountinfo"
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return {each.target for each in parse_mountinfo(file.read())}
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
        raise ProcessLookupError(errno.ESRCH, f"process {pid} has ended") from error


def _places(calls: Syscalls, pid: int, targets: Sequence[str]) -> dict[str, Place]:
    points = _points(pid)
    _join(calls, pid)
    real = {target: os.path.realpath(target) for target in targets}
    return {
        target: Place(place, place in points, is_above(place, points))
        for target, place in real.items()
    }


def _attach(calls: Syscalls, pid: int, mount: Mapping[str, Any]) -> None:
    target = str(mount["destination"])
    source = str(mount.get("source") or "")
    folder = mount["type"] == "tmpfs" or stat.S_ISDIR(os.stat(source).st_mode)
    tree = detached(calls, mount)
    try:
        _join(calls, pid)
        place = os.path.realpath(target)
        if not os.path.lexists(place):
            _make(place, folder=folder)
        calls.move_mount(tree, place)
    finally:
        calls.close(tree)


def _detach(calls: Syscalls, pid: int, target: str) -> None:
    points = _points(pid)
    _join(calls, pid)
    place = os.path.realpath(target)
    if place in points:
        calls.umount(place, MNT_DETACH)


def _join(calls: Syscalls, pid: int) -> None:
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        calls.setns(namespace, CLONE_NEWNS)
    finally:
        os.close(namespace)


def _make(place: str, *, folder: bool) -> None:
    """Modes are set apart from making: our umask is not the container's."""
    parent = os.path.dirname(place)
    if folder:
        _folders(place)
        return
    _folders(parent)
    with suppress(FileExistsError):
        file = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        os.fchmod(file, 0o644)
        os.close(file)


def _folders(place: str) -> None:
    if os.path.isdir(place):
        return
    _folders(os.path.dirname(place))
    with suppress(FileExistsError):
        os.mkdir(place)
        os.chmod(place, 0o755)
