"""Mounts made for one container before its runtime starts: subpaths, images, id maps.

They live at ``<mounts>/.volumes/<container>/<n>``. The directory is shared with the namespaces of
monitors only, which are copies of ours: they see what is mounted, and lose it when it is unmounted
here. After a reboot all is gone with everything else there.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Collection
from pathlib import Path

from wherry.errors import Internal, Invalid, NotFound, NotImplementedYet
from wherry.linux import idmap
from wherry.linux.mounts import (
    Overlay,
    make_shared_directory,
    mount_of,
    mount_overlay,
    read_mounts,
    remove_shared_directory,
)
from wherry.linux.syscalls import (
    MNT_DETACH,
    OPEN_TREE_CLONE,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    Syscalls,
)
from wherry.store.paths import Paths
from wherry.volumes.ports import ImageMounts
from wherry.wire.mounts import MountPoint


class HostMounts:
    def __init__(self, paths: Paths, calls: Syscalls, images: ImageMounts | None = None) -> None:
        self._root = paths.mounts / ".volumes"
        self._calls = calls
        self._images = images
        self._preparing = threading.Lock()

    def image_layers(self, reference: str) -> tuple[str, tuple[str, ...]]:
        """Id and layers of the image that the name means now; ``NotFound`` when there is none."""
        return self._image_store().resolve(reference)

    def _image_store(self) -> ImageMounts:
        if self._images is None:
            raise NotImplementedYet("mounts of type image: this daemon runs without images")
        return self._images

    def _place(self, container_id: str, number: int, *, directory: bool = True) -> Path:
        folder = self._root / container_id
        with self._preparing:
            make_shared_directory(self._calls, self._root)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = folder / str(number)
        if directory:
            place.mkdir(exist_ok=True)
        else:
            place.touch(exist_ok=True)
        return place

    async def subpath(
        self, container_id: str, number: int, base: str, subpath: str, point: MountPoint
    ) -> str:
        """Mount what ``subpath`` names inside ``base``, whatever links it holds; ``NotFound``
        when it is not there, ``Invalid`` when it leads out."""
        return await asyncio.to_thread(
            self._subpath, container_id, number, base, subpath, point.name or point.source
        )

    def _subpath(self, container_id: str, number: int, base: str, subpath: str, name: str) -> str:
        root = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        found = -1
        try:
            found = self._calls.openat2(
                root,
                subpath,
                os.O_PATH | os.O_CLOEXEC,
                resolve=RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
            )
            is_directory = os.path.isdir(f"/proc/self/fd/{found}")
            place = self._place(container_id, number, directory=is_directory)
            tree = self._calls.open_tree(f"/proc/self/fd/{found}", OPEN_TREE_CLONE)
            try:
                self._calls.move_mount(tree, str(place))
            finally:
                self._calls.close(tree)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise NotFound(
                    f"cannot access path {base}/{subpath}: lstat {base}/{subpath}: "
                    "no such file or directory"
                ) from error
            if error.errno in (errno.EXDEV, errno.ELOOP):
                raise Invalid(f"subpath {subpath} of {name} leads out of the volume") from error
            raise Internal(f"cannot mount subpath {subpath} of {name}: {error}") from error
        finally:
            os.close(root)
            if found >= 0:
                os.close(found)
        return str(place)

    async def image(self, container_id: str, number: int, point: MountPoint) -> str:
        """Mount an image's file system read-only and return where."""
        # What was resolved at create: the name may mean another image, or none, by now.
        store = self._image_store()
        layers = point.extra.get("layers")
        if layers is None:  # made before layers were kept
            _, layers = store.resolve(point.source)
        place = self._place(container_id, number)
        overlay = Overlay(store.lower_dirs(layers), None, None, str(place))
        await asyncio.to_thread(mount_overlay, self._calls, overlay)
        subpath = point.extra.get("subpath")
        if not subpath:
            return str(place)
        return await self.subpath(container_id, 1000 + number, str(place), str(subpath), point)

    async def idmapped(
        self, container_id: str, number: int, source: str, user: tuple[int, int]
    ) -> str:
        """Mount ``source`` so that its owner's files are ``user``'s in the container, and what
        that user makes belongs to the owner. ``NotImplementedYet`` where the kernel cannot."""
        return await asyncio.to_thread(self._idmapped, container_id, number, source, user)

    def _idmapped(self, container_id: str, number: int, source: str, user: tuple[int, int]) -> str:
        try:
            found = os.stat(source)
            place = self._place(container_id, number, directory=os.path.isdir(source))
            uids, gids = idmap.swapped(found.st_uid, user[0]), idmap.swapped(found.st_gid, user[1])
            idmap.bind(self._calls, source, str(place), uids, gids)
        except OSError as error:
            raise Internal(f"cannot mount {source} with mapped ids: {error}") from error
        return str(place)

    def check_propagation(self, source: str, propagation: str) -> None:
        """A shared or slave bind needs a source mount that can propagate. ``Invalid``."""
        if propagation not in ("shared", "rshared", "slave", "rslave"):
            return
        entry = mount_of(read_mounts(), os.path.realpath(source))
        where = entry.target if entry else "/"
        if propagation in ("shared", "rshared"):
            if entry is None or not entry.shared:
                raise Invalid(f"path {source} is mounted on {where} but it is not a shared mount")
        elif entry is None or not any(
            each.startswith(("shared:", "master:")) for each in entry.propagation
        ):
            raise Invalid(
                f"path {source} is mounted on {where} but it is not a shared or slave mount"
            )

    async def drop(self, container_id: str) -> None:
        """Unmount all of one container. Idempotent; never raises."""
        folder = self._root / container_id
        if folder.exists():
            await asyncio.to_thread(self._drop, folder)

    async def drop_from(self, container_id: str, first: int) -> None:
        """Unmount those with a number of at least ``first``. Idempotent; never raises."""
        folder = self._root / container_id
        if folder.exists():
            await asyncio.to_thread(self._drop, folder, first)

    def _drop(self, folder: Path, first: int = 0) -> None:
        for place in sorted(folder.iterdir(), key=lambda each: -int(each.name)):
            if int(place.name) < first:
                continue
            try:
                self._calls.umount(str(place), MNT_DETACH)
            except OSError:
                pass
            try:
                place.rmdir() if place.is_dir() else place.unlink()
            except OSError:
                pass
        with self._preparing:
            try:
                folder.rmdir()
            except OSError:
                pass
            if not any(self._root.iterdir()):
                remove_shared_directory(self._calls, self._root)

    async def keep_only(self, running: Collection[str]) -> None:
        """Start-up: drop what belongs to containers that do not run."""
        if not self._root.exists():
            return
        for folder in list(self._root.iterdir()):
            if folder.name not in running:
                await self.drop(folder.name)
        if not any(self._root.iterdir()):
            remove_shared_directory(self._calls, self._root)
