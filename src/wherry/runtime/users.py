"""Users and groups of a container: from names in its own passwd and group files to numbers.

Pure but for ``read_in_root``. Rules and messages: moby ``daemon/oci_linux.go`` (``getUser``) and
``github.com/moby/sys/user`` (``GetExecUser``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import Invalid
from wherry.linux.syscalls import RESOLVE_IN_ROOT, LinuxSyscalls, Syscalls

_MOST = (1 << 31) - 1
_LARGEST_FILE = 16 << 20


@dataclass(frozen=True)
class ResolvedUser:
    """Numbers for the OCI spec. ``groups`` are the additional ones, in order, without repeats."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"
    name: str = ""


@dataclass(frozen=True)
class _Passwd:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True)
class _Group:
    name: str
    gid: int
    members: tuple[str, ...]


def _integer(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _passwd(text: str) -> list[_Passwd]:
    found = []
    for line in text.splitlines():
        parts = line.strip().split(":")
        if len(parts) < 4 or not parts[0] or parts[0].startswith("#"):
            continue
        uid, gid = _integer(parts[2]), _integer(parts[3])
        if uid is not None and gid is not None:
            found.append(_Passwd(parts[0], uid, gid, parts[5] if len(parts) > 5 else ""))
    return found


def _groups(text: str) -> list[_Group]:
    found = []
    for line in text.splitlines():
        parts = line.strip().split(":")
        if len(parts) < 3 or not parts[0] or parts[0].startswith("#"):
            continue
        gid = _integer(parts[2])
        if gid is not None:
            members = tuple(
                each for each in (parts[3] if len(parts) > 3 else "").split(",") if each
            )
            found.append(_Group(parts[0], gid, members))
    return found


def _checked(number: int, what: str) -> int:
    if not 0 <= number <= _MOST:
        raise Invalid(f"{what}s must be in range 0-{_MOST}")
    return number


def resolve(
    spec: str | None, passwd: str, group: str, additional: Sequence[str] | None = None
) -> ResolvedUser:
    """``spec`` is ``[user|uid][:group|gid]``; ``additional`` is ``GroupAdd``.

    Raises ``Invalid`` with Docker's words when a name is not there or a number out of range.
    Without a group, the groups whose member list names the user are added; with one, only it.
    """
    user_text, separator, group_text = (spec or "").partition(":")
    users, groups = _passwd(passwd), _groups(group)
    entry = _find_user(user_text, users)
    if entry is None:
        number = _integer(user_text) if user_text else 0
        if number is None:
            raise Invalid(f"unable to find user {user_text}: no matching entries in passwd file")
        entry = _Passwd("", _checked(number, "uid"), 0, "/")
    gid = entry.gid
    extra: list[int] = []
    if separator and group_text:
        gid = _find_group(group_text, groups)
    elif entry.name:
        extra = [each.gid for each in groups if entry.name in each.members]
    for each in additional or ():
        extra.append(_find_group(each, groups))
    return ResolvedUser(
        _checked(entry.uid, "uid"),
        _checked(gid, "gid"),
        tuple(dict.fromkeys([gid, *extra])),
        entry.home or "/",
        entry.name,
    )


def _find_user(text: str, users: Sequence[_Passwd]) -> _Passwd | None:
    """A name wins over a number; an empty text is user 0."""
    for each in users:
        if text and each.name == text:
            return each
    number = _integer(text) if text else 0
    if number is None:
        return None
    return next((each for each in users if each.uid == number), None)


def _find_group(text: str, groups: Sequence[_Group]) -> int:
    for each in groups:
        if each.name == text:
            return each.gid
    number = _integer(text)
    if number is None:
        raise Invalid(f"unable to find group {text}: no matching entries in group file")
    return _checked(number, "gid")


def read_in_root(root: Path | str, path: str, calls: Syscalls | None = None) -> str:
    """A text file inside a root, every link resolved as if the root were ``/``.

    Nothing outside can be read (openat2, ``RESOLVE_IN_ROOT``); devices and pipes are not opened.
    Empty when there is none.
    """
    kernel = calls or LinuxSyscalls()
    try:
        top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fd = kernel.openat2(
            top,
            path.lstrip("/"),
            os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY,
            resolve=RESOLVE_IN_ROOT,
        )
    except OSError:
        return ""
    finally:
        os.close(top)
    try:
        with os.fdopen(fd, "rb") as file:
            if not _is_regular(file.fileno()):
                return ""
            return file.read(_LARGEST_FILE).decode("utf-8", "replace")
    except OSError:
        return ""


def _is_regular(fd: int) -> bool:
    return (os.fstat(fd).st_mode & 0o170000) == 0o100000


def read_in_layers(lower: Sequence[str], upper: Path | None, path: str) -> str:
    """The file as the stack of layers shows it, without mounting; topmost first.

    Follows no links between layers: a link that leaves its own layer reads as empty, and a
    whiteout (a character device 0:0) hides what is below. Use the mounted root where there is
    one.
    """
    for layer in [str(upper)] if upper is not None else []:
        found = _in_layer(layer, path)
        if found is not None:
            return found
    for layer in lower:
        found = _in_layer(layer, path)
        if found is not None:
            return found
    return ""


def _in_layer(layer: str, path: str) -> str | None:
    """The text; "" when the layer hides it; None when the layer does not speak of it."""
    parts = path.strip("/").split("/")
    at = layer
    for part in parts:
        at = os.path.join(at, part)
        try:
            status = os.lstat(at)
        except (FileNotFoundError, NotADirectoryError):
            if at != os.path.join(layer, *parts[:1]):
                with suppress(OSError):
                    parent = os.path.dirname(at)
                    if os.getxattr(parent, "trusted.overlay.opaque") == b"y":
                        return ""
            return None
        except OSError:
            return None
        if (status.st_mode & 0o170000) == 0o020000 and status.st_rdev == 0:
            return ""
        if (status.st_mode & 0o170000) == 0o120000:
            break
    return read_in_root(layer, path)
