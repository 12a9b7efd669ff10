"""Who the daemon is and what it has: ``/version``, ``/info``, ``/system/df``."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from wherry import __version__
from wherry.api.app import API_VERSION, MIN_API_VERSION, version_text
from wherry.containers.logoptions import DRIVERS
from wherry.containers.service import Containers
from wherry.containers.shipping.options import check_present
from wherry.errors import NotImplementedYet
from wherry.images.service import Images
from wherry.linux.host import HostFacts
from wherry.oci.platform import normalise
from wherry.runtime.port import RuntimeFacts
from wherry.wire.durations import rfc3339


class Volumes(Protocol):
    """What the volumes service tells for ``/system/df`` and ``/info``."""

    async def disk_usage(self) -> list[dict[str, Any]]: ...

    def driver_names(self) -> list[str]:
        """The local one, and the plugins that are there now."""


@dataclass(frozen=True)
class SystemFacts:
    """What was found and chosen at start-up."""

    identity: str
    """The daemon's own id, kept with the data root."""
    data_root: Path
    host: HostFacts
    runtime: RuntimeFacts
    runtimes: Mapping[str, str]
    """Name -> path; the default one under ``""`` too."""
    storage_driver: str
    storage_status: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    networks: tuple[str, ...] = ("host", "none")
    address_pools: tuple[dict[str, Any], ...] = ()
    network_warnings: Callable[[], list[str]] = list
    """What stands in the networks' way at this moment."""
    log_drivers: tuple[str, ...] = DRIVERS
    log_driver: str = "json-file"
    experimental: bool = False


class SystemService:
    """Implements ``api.system.System``."""

    def __init__(
        self,
        facts: SystemFacts,
        containers: Containers,
        images: Images,
        volumes: Volumes,
        labels: Callable[[], list[str]],
        debug: Callable[[], bool],
        listeners: Callable[[], int],
    ) -> None:
        self._facts = facts
        self._containers = containers
        self._images = images
        self._volumes = volumes
        self._labels = labels
        self._debug = debug
        self._listeners = listeners

    @property
    def experimental(self) -> bool:
        return self._facts.experimental

    def version(self) -> dict[str, Any]:
        facts, host = self._facts, self._facts.host
        arch = normalise("linux", host.architecture).architecture
        details = {
            "ApiVersion": version_text(API_VERSION),
            "MinAPIVersion": version_text(MIN_API_VERSION),
            "Arch": arch,
            "Os": "linux",
            "KernelVersion": host.kernel,
            "PythonVersion": platform.python_version(),
            "GoVersion": "",
            "GitCommit": "",
            "BuildTime": "",
            "Experimental": "true" if facts.experimental else "false",
        }
        parts = [{"Name": "Engine", "Version": __version__, "Details": details}]
        if facts.runtime.monitor_version:
            monitor = {"Name": "conmon", "Version": facts.runtime.monitor_version, "Details": {}}
            parts.append(monitor)
        for name, text in facts.runtime.versions.items():
            parts.append({"Name": name, "Version": text, "Details": {}})
        return {
            "Platform": {"Name": "Wherry"},
            "Components": parts,
            "Version": __version__,
            "ApiVersion": version_text(API_VERSION),
            "MinAPIVersion": version_text(MIN_API_VERSION),
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": arch,
            "KernelVersion": host.kernel,
            "BuildTime": "",
        }

    async def info(self) -> dict[str, Any]:
        facts, host = self._facts, self._facts.host
        counts = self._containers.counts()
        controllers = host.controllers
        now = time.time_ns()
        return {
            "ID": facts.identity,
            "Containers": sum(counts.values()),
            "ContainersRunning": counts.get("running", 0),
            "ContainersPaused": counts.get("paused", 0),
            "ContainersStopped": counts.get("stopped", 0),
            "Images": len(self._images.summaries({}, all=True)),
            "Driver": facts.storage_driver,
            "DriverStatus": [list(pair) for pair in facts.storage_status],
            "DockerRootDir": str(facts.data_root),
            "Plugins": {
                "Volume": self._volumes.driver_names(),
                "Network": list(facts.networks),
                "Authorization": None,
                "Log": [each for each in facts.log_drivers if _has(each)],
            },
            "MemoryLimit": "memory" in controllers,
            "SwapLimit": host.swap_limit,
            "CpuCfsPeriod": "cpu" in controllers,
            "CpuCfsQuota": "cpu" in controllers,
            "CPUShares": "cpu" in controllers,
            "CPUSet": "cpuset" in controllers,
            "PidsLimit": "pids" in controllers,
            "OomKillDisable": host.memory_oom_control,
            "KernelMemoryTCP": False,
            "IPv4Forwarding": _sysctl("net/ipv4/ip_forward") == "1",
            "BridgeNfIptables": False,
            "BridgeNfIp6tables": False,
            "Debug": self._debug(),
            "NFd": _descriptors(),
            "OomScoreAdj": 0,
            "NGoroutines": 0,
            "NEventsListener": self._listeners(),
            "SystemTime": rfc3339(now),
            "LoggingDriver": facts.log_driver,
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": str(host.cgroup_version),
            "KernelVersion": host.kernel,
            "OperatingSystem": host.operating_system,
            "OSVersion": host.os_version,
            "OSType": "linux",
            "Architecture": host.architecture,
            "NCPU": host.cpus,
            "MemTotal": host.memory,
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": _registry_config(),
            "GenericResources": None,
            "HttpProxy": os.environ.get("HTTP_PROXY", ""),
            "HttpsProxy": os.environ.get("HTTPS_PROXY", ""),
            "NoProxy": os.environ.get("NO_PROXY", ""),
            "Name": host.hostname,
            "Labels": self._labels(),
            "ExperimentalBuild": facts.experimental,
            "ServerVersion": __version__,
            "Runtimes": self._runtimes(),
            "DefaultRuntime": facts.runtime.default,
            "Swarm": _no_swarm(),
            "LiveRestoreEnabled": True,
            "Isolation": "",
            "InitBinary": Path(host.init_path).name,
            "ContainerdCommit": {"ID": ""},
            "RuncCommit": {"ID": self._default_runtime()},
            "InitCommit": {"ID": ""},
            "SecurityOptions": self._security(),
            "ProductLicense": "",
            "DefaultAddressPools": list(facts.address_pools),
            "CDISpecDirs": [],
            "Warnings": [*facts.warnings, *facts.network_warnings()],
        }

    def _default_runtime(self) -> str:
        """Clients write "runc version:" before it whatever the default runtime is, so another one
        says its name."""
        name = self._facts.runtime.default
        version = self._facts.runtime.versions.get(name, "")
        return version if name == "runc" else f"{name} {version}".rstrip()

    def _runtimes(self) -> dict[str, dict[str, str]]:
        return {name: {"path": path} for name, path in self._facts.runtimes.items() if name}

    def _security(self) -> list[str]:
        host = self._facts.host
        options: list[str] = []
        if host.apparmor:
            options.append("name=apparmor")
        if host.seccomp:
            options.append("name=seccomp,profile=builtin")
        if host.selinux:
            options.append("name=selinux")
        if host.cgroup_version == 2:
            options.append("name=cgroupns")
        return options

    async def disk_usage(self, kinds: frozenset[str], verbose: bool) -> dict[str, Any]:
        """API up to 1.51: the rows at the top level. From 1.52 the sums too, rows if verbose."""
        body: dict[str, Any] = {}
        if "image" in kinds:
            images = self._images.disk_usage()
            body["LayersSize"] = images.get("LayersSize", 0)
            rows = images.get("Images", [])
            body |= {"Images": rows, "ImageUsage": _image_usage(rows, body["LayersSize"], verbose)}
        if "container" in kinds:
            rows = await self._containers.disk_usage()
            body |= {"Containers": rows, "ContainerUsage": _container_usage(rows, verbose)}
        if "volume" in kinds:
            rows = await self._volumes.disk_usage()
            body |= {"Volumes": rows, "VolumeUsage": _volume_usage(rows, verbose)}
        if "build-cache" in kinds:
            usage = {"ActiveCount": 0, "TotalCount": 0, "Reclaimable": 0, "TotalSize": 0}
            body |= {"BuildCache": [], "BuildCacheUsage": usage}
        return body


