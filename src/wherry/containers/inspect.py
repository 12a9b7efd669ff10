"""A container as ``GET /containers/{id}/json`` shows it, field by field as Docker; pure.

Field order and empty values follow moby ``api/types/container`` and what a dockerd 20.10-28
answers: no ``null`` where Docker writes ``""``, ``0``, ``[]`` or ``{}``, and the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wherry.containers.facts import HostFacts
from wherry.containers.ports import MountPoint
from wherry.containers.record import Health, Record, as_list, stamp, to_json
from wherry.containers.transitions import Status, counts_as_running
from wherry.store.paths import ContainerPaths
from wherry.wire.container import Config, HostConfig, pascal

_TEXT_NULL = (
    "binds volumes_from cap_add cap_drop extra_hosts group_add links security_opt "
    "device_cgroup_rules device_requests memory_swappiness oom_kill_disable pids_limit dns "
    "dns_options dns_search blkio_weight_device blkio_device_read_bps blkio_device_write_bps "
    "blkio_device_read_iops blkio_device_write_iops devices ulimits masked_paths "
    "readonly_paths port_bindings"
)
_NULL = frozenset(_TEXT_NULL.split())
"""Fields of ``HostConfig`` that Docker shows as null when nothing was asked."""
_TEXT_OMIT = "annotations storage_opt tmpfs sysctls mounts init kernel_memory depends_on"
_OMIT = frozenset(_TEXT_OMIT.split())
"""Fields that are left out when empty."""
_TEXT_BOOLS = "auto_remove privileged publish_all_ports readonly_rootfs"
_BOOLS = frozenset(_TEXT_BOOLS.split())
_TEXT_NUMBERS = (
    "oom_score_adj shm_size cpu_shares memory nano_cpus blkio_weight cpu_period cpu_quota "
    "cpu_realtime_period cpu_realtime_runtime memory_reservation memory_swap cpu_count "
    "cpu_percent io_maximum_iops io_maximum_bandwidth"
)
_NUMBERS = frozenset(_TEXT_NUMBERS.split())


def _apparmor(host: HostConfig) -> str:
    """The profile that was asked for; there is none of our own."""
    for option in reversed(host.security_opt or ()):
        key, _, value = option.partition("=" if "=" in option else ":")
        if key == "apparmor":
            return value
    return ""


def render_host_config(host: HostConfig) -> dict[str, Any]:
    """``HostConfig`` with Docker's empty values."""
    result: dict[str, Any] = {}
    for name in HostConfig.__struct_fields__:
        value = getattr(host, name)
        if name in _OMIT:
            if value:
                result[pascal(name)] = to_json(value)
            continue
        if value is None and name not in _NULL:
            if name in _BOOLS:
                value = False
            elif name in _NUMBERS:
                value = 0
            elif name == "console_size":
                value = [0, 0]
            elif name not in ("log_config", "restart_policy"):
                value = ""
        result[pascal(name)] = to_json(value)
    return result


def render_config(config: Config) -> dict[str, Any]:
    """``Config`` with Docker's empty values."""
    result: dict[str, Any] = {
        "Hostname": config.hostname or "",
        "Domainname": config.domainname or "",
        "User": config.user or "",
        "AttachStdin": bool(config.attach_stdin),
        "AttachStdout": bool(config.attach_stdout),
        "AttachStderr": bool(config.attach_stderr),
        "Tty": bool(config.tty),
        "OpenStdin": bool(config.open_stdin),
        "StdinOnce": bool(config.stdin_once),
        "Env": config.env or [],
        "Cmd": as_list(config.cmd) or None,
        "Image": config.image or "",
        "Volumes": config.volumes or None,
        "WorkingDir": config.working_dir or "",
        "Entrypoint": as_list(config.entrypoint) or None,
        "OnBuild": config.on_build,
        "Labels": config.labels or {},
    }
    if config.exposed_ports:
        result["ExposedPorts"] = config.exposed_ports
    if config.healthcheck is not None:
        health: dict[str, Any] = to_json(config.healthcheck)
        result["Healthcheck"] = {key: value for key, value in health.items() if value}
    for name in (
        "args_escaped",
        "network_disabled",
        "mac_address",
        "stop_signal",
        "shell",
    ):
        value = getattr(config, name)
        if value:
            result[pascal(name)] = to_json(value)
    if config.stop_timeout is not None:
        result["StopTimeout"] = config.stop_timeout
    return result


