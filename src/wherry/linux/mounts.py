"""Mounts: overlay stacks, the private mount directory, the mount table.

Functions here act in the mount namespace of the calling thread; see ``namespaces``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import Internal, NotImplementedYet
from wherry.linux.syscalls import (
    MNT_DETACH,
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_SHARED,
    Syscalls,
)

_PAGE = 4096
_OLD_KERNEL = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
_REFUSES_QUIETLY = (6, 5)
"""Before, overlayfs takes every option and complains of ``lowerdir+`` in the kernel's log, at each
mount."""


@dataclass(frozen=True)
class MountEntry:
    """One line of ``/proc/<pid>/mountinfo`` (proc(5))."""

    mount_id: int
    parent_id: int
    device: str
    root: str
    target: str
    options: tuple[str, ...]
    propagation: tuple[str, ...]
    """Optional fields: ``shared:N``, ``master:N``, ``propagate_from:N``, ``unbindable``."""
    fstype: str
    source: str
    super_options: tuple[str, ...]

    @property
    def shared(self) -> bool:
        return any(each.startswith("shared:") for each in self.propagation)


def _unescape(text: str) -> str:
    """The kernel writes space, tab, newline and backslash as three octal digits."""
    if "\\" not in text:
        return text
    raw = text.encode("utf-8", "surrogateescape")
    out = bytearray()
    at = 0
    while at < len(raw):
        digits = raw[at + 1 : at + 4]
        if raw[at] == 0x5C and len(digits) == 3 and all(0x30 <= each <= 0x37 for each in digits):
            out.append(int(digits, 8) & 0xFF)
            at += 4
        else:
            out.append(raw[at])
            at += 1
    return out.decode("utf-8", "surrogateescape")


def parse_mountinfo(text: str) -> list[MountEntry]:
    """All entries, in the kernel's order; lines that are cut short are left out."""
    entries = []
    # Not ``splitlines``: a path may hold what is a line's end for Python alone.
    for line in text.split("\n"):
        left, separator, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ")
        if not separator or len(fields) < 6 or len(tail) < 3:
            continue
        entries.append(
            MountEntry(
                mount_id=int(fields[0]),
                parent_id=int(fields[1]),
                device=fields[2],
                root=_unescape(fields[3]),
                target=_unescape(fields[4]),
                options=tuple(fields[5].split(",")),
                propagation=tuple(fields[6:]),
                fstype=tail[0],
                source=_unescape(tail[1]),
                super_options=tuple(tail[2].split(",")),
            )
        )
    return entries


def read_mounts(pid: int | str = "thread-self") -> list[MountEntry]:
    """Mount table as a process (or the calling thread) sees it. Raises ``OSError``."""
    path = Path("/proc") / str(pid) / "mountinfo"
    return parse_mountinfo(path.read_text(encoding="utf-8", errors="surrogateescape"))


def mount_of(entries: Sequence[MountEntry], path: str) -> MountEntry | None:
    """The entry that holds ``path`` (absolute, without links): the longest, last mounted."""
    found: MountEntry | None = None
    for entry in entries:
        prefix = entry.target.rstrip("/")
        if path != entry.target and not path.startswith(prefix + "/"):
            continue
        if found is None or len(entry.target) >= len(found.target):
            found = entry
    return found


@dataclass(frozen=True)
class Overlay:
    """A stack to mount: ``lower`` topmost first; without ``upper`` it is read-only."""

    lower: Sequence[str]
    upper: str | None
    work: str | None
    target: str
    options: Sequence[tuple[str, str]] = ()
    """Further overlayfs options, such as ("metacopy", "off")."""


def mount_overlay(calls: Syscalls, overlay: Overlay) -> None:
    """Mount a stack. Any number of layers with the new mount API (Linux 6.8 and up).

    Older kernels take the option string, which must fit a page. Raises ``Internal`` naming the
    target when the kernel refuses, ``NotImplementedYet`` when there are too many layers for it.
    """
    if not overlay.lower:
        raise Internal(f"no layer to mount at {overlay.target}")
    try:
        if overlay.upper is None and len(overlay.lower) == 1:
            _bind_read_only(calls, overlay.lower[0], overlay.target)
        elif calls.kernel() < _REFUSES_QUIETLY:
            _mount_by_string(calls, overlay)
        else:
            _mount_by_either(calls, overlay)
    except OSError as error:
        raise Internal(f"cannot mount the file system at {overlay.target}: {error}") from error


def _mount_by_either(calls: Syscalls, overlay: Overlay) -> None:
    try:
        _mount_by_descriptor(calls, overlay)
    except OSError as error:
        if error.errno not in _OLD_KERNEL:
            raise
        _mount_by_string(calls, overlay)


def _mount_by_descriptor(calls: Syscalls, overlay: Overlay) -> None:
    context = calls.fsopen("overlay")
    try:
        calls.fsconfig_string(context, "source", "overlay")
        for layer in overlay.lower:
            calls.fsconfig_string(context, "lowerdir+", layer)
        if overlay.upper is not None and overlay.work is not None:
            calls.fsconfig_string(context, "upperdir", overlay.upper)
            calls.fsconfig_string(context, "workdir", overlay.work)
        for key, value in overlay.options:
            calls.fsconfig_string(context, key, value)
        calls.fsconfig_create(context)
        mount = calls.fsmount(context, MOUNT_ATTR_RDONLY if overlay.upper is None else 0)
        try:
            calls.move_mount(mount, overlay.target)
        finally:
            calls.close(mount)
    finally:
        calls.close(context)


