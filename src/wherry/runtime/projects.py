"""A system call filter under which nobody takes a file out of its project (pure).

A volume whose size is a project quota is limited as long as its files stay in their project, and
the kernel lets whoever owns a file take it out (``chattr -p``), or keep a directory from handing
it on (``chattr -P``). Only ioctl(2) does that, by a few requests. A filter that allows ioctl as a
whole allows after this all other requests: the least number of ranges of numbers that leave these
out, since a filter compares 64 bits where the kernel takes 32 of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NUMBERS = (0x001C5820, 0x00086602, 0x00046602)
"""FS_IOC_FSSETXATTR, FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS, without the bit that says "write"."""
_WRITE = 0x40000000
_OTHER_WRITE = {"ppc64le": 0x80000000, "mips64": 0x80000000}
_REQUEST = 1
"""Index of ioctl's argument."""
_ALLOWING = frozenset({"SCMP_ACT_ALLOW", "SCMP_ACT_LOG"})
_BITS = 32
_WHOLE = (1 << _BITS) - 1
_EPERM = 1


def kept(profile: Mapping[str, Any], machine: str) -> dict[str, Any]:
    """``linux.seccomp`` that refuses these requests with EPERM, whatever it was to do with ioctl.
    Rules that have conditions on ioctl themselves stay."""
    write = _OTHER_WRITE.get(machine, _WRITE)
    refused = [write | each for each in _NUMBERS]
    rules: list[dict[str, Any]] = []
    for rule in profile["syscalls"]:
        if rule["action"] not in _ALLOWING or "ioctl" not in rule["names"] or rule.get("args"):
            rules.append(rule)
            continue
        names = [name for name in rule["names"] if name != "ioctl"]
        rules += [{**rule, "names": names}] if names else []
        rules += [_rule(rule["action"], *each) for each in others(refused)]
    if profile["defaultAction"] != "SCMP_ACT_ERRNO":
        errno = {"errnoRet": _EPERM}
        rules += [_rule("SCMP_ACT_ERRNO", _WHOLE, each) | errno for each in refused]
    return {**profile, "syscalls": rules}


def _rule(action: str, mask: int, value: int) -> dict[str, Any]:
    compared = {"index": _REQUEST, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
    return {"names": ["ioctl"], "action": action, "args": [compared]}


def others(
    numbers: Sequence[int], bit: int = _BITS - 1, prefix: int = 0
) -> Iterator[tuple[int, int]]:
    """Every number of 32 bits but these, as masks and what is found under them."""
    if bit < 0:
        return
    mask = _WHOLE & ~((1 << bit) - 1)
    for part in (0, 1 << bit):
        inside = [each for each in numbers if each & (1 << bit) == part]
        if inside:
            yield from others(inside, bit - 1, prefix | part)
        else:
            yield mask, prefix | part