def render_health(health: Health) -> dict[str, Any]:
    return {
        "Status": health.status,
        "FailingStreak": health.failing,
        "Log": [
            {
                "Start": stamp(probe.start_ns),
                "End": stamp(probe.end_ns),
                "ExitCode": probe.exit_code,
                "Output": probe.output,
            }
            for probe in health.probes
        ],
    }


def render_state(record: Record) -> dict[str, Any]:
    state = record.state
    result: dict[str, Any] = {
        "Status": str(state.status),
        "Running": counts_as_running(state.status),
        "Paused": state.status is Status.PAUSED,
        "Restarting": state.status is Status.RESTARTING,
        "OOMKilled": state.oom,
        "Dead": state.status is Status.DEAD,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": stamp(state.started_ns),
        "FinishedAt": stamp(state.finished_ns),
    }
    if state.health is not None:
        result["Health"] = render_health(state.health)
    return result


def render_mounts(points: Sequence[MountPoint]) -> list[dict[str, Any]]:
    """``Mounts``: all but those of ``--tmpfs``, which Docker shows in ``HostConfig`` only."""
    return [render_mount(point) for point in points if point.extra.get("listed", True)]


def render_mount(point: MountPoint) -> dict[str, Any]:
    """One entry of ``Mounts``."""
    result: dict[str, Any] = {"Type": point.type}
    if point.name:
        result["Name"] = point.name
    result["Source"] = point.source
    result["Destination"] = point.destination
    if point.driver:
        result["Driver"] = point.driver
    result |= {"Mode": point.mode, "RW": point.rw, "Propagation": point.propagation}
    return result


_EMPTY_NETWORK = {
    "Bridge": "",
    "SandboxID": "",
    "SandboxKey": "",
    "Ports": {},
    "HairpinMode": False,
    "LinkLocalIPv6Address": "",
    "LinkLocalIPv6PrefixLen": 0,
    "SecondaryIPAddresses": None,
    "SecondaryIPv6Addresses": None,
    "EndpointID": "",
    "Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "MacAddress": "",
    "Networks": {},
}
_EMPTY_ENDPOINT = {
    "IPAMConfig": None,
    "Links": None,
    "Aliases": None,
    "MacAddress": "",
    "DriverOpts": None,
    "GwPriority": 0,
    "NetworkID": "",
    "EndpointID": "",
    "Gateway": "",
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "DNSNames": None,
}


def network_settings(record: Record, known: Mapping[str, Any]) -> dict[str, Any]:
    """``NetworkSettings``: what the networks say, with the empty values of Docker."""
    result = {**_EMPTY_NETWORK, **known}
    mode = record.host_config.network_mode or ""
    if "Networks" not in known and mode in ("none", "host"):
        result["Networks"] = {mode: dict(_EMPTY_ENDPOINT)}
    return result


def render(
    record: Record,
    *,
    place: ContainerPaths,
    networks: Mapping[str, Any],
    execs: list[str],
    facts: HostFacts,
    lower: list[str],
    links: list[str] | None = None,
    size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """The whole answer. ``size``: (SizeRw, SizeRootFs) bytes."""
    argv = record.argv
    started = record.state.started_ns > 0
    host = record.host_config
    logs = host.log_config.type if host.log_config else ""
    result: dict[str, Any] = {
        "Id": record.id,
        "Created": stamp(record.created_ns),
        "Path": argv[0] if argv else "",
        "Args": argv[1:],
        "State": render_state(record),
        "Image": record.image.id,
        "ResolvConfPath": str(place.resolv_conf) if started else "",
        "HostnamePath": str(place.hostname) if started else "",
        "HostsPath": str(place.hosts) if started else "",
        "LogPath": str(place.log) if logs == "json-file" else "",
        "Name": "/" + record.name,
        "RestartCount": record.restart_count,
        "Driver": facts.storage_driver,
        "Platform": record.image.os,
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": _apparmor(host),
        "ExecIDs": sorted(execs) or None,
        "HostConfig": {**render_host_config(host), "Links": links},
        "GraphDriver": {
            "Name": facts.storage_driver,
            "Data": {
                "ID": record.id,
                "LowerDir": ":".join(lower),
                "MergedDir": str(place.rootfs),
                "UpperDir": str(place.upper),
                "WorkDir": str(place.work),
            },
        },
        "Mounts": render_mounts(record.mount_points),
        "Config": render_config(record.config),
        "NetworkSettings": network_settings(record, networks),
    }
    if size is not None:
        result["SizeRw"], result["SizeRootFs"] = size
    return result
