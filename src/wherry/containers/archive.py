"""Files in and out of containers, running or not: stat, archive, extract, export.

A running container's files are reached through its first process's root, so that its mounts are
seen as it sees them. A stopped one's layers, volumes and binds are mounted in a private mount
namespace that lives as long as the operation.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wherry.containers.book import Live
from wherry.containers.layers import lower_dirs, user_of
from wherry.containers.record import Record
from wherry.containers.rootfiles import Root, path_stat
from wherry.containers.tarin import PutOptions, extract
from wherry.containers.tarout import archive
from wherry.containers.transitions import Status
from wherry.errors import Conflict, Forbidden, Invalid, NotFound
from wherry.images.service import Images
from wherry.linux.flow import Inlet, Outlet
from wherry.linux.mounts import Overlay, mount_overlay
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.syscalls import MS_BIND, MS_RDONLY, MS_REC, MS_REMOUNT, RESOLVE_IN_ROOT, Syscalls
from wherry.linux.tasks import in_own_thread
from wherry.store.paths import Paths
from wherry.wire.mounts import MountPoint


@dataclass
class Opened:
    """A container's root as a descriptor; ``keep`` holds the namespace of its mounts."""

    root: Root
    keep: int = -1

    def close(self) -> None:
        os.close(self.root.descriptor)
        if self.keep >= 0:
            os.close(self.keep)


class Outgoing:
    """See ``containers.service.Outgoing``: the files below ``path``, the first called ``name``."""

    def __init__(self, opened: Opened, path: str, name: str) -> None:
        self._opened: Opened | None = opened
        self._path = path
        self._name = name

    def send(self, outlet: Outlet) -> None:
        assert self._opened is not None
        archive(self._opened.root, self._path, self._name, outlet)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


class Archiver:
    def __init__(
        self,
        paths: Paths,
        images: Images,
        namespaces: PrivateMounts,
    ) -> None:
        self._paths = paths
        self._images = images
        self._namespaces = namespaces

    async def stat(self, live: Live, path: str) -> dict[str, Any]:
        """``X-Docker-Container-Path-Stat``. Raises ``NotFound``."""
        path = absolute(path)
        async with self._opened(live) as opened:
            return await asyncio.to_thread(path_stat, opened.root, path)

    async def get(self, live: Live, path: str) -> tuple[dict[str, Any], Outgoing]:
        """The path's stat and a tar of it, its first member named as the path's last part."""
        path = absolute(path)
        opened = await self._open(live)
        try:
            found = await asyncio.to_thread(path_stat, opened.root, path)
        except BaseException:
            opened.close()
            raise
        name = posixpath.basename(path.rstrip("/")) or "/"
        return found, Outgoing(opened, path, name)

    async def export(self, live: Live) -> Outgoing:
        """A tar of the whole root file system, without what is mounted into it."""
        opened = await self._open(live, mounts=False)
        return Outgoing(opened, "/", ".")

    async def put(
        self,
        live: Live,
        path: str,
        inlet: Inlet,
        stop: Callable[[], None],
        *,
        keep_kinds: bool,
        copy_owner: bool,
    ) -> None:
        """Extract an archive into the folder ``path``.

        Raises ``NotFound``, ``Invalid`` (not a folder, not a tar), ``Forbidden`` (read-only),
        ``Exhausted``.
        """
        path = absolute(path)
        self._check_writable(live.record, path)
        options = PutOptions(self._owner(live.record) if copy_owner else None, keep_kinds)

        # A stopped container must not start while its writable layer is mounted here.
        alone = contextlib.nullcontext() if live.running else live.lock
        async with alone, self._opened(live, write=True) as opened:
            await in_own_thread(
                lambda: extract(opened.root, path, inlet, options), name="extract", stop=stop
            )

    def _owner(self, record: Record) -> tuple[int, int]:
        """The container's user, for ``copyUIDGID``."""
        lower = lower_dirs(self._paths, self._images, record)
        upper = self._paths.container(record.id).upper
        return user_of(record, lower, upper)

    def _check_writable(self, record: Record, path: str) -> None:
        point = _mount_at(record.mount_points, path)
        if point is not None:
            if not point.rw:
                raise Forbidden("mounted volume is marked read-only")
        elif record.host_config.readonly_rootfs:
            raise Forbidden("container rootfs is marked read-only")

    @contextlib.asynccontextmanager
    async def _opened(self, live: Live, *, write: bool = False) -> AsyncIterator[Opened]:
        opened = await self._open(live, write=write)
        try:
            yield opened
        finally:
            opened.close()

    async def _open(self, live: Live, *, write: bool = False, mounts: bool = True) -> Opened:
        record = live.record
        if record.status in (Status.REMOVING, Status.DEAD):
            raise Conflict(f"container {record.id} is marked for removal")
        running = live.running
        if running is not None and mounts:
            try:
                descriptor = os.open(
                    f"/proc/{running.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
                )
            except OSError:
                pass  # it has just ended: its layers are still there
            else:
                return Opened(Root(descriptor, self._namespaces.calls, record.name))
        place = self._paths.container(record.id)
        lower = lower_dirs(self._paths, self._images, record)
        if not write or running is not None:
            lower = [str(place.upper), *lower]
        overlay = Overlay(
            lower=lower,
            upper=str(place.upper) if write and running is None else None,
            work=str(place.work) if write and running is None else None,
            target=str(self._paths.mounts),
        )
        points = record.mount_points if mounts else ()
        calls = self._namespaces.calls
        return await self._namespaces.run(
            lambda: _mounted(calls, overlay, points, record.name), abandon=Opened.close
        )


def absolute(path: str) -> str:
    """A path of the request, from the root; a trailing ``/`` or ``/.`` keeps its meaning."""
    if not path:
        raise Invalid("bad parameter: path cannot be empty")
    if "\0" in path:
        raise Invalid("path must not contain a null byte")
    trailing = path.endswith(("/", "/.")) or path == "."
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return clean + "/" if trailing and clean != "/" else clean


def _mount_at(points: Sequence[MountPoint], path: str) -> MountPoint | None:
    """The mount that ``path`` lies in, the deepest one."""
    found: MountPoint | None = None
    for point in points:
        base = point.destination.rstrip("/")
        if (path.rstrip("/") + "/").startswith(base + "/") and (
            found is None or len(base) > len(found.destination)
        ):
            found = point
    return found


def _mounted(calls: Syscalls, overlay: Overlay, points: Sequence[MountPoint], name: str) -> Opened:
    """In a private namespace: stack the layers, bind what is mounted, open the root."""
    mount_overlay(calls, overlay)
    descriptor = os.open(overlay.target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for point in points:
            if point.type in ("bind", "volume") and point.source:
                _bind(calls, descriptor, point)
        keep = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except BaseException:
        os.close(descriptor)
        raise
    return Opened(Root(descriptor, calls, name), keep)


def _bind(calls: Syscalls, root: int, point: MountPoint) -> None:
    """Bind a source where the container has it; a mount point not made yet is left out."""
    try:
        at = calls.openat2(root, point.destination, os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT)
    except OSError:
        return
    try:
        target = f"/proc/self/fd/{at}"
        calls.mount(point.source, target, None, MS_BIND | MS_REC, None)
        if not point.rw:
            seen = calls.openat2(
                root, point.destination, os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT
            )
            try:
                flags = MS_BIND | MS_REMOUNT | MS_RDONLY
                calls.mount(None, f"/proc/self/fd/{seen}", None, flags, None)
            finally:
                os.close(seen)
    except OSError as error:
        raise NotFound(f"cannot mount {point.source} at {point.destination}: {error}") from error
    finally:
        os.close(at)
