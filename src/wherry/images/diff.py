"""What a writable layer changes against the layers below it.

The upper folder is walked through directory descriptors that never follow a link, because its
container may be changing it meanwhile; the layers below are ours and never change.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

MODIFIED, ADDED, DELETED = 0, 1, 2
OPAQUE = "trusted.overlay.opaque"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

MOUNT_POINTS = frozenset(
    {
        "/.dockerenv",
        "/dev",
        "/dev/console",
        "/dev/mqueue",
        "/dev/pts",
        "/dev/shm",
        "/etc/hostname",
        "/etc/hosts",
        "/etc/mtab",
        "/etc/resolv.conf",
        "/proc",
        "/run/.containerenv",
        "/sys",
    }
)
"""What the runtime makes so that it can mount there: empty, and no change of the user's."""


class Change(NamedTuple):
    path: str
    kind: int
    """0 modified, 1 added, 2 deleted (as the Engine API counts)."""


def is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def changes(lower: Sequence[str], upper: str) -> list[Change]:
    """Every change, parents of changes included, sorted by path.

    ``lower``: the layers' directories, topmost first.
    """
    found: list[Change] = []
    descriptor = os.open(upper, _FOLDER)
    try:
        _walk(descriptor, "", [each for each in lower if os.path.isdir(each)], found, False)
    finally:
        os.close(descriptor)
    return sorted(found)


def _opaque(path: str | int) -> bool:
    try:
        return os.getxattr(path, OPAQUE) == b"y"
    except OSError:
        return False


def _below(stack: Sequence[str], name: str) -> tuple[os.stat_result | None, list[str]]:
    """What the layers below show at ``name``, and the folders that merge there if it is one."""
    shown: os.stat_result | None = None
    merged: list[str] = []
    for folder in stack:
        path = f"{folder}/{name}"
        try:
            found = os.lstat(path)
        except OSError:
            continue
        if is_whiteout(found):
            break
        if shown is None:
            shown = found
        elif not stat.S_ISDIR(found.st_mode):
            break
        if not stat.S_ISDIR(found.st_mode):
            break
        merged.append(path)
        if _opaque(path):
            break
    return shown, merged


def _same_folder(one: os.stat_result, other: os.stat_result) -> bool:
    """Times are left out: making a file in a folder changes its time, and says nothing new."""
    return (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)


def _walk(
    descriptor: int, prefix: str, stack: Sequence[str], found: list[Change], hides: bool
) -> bool:
    """Add the changes below one folder; returns whether there were any.

    ``hides``: the folder is opaque, or below one that is: nothing from ``stack`` shows through.
    """
    changed = False
    with os.scandir(descriptor) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        path = f"{prefix}/{name}"
        try:
            own = os.lstat(name, dir_fd=descriptor)
        except FileNotFoundError:
            continue
        below, merged = _below(stack, name)
        if is_whiteout(own):
            if below is not None:
                found.append(Change(path, DELETED))
                changed = True
            continue
        if not stat.S_ISDIR(own.st_mode):
            if path in MOUNT_POINTS and not own.st_size and below is None:
                continue
            kind = ADDED if below is None else MODIFIED
            found.append(Change(path, kind))
            changed = True
        elif _folder(descriptor, path, own, below, merged, found, hides):
            changed = True
    return changed


def _folder(
    parent: int,
    path: str,
    own: os.stat_result,
    below: os.stat_result | None,
    merged: Sequence[str],
    found: list[Change],
    hidden: bool,
) -> bool:
    try:
        descriptor = os.open(path.rpartition("/")[2], _FOLDER, dir_fd=parent)
    except OSError:
        return False
    try:
        hides = hidden or _opaque(descriptor)
        inside = _walk(descriptor, path, merged, found, hides)
        if hides and merged:
            inside = _hidden(descriptor, path, merged, found) or inside
    finally:
        os.close(descriptor)
    if below is not None and stat.S_ISDIR(below.st_mode):
        if not inside and _same_folder(own, below):
            return False
        found.append(Change(path, MODIFIED))
        return True
    if path in MOUNT_POINTS and not inside and below is None:
        return False
    found.append(Change(path, ADDED if below is None else MODIFIED))
    return True


def _hidden(descriptor: int, path: str, merged: Sequence[str], found: list[Change]) -> bool:
    """Names of the layers below that an opaque folder no longer shows."""
    own = set(os.listdir(descriptor))
    gone: set[str] = set()
    for folder in merged:
        for name in os.listdir(folder):
            if name not in own and name not in gone and _below(merged, name)[0] is not None:
                gone.add(name)
    found.extend(Change(f"{path}/{name}", DELETED) for name in gone)
    return bool(gone)
