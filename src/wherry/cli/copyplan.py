"""``cp``: which name a copy gets. Docker's rules, which are those of ``cp -a``:

- an existing folder as target takes the source inside it; ``SOURCE/.`` gives only its content
- a target that is not there becomes the copy's name; with a slash at its end it must be there
- a folder never replaces a file

Asks the local file system only whether a path is there and what it is.
"""

from __future__ import annotations

import os

from wherry.cli.errors import CliError


class Target:
    """Unpack in ``folder``; the archive's first name is to be ``name``."""

    __slots__ = ("folder", "name")

    def __init__(self, folder: str, name: str) -> None:
        self.folder = folder
        self.name = name


def split_argument(word: str) -> tuple[str, str]:
    """``container:path``, or ("", path) for a local one."""
    if os.path.isabs(word):
        return "", word
    container, colon, path = word.partition(":")
    if not colon or container.startswith("."):
        return "", word
    return container, path


def only_content(path: str) -> bool:
    """Does the path end in ``/.``: what is in the folder, not the folder?"""
    return path == "." or path.endswith("/.")


def inside(name: str) -> str:
    """A member's name without its first part; empty for the root itself.

    Of ``/etc``, as members of an archive of the whole root are called, the first part is what
    comes before the slash. Raises :class:`CliError` for one that climbs.
    """
    parts = name.split("/")
    if ".." in parts:
        raise CliError(f"refusing to unpack {name!r}: it leaves the target")
    return "/".join(part for part in parts[1:] if part not in ("", "."))


def has_wildcard(path: str) -> bool:
    return any(char in path for char in "*?[")


def target_on_host(source: str, is_directory: bool, target: str) -> str:
    """The path that a copy out of a container gets."""
    base = os.path.basename(source.rstrip("/")) or "."
    if os.path.isdir(target):
        content = is_directory and (only_content(source) or base == ".")
        return target if content else os.path.join(target, base)
    if os.path.exists(target):
        if is_directory:
            raise CliError("cannot copy directory")
        return target
    if target.endswith("/") and not is_directory:
        raise CliError("no such directory")
    parent = os.path.dirname(target.rstrip("/")) or "."
    if not os.path.isdir(parent):
        raise CliError(f'invalid output path: directory "{os.path.abspath(parent)}" does not exist')
    return target.rstrip("/")


def target_in_container(
    source: str, is_directory: bool, path: str, exists: bool, into_directory: bool
) -> Target:
    """Where an archive of a local path is unpacked in a container and what its root is called."""
    base = os.path.basename(os.path.abspath(source))
    if into_directory:
        content = is_directory and only_content(source)
        return Target(path, "." if content else base)
    if exists and is_directory:
        raise CliError("cannot copy directory")
    if not exists and path.endswith("/") and not is_directory:
        raise CliError("no such directory")
    whole = path.rstrip("/") or "/"
    return Target(os.path.dirname(whole) or "/", os.path.basename(whole))
