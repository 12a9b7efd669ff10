"""Copy-up: what the image has at a mount's path becomes the first content of an empty volume.

The container's root is mounted read-only in a private mount namespace, and the path is resolved
inside it: a link in the image cannot lead out.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path

from wherry.errors import Internal, WherryError
from wherry.linux.mounts import Overlay, mount_overlay
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, Syscalls
from wherry.linux.tasks import spawn
from wherry.volumes.treecopy import Stopped, TreeCopy
from wherry.wire.mounts import RootView

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class CopyUp:
    """``look``: an empty directory that serves as mount point in private namespaces only."""

    def __init__(self, private: PrivateMounts, look: Path) -> None:
        self._private = private
        self._look = look

    async def copy(self, root: RootView, path: str, into: Path, volume: str) -> bool:
        """Copy directory ``path`` of the image into ``into``; False when it is not there.

        Nobody writes into ``into`` any more when this has ended, cancelled or not.
        """
        self._look.mkdir(mode=0o700, parents=True, exist_ok=True)
        stop = threading.Event()
        copying = spawn(
            self._private.run(lambda: self._copy(root, path, into, volume, stop)),
            name=f"copy-up into {volume}",
        )
        try:
            return await asyncio.shield(copying)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait({copying})
            raise

    def _copy(
        self, root: RootView, path: str, into: Path, volume: str, stop: threading.Event
    ) -> bool:
        calls = self._private.calls
        layers = [str(root.upper), *root.lower] if root.upper.exists() else list(root.lower)
        mount_overlay(calls, Overlay(layers, None, None, str(self._look)))
        found = _open(calls, self._look, path)
        if found is None:
            return False
        try:
            target = os.open(into, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                TreeCopy(calls, found, target, stop).run()
            finally:
                os.close(target)
        except Stopped:
            return False
        except WherryError as error:
            what = f"cannot copy image content into volume {volume}"
            raise type(error)(f"{what}: {error.message}") from error
        finally:
            os.close(found)
        return True


def _open(calls: Syscalls, root: Path, path: str) -> int | None:
    """Descriptor of a directory below ``root``, links resolved as the container would."""
    flags = os.O_DIRECTORY | os.O_CLOEXEC
    base = os.open(root, flags | os.O_PATH)
    try:
        return calls.openat2(
            base,
            path.lstrip("/") or ".",
            flags,
            resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        )
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise Internal(f"cannot look for {path} in the image: {error}") from error
    finally:
        os.close(base)
