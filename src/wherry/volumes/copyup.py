"""Copy-up: what the image has at a mount's path becomes the first content of an empty volume.

The container's root is mounted read-only in a private mount namespace, the path is resolved
inside it (a link in the image cannot lead out), and ``cp -a`` copies owners, modes, times, hard
and soft links, xattrs and holes.
"""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

from wherry.errors import Internal
from wherry.linux.mounts import Overlay, mount_overlay
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, Syscalls
from wherry.volumes import files
from wherry.wire.mounts import RootView

_TIMEOUT = 3600.0
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class CopyUp:
    """``look``: an empty directory that serves as mount point in private namespaces only."""

    def __init__(self, private: PrivateMounts, look: Path) -> None:
        self._private = private
        self._look = look

    async def copy(self, root: RootView, path: str, into: str, volume: str) -> bool:
        """Copy directory ``path`` of the image into ``into``; False when it is not there."""
        self._look.mkdir(mode=0o700, parents=True, exist_ok=True)
        return await self._private.run(lambda: self._copy(root, path, into, volume))

    def _copy(self, root: RootView, path: str, into: str, volume: str) -> bool:
        calls = self._private.calls
        layers = [str(root.upper), *root.lower] if root.upper.exists() else list(root.lower)
        mount_overlay(calls, Overlay(layers, None, None, str(self._look)))
        found = _open(calls, self._look, path)
        if found is None:
            return False
        try:
            done = subprocess.run(
                [
                    *("cp", "-a", "--reflink=auto", "--sparse=auto", "--"),
                    f"/proc/self/fd/{found}/.",
                    into,
                ],
                pass_fds=(found,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise Internal(f"cannot copy image content into volume {volume}: {error}") from error
        finally:
            os.close(found)
        if done.returncode:
            raise files.failure(f"cannot copy image content into volume {volume}", done.stderr)
        return True


def _open(calls: Syscalls, root: Path, path: str) -> int | None:
    """Descriptor of a directory below ``root``, links resolved as the container would."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    base = os.open(root, flags)
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
