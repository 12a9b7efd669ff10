"""Compile a system call filter to what the kernel loads, with libseccomp.

libseccomp needs 10-20 ms for a container's usual filter, again and again in every runtime call.
crun takes a ready program instead, so it is compiled once and kept.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_NUMBER = frozenset({"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"})
_OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_EPERM = 1
_EEXIST = 17
_UNKNOWN = -1
_KEPT = 64


class _Compare(ctypes.Structure):
    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    ]


class Unsupported(Exception):
    """This profile, or this host, is not for us: the runtime has to compile it itself."""


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        return None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    return library


def _action(name: str, number: int | None) -> int:
    if name not in _ACTIONS:
        raise Unsupported(f"action {name}")
    if name in _WITH_NUMBER:
        return _ACTIONS[name] | ((_EPERM if number is None else number) & 0xFFFF)
    return _ACTIONS[name]


def compile_filter(profile: Mapping[str, Any]) -> bytes:
    """The program for ``linux.seccomp`` of an OCI spec. Raises ``Unsupported``."""
    library = _library()
    if library is None:
        raise Unsupported("libseccomp.so.2 is not installed")
    if profile.get("listenerPath") or profile.get("flags"):
        raise Unsupported("listener or flags")
    default = _action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    if not context:
        raise Unsupported("seccomp_init failed")
    try:
        _fill(library, context, profile, default)
        return _exported(library, context)
    finally:
        library.seccomp_release(context)


def _fill(
    library: ctypes.CDLL, context: ctypes.c_void_p, profile: Mapping[str, Any], default: int
) -> None:
    for name in profile.get("architectures") or ():
        short = str(name).removeprefix("SCMP_ARCH_").lower()
        token = library.seccomp_arch_resolve_name(short.encode())
        if not token:
            raise Unsupported(f"architecture {name}")
        result = library.seccomp_arch_add(context, ctypes.c_uint32(token))
        if result not in (0, -_EEXIST):
            raise Unsupported(f"architecture {name}: {result}")
    for rule in profile.get("syscalls") or ():
        action = _action(rule["action"], rule.get("errnoRet"))
        if action == default:
            continue
        comparisons = _comparisons(rule)
        for name in rule["names"]:
            number = library.seccomp_syscall_resolve_name(str(name).encode())
            if number == _UNKNOWN:
                continue
            result = library.seccomp_rule_add_array(
                context,
                ctypes.c_uint32(action),
                ctypes.c_int(number),
                ctypes.c_uint(len(comparisons)),
                comparisons,
            )
            if result != 0:
                raise Unsupported(f"rule for {name}: {result}")


def _comparisons(rule: Mapping[str, Any]) -> ctypes.Array[_Compare]:
    given = rule.get("args") or ()
    if len({each["index"] for each in given}) != len(given):
        raise Unsupported("two conditions on one argument")
    made = (_Compare * len(given))()
    for at, each in enumerate(given):
        if each["op"] not in _OPERATORS:
            raise Unsupported(f"operator {each['op']}")
        made[at] = _Compare(
            each["index"], _OPERATORS[each["op"]], each["value"], each.get("valueTwo", 0)
        )
    return made


def _exported(library: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    fd = os.memfd_create("seccomp")
    try:
        if library.seccomp_export_bpf(context, ctypes.c_int(fd)) != 0:
            raise Unsupported("seccomp_export_bpf failed")
        size = os.fstat(fd).st_size
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)


class FilterCache:
    """Programs by profile; each is compiled once, however many ask at a time. Thread-safe."""

    def __init__(self, compiler: Callable[[Mapping[str, Any]], bytes] = compile_filter) -> None:
        self._compile = compiler
        self._lock = threading.Lock()
        self._programs: dict[bytes, bytes | None] = {}

    def get(self, key: bytes, profile: Mapping[str, Any]) -> bytes | None:
        """The program; None when the runtime must compile. ``key`` stands for the profile."""
        with self._lock:
            if key not in self._programs:
                while len(self._programs) >= _KEPT:
                    self._programs.pop(next(iter(self._programs)))
                try:
                    self._programs[key] = self._compile(profile)
                except Unsupported:
                    self._programs[key] = None
            return self._programs[key]
