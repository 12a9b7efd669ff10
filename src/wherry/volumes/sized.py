"""Size limits: a project quota where the file system keeps one, else a loop-mounted image file.

The image is sparse: it takes only what is written. It grows while in use; it shrinks only when
nobody uses it and the data fits.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from wherry.errors import Conflict, Exhausted, NotImplementedYet, WherryError
from wherry.volumes import files, quota

IMAGE = "disk.img"
_OVERHEAD = 1 << 20


async def make(folder: Path, data: Path, size: int) -> str:
    """Prepare the limit for a new volume; returns the backing (``quota`` or ``image``)."""
    if quota.available(data):
        quota.assign(data, quota.free_project(data), size)
        return "quota"
    image = folder / IMAGE
    if not image.exists():
        await make_image(image, size)
    return "image"


async def make_image(image: Path, size: int) -> None:
    """A sparse file with an empty file system; appears whole or not at all."""
    maker = shutil.which("mkfs.ext4", path=_search_path())
    if maker is None:
        raise NotImplementedYet(
            "a volume with a size needs project quota on the file system of the data root, or "
            "mkfs.ext4 (package e2fsprogs), and this host has neither"
        )
    partial = image.with_name(image.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.truncate(_rounded(size))
    except OSError as error:
        raise Exhausted(f"cannot make a disk image of {size} bytes: {error}") from error
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


def _search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _rounded(size: int) -> int:
    return -(-size // 4096) * 4096


async def _drop_lost_and_found(image: Path) -> None:
    """A new volume is empty, as one without a size is."""
    tool = shutil.which("debugfs", path=_search_path())
    if tool is None:
        return
    try:
        await files.command(tool, "-w", "-R", "rmdir lost+found", str(image), what="debugfs")
    except WherryError:
        return


async def mount_image(folder: Path, data: Path, name: str) -> None:
    await mount_file(folder / IMAGE, data, name)


async def mount_file(image: Path, target: Path, name: str) -> None:
    """Mount an image with a loop device that goes with the mount."""
    await files.command(
        "mount",
        "-o",
        "loop,noatime,nosuid,nodev",
        "-t",
        "ext4",
        str(image),
        str(target),
        what=f"mounting volume {name}",
    )


async def grow(folder: Path, data: Path, size: int, *, mounted: bool) -> None:
    """Set the image's size, in use or not. Shrinking in use is a ``Conflict``."""
    image = folder / IMAGE
    size = _rounded(size)
    current = image.stat().st_size
    tool = shutil.which("resize2fs", path=_search_path())
    if tool is None:
        raise NotImplementedYet("changing a volume's size needs resize2fs (package e2fsprogs)")
    if size == current:
        return
    if size < current and mounted:
        raise Conflict("a volume in use cannot shrink: stop the containers that use it first")
    if size > current:
        await asyncio.to_thread(os.truncate, image, size)
    if mounted:
        await _grow_in_use(tool, image, current)
        return
    check = shutil.which("e2fsck", path=_search_path()) or "e2fsck"
    words = (check, "-f", "-y", str(image))
    await files.command(*words, what="checking the volume", good=(0, 1))
    blocks = size // 1024
    await files.command(tool, str(image), f"{blocks}K", what="changing the volume's size")
    if size < current:
        await asyncio.to_thread(os.truncate, image, size)


async def _grow_in_use(tool: str, image: Path, before: int) -> None:
    """The kernel lets only holders of CAP_SYS_RESOURCE grow a mounted file system, and some
    hosts withhold it: then nothing is changed."""
    device = await asyncio.to_thread(_loop_device, image)
    await files.command("losetup", "-c", device, what="growing the volume")
    try:
        await files.command(tool, device, what="growing the volume")
    except WherryError as error:
        await asyncio.to_thread(os.truncate, image, before)
        await files.command("losetup", "-c", device, what="growing the volume")
        if "Permission denied" in error.message:
            raise Conflict(
                "this host does not let a volume grow while it is in use (no CAP_SYS_RESOURCE): "
                "stop the containers that use it and try again"
            ) from error
        raise


def _loop_device(image: Path) -> str:
    """The loop device of an image file, from sysfs."""
    wanted = str(image.resolve())
    for each in Path("/sys/block").glob("loop*"):
        try:
            backing = (each / "loop" / "backing_file").read_text().rstrip("\n")
        except OSError:
            continue
        if backing == wanted:
            return f"/dev/{each.name}"
    raise Conflict(f"no loop device holds {wanted}")


def set_quota(data: Path, size: int) -> None:
    quota.assign(data, quota.project_of(data), size)


def drop_quota(data: Path) -> None:
    """Free the project of a volume that goes. Never raises."""
    try:
        quota.assign(data, quota.project_of(data), 0)
    except (OSError, WherryError):
        return
