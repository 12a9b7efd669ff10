"""Users and groups of a container: from names in its own passwd and group files to numbers.

Pure but for ``read_in_root``. Rules and messages: moby ``daemon/oci_linux.go`` (``getUser``) and
``github.com/moby/sys/user`` (``GetExecUser``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import Invalid
from wherry.linux.syscalls import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_SYMLINKS,
    LinuxSyscalls,
    Syscalls,
)

_MOST = (1 << 31) - 1
_LARGEST_FILE = 16 << 20
_MOST_LINKS = 40


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
    return _read_regular(fd)


def _read_regular(fd: int) -> str:
    """Text of a descriptor (closed here); empty for what is no regular file."""
    try:
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return ""
            return file.read(_LARGEST_FILE).decode("utf-8", "replace")
    except OSError:
        return ""


def read_in_layers(
    lower: Sequence[str], upper: Path | None, path: str, calls: Syscalls | None = None
) -> str:
    """The file as the stack of layers shows it, without mounting anything; topmost first.

    Whiteouts, opaque directories and links (also from one layer into another) are followed as
    overlayfs does. Empty when there is none.
    """
    layers = [*([str(upper)] if upper is not None else []), *lower]
    found = locate(layers, path)
    if found is None:
        return ""
    layer, inside = found
    kernel = calls or LinuxSyscalls()
    try:
        top = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fd = kernel.openat2(
            top,
            inside,
            os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY,
            resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
        )
    except OSError:
        return ""
    finally:
        os.close(top)
    return _read_regular(fd)


def locate(layers: Sequence[str], path: str) -> tuple[str, str] | None:
    """Where a merged path really is: (layer, path inside it); None for nothing or a directory."""
    pending = [part for part in path.split("/") if part not in ("", ".")]
    trail: list[str] = []
    for _ in range(_MOST_LINKS):
        step = _walk(layers, trail, pending)
        if step is None or isinstance(step, tuple):
            return step
        pending = step
        trail = []
    return None


def _walk(
    layers: Sequence[str], trail: list[str], pending: list[str]
) -> tuple[str, str] | list[str] | None:
    """Down to a file, or to a link: then the parts to walk from the root again."""
    parts = trail + pending
    visible = list(layers)
    for at, part in enumerate(parts):
        if part == "..":
            return [*parts[: max(at - 1, 0)], *parts[at + 1 :]]
        inside = "/".join(parts[: at + 1])
        deeper: list[str] = []
        for layer in visible:
            full = os.path.join(layer, inside)
            try:
                status = os.lstat(full)
            except OSError:
                continue
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFDIR:
                deeper.append(layer)
                if _opaque(full):
                    break
                continue
            if deeper or (kind == stat.S_IFCHR and status.st_rdev == 0):
                break
            if kind == stat.S_IFLNK:
                target = os.readlink(full)
                head = [] if target.startswith("/") else parts[:at]
                words = [each for each in target.split("/") if each not in ("", ".")]
                return [*head, *words, *parts[at + 1 :]]
            return (layer, inside) if at == len(parts) - 1 else None
        if not deeper:
            return None
        visible = deeper
    return None


def _opaque(directory: str) -> bool:
    try:
        return os.getxattr(directory, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False
