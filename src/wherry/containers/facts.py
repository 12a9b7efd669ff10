"""What the life cycle must know of its host and its daemon; probed once by the daemon."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class HostFacts:
    hostname: str = "localhost"
    default_runtime: str = "crun"
    runtimes: frozenset[str] = field(default_factory=frozenset)
    """Names a request may ask for; empty: not checked."""
    storage_driver: str = "overlay2"
    cgroup_version: int = 1
    cgroup_parent: str = ""
    init_path: str = ""
    """Binary for ``--init`` (tini or catatonit); empty: this host has none."""
    memory_total: int = 0
    """Bytes."""
    cpus: int = 0
    swap_accounting: bool = True
    host_gateway: str = ""
    """What ``host-gateway`` in ExtraHosts stands for."""
    init_by_default: bool = False
    shm_size: int = 64 << 20
    log_driver: str = "json-file"
    seccomp_profile: str = ""
    """Path of the daemon's default profile; empty: the built-in one."""
