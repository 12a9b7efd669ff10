"""The volumes service: what the API asks of volumes, by name.

Messages are Docker's ("get x: no such volume", "remove x: volume is in use - [ids]"). A volume's
data is removed by ``remove`` and ``prune`` only, and never while a container refers to it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from wherry.errors import Conflict, Internal, Invalid, NotFound, WherryError
from wherry.store.volumes import (
    ANONYMOUS,
    MADE,
    MAKING,
    NAMED,
    POPULATING,
    READY,
    REMOVING,
    VolumeRow,
    VolumeTable,
)
from wherry.trees.size import tree_size
from wherry.volumes import files, filling
from wherry.volumes import options as local_options
from wherry.volumes.locks import KeyedLocks
from wherry.volumes.ports import LOCAL, Driver, Events
from wherry.volumes.registry import Drivers
from wherry.volumes.spec import volume_name
from wherry.wire.durations import rfc3339
from wherry.wire.filters import Filters
from wherry.wire.mounts import OPERATION
from wherry.wire.prune import Choice

_log = logging.getLogger(__name__)

ANONYMOUS_LABEL = "com.docker.volume.anonymous"
_LIST_FILTERS = ("dangling", "driver", "label", "label!", "name")


class VolumeService:
    """``table`` and ``drivers`` are shared with ``ContainerVolumes``, and so is ``lock``."""

    def __init__(self, table: VolumeTable, drivers: Drivers, events: Events) -> None:
        self.table = table
        self.drivers = drivers
        self._events = events
        self.lock = KeyedLocks()
        """One change of a volume at a time, by name."""

    def get(self, name: str, operation: str = "get") -> VolumeRow:
        """``NotFound``: "get x: no such volume"."""
        row = self.table.by_name(name)
        if row is None or row.hidden:
            raise NotFound(f"{operation} {name}: no such volume")
        return row

    def driver_names(self) -> list[str]:
        return self.drivers.names()

    def driver_of(self, row: VolumeRow) -> Driver:
        return self.drivers.get(row.driver)

    def publish(self, row: VolumeRow, action: str, **attributes: str) -> None:
        self._events.publish("volume", action, row.name, {"driver": row.driver, **attributes})

    async def create(
        self,
        name: str = "",
        driver: str = "",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Make a volume, or return the one of that name. '' makes an anonymous one."""
        row, _ = await self.ensure(name, driver, options, labels)
        return await self.render(row)

    async def ensure(
        self,
        name: str,
        driver: str = "",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        *,
        user: str = "",
    ) -> tuple[VolumeRow, bool]:
        """The volume and whether it was made now. ``user``: the container that refers to it.

        ``Conflict`` when the name belongs to another driver; errors begin with "create NAME: ".
        """
        anonymous = not name
        if not name:
            name = secrets.token_hex(32)
            labels = {**(labels or {}), ANONYMOUS_LABEL: ""}
        try:
            async with self.lock(name):
                row, new = await self._ensure(name, driver, options, labels)
                with self.table.database.transaction():
                    if new:
                        self._enter(row)
                    if user:
                        kind = ANONYMOUS if anonymous else MADE if new else NAMED
                        self.table.use(row.id, user, kind)
        except WherryError as error:
            raise type(error)(f"create {name}: {error.message}") from error
        if new:
            self.publish(row, "create")
        return row, new

    async def _ensure(
        self,
        name: str,
        driver_name: str,
        options: Mapping[str, str] | None,
        labels: Mapping[str, str] | None,
    ) -> tuple[VolumeRow, bool]:
        """A new one is made, and not yet in the table as ready."""
        if driver_name:
            self.drivers.get(driver_name)
        row = self.table.by_name(name)
        if row is not None and not row.hidden:
            if driver_name and row.driver != driver_name:
                raise Conflict(
                    f"driver '{row.driver}' already has volume '{name}': volume name must be unique"
                )
            return row, False
        if row is not None:
            raise Conflict(f"volume {name} is being made or removed")
        if (driver_name or LOCAL) == LOCAL:
            volume_name(name)
        driver = self.drivers.get(driver_name or LOCAL)
        wanted = VolumeRow(
            id=secrets.token_hex(16),
            name=name,
            driver=driver.name,
            created_ns=time.time_ns(),
            options=dict(options or {}),
            bare=options is None,
            labels=None if labels is None else dict(labels),
        )
        local = self.drivers.local
        if driver is not local or "size" not in wanted.options or local.folder(wanted).exists():
            return await driver.create(wanted), True
        # Several steps: start-up removes it if it does not come to the last one.
        self.table.add(replace(wanted, state=MAKING))
        try:
            return await driver.create(wanted), True
        except BaseException:
            self.table.delete(wanted.id)
            raise

    def _enter(self, row: VolumeRow) -> None:
        """Make it visible."""
        if self.table.by_id(row.id) is None:
            self.table.add(row)
        else:
            self.table.set_made(row)

    def adopt(self, name: str) -> None:
        """Make a row for a directory with data that has none (a lost or older database)."""
        try:
            volume_name(name)
        except Invalid:
            return
        row = VolumeRow(secrets.token_hex(16), name, LOCAL, time.time_ns())
        self.table.add(self.drivers.local.adopted(row))

    async def remove(self, name: str, *, force: bool = False) -> None:
        """``Conflict`` while a container refers to it. ``force`` ignores a missing one, and
        forgets one whose plugin does not answer."""
        async with self.lock(name):
            try:
                row = self.get(name)
            except NotFound:
                if force:
                    return
                raise
            await self._remove(row, force=force)

    async def _remove(self, row: VolumeRow, *, force: bool = False) -> None:
        users = self.table.users(row.id) or self.table.holders(row.id)
        if users:
            raise Conflict(f"remove {row.name}: volume is in use - [{', '.join(users)}]")
        self.table.set_state(row.id, REMOVING)
        try:
            await self.driver_of(row).remove(row)
        except WherryError as error:
            if force and row.driver != LOCAL:
                _log.warning("volume %s is forgotten, its driver said: %s", row.name, error)
                self.table.delete(row.id)
                self.publish(row, "destroy")
                return
            self.table.set_state(row.id, READY)
            raise type(error)(f"remove {row.name}: {error.message}") from error
        except Exception:
            self.table.set_state(row.id, READY)
            raise
        self.table.delete(row.id)
        self.publish(row, "destroy")

    async def remove_unused(self, volume_id: str) -> bool:
        """Remove an anonymous volume when nobody refers to it any more."""
        row = self.table.by_id(volume_id)
        if row is None:
            return False
        async with self.lock(row.name):
            row = self.table.by_id(volume_id)
            if row is None or self.table.users(row.id):
                return False
            await self._remove(row)
            return True

    async def finish_removal(self, volume_id: str) -> None:
        """Remove one whose removal was decided (``VolumeTable.abandon``)."""
        row = self.table.by_id(volume_id)
        if row is not None:
            async with self.lock(row.name):
                await self._remove(row)

    async def render(
        self, row: VolumeRow, *, usage: bool = False, ask: bool = True
    ) -> dict[str, Any]:
        """The API's ``Volume``; ``usage`` adds ``UsageData`` (walks the whole tree). ``ask``:
        a plugin is asked about it."""
        driver = self.drivers.get(row.driver, may_lack=True)
        status = await driver.status(row) if ask else None
        entry: dict[str, Any] = {
            "CreatedAt": rfc3339(row.created_ns // 10**9 * 10**9),
            "Driver": row.driver,
            "Labels": None if row.labels is None else dict(row.labels),
            "Mountpoint": driver.path(row),
            "Name": row.name,
            "Options": None if row.bare and not row.options else dict(row.options),
            "Scope": driver.scope,
        }
        if status:
            entry["Status"] = dict(status)
        if usage:
            entry["UsageData"] = {
                "RefCount": len(self.table.users(row.id)),
                "Size": await self._size(row),
            }
        return entry

    async def _size(self, row: VolumeRow) -> int:
        """Bytes in use; -1 when it cannot be known without mounting something."""
        if row.driver != LOCAL:
            return -1
        if row.backing in ("mount", "image") and not self.table.holders(row.id):
            return (
                -1
                if row.backing == "mount"
                else await asyncio.to_thread(self.drivers.local.image_usage, row)
            )
        return await asyncio.to_thread(tree_size, self.drivers.local.data(row))

    async def inspect(self, name: str) -> dict[str, Any]:
        row = self.table.by_name(name)
        if row is None or row.hidden:
            found = await self.drivers.find(name)
            if found is None:
                raise NotFound(f"get {name}: no such volume")
            row = found
        return await self.render(row)

    def _matching(self, filters: Filters, rows: Sequence[VolumeRow]) -> list[VolumeRow]:
        counts = self.table.use_counts()
        dangling = filters.boolean("dangling") if filters.get("dangling") else None
        return [
            row
            for row in rows
            if not row.hidden
            and (dangling is None or dangling is (row.id not in counts))
            and filters.exact("driver", row.driver)
            and filters.search("name", row.name)
            and filters.labels(row.labels)
        ]

    async def listing(self, filters: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """``{"Volumes": [...], "Warnings": [...] or None}``; a plugin's own volumes too."""
        checked = Filters(filters)
        checked.validate(_LIST_FILTERS)
        rows = self.table.all()
        foreign, silent = await self.drivers.foreign({row.name for row in rows})
        warnings = list(silent.values())
        chosen = self._matching(checked, [*rows, *foreign])
        entries = []
        for row in chosen:
            try:
                entries.append(await self.render(row, ask=row.driver not in silent))
            except WherryError as error:
                warnings.append(error.message)
        return {"Volumes": entries, "Warnings": warnings or None}

    async def prune(
        self,
        filters: Mapping[str, Sequence[str]],
        *,
        only_anonymous: bool = True,
        dry_run: bool = False,
        without: Collection[str] = (),
    ) -> dict[str, Any]:
        """Remove what no container refers to and has no driver options.

        API 1.42 and up: anonymous ones, unless ``all=true``; before, all of them
        (``only_anonymous`` False). ``dry_run``: only say which; ``without``: ids of containers
        to be taken as removed.
        """
        choice = Choice(filters, "all")
        everything = choice.filters.boolean("all")
        if not only_anonymous:
            if choice.filters.get("all") and not everything:
                raise Invalid("invalid filter 'all': before API 1.42 nothing else can be chosen")
            everything = True

        def takes(row: VolumeRow) -> bool:
            anonymous = ANONYMOUS_LABEL in (row.labels or {})
            return (everything or anonymous) and self._prunable(row, choice, without)

        removed: list[str] = []
        reclaimed = 0
        for row in self.table.all():
            if not takes(row):
                continue
            size = await self._size(row)
            if not dry_run and not await self._pruned(row, takes):
                continue
            removed.append(row.name)
            reclaimed += max(0, size)
        if not dry_run:
            self._events.publish("volume", "prune", "", {"reclaimed": str(reclaimed)})
        return {"VolumesDeleted": removed or None, "SpaceReclaimed": reclaimed}

    def _prunable(self, row: VolumeRow, choice: Choice, without: Collection[str]) -> bool:
        return (
            not row.hidden
            and row.driver == LOCAL
            and not row.options
            and choice.takes(row.labels, row.created_ns)
            and choice.names(row.name)
            and not set(self.table.users(row.id)).difference(without)
            and not set(self.table.holders(row.id)).difference(without)
        )

    async def _pruned(self, row: VolumeRow, takes: Callable[[VolumeRow], bool]) -> bool:
        """Remove one that was chosen, if it is still the one and still to be taken; whether it is
        gone. The others must not wait for one that cannot be removed."""
        async with self.lock(row.name):
            now = self.table.by_id(row.id)
            if now is None or now.name != row.name or not takes(now):
                return False
            try:
                await self._remove(now)
            except WherryError as error:
                _log.warning("prune: %s", error.message)
                return False
        return True

    async def disk_usage(self) -> list[dict[str, Any]]:
        """Volumes of the local driver with ``UsageData``; not those that mount a device."""
        rows = [
            row
            for row in self.table.all()
            if row.driver == LOCAL and row.backing != "mount" and not row.hidden
        ]
        return [await self.render(row, usage=True) for row in rows]

    async def update(
        self,
        name: str,
        *,
        size: int | None = None,
        labels: Mapping[str, str] | None = None,
        remove_labels: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Beyond Docker: another size limit (bytes), labels set and removed. The answer has
        ``Warnings``, for labels that are not there to be removed."""
        if size is None and not labels and not remove_labels:
            raise Invalid(f"nothing to update of volume {name}: give a size or labels")
        if size is not None:
            local_options.check_limit(size, str(size))
        for key in remove_labels:
            if key in (labels or {}):
                raise Invalid(f"Labels and RemoveLabels both name {key}")
        async with self.lock(name):
            row = self.get(name)
            if size is not None:
                if row.driver != LOCAL:
                    raise Invalid(f"driver {row.driver} takes no size")
                await self.drivers.local.resize(row, size)
                row = replace(row, size_limit=size, options={**row.options, "size": str(size)})
                self.table.set_size(row.id, row.size_limit, row.options)
            warnings: list[str] = []
            if labels or remove_labels:
                merged = {**(row.labels or {}), **(labels or {})}
                for key in remove_labels:
                    if merged.pop(key, None) is None:
                        warnings.append(f"RemoveLabels: the volume has no label {key}")
                row = replace(row, labels=merged)
                self.table.set_labels(row.id, merged)
            self.publish(row, "update")
            return {**await self.render(row), "Warnings": warnings}

    async def rename(self, name: str, new_name: str) -> None:
        """Beyond Docker. ``Conflict`` while a container refers to it, or for a taken name."""
        volume_name(new_name)
        first, second = sorted((name, new_name))
        if first == second:
            raise Conflict(f"volume name must be unique: {new_name}")
        async with self.lock(first), self.lock(second):
            row = self.get(name)
            self._idle(row, "rename")
            if row.driver != LOCAL:
                raise Invalid(f"driver {row.driver} cannot rename volumes")
            if self.table.by_name(new_name) is not None:
                raise Conflict(f"volume name must be unique: {new_name}")
            renamed = replace(row, name=new_name)
            self.table.rename(row.id, new_name, moved_from=name)
            try:
                self.drivers.local.rename(row, renamed)
            except WherryError:
                self.table.rename(row.id, name, moved_from="")
                raise
            self.table.rename(row.id, new_name, moved_from="")
            self.publish(renamed, "rename", oldName=name)

    def _idle(self, row: VolumeRow, operation: str) -> None:
        users = self.table.users(row.id) or self.table.holders(row.id)
        if users:
            raise Conflict(f"{operation} {row.name}: volume is in use - [{', '.join(users)}]")

    @asynccontextmanager
    async def opened(self, row: VolumeRow) -> AsyncIterator[str]:
        """The volume's directory for an operation of ours, mounted while it lasts."""
        holder = f"{OPERATION}{secrets.token_hex(6)}"
        path = await self.mount(row, holder)
        try:
            yield path
        finally:
            await self.unmount(row, holder)

    async def mount(self, row: VolumeRow, holder: str) -> str:
        """Hold the volume for ``holder`` and return its directory. Under ``lock(row.name)``."""
        self.table.hold(row.id, holder)
        try:
            path = await self.driver_of(row).mount(row, holder)
            if not path:
                raise Internal(f"driver {row.driver} gave no mount point for volume {row.name}")
        except BaseException:
            self.table.unhold(row.id, holder)
            raise
        try:
            await self._recover(row, path)
        except BaseException:
            await self.unmount(row, holder)
            raise
        return path

    async def _recover(self, row: VolumeRow, path: str) -> None:
        """A first filling that a crash cut short: its part goes, or its whole is put in place."""
        now = self.table.by_id(row.id)
        if now is None or now.state != POPULATING:
            return
        try:
            await asyncio.to_thread(filling.recover, Path(path))
        except OSError as error:
            raise files.trouble(f"cannot recover volume {row.name}", error) from error
        self.table.set_state(row.id, READY)

    async def unmount(self, row: VolumeRow, holder: str) -> None:
        if holder not in self.table.holders(row.id):
            return
        self.table.unhold(row.id, holder)
        last = not self.table.holders(row.id)
        await self.driver_of(row).unmount(row, holder, last=last)
