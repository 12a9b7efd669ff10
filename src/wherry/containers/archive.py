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
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wherry.containers.book import Live
from wherry.containers.layers import lower_dirs, user_of
from wherry.containers.ports import RootView, Volumes
from wherry.containers.record import Record
from wherry.containers.rootfiles import (
    PutOptions,
    Root,
    archive,
    before_wildcard,
    extract,
    matching,
    path_stat,
)
from wherry.containers.stacked import NoMountPoint, stacked
from wherry.containers.transitions import Status
from wherry.errors import Conflict, Forbidden, Invalid
from wherry.images.service import Images
from wherry.linux.mounts import Overlay
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.tasks import in_own_thread, spawn
from wherry.store.paths import Paths
from wherry.trees.flow import Inlet, Outlet
from wherry.wire.mounts import OPERATION, MountPoint

_HEAR = 10.0
"""Seconds in which the end of a process that is gone is recorded, at the very latest."""


class Opened:
    """A container's files: its root as a descriptor, and what lasts as long as that is open."""

    def __init__(self, root: Root, *, keep: int = -1) -> None:
        """``keep``: a descriptor of the namespace that the root is mounted in."""
        self.root = root
        self._descriptors = [root.descriptor] if keep < 0 else [root.descriptor, keep]
        self.let_go: Callable[[], Awaitable[None]] | None = None

    def forsake(self) -> None:
        """Close the descriptors only: nobody will use it."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    async def close(self) -> None:
        """Idempotent. Runs to its end even for a caller that is cancelled."""
        self.forsake()
        let_go, self.let_go = self.let_go, None
        if let_go is not None:
            await asyncio.shield(spawn(_run(let_go), name="close files"))


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()


class Outgoing:
    """See ``containers.service.Outgoing``: (path, name in the archive) of what goes out."""

    def __init__(self, opened: Opened, members: Sequence[tuple[str, str]]) -> None:
        self._opened = opened
        self._members = members

    def send(self, outlet: Outlet) -> None:
        archive(self._opened.root, self._members, outlet)

    async def close(self) -> None:
        await self._opened.close()


class Archiver:
    def __init__(
        self,
        paths: Paths,
        images: Images,
        volumes: Volumes,
        namespaces: PrivateMounts,
        unmounted: Callable[[str], Awaitable[None]],
    ) -> None:
        self._paths = paths
        self._images = images
        self._volumes = volumes
        self._namespaces = namespaces
        self._unmounted = unmounted

    async def stat(self, live: Live, path: str) -> dict[str, Any]:
        """``X-Docker-Container-Path-Stat``. Raises ``NotFound``."""
        given, path = path, absolute(path)
        async with self._opened(live) as opened:
            return await asyncio.to_thread(_stat, opened.root, path, given)

    async def get(
        self, live: Live, path: str, *, name: str = "", pattern: bool = False
    ) -> tuple[dict[str, Any], Outgoing]:
        """See ``containers.service.ContainerFiles.archive``."""
        given, path = path, absolute(path)
        if "/" in name or name == "..":
            raise Invalid(f"invalid name in an archive: {name!r}")
        opened = await self._open(live)
        try:
            if pattern:
                paths = await asyncio.to_thread(matching, opened.root, path)
                found = await asyncio.to_thread(path_stat, opened.root, before_wildcard(path))
                return found, Outgoing(opened, [(each, posixpath.basename(each)) for each in paths])
            found = await asyncio.to_thread(_stat, opened.root, path, given)
        except BaseException:
            await opened.close()
            raise
        name = name or ("." if given.endswith("/.") else posixpath.basename(path.rstrip("/")))
        return found, Outgoing(opened, [(path, name or "/")])

    async def export(self, live: Live) -> Outgoing:
        """A tar of the whole root file system, without what is mounted into it."""
        return Outgoing(await self._open(live, mounts=False), [("/", "")])

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
        async with self._writable(live) as opened:
            await in_own_thread(lambda: extract(opened.root, path, inlet, options), stop=stop)

    def _owner(self, record: Record) -> tuple[int, int] | None:
        """The container's user, for ``copyUIDGID``; None, as in Docker, where it names none."""
        if not record.config.user:
            return None
        lower = lower_dirs(self._paths, self._images, record)
        return user_of(record, lower, self._paths.container(record.id).upper)

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
            await opened.close()

    @contextlib.asynccontextmanager
    async def _writable(self, live: Live) -> AsyncIterator[Opened]:
        """A stopped container must not start while its writable layer is mounted here."""
        if (running := self._running(live)) is None:
            async with live.lock:
                if (running := self._running(live)) is None:
                    if live.running is not None:
                        # Its process is gone, and we are about to hear of it: until then its
                        # layer is taken for one in use.
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(live.over.wait(), _HEAR)
                    async with self._opened(live, write=True) as opened:
                        yield opened
                    return
        try:
            yield running
        finally:
            await running.close()

    def _running(self, live: Live) -> Opened | None:
        """The files as the container's first process sees them; None when there is none."""
        self._check_there(live.record)
        running = live.running
        if running is None:
            return None
        try:
            descriptor = os.open(
                f"/proc/{running.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
            )
        except OSError:
            return None  # it has just ended: its layers are still there
        return Opened(Root(descriptor, self._namespaces.calls, live.record.name, running.pid))

    def _check_there(self, record: Record) -> None:
        if record.status in (Status.REMOVING, Status.DEAD):
            raise Conflict(f"container {record.id} is marked for removal")

    async def _open(self, live: Live, *, write: bool = False, mounts: bool = True) -> Opened:
        record = live.record
        self._check_there(record)
        await self._unmounted(live.id)
        if not mounts:
            return await self._mounted(live, (), write=write)
        if (running := self._running(live)) is not None:
            return running
        if not record.mount_points:
            return await self._mounted(live, self._host_files(record), write=write)
        return await self._with_volumes(live, write=write)

    def _host_files(self, record: Record) -> list[Mapping[str, Any]]:
        """hosts, hostname and resolv.conf as the last start wrote them."""
        place = self._paths.container(record.id)
        taken = {each.destination for each in record.mount_points}
        return [
            {"destination": f"/etc/{file.name}", "source": str(file)}
            for file in (place.hosts, place.hostname, place.resolv_conf)
            if f"/etc/{file.name}" not in taken and file.exists()
        ]

    async def _with_volumes(self, live: Live, *, write: bool) -> Opened:
        """What does not run, with its volumes: mounted by their drivers while it is open."""
        record, holder = live.record, f"{OPERATION}{secrets.token_hex(6)}"
        lower = lower_dirs(self._paths, self._images, record)
        upper = self._paths.container(record.id).upper
        view = RootView(lower, upper, lambda: user_of(record, lower, upper))

        points = record.mount_points
        if record.state.started_ns:
            # Its volumes were filled from the image at the first start, if at all.
            points = tuple(replace(each, extra={**each.extra, "nocopy": True}) for each in points)

        async def let_go() -> None:
            await self._volumes.release(holder, points)

        mounts = await self._volumes.prepare(holder, points, view)
        sources = [*self._host_files(record), *mounts]
        try:
            try:
                opened = await self._mounted(live, sources, write=write)
            except NoMountPoint:
                # It was never started. The mount points are made now, as by a start.
                async with live.lock:
                    (await self._mounted(live, sources, write=True)).forsake()
                opened = await self._mounted(live, sources, write=False, whole=False)
        except BaseException:
            await asyncio.shield(spawn(let_go(), name="release of volumes"))
            raise
        opened.let_go = let_go
        return opened

    async def _mounted(
        self,
        live: Live,
        sources: Sequence[Mapping[str, Any]],
        *,
        write: bool,
        whole: bool = True,
    ) -> Opened:
        """``whole``: every mount must find its place."""
        record = live.record
        place = self._paths.container(record.id)
        lower = lower_dirs(self._paths, self._images, record)
        writable = write and live.running is None
        overlay = Overlay(
            lower=lower if writable else [str(place.upper), *lower],
            upper=str(place.upper) if writable else None,
            work=str(place.work) if writable else None,
            target=str(self._paths.mounts),
        )
        calls = self._namespaces.calls

        def work() -> Opened:
            root, keep = stacked(calls, overlay, sources, record.name, whole=whole)
            return Opened(root, keep=keep)

        return await self._namespaces.run(work, abandon=Opened.forsake)


def _stat(root: Root, path: str, given: str) -> dict[str, Any]:
    """``given`` with a dot at its end is called so in the answer."""
    found = path_stat(root, path)
    return {**found, "name": "."} if given == "." or given.endswith("/.") else found


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
