"""Directories of volumes: emptiness, sizes, copies, removal. None of it on the event loop."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import threading
from collections.abc import Collection
from pathlib import Path

from wherry.errors import Exhausted, Internal, Invalid, WherryError
from wherry.linux.syscalls import Syscalls
from wherry.linux.tasks import spawn
from wherry.volumes.treecopy import Stopped, TreeCopy

_FAREWELL = "Exiting with failure status due to previous errors"
"""How tar ends after errors."""
_CUT_SHORT = "Wrote only "
"""What tar says when a part of a block was written."""
_ENOSPC_WORDS = ("No space left", "Disk quota exceeded")


def is_empty(directory: Path | str) -> bool:
    """Whether nothing is in it; a fresh file system's ``lost+found`` does not count."""
    with os.scandir(directory) as entries:
        return all(entry.name == "lost+found" for entry in entries)


async def command(*words: str, what: str, good: Collection[int] = (0,)) -> None:
    """Run a program to its end; ``Internal`` (or ``Exhausted``) with its last error line.

    ``good``: exit codes that are no failure. A cancelled caller ends the program.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise Internal(f"{what}: cannot run {words[0]}: {error}") from error
    try:
        _, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode not in good:
        raise failure(what, errors)


def trouble(what: str, error: OSError) -> WherryError:
    """An error of our kinds out of one of the system's."""
    text = f"{what}: {error.strerror or error}"
    if error.errno == errno.EFBIG:
        return Invalid(f"{text} (too large for the file system of the data root)")
    return Exhausted(text) if error.errno in (errno.ENOSPC, errno.EDQUOT) else Internal(text)


def failure(what: str, errors: bytes) -> WherryError:
    """An error of our kinds out of what a program wrote: of a full disk if that is among it, else
    its last line that says something."""
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    for line in lines:
        if any(word in line for word in _ENOSPC_WORDS):
            return Exhausted(f"{what}: {line}")
        if _CUT_SHORT in line:
            return Exhausted(f"{what}: {line}: No space left on device")
    telling = [line for line in lines if _FAREWELL not in line]
    return Internal(f"{what}: {telling[-1] if telling else 'it failed without a word'}")


async def remove_tree(directory: Path) -> None:
    """Remove it whole, never crossing into another file system. Idempotent."""
    try:
        for child in ("_data", ""):
            (directory / child if child else directory).rmdir()
    except FileNotFoundError:
        if not directory.exists():
            return
    except OSError:
        pass
    if directory.exists():
        await command(
            "rm", "-rf", "--one-file-system", "--", str(directory), what=f"removing {directory}"
        )


async def copy_tree(calls: Syscalls, source: Path | str, target: Path | str) -> None:
    """Copy all that is in ``source`` into the empty directory ``target``; see ``treecopy``.

    Nobody writes into ``target`` any more when this has ended, cancelled or not.
    """
    stop = threading.Event()
    copying = spawn(
        asyncio.to_thread(_copy_tree, calls, source, target, stop), name=f"copy of {source}"
    )
    try:
        await asyncio.shield(copying)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({copying})
        raise


def _copy_tree(
    calls: Syscalls, source: Path | str, target: Path | str, stop: threading.Event
) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        reader = os.open(source, flags)
        try:
            writer = os.open(target, flags)
            try:
                TreeCopy(calls, reader, writer, stop).run()
            finally:
                os.close(writer)
        finally:
            os.close(reader)
    except Stopped:
        return
    except OSError as error:
        raise Internal(f"copying {source}: {error}") from error
    except WherryError as error:
        raise type(error)(f"copying {source}: {error.message}") from error


def sync(directory: Path) -> None:
    """Everything of the file system that holds ``directory`` is on the disk. ``OSError``."""
    libc = ctypes.CDLL(None, use_errno=True)
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syncfs(held) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(held)
