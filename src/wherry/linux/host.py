"""Facts about this host, read once: for ``/info``, for validation and for runtime specs."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from wherry.linux.capabilities import NAMES, bounding_set
from wherry.linux.cgroups import CgroupLayout, has_device_weights, host_layout

_LIMITS = (
    "as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc",
    "rss", "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip


@dataclass(frozen=True)
class HostFacts:
    """A value, so that what depends on the host can be tested on any."""

    architecture: str = "x86_64"
    """As ``uname -m``."""
    kernel: str = "6.1.0"
    operating_system: str = "Linux"
    os_version: str = ""
    hostname: str = "localhost"
    cpus: int = 1
    cpu_list: frozenset[int] = frozenset({0})
    memory_nodes: frozenset[int] = frozenset({0})
    memory: int = 0
    """Bytes."""
    cgroup_version: int = 1
    hybrid: bool = False
    controllers: frozenset[str] = frozenset(
        {"cpu", "cpuset", "memory", "pids", "blkio", "devices", "freezer"}
    )
    swap_limit: bool = True
    memory_oom_control: bool = True
    blkio_weight: bool = True
    blkio_weight_device: bool = True
    seccomp: bool = True
    apparmor: bool = False
    selinux: bool = False
    capabilities: frozenset[str] = frozenset(NAMES)
    """What may be handed on to a container."""
    rlimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Our own (soft, hard); -1 is unlimited."""
    oom_score_adj: int = 0
    """Our own; below it nothing goes without CAP_SYS_RESOURCE."""
    init_path: str = ""
    """Binary for ``--init``; empty: none installed."""
    boot_time: float = 0.0

    @property
    def may_raise_limits(self) -> bool:
        return "CAP_SYS_RESOURCE" in self.capabilities


def parse_list(text: str) -> frozenset[int]:
    """A kernel list such as ``0-3,8``. Raises ``ValueError``."""
    found: set[int] = set()
    for part in text.strip().split(","):
        if not part:
            continue
        first, dash, last = part.partition("-")
        low, high = int(first), int(last if dash else first)
        if low < 0 or high < low or high - low > 65536:
            raise ValueError(f"not a list of numbers: {text}")
        found |= set(range(low, high + 1))
    return frozenset(found)


def parse_os_release(text: str) -> dict[str, str]:
    """os-release(5): keys and values, quotes removed."""
    found = {}
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and not key.startswith("#"):
            if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            found[key] = value.replace('\\"', '"').replace("\\$", "$").replace("\\\\", "\\")
    return found


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _list_or(path: str, fallback: frozenset[int]) -> frozenset[int]:
    with suppress(ValueError):
        found = parse_list(_text(path))
        if found:
            return found
    return fallback


def find_init() -> str:
    """An init for containers: tini, catatonit or Docker's own; empty when there is none."""
    search = os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin:/usr/libexec/podman"
    for name in ("docker-init", "tini-static", "tini", "catatonit"):
        found = shutil.which(name, path=search)
        if found:
            return found
    return ""


def raise_open_files() -> None:
    """Our own soft limit of open files as far as it goes: each container and each client needs
    some. Containers are given the one that ``gather`` found before."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def gather(layout: CgroupLayout | None = None) -> HostFacts:
    """Read everything. Takes about a millisecond; what cannot be read is left at "no"."""
    layout = layout or host_layout()
    release = parse_os_release(_text("/etc/os-release") or _text("/usr/lib/os-release"))
    names = platform.uname()
    cpus = frozenset(os.sched_getaffinity(0))
    limits = {}
    for name in _LIMITS:
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is not None:
            limits[name] = resource.getrlimit(number)
    memory = layout.directory("", "memory")
    weight = "io.weight" if layout.version == 2 else "blkio.weight"
    block = layout.directory("", "blkio")
    return HostFacts(
        architecture=names.machine,
        kernel=names.release,
        operating_system=release.get("PRETTY_NAME", names.system),
        os_version=release.get("VERSION_ID", ""),
        hostname=names.node,
        cpus=os.cpu_count() or len(cpus),
        cpu_list=_list_or("/sys/devices/system/cpu/online", cpus),
        memory_nodes=_list_or("/sys/devices/system/node/online", frozenset({0})),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cgroup_version=layout.version,
        hybrid=layout.hybrid,
        controllers=frozenset(
            name
            for name in ("cpu", "cpuset", "memory", "pids", "blkio", "devices", "freezer")
            if layout.has(name)
        ),
        swap_limit=layout.version == 2
        or (memory is not None and (memory / "memory.memsw.limit_in_bytes").exists()),
        memory_oom_control=layout.version == 1
        and memory is not None
        and (memory / "memory.oom_control").exists(),
        blkio_weight=layout.version == 2
        or (
            block is not None
            and ((block / weight).exists() or (block / "blkio.bfq.weight").exists())
        ),
        blkio_weight_device=has_device_weights(layout),
        seccomp=Path("/proc/sys/kernel/seccomp").exists(),
        apparmor=_text("/sys/module/apparmor/parameters/enabled").startswith("Y"),
        selinux=Path("/sys/fs/selinux/enforce").exists(),
        capabilities=bounding_set(),
        rlimits=limits,
        oom_score_adj=int(_text("/proc/self/oom_score_adj") or 0),
        init_path=find_init(),
        boot_time=time.time() - time.clock_gettime(time.CLOCK_BOOTTIME),
    )


def warnings(facts: HostFacts) -> list[str]:
    """What is missing here, as ``/info`` lists it."""
    found = []
    for present, text in (
        ("memory" in facts.controllers, "No memory limit support"),
        (facts.swap_limit, "No swap limit support"),
        ("cpu" in facts.controllers, "No cpu cfs quota support"),
        ("cpu" in facts.controllers, "No cpu shares support"),
        ("cpuset" in facts.controllers, "No cpuset support"),
        ("pids" in facts.controllers, "No pids limit support"),
        ("freezer" in facts.controllers, "No freezer support: pause does not work"),
        (facts.blkio_weight, "No blkio weight support"),
        (facts.seccomp, "No seccomp support: containers run without a system call filter"),
        (bool(facts.init_path), "No init binary found: install tini or catatonit for --init"),
        (
            facts.may_raise_limits,
            "CAP_SYS_RESOURCE is withheld: default resource limits above the host's are lowered",
        ),
    ):
        if not present:
            found.append(f"WARNING: {text}")
    if facts.hybrid:
        found.append(
            "WARNING: Hybrid cgroups: controllers of version 1 are used, version 2 is hidden "
            "from the runtime"
        )
    return found
