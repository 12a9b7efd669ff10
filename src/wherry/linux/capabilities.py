"""Names and numbers of capabilities (capabilities(7)), what this host may hand on, and doing
without one."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from wherry.linux.syscalls import LinuxSyscalls

NAMES: tuple[str, ...] = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""Index is the number."""


@lru_cache(maxsize=1)
def bounding_set() -> frozenset[str]:
    """Names of the capabilities that a process started by us can have."""
    return frozenset(
        NAMES[number] for number in LinuxSyscalls().bounding_set() if number < len(NAMES)
    )


_VERSION_3 = 0x20080522
_SETS = struct.Struct("6I")
"""``struct __user_cap_data_struct[2]``: effective, permitted, inheritable, low words first."""


@contextmanager
def within_limits() -> Iterator[None]:
    """While it lasts, disk quotas bind the calling thread too: it gives up the use of
    CAP_SYS_RESOURCE, whose holders may exceed them. Raises ``OSError``."""
    bit = 1 << NAMES.index("CAP_SYS_RESOURCE")
    held = _SETS.unpack(_capabilities("capget", bytes(_SETS.size)))
    if not held[0] & bit:
        yield
        return
    _capabilities("capset", _SETS.pack(held[0] & ~bit, *held[1:]))
    try:
        yield
    finally:
        _capabilities("capset", _SETS.pack(*held))


def _capabilities(name: str, data: bytes) -> bytes:
    """capget(2) or capset(2) of the calling thread."""
    header = ctypes.create_string_buffer(struct.pack("Ii", _VERSION_3, 0), 8)
    buffer = ctypes.create_string_buffer(data, len(data))
    if getattr(ctypes.CDLL(None, use_errno=True), name)(header, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return buffer.raw
