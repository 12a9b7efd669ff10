"""What the life cycle must know of its host and its daemon; probed once by the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class HostFacts:
    hostname: str = "localhost"
    default_runtime: str = "crun"
    runtimes: frozenset[str] = field(default_factory=frozenset)
    """Names a request may ask for; empty: not checked."""
    storage_driver: str = "overlay2"
    cgroup_version: int = 1
    init_path: str = ""
    """Binary for ``--init`` (tini or catatonit); empty: this host has none."""
    memory_total: int = 0
    """Bytes."""
    cpus: int = 0
    whole: Mapping[str, str] = field(default_factory=dict)
    """``cpus`` and ``mems`` of the whole host, as in cpusets."""
    swap_accounting: bool = True
    host_gateway: str = ""
    """What ``host-gateway`` in ExtraHosts stands for."""
    shm_size: int = 64 << 20
    log_driver: str = "json-file"
    log_options: Mapping[str, str] = field(default_factory=dict)
    """Of the default driver; a container's own come over them."""
    ipc_mode: str = "private"
    cgroupns_mode: str = ""
    """Empty: as Docker, by the cgroup version."""
    no_new_privileges: bool = False
