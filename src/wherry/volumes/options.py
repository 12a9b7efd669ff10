"""Options of the local driver (``type``, ``o``, ``device``, ``size``): checked and read (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wherry.errors import Invalid
from wherry.wire.durations import parse_ram

KNOWN = ("type", "o", "device", "size")
_NEEDS = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
MINIMUM_SIZE = 1 << 20
"""Below one MiB no file system fits."""
MAXIMUM_SIZE = 16 << 40
"""Above it ext4 holds no file, and so no disk image."""

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_SYNCHRONOUS = 1, 2, 4, 8, 16
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC = 1024, 2048, 4096, 16384
MS_RELATIME, MS_STRICTATIME = 1 << 21, 1 << 24
_FLAGS: dict[str, tuple[bool, int]] = {
    "defaults": (True, 0),
    "ro": (True, MS_RDONLY),
    "rw": (False, MS_RDONLY),
    "nosuid": (True, MS_NOSUID),
    "suid": (False, MS_NOSUID),
    "nodev": (True, MS_NODEV),
    "dev": (False, MS_NODEV),
    "noexec": (True, MS_NOEXEC),
    "exec": (False, MS_NOEXEC),
    "sync": (True, MS_SYNCHRONOUS),
    "async": (False, MS_SYNCHRONOUS),
    "noatime": (True, MS_NOATIME),
    "atime": (False, MS_NOATIME),
    "nodiratime": (True, MS_NODIRATIME),
    "diratime": (False, MS_NODIRATIME),
    "bind": (True, MS_BIND),
    "rbind": (True, MS_BIND | MS_REC),
    "relatime": (True, MS_RELATIME),
    "strictatime": (True, MS_STRICTATIME),
}


@dataclass(frozen=True)
class MountCall:
    """Arguments of mount(2)."""

    source: str
    fstype: str
    flags: int
    data: str


def check(options: Mapping[str, str]) -> int:
    """Validate; returns the size limit in bytes, 0 for none. ``Invalid`` with Docker's words."""
    for name in options:
        if name not in KNOWN:
            raise Invalid(f'invalid option: "{name}"')
    size = 0
    if "size" in options:
        size = parse_ram(options["size"])
        if size:
            check_limit(size, options["size"])
        if size and any(name in options for name in ("type", "o", "device")):
            raise Invalid("option size cannot be enforced on a file system that device names")
    for name, needed in _NEEDS.items():
        for each in needed:
            if name in options and each not in options:
                raise Invalid(f'missing required option: "{each}"')
    device = options.get("device", "")
    if "bind" in options.get("o", "").split(",") and not device.startswith("/"):
        raise Invalid(f"invalid device for a bind: '{device}' must be absolute")
    return size


def check_limit(size: int, given: str) -> None:
    """``Invalid`` for a limit (bytes) that no file system can have; ``given``: the user's word."""
    if size < MINIMUM_SIZE:
        raise Invalid(f"invalid size: '{given}': the least is 1MiB")
    if size > MAXIMUM_SIZE:
        raise Invalid(f"invalid size: '{given}' is too large: the most is 16TiB")


def mount_call(options: Mapping[str, str]) -> MountCall | None:
    """What mounts the volume; None when it is a plain directory."""
    if "device" not in options:
        return None
    flags = 0
    data: list[str] = []
    for word in options.get("o", "").split(","):
        known = _FLAGS.get(word)
        if known is None:
            if word:
                data.append(word)
        elif known[0]:
            flags |= known[1]
        else:
            flags &= ~known[1]
    return MountCall(options["device"], options.get("type", ""), flags, ",".join(data))
