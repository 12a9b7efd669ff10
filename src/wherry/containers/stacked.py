"""The files of a container that does not run: its layers and mounts, in a private namespace.

Functions here run in a thread that has a mount namespace of its own (``PrivateMounts``).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from wherry.containers.rootfiles import Root
from wherry.errors import Internal
from wherry.linux.mounts import Overlay, mount_overlay
from wherry.linux.syscalls import MS_BIND, MS_RDONLY, MS_REC, MS_REMOUNT, Syscalls


class NoMountPoint(Exception):
    """Something is to be mounted where the layers have nothing, and they must not be changed."""


def stacked(
    calls: Syscalls,
    overlay: Overlay,
    mounts: Sequence[Mapping[str, Any]],
    name: str,
    *,
    whole: bool = True,
) -> tuple[Root, int]:
    """The open root, and a descriptor that keeps its namespace.

    ``mounts``: OCI mounts; those without a source on the host (tmpfs) are left out, since they
    are empty. A writable stack gets the mount points that it lacks, as a start would make them;
    for one that is not ``NoMountPoint`` is raised, unless it need not be ``whole``.
    """
    mount_overlay(calls, overlay)
    descriptor = os.open(overlay.target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    root = Root(descriptor, calls, name)
    try:
        for mount in mounts:
            if mount.get("type") != "tmpfs" and mount.get("source"):
                made = overlay.upper is not None
                if made:
                    _make(root, mount)
                _bind(root, mount, must=whole and not made)
        keep = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except BaseException:
        os.close(descriptor)
        raise
    return root, keep


def _bind(root: Root, mount: Mapping[str, Any], *, must: bool) -> None:
    source, target = str(mount["source"]), str(mount["destination"])
    try:
        at = root.open(target, os.O_PATH)
    except FileNotFoundError as error:
        if must:
            raise NoMountPoint(target) from error
        return
    try:
        handle = f"/proc/self/fd/{at}"
        root.calls.mount(source, handle, None, MS_BIND | MS_REC, None)
        if "ro" in (mount.get("options") or ()):
            seen = root.open(target, os.O_PATH)
            try:
                flags = MS_BIND | MS_REMOUNT | MS_RDONLY
                root.calls.mount(None, f"/proc/self/fd/{seen}", None, flags, None)
            finally:
                os.close(seen)
    except OSError as error:
        raise Internal(f"cannot mount {source} at {target}: {error}") from error
    finally:
        os.close(at)


def _make(root: Root, mount: Mapping[str, Any]) -> None:
    """Make what is missing of a mount point, inside the root whatever links there are."""
    directory = stat.S_ISDIR(os.stat(str(mount["source"])).st_mode)
    parts = [part for part in str(mount["destination"]).split("/") if part]
    for count in range(1, len(parts) + 1):
        parent, last = "/".join(parts[: count - 1]), parts[count - 1]
        try:
            os.close(root.open("/".join(parts[:count]), os.O_PATH))
            continue
        except FileNotFoundError:
            pass
        at = root.open(parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # What is there after all is a link to nowhere: then nothing can be mounted.
            with contextlib.suppress(FileExistsError):
                if directory or count < len(parts):
                    os.mkdir(last, 0o755, dir_fd=at)
                else:
                    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                    os.close(os.open(last, flags, 0o644, dir_fd=at))
        finally:
            os.close(at)
