"""File systems of a test's own, in image files; and whether this kernel has what a test needs."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.engine import Engine

from wherry.linux.mounts import read_mounts
from wherry.linux.syscalls import LinuxSyscalls
from wherry.volumes.quota import FIRST_PROJECT, PROJECTS

# What each kind is made with and mounted with; xfs takes no file system below 300 MiB.
_KINDS = {
    "ext4 with project quota": ("ext4", "-O project,quota -E quotatype=prjquota", "prjquota"),
    "xfs with project quota": ("xfs", "", "pquota"),
    "ext4 without quota": ("ext4", "", ""),
    "xfs without quota": ("xfs", "", ""),
}
EXT4_QUOTA, XFS_QUOTA, EXT4, XFS = _KINDS
_SIZE = 320 << 20
_Q_GETNEXTQUOTA = 0x800009 << 8 | 2
_NEXT = struct.Struct("8QII")
"""``struct if_nextdqblk``."""


_unable: dict[str, str] = {}
"""Kinds that this machine lacks, and why: asked once."""


@contextmanager
def file_system(kind: str, place: Path) -> Iterator[Path]:
    """A fresh one mounted at ``place``. At the end nobody may use it any more. Skips the test on
    a machine that cannot."""
    image = place.with_name(f"{place.name}.img")
    if kind not in _unable:
        _mount(kind, image, place)
    if kind in _unable:
        pytest.skip(_unable[kind])
    try:
        yield place
    finally:
        try:
            subprocess.run(["umount", place], check=True)
        except subprocess.CalledProcessError:
            subprocess.run(["umount", "-l", place], check=True)
            raise
        image.unlink()


def _mount(kind: str, image: Path, place: Path) -> None:
    fstype, make, options = _KINDS[kind]
    with image.open("wb") as file:
        file.truncate(_SIZE)
    place.mkdir()
    force = "-F" if fstype == "ext4" else "-f"
    options = ",".join(filter(None, ("loop", options)))
    if not _run(f"mkfs.{fstype}", "-q", force, *make.split(), image):
        _unable[kind] = f"there is no mkfs.{fstype} that makes {kind}"
    elif not _run("mount", "-t", fstype, "-o", options, image, place):
        _unable[kind] = f"this kernel cannot mount {kind}"


@contextmanager
def small_disk(kind: str, mebibytes: int) -> Iterator[Engine]:
    """A daemon whose data are on an ext4 or tmpfs of that size; at the end nothing is left."""
    with Engine() as engine:
        engine.data.mkdir()
        device, options = engine.root / "disk", f"size={mebibytes}m"
        if kind == "ext4":
            with device.open("wb") as file:
                file.truncate(mebibytes << 20)
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", device], check=True)
            options = "loop"
        words = ("-t", kind, "-o", options, device, engine.data)
        subprocess.run(["mount", *words], check=True)
        try:
            engine.start()
            yield engine
            engine.remove_containers()
            engine.stop()
        finally:
            subprocess.run(["umount", "-l", engine.data], check=True)


def _run(*words: object) -> bool:
    try:
        done = subprocess.run([str(each) for each in words], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def projects(place: Path) -> dict[int, tuple[int, int]]:
    """Our projects that the file system mounted at ``place`` knows: limit and use in bytes. Those
    with neither limit nor use are left out."""
    device = next(each.source for each in read_mounts() if each.target == str(place.resolve()))
    calls = LinuxSyscalls()
    found: dict[int, tuple[int, int]] = {}
    number = FIRST_PROJECT
    while number < FIRST_PROJECT + PROJECTS:
        try:
            data = calls.quotactl(_Q_GETNEXTQUOTA, device, number, bytes(_NEXT.size))
        except OSError:
            break
        hard, _, used, _, _, files, *_, number = _NEXT.unpack(data)
        if number < FIRST_PROJECT + PROJECTS and (hard or used or files):
            found[number] = (hard * 1024, used)
        number += 1
    return found
