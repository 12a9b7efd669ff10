"""What this host is: kernel, system, memory, cgroups, security modules. Read once at start."""

from __future__ import annotations

import os
import platform
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path

from wherry.linux.cgroups import host_layout

_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "blkio", "io", "devices", "freezer", "hugetlb")


@dataclass(frozen=True)
class HostInfo:
    """Facts for ``/info`` and ``/version``."""

    name: str
    kernel: str
    build_time: str
    architecture: str
    """As uname says: x86_64, aarch64."""
    system: str
    """PRETTY_NAME of os-release."""
    system_version: str
    processors: int
    memory: int
    """Bytes."""
    cgroup_version: str
    """"1" (v1 and hybrid hosts) or "2"."""
    controllers: frozenset[str]
    """cgroup controllers that can be used."""
    seccomp: bool
    apparmor: bool
    selinux: bool
    swap_limit: bool
    """Whether the kernel accounts swap."""


def architecture(machine: str) -> str:
    """Go's name of a machine, as images have it: x86_64 -> amd64."""
    names = {
        "x86_64": "amd64",
        "aarch64": "arm64",
        "armv7l": "arm",
        "armv6l": "arm",
        "i686": "386",
        "ppc64le": "ppc64le",
        "s390x": "s390x",
        "riscv64": "riscv64",
    }
    return names.get(machine, machine)


def read(root: Path = Path("/")) -> HostInfo:
    """Look at the host; what cannot be read is empty, never an error. ``root``: for tests."""
    uname = os.uname()
    system = _os_release(root)
    layout = host_layout()
    version = str(layout.version)
    modules = _text(root / "sys/kernel/security/lsm")
    return HostInfo(
        name=socket.gethostname(),
        kernel=uname.release,
        build_time=uname.version,
        architecture=platform.machine(),
        system=system.get("PRETTY_NAME", "Linux"),
        system_version=system.get("VERSION_ID", ""),
        processors=os.cpu_count() or 1,
        memory=_memory(root),
        cgroup_version=version,
        controllers=frozenset(each for each in _CONTROLLERS if layout.has(each)),
        seccomp="\nSeccomp:" in _text(root / "proc/self/status"),
        apparmor="apparmor" in modules or _on(root / "sys/module/apparmor/parameters/enabled"),
        selinux=(root / "sys/fs/selinux/enforce").exists(),
        swap_limit=_swap(root, version),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _on(path: Path) -> bool:
    return _text(path).strip() in ("Y", "1")


def _os_release(root: Path) -> dict[str, str]:
    text = _text(root / "etc/os-release") or _text(root / "usr/lib/os-release")
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.startswith("#"):
            try:
                words = shlex.split(value)
            except ValueError:
                continue
            values[key.strip()] = words[0] if words else ""
    return values


def _memory(root: Path) -> int:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _swap(root: Path, version: str) -> bool:
    if version == "2":
        return True
    base = root / "sys/fs/cgroup/memory"
    return (base / "memory.memsw.limit_in_bytes").exists()
