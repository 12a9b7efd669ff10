"""Mounts of containers: the ``Volumes`` port of the life cycle.

``plan`` runs at create and is all or nothing; ``prepare`` at start gives the OCI mounts;
``release`` after exit and ``forget`` at remove are idempotent.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from wherry.errors import Conflict, Invalid, NotFound, WherryError
from wherry.linux.tasks import spawn
from wherry.store.volumes import ANONYMOUS, NAMED, POPULATING, READY, VolumeRow
from wherry.volumes import files, filling, points, spec
from wherry.volumes.archive import VolumeArchive
from wherry.volumes.copyup import CopyUp
from wherry.volumes.hostmounts import HostMounts
from wherry.volumes.local import TRASH
from wherry.volumes.ports import LOCAL, Peers
from wherry.volumes.service import VolumeService
from wherry.wire.container import Mount
from wherry.wire.mounts import OPERATION, MountPoint, MountRequest, RootView

_log = logging.getLogger(__name__)

_NOT_OURS_TO_FILL = (errno.EROFS, errno.EACCES, errno.EPERM)
"""A device that is read-only, or on a server where our root is nobody."""

HOST_FILES = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""What every container has mounted by itself; a user's own file takes the place."""


class ContainerVolumes:
    """``peers`` gives other containers' mount points, for ``--volumes-from``."""

    def __init__(
        self,
        service: VolumeService,
        archive: VolumeArchive,
        peers: Peers,
        copy_up: CopyUp,
        host: HostMounts,
    ) -> None:
        self._service = service
        self._archive = archive
        self._peers = peers
        self._copy_up = copy_up
        self._host = host

    async def plan(self, request: MountRequest) -> tuple[list[MountPoint], list[str]]:
        """See ``containers.ports.Volumes``. ``Invalid`` and ``NotFound`` as Docker words them."""
        wanted = self._wanted(request)
        found = {each.destination: each for each in self._from_peers(request)}
        explicit = {each.target for each in wanted}
        found = {path: each for path, each in found.items() if path not in explicit}
        for path in request.image_volumes:
            target = spec.clean(path if path.startswith("/") else f"/{path}")
            if target == "/":
                raise Invalid("invalid volume: destination can't be '/'")
            if target not in explicit and target not in found:
                driver = request.host_config.volume_driver or ""
                wanted.append(spec.Wanted("volume", target, driver=driver, implicit=True))
                explicit.add(target)
        for each in wanted:
            self._check(each)
        made: list[str] = []
        try:
            for each in wanted:
                found[each.target] = await self._point(each, request.container_id, made)
            for point in found.values():
                self._use(point, request.container_id)
        except BaseException:
            self._service.table.unuse(request.container_id)
            for volume_id in made:
                await self._service.remove_unused(volume_id)
            raise
        ordered = sorted(found.values(), key=lambda each: spec.depth(each.destination))
        return ordered, []

    def _wanted(self, request: MountRequest) -> list[spec.Wanted]:
        host = request.host_config
        driver = host.volume_driver or ""
        wanted = [spec.parse_bind(each, driver) for each in host.binds or ()]
        wanted += [spec.parse_mount(each) for each in host.mounts or ()]
        wanted += spec.parse_tmpfs(host.tmpfs)
        spec.check_unique(wanted)
        return wanted

    def _from_peers(self, request: MountRequest) -> list[MountPoint]:
        found = []
        for raw in request.host_config.volumes_from or ():
            ref, mode = spec.parse_volumes_from(raw)
            try:
                theirs = self._peers(ref)
            except NotFound as error:
                # as NotFound a client would take it for a missing image, and pull
                raise Invalid(error.message) from error
            for point in theirs:
                if points.listed(point) and point.type != "tmpfs":
                    found.append(points.borrowed(point, read_only="ro" in mode.split(",")))
        return found

    def _check(self, wanted: spec.Wanted) -> None:
        """What must hold before anything is made."""
        if wanted.target in HOST_FILES and self._is_folder(wanted):
            raise Invalid(
                f'invalid mount config for type "{wanted.kind}": {wanted.target} is a file in '
                "every container: only a file can be mounted there"
            )
        if wanted.kind == "bind" and not wanted.create_source:
            if not os.path.exists(wanted.source):
                raise Invalid(
                    'invalid mount config for type "bind": '
                    f"bind source path does not exist: {wanted.source}"
                )
        elif wanted.kind == "volume":
            if wanted.source and (wanted.driver or LOCAL) == LOCAL:
                self._check_name(wanted.source)
            if wanted.driver:
                try:
                    self._service.drivers.get(wanted.driver)
                except NotFound as error:
                    lead = f"create {wanted.source}: " if wanted.source else ""
                    raise NotFound(f"{lead}{error.message}") from error
        elif wanted.kind == "image":
            self._host.image_layers(wanted.source)

    def _is_folder(self, wanted: spec.Wanted) -> bool:
        """Whether it is sure to be none but a directory."""
        if wanted.kind == "bind":
            return os.path.isdir(wanted.source)
        return not wanted.subpath

    def _check_name(self, name: str) -> None:
        if self._service.table.by_name(name) is None:
            try:
                spec.volume_name(name)
            except Invalid as error:
                raise Invalid(f"create {name}: {error.message}") from error

    async def _point(self, wanted: spec.Wanted, container_id: str, made: list[str]) -> MountPoint:
        if wanted.kind == "image":
            return points.of_image(wanted, *self._host.image_layers(wanted.source))
        if wanted.kind != "volume":
            return points.of_wanted(wanted)
        row, new = await self._service.ensure(
            wanted.source,
            wanted.driver,
            wanted.driver_options,
            wanted.labels or None,
            user=container_id,
        )
        if new:
            made.append(row.id)
        path = self._service.driver_of(row).path(row)
        return points.of_volume(wanted, row, path)

    def _use(self, point: MountPoint, container_id: str) -> None:
        volume_id = point.extra.get("volume_id")
        if volume_id:
            row = self._service.table.by_id(volume_id)
            if row is None or row.hidden:
                raise NotFound(f"get {point.name}: no such volume")
            kind = ANONYMOUS if point.extra.get("anonymous") else NAMED
            self._service.table.use(volume_id, container_id, kind)

    async def prepare(
        self, container_id: str, points_: Sequence[MountPoint], root: RootView
    ) -> list[Mapping[str, Any]]:
        """OCI mounts in order. What was mounted is released again when one of them fails. Volumes
        of mounts that were removed while the container ran are no longer used from here on."""
        try:
            await self.retain(container_id, points_)
            return await self.add(container_id, points_, root, 0)
        except BaseException:
            await self.release(container_id, points_)
            raise

    # While it exists

    def unknown(self, mounts: Sequence[Mount]) -> list[str]:
        """Names of volumes that the mounts ask for and that are not there yet."""
        table = self._service.table
        named = [each.source for each in mounts if each.type == "volume"]
        return [name for name in named if name and table.by_name(name) is None]

    async def extend(
        self, container_id: str, mounts: Sequence[Mount], present: Sequence[MountPoint]
    ) -> list[MountPoint]:
        """Plan further mounts. See ``containers.ports.Volumes``."""
        wanted = [spec.parse_mount(each) for each in mounts]
        spec.check_unique(wanted)
        taken = {each.destination for each in present}
        for each in wanted:
            if each.target in taken:
                raise Invalid(f"Duplicate mount point: {each.target}")
            self._check(each)
        made: list[str] = []
        before = dict(self._service.table.uses_of(container_id))
        try:
            found = [await self._point(each, container_id, made) for each in wanted]
            for point in found:
                self._use(point, container_id)
        except BaseException:
            for volume_id, _ in self._service.table.uses_of(container_id):
                if volume_id not in before:
                    self._service.table.unuse_one(volume_id, container_id)
            for volume_id in made:
                await self._service.remove_unused(volume_id)
            raise
        return sorted(found, key=lambda each: spec.depth(each.destination))

    async def add(
        self, container_id: str, points_: Sequence[MountPoint], root: RootView, first: int
    ) -> list[Mapping[str, Any]]:
        """OCI mounts in order; what they need on the host is numbered from ``first``."""
        return [
            await self._mount(container_id, number, point, root)
            for number, point in enumerate(points_, first)
        ]

    async def retain(
        self, container_id: str, points_: Sequence[MountPoint]
    ) -> list[tuple[str, bool]]:
        """Let go of every volume that none of ``points_`` names. Idempotent; (id, anonymous)."""
        table = self._service.table
        kept = {str(each.extra.get("volume_id", "")) for each in points_}
        gone = [each for each in table.uses_of(container_id) if each[0] not in kept]
        held = set(table.held_by(container_id))
        for volume_id, _ in gone:
            if volume_id in held:
                await self._let_go(container_id, volume_id)
            table.unuse_one(volume_id, container_id)
        return gone

    async def _let_go(self, container_id: str, volume_id: str) -> None:
        row = self._service.table.by_id(volume_id)
        if row is None:
            return
        async with self._service.lock(row.name):
            try:
                await self._service.unmount(row, container_id)
            except WherryError as error:
                _log.warning("container %s: %s", container_id, error.message)
        if not container_id.startswith(OPERATION):
            self._service.publish(row, "unmount", container=container_id)

    async def withdraw(
        self, container_id: str, points_: Sequence[MountPoint], first: int, made: Sequence[str]
    ) -> None:
        """Undo ``extend`` and ``add``. See ``containers.ports.Volumes``."""
        await self._host.drop_from(container_id, first)
        gone = await self.retain(container_id, points_)
        rows = [self._service.table.by_name(name) for name in made]
        unwanted = [volume_id for volume_id, anonymous in gone if anonymous]
        for volume_id in [*unwanted, *(row.id for row in rows if row is not None)]:
            try:
                await self._service.remove_unused(volume_id)
            except WherryError as error:
                _log.warning("container %s: %s", container_id, error.message)

    async def _mount(
        self, container_id: str, number: int, point: MountPoint, root: RootView
    ) -> Mapping[str, Any]:
        if point.type == "tmpfs":
            return points.oci(point, "tmpfs")
        if point.type == "image":
            source = await self._host.image(container_id, number, point)
        elif point.type == "volume":
            source = await self._volume(container_id, number, point, root)
        else:
            source = self._bind_source(point)
        if point.extra.get("idmap"):
            user = await asyncio.to_thread(root.user)
            source = await self._host.idmapped(container_id, number, source, user)
        return points.oci(point, source, directory=os.path.isdir(source))

    def _bind_source(self, point: MountPoint) -> str:
        source = point.source
        try:
            if not os.path.exists(source):
                if not point.extra.get("create") or os.path.lexists(source):
                    raise Invalid(
                        'invalid mount config for type "bind": '
                        f"bind source path does not exist: {source}"
                    )
                Path(source).mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            what = f"error while creating mount source path '{source}': mkdir {source}"
            if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG, errno.EACCES):
                raise Invalid(f"{what}: {os.strerror(error.errno).lower()}") from error
            raise files.trouble(what, error) from error
        self._host.check_propagation(source, point.propagation)
        return source

    async def _volume(
        self, container_id: str, number: int, point: MountPoint, root: RootView
    ) -> str:
        row = self._row(point)
        async with self._service.lock(row.name):
            path = await self._service.mount(row, container_id)
            if not point.extra.get("nocopy") and not point.extra.get("subpath"):
                await self._populate(row, path, point, root)
        if not container_id.startswith(OPERATION):
            self._service.publish(
                row,
                "mount",
                container=container_id,
                destination=point.destination,
                propagation=point.propagation,
                **{"read/write": "true" if point.rw else "false"},
            )
        subpath = point.extra.get("subpath")
        if subpath:
            return await self._host.subpath(container_id, number, path, str(subpath), point)
        return path

    def _row(self, point: MountPoint) -> VolumeRow:
        table = self._service.table
        row = table.by_id(str(point.extra.get("volume_id", ""))) or table.by_name(point.name)
        if row is None or row.hidden:
            raise NotFound(f"get {point.name}: no such volume")
        return row

    async def _populate(self, row: VolumeRow, path: str, point: MountPoint, root: RootView) -> None:
        """Copy-up, once: into an empty volume, marked in the database while it is under way."""
        volume = Path(path)
        try:
            if not files.is_empty(volume):
                return
            self._service.table.set_state(row.id, POPULATING)
            try:
                aside = await self._aside(row, volume)
                if aside and await self._copy_up.copy(root, point.destination, aside, row.name):
                    await asyncio.to_thread(filling.finish, volume)
            finally:
                await asyncio.to_thread(filling.recover, volume)
                self._service.table.set_state(row.id, READY)
        except OSError as error:
            raise files.trouble(f"cannot fill volume {row.name}", error) from error

    async def _aside(self, row: VolumeRow, volume: Path) -> Path | None:
        """Where to copy to; None for a device that lets us put nothing there."""
        try:
            return await asyncio.to_thread(filling.begin, volume)
        except OSError as error:
            if row.backing != "mount" or error.errno not in _NOT_OURS_TO_FILL:
                raise
            _log.info("volume %s stays empty: %s", row.name, error)
            return None

    async def release(self, container_id: str, points_: Sequence[MountPoint]) -> None:
        """Give back what ``prepare`` took. Never raises for what is gone already."""
        await self._host.drop(container_id)
        for volume_id in self._service.table.held_by(container_id):
            await self._let_go(container_id, volume_id)

    async def forget(
        self, container_id: str, points_: Sequence[MountPoint], *, remove_anonymous: bool
    ) -> None:
        """The container is gone: drop its references, and what was made for it alone."""
        table = self._service.table
        if not remove_anonymous:
            table.unuse(container_id)
            return
        for volume_id in table.abandon(container_id):
            try:
                await self._service.finish_removal(volume_id)
            except (Conflict, NotFound):
                continue
            except WherryError as error:
                _log.warning("container %s: %s", container_id, error.message)

    async def adopt(self, containers: Collection[str], running: Collection[str]) -> None:
        """Start-up: drop references of containers that are gone, finish removals, undo half
        copies, adopt directories that nobody knows. ``containers`` and ``running`` are ids."""
        table = self._service.table
        made_for_none = table.keep_only(containers, list(running))
        for row in table.all():
            try:
                await self._settle(row)
            except (WherryError, OSError) as error:
                _log.warning("volume %s: %s", row.name, error)
        for volume_id in made_for_none:
            await self._drop_empty(volume_id)
        await self._sweep()
        await self._archive.sweep()
        await self._host.keep_only(running)

    def dismantle(self) -> None:
        """The daemon ends and no container runs: nothing stays mounted."""
        self._service.drivers.local.dismantle()

    async def _settle(self, row: VolumeRow) -> None:
        table = self._service.table
        if row.driver != LOCAL:
            if row.hidden:
                # A plugin may take its time, or never answer: nobody waits for it.
                spawn(self._remove_foreign(row), name=f"removal of volume {row.name}")
            return
        driver = self._service.drivers.local
        if row.hidden:
            await driver.remove(row)
            table.delete(row.id)
            return
        if not table.holders(row.id):
            await driver.unmount(row, "", last=True)
            row = self._agreed(row)
        if row.state == POPULATING and row.backing != "mount":
            async with self._service.lock(row.name), self._service.opened(row):
                pass  # mounting it makes it whole; one whose device may not answer waits

    async def _remove_foreign(self, row: VolumeRow) -> None:
        """Finish a removal of a plugin's volume; where that fails, the volume is there again."""
        try:
            await self._service.finish_removal(row.id)
        except WherryError as error:
            _log.warning("volume %s stays: %s", row.name, error.message)

    def _agreed(self, row: VolumeRow) -> VolumeRow:
        """The row and the directory say the same again."""
        found = self._service.drivers.local.settle(row)
        if found.size_limit != row.size_limit:
            self._service.table.set_size(row.id, found.size_limit, found.options)
        if row.moved_from:
            self._service.table.rename(row.id, row.name, moved_from="")
        return found

    async def _drop_empty(self, volume_id: str) -> None:
        """A volume that was made with a container whose creation did not reach its end."""
        local = self._service.drivers.local
        row = self._service.table.by_id(volume_id)
        try:
            if row and (row.driver != LOCAL or not local.has_data(local.folder(row))):
                await self._service.remove_unused(volume_id)
        except WherryError as error:
            _log.warning("volume %s: %s", volume_id, error.message)

    async def _sweep(self) -> None:
        """Directories without a row: an empty one goes, one with data becomes a volume again."""
        for folder in self._service.drivers.local.folders():
            try:
                await self._claim(folder)
            except (WherryError, OSError) as error:
                _log.warning("the directory %s stays as it is: %s", folder, error)

    async def _claim(self, folder: Path) -> None:
        local = self._service.drivers.local
        if folder.name.startswith(TRASH):
            await local.discard(folder)
        elif self._service.table.by_name(folder.name) is None:
            if not local.has_data(folder):
                await local.discard(folder)
            else:
                self._service.adopt(folder.name)
