"""Files of a container's root, through one directory descriptor and never outside it.

Every lookup is ``openat2`` with ``RESOLVE_IN_ROOT``: links and ``..`` resolve as they do inside the
container, by the kernel's own rule, whatever changes meanwhile. All functions block: call them in a
thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wherry.errors import Exhausted, Forbidden, Invalid, NotFound
from wherry.linux.syscalls import RESOLVE_IN_ROOT, Syscalls
from wherry.wire.durations import rfc3339

_GO_MODES = (
    (stat.S_IFDIR, 1 << 31),
    (stat.S_IFLNK, 1 << 27),
    (stat.S_IFBLK, 1 << 26),
    (stat.S_IFCHR, 1 << 26 | 1 << 21),
    (stat.S_IFIFO, 1 << 25),
    (stat.S_IFSOCK, 1 << 24),
)


@dataclass(frozen=True)
class Root:
    """The root of a container (or of a mount in it) as an open directory."""

    descriptor: int
    calls: Syscalls
    container: str = ""
    """What the user calls the container, for messages."""

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        return self.calls.openat2(
            self.descriptor, path or ".", flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT
        )


@contextlib.contextmanager
def naming(path: str, container: str) -> Iterator[None]:
    """Errors of the kernel, told with the container's path."""
    try:
        yield
    except OSError as error:
        raise translated(error, path, container) from error


def translated(error: OSError, path: str, container: str) -> Exception:
    """The error kind for what a file operation at ``path`` met."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"Could not find the file {path} in container {container}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Exhausted(f"no space left on device: {path}")
    if error.errno in (errno.EROFS, errno.EPERM, errno.EACCES):
        return Forbidden(f"{path}: {os.strerror(error.errno)}")
    return Invalid(f"{path}: {error.strerror}")


def go_mode(mode: int) -> int:
    """``st_mode`` as Go's ``os.FileMode``, which the API's path stat carries."""
    result = mode & 0o777
    for kind, bits in _GO_MODES:
        if stat.S_IFMT(mode) == kind:
            result |= bits
    for bit, go in ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20)):
        if mode & bit:
            result |= go
    return result


def path_stat(root: Root, path: str) -> dict[str, Any]:
    """``X-Docker-Container-Path-Stat`` of ``path``; a link itself is described, not followed."""
    with naming(path, root.container):
        descriptor = root.open(path, os.O_PATH | last_link(path))
        try:
            found = os.fstat(descriptor)
            target = ""
            if stat.S_ISLNK(found.st_mode):
                target = _resolved(root, path) or os.readlink("", dir_fd=descriptor)
        finally:
            os.close(descriptor)
    return {
        "name": os.path.basename(path.rstrip("/")) or "/",
        "size": found.st_size,
        "mode": go_mode(found.st_mode),
        "mtime": rfc3339(found.st_mtime_ns),
        "linkTarget": target,
    }


def last_link(path: str) -> int:
    """A trailing slash (or ``/.``) means what the last link points to."""
    return 0 if path.endswith(("/", "/.")) else os.O_NOFOLLOW


def _resolved(root: Root, path: str) -> str:
    """Where a link leads, as a path inside the root; "" when it leads nowhere."""
    try:
        descriptor = root.open(path, os.O_PATH)
    except OSError:
        return ""
    try:
        here = os.readlink(f"/proc/self/fd/{root.descriptor}").rstrip("/")
        there = os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return there[len(here) :] if there.startswith(here + "/") else there
