"""The local driver: directories under the data root, or file systems mounted on them.

A volume is ``volumes/<name>/_data``. With ``device`` the named file system is mounted there while
somebody uses it; with ``size`` the file system of ``disk.img`` beside it is.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from wherry.errors import Conflict, Internal, Invalid, Unavailable, WherryError
from wherry.linux.exchange import SWAP, settle
from wherry.linux.mounts import make_shared_directory, read_mounts, remove_shared_directory
from wherry.linux.syscalls import MNT_DETACH, Syscalls
from wherry.linux.tasks import in_own_thread
from wherry.store.paths import Paths
from wherry.store.volumes import VolumeRow
from wherry.volumes import files, netmount, options, sized
from wherry.volumes.ports import LOCAL
from wherry.volumes.quota import Quotas

_log = logging.getLogger(__name__)

TRASH = ".removed-"
MOUNT_TIMEOUT = 60.0
"""Seconds for a file system (nfs) to answer."""


class LocalDriver:
    name = LOCAL
    scope = "local"

    def __init__(self, paths: Paths, calls: Syscalls) -> None:
        self._paths = paths
        self.calls = calls
        self.quotas = Quotas(calls)
        self._mounting = 0
        """Mounts below the directory of volumes that are being made."""

    def folder(self, row: VolumeRow) -> Path:
        return self._paths.volume(row.name)

    def data(self, row: VolumeRow) -> Path:
        return self.folder(row) / "_data"

    def path(self, row: VolumeRow) -> str:
        return str(self.data(row))

    async def status(self, row: VolumeRow) -> Mapping[str, Any] | None:
        return None

    async def create(self, row: VolumeRow) -> VolumeRow:
        size = options.check(row.options)
        folder, data = self.folder(row), self.data(row)
        try:
            self._paths.volumes.mkdir(mode=0o701, parents=True, exist_ok=True)
            fresh = not folder.exists()
            folder.mkdir(mode=0o701, exist_ok=True)
            data.mkdir(mode=0o755, exist_ok=True)
            if fresh:
                folder.chmod(0o701)
                data.chmod(0o755)
        except OSError as error:
            what = f"cannot make the directory of volume {row.name}"
            raise files.trouble(what, error) from error
        backing = "mount" if options.mount_call(row.options) else ""
        if size:
            try:
                backing = await sized.make(self.quotas, folder, data, size)
            except BaseException:
                if fresh:
                    await self.discard(folder)
                raise
        return replace(row, backing=backing, size_limit=size)

    async def remove(self, row: VolumeRow) -> None:
        await self._detach(row)
        folder = self.folder(row)
        trash = self._paths.volumes / f"{TRASH}{row.id}"
        try:
            folder.rename(trash)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Internal(f"cannot remove volume {row.name}: {error}") from error
        try:
            await self.discard(trash)
        except WherryError as error:
            # Gone for everybody all the same; the next start tries again.
            _log.warning("volume %s: %s", row.name, error.message)

    async def discard(self, directory: Path) -> None:
        """Remove a volume's directory, or content of one, and lift the limit of what is in it.
        Idempotent."""
        for each in (directory, directory / "_data"):
            if each.is_dir():
                self.quotas.drop(each)
        await files.remove_tree(directory)

    def image_usage(self, row: VolumeRow) -> int:
        """Bytes that the image file takes on the host's disk."""
        try:
            return (self.folder(row) / sized.IMAGE).stat().st_blocks * 512
        except OSError:
            return 0

    def rename(self, row: VolumeRow, renamed: VolumeRow) -> None:
        try:
            self.folder(row).rename(self.folder(renamed))
        except OSError as error:
            raise Internal(f"cannot rename volume {row.name}: {error}") from error

    def settle(self, row: VolumeRow) -> VolumeRow:
        """After a crash, with nobody using it: the directory agrees with the row, as one of the
        two says. Raises ``OSError`` or ``WherryError``."""
        if row.moved_from:
            old, new = self._paths.volume(row.moved_from), self.folder(row)
            if old.exists() and not new.exists():
                old.rename(new)
        settle(self.data(row))
        if row.backing == "quota":
            try:
                self.quotas.keep(self.data(row), row.size_limit)
            except WherryError as error:
                _log.warning("the size of volume %s does not hold: %s", row.name, error.message)
        if row.backing == "image":
            limit = sized.settle(self.folder(row) / sized.IMAGE, row.size_limit)
            if limit != row.size_limit:
                changed = {**row.options, "size": str(limit)}
                return replace(row, size_limit=limit, options=changed, moved_from="")
        return replace(row, moved_from="")

    def left_aside(self) -> list[Path]:
        """What an interrupted change left beside or in place of a volume's content, unmounted."""
        left = []
        for folder in self.folders():
            left += [*folder.glob(f"{sized.ASIDE}*"), *folder.glob(f"_data{SWAP}")]
        mounted = {entry.target for entry in read_mounts()}
        for each in left:
            if str(each.resolve()) in mounted:
                self.calls.umount(str(each), MNT_DETACH)
        return left

    def folders(self) -> list[Path]:
        """Every directory of volumes, known or not."""
        try:
            return sorted(each for each in self._paths.volumes.iterdir() if each.is_dir())
        except FileNotFoundError:
            return []

    def has_data(self, folder: Path) -> bool:
        """Whether somebody's data is in a directory of volumes."""
        if (folder / sized.IMAGE).exists():
            return True
        try:
            return not files.is_empty(folder / "_data")
        except OSError:
            return False

    def adopted(self, row: VolumeRow) -> VolumeRow:
        """What a directory without a row must have been: its limit read off the image or quota."""
        image = self.folder(row) / sized.IMAGE
        backing, size = ("image", image.stat().st_size) if image.exists() else ("quota", 0)
        if not size:
            with suppress(WherryError):  # most file systems have no quota
                size = self.quotas.figures(self.data(row)).limit
        if not size:
            return row
        return replace(row, backing=backing, size_limit=size, options={"size": str(size)})

    def mounted(self, row: VolumeRow) -> bool:
        """Whether a file system is mounted on the volume's directory now."""
        # Never looking at what is mounted: its server may not answer.
        target = str(self.folder(row).resolve() / "_data")
        return any(entry.target == target for entry in read_mounts())

    def _remote(self, row: VolumeRow) -> bool:
        return row.backing == "mount" and row.options.get("type") in netmount.NETWORK

    async def mount(self, row: VolumeRow, holder: str) -> str:
        path = self.path(row)
        mounted = row.backing in ("mount", "image") and self.mounted(row)
        if mounted and self._remote(row):
            await self._ask(row)
        elif not mounted and not self.data(row).is_dir():
            raise Internal(f"the data of volume {row.name} is gone: no directory {path}")
        elif row.backing in ("mount", "image") and not mounted:
            with self.sharing():
                if row.backing == "image":
                    image = self.folder(row) / sized.IMAGE
                    await asyncio.to_thread(
                        sized.mount_file, self.calls, image, self.data(row), row.name
                    )
                else:
                    await self._mount_device(row)
        return path

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """The directory of volumes is a shared mount while something is mounted below."""
        self._mounting += 1
        try:
            make_shared_directory(self.calls, self._paths.volumes)
            yield
        finally:
            self._mounting -= 1
            self.end_sharing()

    def end_sharing(self) -> None:
        """Make it a plain directory again, unless something is mounted below. Idempotent."""
        below = f"{self._paths.volumes.resolve()}/"
        if not self._mounting and not any(e.target.startswith(below) for e in read_mounts()):
            remove_shared_directory(self.calls, self._paths.volumes)

    def dismantle(self) -> None:
        """The daemon ends and no container runs: nothing stays mounted."""
        remove_shared_directory(self.calls, self._paths.volumes)

    async def _mount_device(self, row: VolumeRow) -> None:
        call = options.mount_call(row.options)
        if call is None:
            return
        data = str(self.data(row))
        text = call.data
        if call.fstype.startswith("nfs") and "addr=" in text:
            text = await _resolve_address(text)
        what = f"failed to mount local volume: mount {call.source}:{data}"
        words = (call.source, data, call.fstype or "none", call.flags, text or None)
        try:
            if self._remote(row):
                await netmount.mount(*words, seconds=MOUNT_TIMEOUT)
            else:
                # A slow device keeps the thread: it must be no thread of others.
                mounting = in_own_thread(lambda: self.calls.mount(*words), patient=False)
                await asyncio.wait_for(mounting, MOUNT_TIMEOUT)
        except BaseException as error:
            if self._remote(row):
                await self._detach(row)
            if isinstance(error, TimeoutError) and error.errno is None:  # ours, not the kernel's
                raise Unavailable(f"{what}: no answer in {MOUNT_TIMEOUT:g} s") from error
            if isinstance(error, OSError):
                shown = f", data: {text}" if text else ""
                raise Invalid(f"{what}{shown}: {(error.strerror or str(error)).lower()}") from error
            raise

    async def _ask(self, row: VolumeRow) -> None:
        """``Unavailable`` when the server of a file system that is mounted does not answer:
        whoever looks into it then would wait as long."""
        try:
            await netmount.look(self.path(row), seconds=MOUNT_TIMEOUT)
        except TimeoutError as error:
            raise Unavailable(
                f"volume {row.name}: {row.options['device']} gives no answer in {MOUNT_TIMEOUT:g} s"
            ) from error

    async def unmount(self, row: VolumeRow, holder: str, *, last: bool) -> None:
        if last:
            await self._detach(row)

    async def _detach(self, row: VolumeRow) -> None:
        if row.backing not in ("mount", "image"):
            return
        data = self.data(row)
        while self.mounted(row):
            try:
                if self._remote(row):
                    await netmount.detach(str(data), seconds=MOUNT_TIMEOUT)
                    continue
                if row.backing == "image":
                    await asyncio.to_thread(self._flush, data)
                await asyncio.to_thread(self.calls.umount, str(data), MNT_DETACH)
            except TimeoutError:
                # Taken away at once; what takes its time is the good-bye to the server.
                if self.mounted(row):
                    raise Unavailable(f"cannot unmount volume {row.name}: no answer") from None
            except OSError as error:
                if error.errno == errno.EINVAL:
                    return
                raise Conflict(f"cannot unmount volume {row.name}: {error}") from error
        self.end_sharing()

    def _flush(self, data: Path) -> None:
        """Write everything to the image: the file system may live on for a while, in namespaces
        that have a copy of the mount, and the next who looks into the image (a resize) shall find
        all of it there."""
        try:
            folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self.calls.syncfs(folder)
            finally:
                os.close(folder)
        except OSError as error:
            _log.warning("volume %s: not all of it could be written: %s", data.parent.name, error)

    async def resize(self, row: VolumeRow, size: int) -> None:
        """Change the limit; ``Conflict`` when the data would not fit, ``Invalid`` when this
        volume has no means to hold a limit."""
        if row.backing == "image":
            await sized.resize(self.folder(row), size, mounted=self.mounted(row))
        elif row.backing == "quota":
            self.quotas.change(self.data(row), size)
        else:
            raise Invalid(
                f"volume {row.name} was made without a size: make one with --opt size=... and "
                "copy the data (volume clone --opt size=...)"
            )


async def _resolve_address(data: str) -> str:
    """``addr=HOST`` with the host's address, of IPv4 if it has one: the kernel takes no names."""
    words = data.split(",")
    for at, word in enumerate(words):
        key, _, host = word.partition("=")
        if key == "addr":
            try:
                found = await asyncio.get_running_loop().getaddrinfo(host, None)
            except OSError as error:
                raise Unavailable(
                    f"error resolving passed in network volume address: {host}: {error}"
                ) from error
            chosen = next((each for each in found if each[0] is socket.AF_INET), found[0])
            words[at] = f"addr={chosen[4][0]}"
    return ",".join(words)