def _usage(
    rows: list[dict[str, Any]], total: int, active: int, reclaimable: int, verbose: bool
) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "ActiveCount": active,
        "TotalCount": len(rows),
        "TotalSize": total,
        "Reclaimable": reclaimable,
    }
    if verbose:
        usage["Items"] = rows
    return usage


def _image_usage(rows: list[dict[str, Any]], total: int, verbose: bool) -> dict[str, Any]:
    used = [row for row in rows if row.get("Containers", 0) > 0]
    kept = sum(row.get("Size", 0) - max(row.get("SharedSize", 0), 0) for row in used)
    return _usage(rows, total, len(used), max(total - kept, 0) if rows else 0, verbose)


def _container_usage(rows: list[dict[str, Any]], verbose: bool) -> dict[str, Any]:
    active = [row for row in rows if row.get("State") in ("running", "paused", "restarting")]
    total = sum(row.get("SizeRw") or 0 for row in rows)
    kept = sum(row.get("SizeRw") or 0 for row in active)
    return _usage(rows, total, len(active), total - kept, verbose)


def _volume_usage(rows: list[dict[str, Any]], verbose: bool) -> dict[str, Any]:
    def size(row: dict[str, Any]) -> int:
        return max(int((row.get("UsageData") or {}).get("Size", 0)), 0)

    active = [row for row in rows if (row.get("UsageData") or {}).get("RefCount", 0) > 0]
    total = sum(map(size, rows))
    return _usage(rows, total, len(active), total - sum(map(size, active)), verbose)


def _registry_config() -> dict[str, Any]:
    index = {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}
    return {
        "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
        "IndexConfigs": {"docker.io": index},
        "Mirrors": [],
        "AllowNondistributableArtifactsCIDRs": [],
        "AllowNondistributableArtifactsHostnames": [],
    }


def _no_swarm() -> dict[str, Any]:
    return {
        "NodeID": "",
        "NodeAddr": "",
        "LocalNodeState": "inactive",
        "ControlAvailable": False,
        "Error": "",
        "RemoteManagers": None,
    }


def _sysctl(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""


def _descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def _has(driver: str) -> bool:
    try:
        check_present(driver)
    except NotImplementedYet:
        return False
    return True
