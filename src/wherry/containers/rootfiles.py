"""Files of a container's root, through one directory descriptor and never outside it.

Every lookup is ``openat2`` with ``RESOLVE_IN_ROOT``: links and ``..`` resolve as they do inside the
container, by the kernel's own rule, whatever changes meanwhile. All functions block: call them in a
thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wherry.errors import Exhausted, Forbidden, Invalid, NotFound
from wherry.images.worker.inflate import compression, inflated
from wherry.linux.capabilities import within_limits
from wherry.linux.mounts import read_mounts
from wherry.linux.syscalls import RESOLVE_IN_ROOT, Syscalls
from wherry.oci.glob import match
from wherry.trees.flow import Inlet, Outlet
from wherry.trees.incoming import Chunks, Incoming
from wherry.trees.pack import Packer
from wherry.trees.unpack import Target, Unpacker
from wherry.wire.durations import rfc3339

_KERNEL_TYPES = frozenset(
    [
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "efivarfs",
        "fusectl",
        "hugetlbfs",
        "mqueue",
        "proc",
        "pstore",
        "securityfs",
        "sysfs",
        "tracefs",
    ]
)
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
    pid: int = 0
    """A process that sees the root so, with its mounts; 0: none does."""

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        return self.calls.openat2(
            self.descriptor, path or ".", flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT
        )


@contextlib.contextmanager
def naming(path: str, container: str) -> Iterator[None]:
    """Errors of the kernel, told with the container's path."""
    try:
        yield
    except ConnectionError:
        raise
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
        descriptor = root.open(path, os.O_PATH | _last_link(path))
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


def _last_link(path: str) -> int:
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


def archive(root: Root, members: Sequence[tuple[str, str]], outlet: Outlet) -> None:
    """A tar of (path, name) members; one without a name gives what is in it.

    What the kernel shows as files (``/proc``) is only entered when it is asked for.
    """
    packer = Packer(outlet, _kernel_devices(root.pid) if root.pid else frozenset())
    for path, name in members:
        with naming(path, root.container):
            descriptor = root.open(path, os.O_PATH | _last_link(path))
            try:
                packer.top(descriptor, os.fsencode(name))
            finally:
                os.close(descriptor)
    packer.end()


def _kernel_devices(pid: int) -> frozenset[int]:
    """Device numbers of the file systems in a process's view that hold no files of anybody."""
    try:
        mounts = read_mounts(pid)
    except OSError:
        return frozenset()
    numbers = (each.device.partition(":") for each in mounts if each.fstype in _KERNEL_TYPES)
    return frozenset(os.makedev(int(major), int(minor)) for major, _, minor in numbers)


def before_wildcard(pattern: str) -> str:
    """The folder that a pattern's first wildcard is in."""
    return re.split(r"[*?\[\\]", pattern)[0].rpartition("/")[0] or "/"


def matching(root: Root, pattern: str) -> list[str]:
    """The paths that match, sorted. ``NotFound``: none does. ``Invalid``: no pattern.

    As in a shell, a wildcard does not match a dot at the beginning of a name.
    """
    found = [""]
    for part in pattern.strip("/").split("/"):
        found = [f"{each}/{name}" for each in found for name in _names(root, each or "/", part)]
    if not found:
        raise NotFound(f"Nothing matches {pattern} in container {root.container}")
    return found


def _names(root: Root, folder: str, part: str) -> list[str]:
    try:
        descriptor = root.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return []
    try:
        hidden = part.startswith(".")
        return sorted(
            name
            for name in os.listdir(descriptor)
            if name.startswith(".") == hidden and match(part, name)
        )
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class PutOptions:
    """``owner``: (uid, gid) for everything that is written; None keeps the archive's."""

    owner: tuple[int, int] | None = None
    keep_kinds: bool = False
    """Refuse to replace a folder by something else, or the other way round."""


def extract(root: Root, path: str, inlet: Inlet, options: PutOptions) -> None:
    """Unpack an archive, plain or compressed, into the folder ``path``; files are replaced."""

    def refusal(error: OSError, where: str) -> Exception:
        if error.errno == errno.ENOTDIR:
            return Invalid(f"{where}: not a directory")
        return translated(error, where, root.container)

    try:
        descriptor = root.open(path, os.O_PATH)
    except OSError as error:
        raise refusal(error, path) from error
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise Invalid("extraction point is not a directory")
    finally:
        os.close(descriptor)
    raw = source = Incoming(inlet)
    if compression(raw.head()):
        source = Incoming(Chunks(inflated(raw.read)[1]))
    base = path.rstrip("/")
    target = Target(
        base,
        lambda name: root.open(f"{base}/{name}", os.O_RDONLY | os.O_DIRECTORY),
        refusal,
        options.owner,
        options.keep_kinds,
    )
    # The folder may be a volume's, with a limit.
    with within_limits():
        Unpacker(source, target).run()
    source.drain()
    raw.drain()
