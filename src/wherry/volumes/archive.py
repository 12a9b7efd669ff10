"""Beyond Docker: export and import as tar, clone, snapshots.

New content is always made aside and put in place in one step (a directory swap, or the rename of
a disk image), so that a volume has its old content or its new one, whatever happens between.
Operations that replace or copy need a volume that nobody has mounted; export does not.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from wherry.errors import Conflict, Exhausted, Internal, Invalid, NotFound, WherryError
from wherry.linux.exchange import exchange
from wherry.linux.syscalls import MNT_DETACH
from wherry.linux.tasks import spawn
from wherry.store.volumes import MAKING, VolumeRow
from wherry.volumes import files, sized
from wherry.volumes.ports import LOCAL
from wherry.volumes.service import VolumeService
from wherry.volumes.spec import volume_name
from wherry.volumes.treecopy import copy_image
from wherry.wire.durations import rfc3339
from wherry.wire.mounts import OPERATION

_log = logging.getLogger(__name__)

SNAPSHOTS = "snapshots"
_SNAPSHOT = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_CHUNK = 1 << 18
_LOOK = 1 << 20
"""Bytes of an import after which its use of a limited volume is looked at."""
_COMPRESSION = (
    (b"\x1f\x8b", "--gzip"),
    (b"\x28\xb5\x2f\xfd", "--zstd"),
    (b"\xfd7zXZ\x00", "--xz"),
    (b"BZh", "--bzip2"),
)
_TAR = ("tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls")


class VolumeArchive:
    def __init__(self, service: VolumeService) -> None:
        self._service = service

    def _local(self, name: str) -> VolumeRow:
        row = self._service.get(name)
        if row.driver != LOCAL:
            raise Invalid(f"volume {name} belongs to driver {row.driver}, which cannot do this")
        return row

    def _still(self, row: VolumeRow, operation: str) -> None:
        holders = self._service.table.holders(row.id)
        if holders:
            raise Conflict(
                f"{operation} {row.name}: volume is in use by running containers - "
                f"[{', '.join(holders)}]: stop them first"
            )

    async def export(self, name: str) -> AsyncGenerator[bytes, None]:
        """The volume as a tar stream. With running users it is what tar saw while it read."""
        row = self._service.get(name)
        async with self._service.lock(name):
            opened = self._service.opened(row)
            path = await opened.__aenter__()
        try:
            process = await asyncio.create_subprocess_exec(
                *_TAR,
                "--sparse",
                "--warning=no-file-changed",
                "-C",
                path,
                "-cf",
                "-",
                ".",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_CHUNK,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            # Read beside: a tar with much to complain of would wait for it.
            complaints = spawn(process.stderr.read(), name=f"export of volume {name}")
            try:
                while chunk := await process.stdout.read(_CHUNK):
                    yield chunk
                errors = await complaints
                # 1: a file changed while it was read, which a volume in use may do
                if await process.wait() not in (0, 1):
                    raise files.failure(f"exporting volume {name}", errors)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        finally:
            async with self._service.lock(name):
                await opened.__aexit__(None, None, None)

    async def load(self, name: str, stream: AsyncIterator[bytes], *, overwrite: bool) -> None:
        """Fill a volume from a tar stream (plain, gzip, zstd, xz, bzip2); one that is not there is
        made, and goes again when it cannot be filled.

        ``Conflict`` when it holds data and ``overwrite`` is not set, or while it is mounted. The
        stream is unpacked into a new directory, so that links in the volume lead nowhere.
        """
        if self._service.table.by_name(name) is not None:
            await self._load(name, stream, overwrite)
            return
        # As a volume that is made with a container: start-up removes it if it stays empty.
        maker = f"{OPERATION}{secrets.token_hex(6)}"
        row, new = await self._service.ensure(name, user=maker)
        try:
            await self._load(name, stream, overwrite)
        except BaseException:
            self._service.table.unuse(maker)
            if new:
                await self._service.remove_unused(row.id)
            raise
        self._service.table.unuse(maker)

    async def _load(self, name: str, stream: AsyncIterator[bytes], overwrite: bool) -> None:
        async with self._service.lock(name):
            row = self._local(name)
            self._still(row, "import")
            async with self._service.opened(row) as path:
                full = not files.is_empty(path)
            if full and not overwrite:
                raise Conflict(f"import {name}: the volume is not empty (overwrite=true replaces)")
            async with self._replacement(row) as aside:
                await _unpack(self._fitting(row, aside, stream), aside, name)

    async def _fitting(
        self, row: VolumeRow, aside: Path, stream: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """The stream, until more is unpacked than the volume may hold: tar is root's, whom the
        kernel may let exceed a quota."""
        passed = 0
        async for chunk in stream:
            passed += len(chunk)
            if passed > _LOOK:
                self._within(row, aside)
                passed = 0
            yield chunk

    def _within(self, row: VolumeRow, aside: Path) -> None:
        """``Exhausted`` when the new content is larger than the volume's limit."""
        quotas = self._service.drivers.local.quotas
        if row.backing == "quota" and quotas.exceeded(aside):
            raise Exhausted(f"volume {row.name} holds {row.size_limit} bytes: Disk quota exceeded")

    @asynccontextmanager
    async def _replacement(self, row: VolumeRow) -> AsyncIterator[Path]:
        """An empty place of the volume's kind; on success it becomes the volume's content."""
        local = self._service.drivers.local
        folder, data = local.folder(row), local.data(row)
        aside = sized.aside(folder)
        if row.backing == "mount":
            raise Invalid(f"volume {row.name} is a file system of the host: use its own means")
        try:
            aside.mkdir(mode=0o755)
            shutil.copystat(data, aside)
            if row.backing == "quota":
                local.quotas.succeed(aside, data)
            if row.backing == "image":
                async with self._new_image(row, aside) as image:
                    yield aside
                image.rename(folder / sized.IMAGE)
            else:
                yield aside
                self._within(row, aside)
                # The old content goes: the new one must be on the disk first.
                await asyncio.to_thread(files.sync, aside)
                await asyncio.to_thread(exchange, aside, data)
        except OSError as error:
            what = f"cannot replace the content of volume {row.name}"
            raise files.trouble(what, error) from error
        finally:
            aside.with_suffix(".img").unlink(missing_ok=True)
            if aside.exists():
                await local.discard(aside)

    @asynccontextmanager
    async def _new_image(self, row: VolumeRow, aside: Path) -> AsyncIterator[Path]:
        """An empty disk image, mounted at ``aside`` while the block runs."""
        calls = self._service.drivers.local.calls
        image = aside.with_suffix(".img")
        await sized.make_image(image, row.size_limit)
        with self._service.drivers.local.sharing():
            await asyncio.to_thread(sized.mount_file, calls, image, aside, row.name)
            try:
                yield image
                await asyncio.to_thread(files.sync, aside)
            finally:
                await asyncio.to_thread(calls.umount, str(aside), MNT_DETACH)

    async def clone(
        self,
        name: str,
        new_name: str,
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """A new volume with the same content, blocks shared where the file system can.

        ``options``: of the new volume, by default the old one's (not those that name a device).
        """
        volume_name(new_name)
        first, second = sorted((name, new_name))
        if first == second or self._service.table.by_name(new_name) is not None:
            raise Conflict(f"volume name must be unique: {new_name}")
        async with self._service.lock(first), self._service.lock(second):
            row = self._service.get(name)
            self._still(row, "clone")
            size = {"size": row.options["size"]} if "size" in row.options else {}
            wanted = VolumeRow(
                id=secrets.token_hex(16),
                name=new_name,
                driver=LOCAL,
                created_ns=time.time_ns(),
                options=size if options is None else dict(options),
                labels=row.labels if labels is None else dict(labels),
            )
            made = await self._filled(wanted, row)
            self._service.publish(made, "create", clonedFrom=name)
            return await self._service.render(made)

    async def _filled(self, wanted: VolumeRow, source: VolumeRow) -> VolumeRow:
        """Make a volume with the content of ``source``; nobody sees it before it is whole."""
        service, local = self._service, self._service.drivers.local
        if local.folder(wanted).exists():
            raise Conflict(
                f"the directory {local.folder(wanted)} belongs to no volume: move it away, or "
                "restart the daemon, which makes a volume of it if there is data in it"
            )
        service.table.add(replace(wanted, state=MAKING))
        made = wanted
        try:
            made = await local.create(wanted)
            service.table.set_made(replace(made, state=MAKING))
            async with service.opened(source) as old, service.opened(made) as new:
                await files.copy_tree(local.calls, old, new)
                await asyncio.to_thread(files.sync, Path(new))
        except BaseException as error:
            await local.remove(made)
            service.table.delete(made.id)
            if isinstance(error, OSError):
                raise files.trouble(f"cloning volume {source.name}", error) from error
            raise
        service.table.set_made(made)
        return made

    def _shelf(self, row: VolumeRow) -> Path:
        return self._service.drivers.local.folder(row) / SNAPSHOTS

    def snapshots(self, name: str) -> list[dict[str, Any]]:
        """``[{"Name", "CreatedAt"}]``, oldest first."""
        shelf = self._shelf(self._local(name))
        found = []
        for each in shelf.iterdir() if shelf.is_dir() else ():
            if _SNAPSHOT.fullmatch(each.name) and not each.name.endswith(".partial"):
                found.append((each.stat().st_mtime_ns, each.name))
        return [{"Name": each, "CreatedAt": rfc3339(when)} for when, each in sorted(found)]

    async def snapshot(self, name: str, label: str) -> dict[str, Any]:
        """Keep the present content under ``label``."""
        if not _SNAPSHOT.fullmatch(label) or label.endswith(".partial"):
            raise Invalid(f"invalid snapshot name: '{label}'")
        async with self._service.lock(name):
            row = self._local(name)
            self._still(row, "snapshot")
            if row.backing == "mount":
                raise Invalid(f"volume {name} is a file system of the host: use its own means")
            shelf = self._shelf(row)
            place, partial = shelf / label, shelf / f"{label}.partial"
            if place.exists():
                raise Conflict(f"snapshot name must be unique: {label}")
            shelf.mkdir(mode=0o700, exist_ok=True)
            await files.remove_tree(partial)
            partial.mkdir(mode=0o700)
            try:
                await self._keep(row, partial)
                partial.rename(place)
            except BaseException:
                await files.remove_tree(partial)
                raise
            self._service.publish(row, "snapshot", snapshot=label)
        return next(each for each in self.snapshots(name) if each["Name"] == label)

    async def _keep(self, row: VolumeRow, place: Path) -> None:
        local = self._service.drivers.local
        if row.backing == "image":
            await _copy_file(local.folder(row) / sized.IMAGE, place / sized.IMAGE)
            return
        (place / "_data").mkdir()
        await files.copy_tree(local.calls, local.data(row), place / "_data")
        await asyncio.to_thread(files.sync, place)

    async def restore(self, name: str, label: str) -> None:
        """Make the content what it was at the snapshot, which stays."""
        async with self._service.lock(name):
            row = self._local(name)
            self._still(row, "restore")
            place = self._snapshot_of(row, label)
            if row.backing == "image":
                folder = self._service.drivers.local.folder(row)
                copied = sized.aside(folder).with_suffix(".img")
                try:
                    await _copy_file(place / sized.IMAGE, copied)
                    copied.rename(folder / sized.IMAGE)
                finally:
                    copied.unlink(missing_ok=True)
                limit = sized.settle(folder / sized.IMAGE, row.size_limit)
                if limit != row.size_limit:
                    changed = {**row.options, "size": str(limit)}
                    self._service.table.set_size(row.id, limit, changed)
            else:
                async with self._replacement(row) as aside:
                    calls = self._service.drivers.local.calls
                    await files.copy_tree(calls, place / "_data", aside)
            self._service.publish(row, "restore", snapshot=label)

    def _snapshot_of(self, row: VolumeRow, label: str) -> Path:
        place = self._shelf(row) / label
        if not _SNAPSHOT.fullmatch(label) or not place.is_dir():
            raise NotFound(f"volume {row.name} has no snapshot {label}")
        return place

    async def drop_snapshot(self, name: str, label: str) -> None:
        async with self._service.lock(name):
            place = self._snapshot_of(self._local(name), label)
            partial = place.with_name(f"{label}.partial")
            await files.remove_tree(partial)
            place.rename(partial)
            await files.remove_tree(partial)

    async def sweep(self) -> None:
        """Start-up: remove what an interrupted operation left aside."""
        local = self._service.drivers.local
        left = local.left_aside()
        for folder in local.folders():
            left += (folder / SNAPSHOTS).glob("*.partial")
        for each in left:
            try:
                if each.is_dir():
                    await local.discard(each)
                else:
                    each.unlink()
            except (OSError, WherryError) as error:
                _log.warning("what an interrupted change left stays: %s: %s", each, error)
        local.end_sharing()


async def _copy_file(source: Path, target: Path) -> None:
    try:
        await asyncio.to_thread(copy_image, str(source), str(target))
    except OSError as error:
        raise files.trouble(f"copying {source.name}", error) from error


async def _unpack(stream: AsyncIterator[bytes], into: Path, name: str) -> None:
    """tar in a child process; what is no tar is ``Invalid``."""
    head = b""
    async for chunk in stream:
        head += chunk
        if len(head) >= 6:
            break
    if not head:
        raise Invalid(f"import {name}: the stream is empty")
    packed = [flag for magic, flag in _COMPRESSION if head.startswith(magic)]
    process = await asyncio.create_subprocess_exec(
        *_TAR,
        *packed,
        "--delay-directory-restore",
        "-p",
        "-C",
        str(into),
        "-xf",
        "-",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        errors = await _feed(process, head, stream)
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        error = files.failure(f"import {name}", errors)
        raise error if not isinstance(error, Internal) else Invalid(error.message)


async def _feed(
    process: asyncio.subprocess.Process, head: bytes, stream: AsyncIterator[bytes]
) -> bytes:
    """Write everything to the child while its errors are read; returns them."""
    assert process.stdin is not None
    assert process.stderr is not None
    stdin, stderr = process.stdin, process.stderr

    async def write() -> None:
        try:
            stdin.write(head)
            await stdin.drain()
            async for chunk in stream:
                stdin.write(chunk)
                await stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            async for _ in stream:
                pass
        finally:
            stdin.close()

    reader = spawn(stderr.read(), name="complaints of tar")
    try:
        await write()
        return await reader
    finally:
        reader.cancel()
