"""The read-only directories below a container's writable one.

Above the image's layers lies one directory that all containers share: the mount points of the
standard file systems and of the host files, so that no mount leaves a trace in the writable
layer (it would show in ``diff`` and ``commit``), and so that a link in the image at such a place
leads nowhere. Docker's ``initlayer`` does the same for each container.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wherry.containers.record import Record
from wherry.images.service import Images
from wherry.runtime import users
from wherry.store.paths import Paths

_FOLDERS = ("dev", "dev/pts", "dev/shm", "dev/mqueue", "proc", "sys", "etc")
_FILES = (".dockerenv", "dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf")


def make_init_layer(root: Path) -> None:
    """Make what is missing of the shared directory; idempotent."""
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in _FOLDERS:
        (root / name).mkdir(mode=0o755, exist_ok=True)
    for name in _FILES:
        (root / name).touch(mode=0o755, exist_ok=True)
    table = root / "etc" / "mtab"
    if not table.is_symlink():
        table.symlink_to("/proc/mounts")


def user_of(record: Record, lower: Sequence[str], upper: Path) -> tuple[int, int]:
    """Numeric user and group of the first process. ``Invalid`` for an unknown name."""
    user = users.resolve(
        record.config.user,
        users.read_in_layers(lower, upper, "/etc/passwd"),
        users.read_in_layers(lower, upper, "/etc/group"),
        None,
    )
    return user.uid, user.gid


def lower_dirs(paths: Paths, images: Images, record: Record) -> list[str]:
    """Directories for overlayfs, topmost first; never empty."""
    return [str(paths.init_layer), *images.lower_dirs(record.image.layers)]
