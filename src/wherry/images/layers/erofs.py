"""Layers that are mounted, not unpacked: an EROFS image of names beside the layer's plain tar.

``layers/<hex>/`` holds ``index.erofs`` (made by ``images.worker.erofs``) and ``layer.tar``. The
kernel mounts the index with the tar as its data device (file-backed mounts: Linux 6.12). Mounts
live below ``run/layers``, a private mount, and are made on first use: running containers have
copies of them in their own mount namespaces, so that the daemon may drop its own at any time.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

from wherry.errors import Internal
from wherry.images.worker import erofs, layertree
from wherry.linux.mounts import make_private_directory, remove_private_directory
from wherry.linux.syscalls import MNT_DETACH, MS_RDONLY, LinuxSyscalls, Syscalls
from wherry.store.paths import Paths

INDEX = "index.erofs"
TAR = "layer.tar"
_TARGET = "mnt"
_log = logging.getLogger(__name__)


class ErofsBackend:
    kind = "erofs"

    def __init__(self, paths: Paths, calls: Syscalls | None = None) -> None:
        self._calls = calls or LinuxSyscalls()
        self._paths = paths
        self._mounted: set[str] = set()
        self._ready = False

    def available(self) -> bool:
        """Whether this kernel mounts such layers here: tried, with an empty one."""
        if os.geteuid() != 0:
            return False
        # Of a daemon that was killed while it tried.
        for left in self._paths.tmp.glob("probe-*"):
            with suppress(OSError):
                self._calls.umount(str(left / _TARGET), MNT_DETACH)
            self._remove(left)
        folder = self._paths.tmp / f"probe-{secrets.token_hex(4)}"
        target = folder / _TARGET
        try:
            target.mkdir(parents=True)
            tree = layertree.Tree()
            image = io.BytesIO()
            erofs.write(tree, image, 0)
            (folder / INDEX).write_bytes(image.getvalue())
            (folder / TAR).write_bytes(bytes(1024))
            self._mount(folder, target)
            self._calls.umount(str(target), MNT_DETACH)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and self._was_available():
                return True
            _log.info("layers are unpacked, not mounted: %s", error)
            return False
        finally:
            self._remove(folder)
        return True

    def _remove(self, folder: Path) -> None:
        """What ``available`` makes, unmounted."""
        for name in (INDEX, TAR):
            with suppress(OSError):
                (folder / name).unlink()
        for each in (folder / _TARGET, folder):
            with suppress(OSError):
                each.rmdir()

    def _was_available(self) -> bool:
        """On a full disk nothing can be tried: layers of an earlier daemon must do as proof."""
        return any(self._paths.layers.glob(f"*/{INDEX}"))

    def _mount(self, folder: Path, target: Path) -> None:
        self._calls.mount(
            str(folder / INDEX), str(target), "erofs", MS_RDONLY, f"device={folder / TAR}"
        )

    def usable(self, folder: Path) -> str:
        target = self._paths.layer_mounts / folder.name
        if folder.name in self._mounted:
            if os.path.ismount(target):
                return str(target)
            # Somebody unmounted it: an empty folder must never pass for a layer.
            _log.warning("layers were unmounted from outside: mounting them again")
            self._mounted.clear()
            self._ready = False
        if not self._ready:
            # Mounts of an earlier daemon are dropped whole: containers have their own copies.
            remove_private_directory(self._calls, self._paths.layer_mounts)
            make_private_directory(self._calls, self._paths.layer_mounts)
            self._ready = True
        target.mkdir(exist_ok=True)
        try:
            self._mount(folder, target)
        except OSError as error:
            raise Internal(f"cannot mount the layer {folder.name}: {error}") from error
        self._mounted.add(folder.name)
        return str(target)

    def release(self, folder: Path) -> None:
        target = self._paths.layer_mounts / folder.name
        if folder.name in self._mounted:
            self._mounted.discard(folder.name)
            with suppress(OSError):
                self._calls.umount(str(target), MNT_DETACH)
        with suppress(OSError):
            target.rmdir()

    def tar(self, folder: Path) -> Path | None:
        path = folder / TAR
        return path if path.exists() else None

    def close(self) -> None:
        """Drop the daemon's own mounts, those of an earlier one that was killed as well;
        containers that run keep theirs."""
        if self._ready or self._paths.layer_mounts.is_dir():
            remove_private_directory(self._calls, self._paths.layer_mounts)
            self._mounted.clear()
            self._ready = False
