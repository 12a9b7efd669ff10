"""Id-mapped mounts: one user's files shown as another's (Linux 5.12, mount_setattr(2)).

The map belongs to a user namespace that exists only to carry it.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wherry.errors import Internal, NotImplementedYet
from wherry.linux.syscalls import OPEN_TREE_CLONE, Syscalls

MOUNT_ATTR_IDMAP = 0x00100000
_ALL = 0xFFFFFFFF
_UNABLE = (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP)
Ranges = Sequence[tuple[int, int, int]]
"""(id on disk, id as shown, how many)."""


def swapped(stored: int, shown: int) -> list[tuple[int, int, int]]:
    """A map of all ids in which two change places and every other stays."""
    low, high = sorted((stored, shown))
    if low == high:
        return [(0, 0, _ALL)]
    ranges = [
        (0, 0, low),
        (low, high, 1),
        (low + 1, low + 1, high - low - 1),
        (high, low, 1),
        (high + 1, high + 1, _ALL - high - 1),
    ]
    return [each for each in ranges if each[2] > 0]


@contextmanager
def namespace(uids: Ranges, gids: Ranges) -> Iterator[int]:
    """Descriptor of a user namespace with these maps. Raises ``NotImplementedYet`` where the
    host allows none."""
    script = "echo ready; exec cat"
    process = subprocess.Popen(
        ["unshare", "--user", "--", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise NotImplementedYet("id-mapped binds: this host allows no user namespaces")
        place = Path("/proc") / str(process.pid)
        try:
            for name, ranges in (("uid_map", uids), ("gid_map", gids)):
                lines = "".join(f"{disk} {shown} {count}\n" for disk, shown, count in ranges)
                (place / name).write_text(lines)
            found = os.open(place / "ns" / "user", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Internal(f"cannot map ids: {error}") from error
        try:
            yield found
        finally:
            os.close(found)
    finally:
        process.kill()
        process.communicate()


def bind(calls: Syscalls, source: str, target: str, uids: Ranges, gids: Ranges) -> None:
    """Mount ``source`` at ``target`` with its ids mapped; mounts below it do not come along."""
    tree = calls.open_tree(source, OPEN_TREE_CLONE)
    try:
        with namespace(uids, gids) as carrier:
            try:
                calls.mount_setattr(tree, "", set_flags=MOUNT_ATTR_IDMAP, userns_fd=carrier)
            except OSError as error:
                if error.errno in _UNABLE:
                    raise NotImplementedYet(
                        f"id-mapped binds: the kernel cannot do it for the file system of {source}"
                    ) from error
                raise Internal(f"cannot map ids of {source}: {error}") from error
        calls.move_mount(tree, target)
    finally:
        calls.close(tree)
