"""Mount targets that are missing, made inside the root.

Images ship links such as ``/etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf`` whose
end is not there; crun then refuses the mount. Each link is resolved as if the root were ``/``, so
nothing is ever made outside. crun makes a target without links itself, but with the sticky bit,
which would show in ``diff`` and ``commit``.

Only for a root that nothing runs in: between looking and making, nobody may change it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from wherry.errors import Invalid

_MOST_LINKS = 40


def ensure(root: Path, mounts: Iterable[Mapping[str, Any]]) -> None:
    """Make every mount's target that is not there. Raises ``Invalid`` for a loop of links.

    What belongs into another mount is that one's affair.
    """
    every = list(mounts)
    covered = tuple(str(mount["destination"]).rstrip("/") + "/" for mount in every)
    for mount in every:
        target = str(mount["destination"])
        inside, linked = resolve(root, target)
        nested = target.startswith(tuple(each for each in covered if each != target + "/"))
        if linked or (not nested and not os.path.lexists(os.path.join(root, *inside))):
            _make(root, inside, directory=_is_directory(mount))


def resolve(root: Path, target: str) -> tuple[list[str], bool]:
    """Path parts inside the root, free of links as far as it exists; whether a link was met."""
    pending = _parts(target)
    done: list[str] = []
    links = 0
    while pending:
        part = pending.pop(0)
        if part == "..":
            done = done[:-1]
            continue
        path = os.path.join(root, *done, part)
        try:
            text = os.readlink(path)
        except OSError:
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise Invalid(f"too many levels of symbolic links: {target}")
        if text.startswith("/"):
            done = []
        pending = _parts(text) + pending
    return done, links > 0


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _is_directory(mount: Mapping[str, Any]) -> bool:
    if mount.get("type") != "bind" and not {"bind", "rbind"} & set(mount.get("options") or ()):
        return True
    try:
        return stat.S_ISDIR(os.stat(str(mount["source"])).st_mode)
    except OSError:
        return True


def _make(root: Path, inside: list[str], *, directory: bool) -> None:
    if not inside:
        return
    for count in range(1, len(inside)):
        _directory(os.path.join(root, *inside[:count]))
    path = os.path.join(root, *inside)
    with suppress(FileExistsError, NotADirectoryError):
        if directory:
            _directory(path)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(path, flags, 0o644)
            os.fchmod(fd, 0o644)
            os.close(fd)


def _directory(path: str) -> None:
    """Modes are set apart from making: our umask is not the container's."""
    with suppress(FileExistsError):
        os.mkdir(path)
        os.chmod(path, 0o755)
