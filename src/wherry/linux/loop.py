"""Loop devices: a file as a block device that goes away with its last user (loop(4)).

A file must never have two of them in use: two file systems over the same bytes, neither knowing
what the other has not yet written, destroy each other. So a device that the file has is taken
again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path

_CONTROL = "/dev/loop-control"
_CTL_GET_FREE = 0x4C82
_SET_FD, _SET_STATUS64, _GET_STATUS64 = 0x4C00, 0x4C04, 0x4C05
_SET_CAPACITY, _CONFIGURE = 0x4C07, 0x4C0A
_AUTOCLEAR = 4
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
"""``struct loop_info64``."""
_TRIES = 64


def _info(image: Path) -> bytes:
    """What a device shall be: gone with its last user, named after its file."""
    name = os.fsencode(image)[:63]
    return _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR, name, b"", b"", 0, 0)


def find(image: Path) -> tuple[str, int] | None:
    """Path and descriptor of the device that has ``image``; None when there is none."""
    wanted = image.stat()
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        path = f"/dev/{entry.parents[1].name}"
        with suppress(OSError):
            if entry.read_text().rstrip("\n") != str(image.resolve()):
                continue
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                found = _INFO.unpack(fcntl.ioctl(device, _GET_STATUS64, bytes(_INFO.size)))
            except OSError:
                os.close(device)
                continue
            if found[1] == wanted.st_ino:
                return path, device
            os.close(device)
    return None


def attach(image: Path) -> tuple[str, int]:
    """Path and descriptor of a device over ``image``, which lives while anybody uses it.

    The caller closes the descriptor when the device is mounted. Raises ``OSError``.
    """
    known = find(image)
    if known is not None:
        return known
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            made = _take_free(image, backing)
            if made is not None:
                return made
    finally:
        os.close(backing)
    raise OSError(errno.EBUSY, "no free loop device", str(image))


def _take_free(image: Path, backing: int) -> tuple[str, int] | None:
    """None when another process was faster."""
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        path = f"/dev/loop{fcntl.ioctl(control, _CTL_GET_FREE)}"
    finally:
        os.close(control)
    device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        _configure(device, image, backing)
    except OSError as error:
        os.close(device)
        if error.errno == errno.EBUSY:
            return None
        raise
    return path, device


def _configure(device: int, image: Path, backing: int) -> None:
    try:
        config = struct.pack("=II", backing, 0) + _info(image) + bytes(64)
        fcntl.ioctl(device, _CONFIGURE, config)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTTY):
            raise
        # before Linux 5.8
        fcntl.ioctl(device, _SET_FD, backing)
        fcntl.ioctl(device, _SET_STATUS64, _info(image))


def read_size_again(device: int) -> None:
    """Tell a device that its file has another size now. Raises ``OSError``."""
    fcntl.ioctl(device, _SET_CAPACITY)