def _bind_read_only(calls: Syscalls, source: str, target: str) -> None:
    """A single layer without upper: overlayfs wants two directories, a bind does it."""
    calls.mount(source, target, None, MS_BIND, None)
    calls.mount(None, target, None, MS_BIND | MS_RDONLY | 32, None)


def escape_overlay(path: str) -> str:
    """Escape what separates paths (``:``) and options (``,``) in the option string."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def overlay_options(overlay: Overlay) -> str:
    """The option string of mount(2)."""
    parts = ["lowerdir=" + ":".join(escape_overlay(each) for each in overlay.lower)]
    if overlay.upper is not None and overlay.work is not None:
        parts.append("upperdir=" + escape_overlay(overlay.upper))
        parts.append("workdir=" + escape_overlay(overlay.work))
    parts.extend(f"{key}={value}" for key, value in overlay.options)
    return ",".join(parts)


def _mount_by_string(calls: Syscalls, overlay: Overlay) -> None:
    """Layers are named through short descriptors' paths when the string would be too long."""
    text = overlay_options(overlay)
    opened: list[int] = []
    try:
        if len(os.fsencode(text)) >= _PAGE:
            short = []
            for layer in overlay.lower:
                fd = calls.openat2(-100, layer, os.O_PATH | os.O_DIRECTORY)
                opened.append(fd)
                short.append(f"/proc/thread-self/fd/{fd}")
            text = overlay_options(
                Overlay(short, overlay.upper, overlay.work, overlay.target, overlay.options)
            )
        if len(os.fsencode(text)) >= _PAGE:
            raise NotImplementedYet(
                f"{len(overlay.lower)} layers are more than this kernel can stack"
            )
        flags = MS_RDONLY if overlay.upper is None else 0
        calls.mount("overlay", overlay.target, "overlay", flags, text)
    finally:
        for fd in opened:
            calls.close(fd)


def make_private_directory(calls: Syscalls, directory: Path) -> bool:
    """Bind ``directory`` onto itself and make it private, once; True when it was done now.

    What is mounted below it in another mount namespace then never shows in the host's table.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = str(directory.resolve())
    for entry in read_mounts():
        if entry.target == target and not entry.shared:
            return False
    try:
        calls.mount(target, target, None, MS_BIND, None)
        calls.mount(None, target, None, MS_PRIVATE, None)
    except OSError as error:
        raise Internal(f"cannot make {target} a private mount: {error}") from error
    return True


def make_shared_directory(calls: Syscalls, directory: Path) -> None:
    """Bind ``directory`` onto itself, with what is mounted below, and make it shared, once.

    A mount namespace that is copied from ours afterwards (a monitor's) then loses what is
    unmounted here, instead of keeping the file system alive until its own end.
    """
    directory.mkdir(mode=0o701, parents=True, exist_ok=True)
    target = str(directory.resolve())
    try:
        entries = read_mounts()
        mounted = _bound_onto_itself(entries, target)
        if mounted is None:
            calls.mount(target, target, None, MS_BIND | MS_REC, None)
            if not any(each.target.startswith(f"{target}/") for each in entries):
                # It would be the peer of a shared file system that holds it (systemd makes all
                # so): what is mounted below would be mounted there too, out of sight.
                calls.mount(None, target, None, MS_PRIVATE, None)
        if mounted is None or not mounted.shared:
            calls.mount(None, target, None, MS_SHARED, None)
    except OSError as error:
        raise Internal(f"cannot make {target} a shared mount: {error}") from error


def _bound_onto_itself(entries: Sequence[MountEntry], target: str) -> MountEntry | None:
    """The topmost mount at ``target`` if it shows what is there without it; a file system that
    somebody else mounted there does not."""
    found = next((each for each in reversed(entries) if each.target == target), None)
    if found is None:
        return None
    parent = next((each for each in entries if each.mount_id == found.parent_id), None)
    if parent is None or parent.device != found.device:
        return None
    below = target.removeprefix(parent.target.rstrip("/"))
    return found if found.root == (parent.root.rstrip("/") + below or "/") else None


def remove_shared_directory(calls: Syscalls, directory: Path) -> None:
    """Undo ``make_shared_directory``, with all that is mounted below. Idempotent."""
    with suppress(OSError):
        target = str(directory.resolve())
        if _bound_onto_itself(read_mounts(), target) is not None:
            calls.umount(target, MNT_DETACH)


def remove_private_directory(calls: Syscalls, directory: Path) -> None:
    """Undo ``make_private_directory``. Idempotent."""
    with suppress(OSError):
        calls.umount(str(directory.resolve()), MNT_DETACH)


def make_tree_private(calls: Syscalls, target: str) -> None:
    calls.mount(None, target, None, MS_PRIVATE | MS_REC, None)
