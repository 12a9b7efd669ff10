"""Size limits: a project quota where the file system keeps one, else a loop-mounted image file.

The image is sparse: it takes only what is written. It grows while in use; it shrinks only when
nobody uses it and the data fits.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import struct
from pathlib import Path

from wherry.errors import Conflict, Internal, NotImplementedYet, WherryError
from wherry.linux import loop
from wherry.linux.syscalls import MS_NODEV, MS_NOSUID, Syscalls
from wherry.volumes import files
from wherry.volumes.options import MS_NOATIME
from wherry.volumes.quota import Quotas
from wherry.volumes.treecopy import copy_image

IMAGE = "disk.img"
ASIDE = ".new-"
"""New content of a volume, beside the old one; what a crash leaves of it is removed."""
_SUPERBLOCK = 1024
_EXT4_MAGIC = 0xEF53


def aside(folder: Path) -> Path:
    """A name for new content that nothing else has."""
    return folder / f"{ASIDE}{secrets.token_hex(6)}"


async def make(quotas: Quotas, folder: Path, data: Path, size: int) -> str:
    """Prepare the limit for a new volume; returns the backing (``quota`` or ``image``)."""
    if quotas.available(data):
        quotas.begin(data, size)
        return "quota"
    image = folder / IMAGE
    if not image.exists():
        await make_image(image, size)
    return "image"


async def make_image(image: Path, size: int) -> None:
    """A sparse file with an empty file system; appears whole or not at all."""
    maker = _tool("mkfs.ext4")
    if maker is None:
        raise NotImplementedYet(
            "a volume with a size needs project quota on the file system of the data root, or "
            "mkfs.ext4 (package e2fsprogs), and this host has neither"
        )
    partial = aside(image.parent).with_suffix(".img")
    try:
        try:
            with partial.open("wb") as file:
                file.truncate(rounded(size))
        except OSError as error:
            raise files.trouble(f"cannot make a disk image of {size} bytes", error) from error
        await files.command(
            maker,
            "-q",
            "-F",
            "-m",
            "0",
            "-I",
            "256",
            "-E",
            "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0",
            str(partial),
            what="making the volume's file system",
        )
        await _drop_lost_and_found(partial)
        partial.rename(image)
    finally:
        partial.unlink(missing_ok=True)


def _tool(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def rounded(size: int) -> int:
    """The size of the image file for a limit."""
    return -(-size // 4096) * 4096


async def _drop_lost_and_found(image: Path) -> None:
    """A volume holds what its users put there, as one without a size does. One that holds rescued
    files stays."""
    tool = _tool("debugfs")
    if tool is None:
        return
    try:
        await files.command(tool, "-w", "-R", "rmdir lost+found", str(image), what="debugfs")
    except WherryError:
        return


def mount_file(calls: Syscalls, image: Path, target: Path, name: str) -> None:
    """Mount an image with a loop device that goes with the mount."""
    try:
        path, device = loop.attach(image)
        try:
            flags = MS_NOSUID | MS_NODEV | MS_NOATIME
            calls.mount(path, str(target), "ext4", flags, None)
        finally:
            os.close(device)
    except OSError as error:
        raise Internal(f"mounting volume {name}: {error}") from error


def measure(image: Path) -> int:
    """Bytes of the file system in an image. Raises ``Internal`` when there is none."""
    with image.open("rb") as file:
        block = os.pread(file.fileno(), 1024, _SUPERBLOCK)
    if len(block) < 1024 or struct.unpack_from("<H", block, 0x38)[0] != _EXT4_MAGIC:
        raise Internal(f"{image} holds no ext4 file system")
    low, shift = struct.unpack_from("<I", block, 4)[0], struct.unpack_from("<I", block, 0x18)[0]
    high = struct.unpack_from("<I", block, 0x150)[0] if block[0x60] & 0x80 else 0
    return int((high << 32 | low) << (10 + shift))


async def resize(folder: Path, size: int, *, mounted: bool) -> None:
    """Set the image's size, in use or not. Shrinking in use is a ``Conflict``."""
    image = folder / IMAGE
    size = rounded(size)
    current = image.stat().st_size
    tool = _tool("resize2fs")
    if tool is None:
        raise NotImplementedYet("changing a volume's size needs resize2fs (package e2fsprogs)")
    if size == current:
        return
    if not mounted:
        await _resize_aside(tool, image, size)
        return
    if size < current:
        raise Conflict("a volume in use cannot shrink: stop the containers that use it first")
    await _grow_in_use(tool, image, current, size)


async def _resize_aside(tool: str, image: Path, size: int) -> None:
    """Change a copy and put it in place: a file system whose resizing is cut short is lost."""
    copied = aside(image.parent).with_suffix(".img")
    check = _tool("e2fsck") or "e2fsck"
    try:
        await asyncio.to_thread(copy_image, str(image), str(copied))
        if size > copied.stat().st_size:
            os.truncate(copied, size)
        copy = str(copied)
        await files.command(check, "-f", "-y", copy, what="checking the volume", good=(0, 1))
        await files.command(tool, copy, f"{size // 1024}K", what="changing the volume's size")
        await _drop_lost_and_found(copied)  # the check makes one where there is none
        os.truncate(copied, size)
        await asyncio.to_thread(_flush, copied)
        copied.rename(image)
    except OSError as error:
        raise files.trouble("changing the volume's size", error) from error
    finally:
        copied.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


async def _grow_in_use(tool: str, image: Path, before: int, size: int) -> None:
    """The kernel lets only holders of CAP_SYS_RESOURCE grow a mounted file system, and some
    hosts withhold it: then nothing is changed."""
    what = "growing the volume"
    try:
        found = await asyncio.to_thread(loop.find, image)
        if found is None:
            raise Conflict(f"{what}: no loop device holds {image}")
        path, device = found
        try:
            os.truncate(image, size)
            loop.read_size_again(device)
            try:
                await files.command(tool, path, what=what)
            except BaseException:
                os.truncate(image, before)
                loop.read_size_again(device)
                raise
        finally:
            os.close(device)
    except OSError as error:
        raise files.trouble(what, error) from error
    except WherryError as error:
        if "Permission denied" in error.message:
            raise Conflict(
                "this host does not let a volume grow while it is in use (no CAP_SYS_RESOURCE): "
                "stop the containers that use it and try again"
            ) from error
        raise


def settle(image: Path, limit: int) -> int:
    """After a crash, not mounted: the limit that holds, ``limit`` or another that took place.

    A growth that was cut short before the file system knew of it is undone.
    """
    length, wanted = image.stat().st_size, rounded(limit)
    if length == wanted:
        return limit
    if measure(image) <= wanted < length:
        os.truncate(image, wanted)
        return limit
    return length
