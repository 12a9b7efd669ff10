"""Device nodes of the host."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass

from wherry.errors import Invalid

_SKIPPED = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})


@dataclass(frozen=True)
class DeviceNode:
    """A device as the OCI spec has it (``linux.devices``)."""

    path: str
    kind: str
    """``c`` or ``b``."""
    major: int
    minor: int
    mode: int
    uid: int
    gid: int


def read_device(path: str, seen_as: str | None = None) -> DeviceNode | None:
    """The device at ``path`` (links followed), shown as ``seen_as``; None when it is none.

    Raises ``OSError`` when there is nothing at all.
    """
    found = os.stat(path)
    if stat.S_ISCHR(found.st_mode):
        kind = "c"
    elif stat.S_ISBLK(found.st_mode):
        kind = "b"
    else:
        return None
    return DeviceNode(
        seen_as or path,
        kind,
        os.major(found.st_rdev),
        os.minor(found.st_rdev),
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
    )


def resolve(path_on_host: str, path_in_container: str) -> list[DeviceNode]:
    """What ``--device host:container`` stands for: one device, or all below a directory.

    Raises ``Invalid`` with Docker's words.
    """
    target = path_in_container or path_on_host
    lead = f'error gathering device information while adding custom device "{path_on_host}": '
    try:
        node = read_device(path_on_host, target)
        if node is not None:
            return [node]
        if not os.path.isdir(path_on_host):
            raise Invalid(lead + "not a device node")
        real = os.path.realpath(path_on_host)
        found = [
            DeviceNode(
                target.rstrip("/") + each.path[len(real.rstrip("/")) :],
                each.kind,
                each.major,
                each.minor,
                each.mode,
                each.uid,
                each.gid,
            )
            for each in below(real)
        ]
    except OSError as error:
        text = (error.strerror or str(error)).lower()
        raise Invalid(lead + text) from error
    if not found:
        raise Invalid(lead + "no such file or directory")
    return found


def below(directory: str) -> list[DeviceNode]:
    """All devices in a directory tree, sorted by path; links and what vanishes are left out."""
    found = []
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if entry.is_symlink():
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _SKIPPED:
                    found += below(entry.path)
                continue
            if entry.name == "console":
                continue
            with suppress(OSError):
                node = read_device(entry.path)
                if node is not None:
                    found.append(node)
    return found


def host_devices() -> list[DeviceNode]:
    """Every device of the host, for a privileged container."""
    return below("/dev")


def block_device_numbers(path: str) -> tuple[int, int]:
    """Major and minor of a block device, for I/O limits. Raises ``Invalid``."""
    try:
        node = read_device(path)
    except OSError as error:
        raise Invalid(f"invalid device path {path}: {error.strerror}") from error
    if node is None or node.kind != "b":
        raise Invalid(f"invalid device path {path}: not a block device")
    return node.major, node.minor
