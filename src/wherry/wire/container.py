"""A container as the Engine API writes it (v1.24-v1.55): what a client asks for.

Field names follow the API by ``rename``; every field is optional, because clients send ``null``
for anything. Unknown fields are ignored, as Docker does. Wrong types raise
``msgspec.ValidationError`` whose text names the field.
"""

from __future__ import annotations

from typing import Any

import msgspec

_SPECIAL = {
    "cpu_quota": "CpuQuota",
    "ip_address": "IPAddress",
    "ip_prefix_len": "IPPrefixLen",
    "ipv6_gateway": "IPv6Gateway",
    "global_ipv6_address": "GlobalIPv6Address",
    "global_ipv6_prefix_len": "GlobalIPv6PrefixLen",
    "network_id": "NetworkID",
    "endpoint_id": "EndpointID",
    "dns_names": "DNSNames",
    "ipam_config": "IPAMConfig",
    "ipv4_address": "IPv4Address",
    "ipv6_address": "IPv6Address",
    "link_local_ips": "LinkLocalIPs",
    "container_id_file": "ContainerIDFile",
    "uts_mode": "UTSMode",
    "io_maximum_iops": "IOMaximumIOps",
    "io_maximum_bandwidth": "IOMaximumBandwidth",
    "blkio_device_read_iops": "BlkioDeviceReadIOps",
    "blkio_device_write_iops": "BlkioDeviceWriteIOps",
    "device_ids": "DeviceIDs",
    "selinux_label": "SELinuxLabel",
    "ip": "IP",
    "id": "ID",
    "host_ip": "HostIp",
    "uid": "UID",
    "gid": "GID",
    "checkpoint_id": "CheckpointID",
}


def pascal(name: str) -> str:
    """Map a Python field name to the API's key: ``cpu_shares`` -> ``CpuShares``."""
    special = _SPECIAL.get(name)
    return special or "".join(part[:1].upper() + part[1:] for part in name.split("_"))


class Wire(msgspec.Struct, rename=pascal, kw_only=True):
    """Base of the API's objects. Encoded whole: Docker writes every field."""


class HealthConfig(Wire):
    """Durations in nanoseconds; 0 means inherit. ``test`` as Docker: NONE, CMD..., CMD-SHELL...

    ``on_unhealthy`` (beyond Docker): restart, stop, kill, none; "" means inherit, at last none.
    """

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0
    on_unhealthy: str = ""


class Config(Wire):
    """``Config`` of create and inspect: what travels with the image."""

    hostname: str | None = None
    domainname: str | None = None
    user: str | None = None
    attach_stdin: bool | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    exposed_ports: dict[str, Any] | None = None
    tty: bool | None = None
    open_stdin: bool | None = None
    stdin_once: bool | None = None
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool | None = None
    image: str | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str | None = None
    entrypoint: list[str] | str | None = None
    network_disabled: bool | None = None
    mac_address: str | None = None
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    shell: list[str] | None = None


class PortBinding(Wire):
    host_ip: str | None = ""
    host_port: str | None = ""


class RestartPolicy(Wire):
    name: str | None = None
    maximum_retry_count: int | None = None


class LogConfig(Wire):
    type: str | None = None
    config: dict[str, str] | None = None


class Ulimit(Wire):
    name: str = ""
    soft: int = 0
    hard: int = 0


class DeviceMapping(Wire):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(Wire):
    driver: str | None = None
    count: int | None = None
    device_ids: list[str] | None = None
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class WeightDevice(Wire):
    path: str = ""
    weight: int = 0


class ThrottleDevice(Wire):
    path: str = ""
    rate: int = 0


class Sparse(Wire, omit_defaults=True):
    """Written without what is empty, as Docker does with mounts."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not value and not isinstance(value, msgspec.Struct):
                setattr(self, name, None)


class BindOptions(Sparse):
    propagation: str | None = None
    non_recursive: bool | None = None
    create_mountpoint: bool | None = None
    read_only_non_recursive: bool | None = None
    read_only_force_recursive: bool | None = None
    idmap: str | None = None
    """Beyond Docker: ``match-user``, the container's user and the source's owner change places."""


class DriverConfig(Sparse):
    name: str | None = None
    options: dict[str, str] | None = None


class VolumeOptions(Sparse):
    no_copy: bool | None = None
    labels: dict[str, str] | None = None
    driver_config: DriverConfig | None = None
    subpath: str | None = None


class TmpfsOptions(Sparse):
    size_bytes: int | None = None
    mode: int | None = None
    options: list[list[str]] | None = None


class ImageOptions(Sparse):
    subpath: str | None = None


class Mount(Sparse):
    """One entry of ``HostConfig.Mounts`` (``--mount``)."""

    type: str | None = None
    source: str | None = None
    target: str | None = None
    read_only: bool | None = None
    consistency: str | None = None
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    tmpfs_options: TmpfsOptions | None = None
    image_options: ImageOptions | None = None


class HostConfig(Wire):
    """``HostConfig`` of create and inspect: what belongs to this host. Sizes in bytes."""

    binds: list[str] | None = None
    container_id_file: str | None = None
    log_config: LogConfig | None = None
    network_mode: str | None = None
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    restart_policy: RestartPolicy | None = None
    auto_remove: bool | None = None
    volume_driver: str | None = None
    volumes_from: list[str] | None = None
    console_size: list[int] | None = None
    annotations: dict[str, str] | None = None
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    cgroupns_mode: str | None = None
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str | None = None
    cgroup: str | None = None
    links: list[str] | None = None
    oom_score_adj: int | None = None
    pid_mode: str | None = None
    privileged: bool | None = None
    publish_all_ports: bool | None = None
    readonly_rootfs: bool | None = None
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str | None = None
    userns_mode: str | None = None
    shm_size: int | None = None
    sysctls: dict[str, str] | None = None
    runtime: str | None = None
    isolation: str | None = None
    cpu_shares: int | None = None
    memory: int | None = None
    nano_cpus: int | None = None
    cgroup_parent: str | None = None
    blkio_weight: int | None = None
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = None
    blkio_device_write_iops: list[ThrottleDevice] | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_realtime_period: int | None = None
    cpu_realtime_runtime: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    memory_reservation: int | None = None
    memory_swap: int | None = None
    memory_swappiness: int | None = None
    kernel_memory: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: int | None = None
    cpu_percent: int | None = None
    io_maximum_iops: int | None = None
    io_maximum_bandwidth: int | None = None
    mounts: list[Mount] | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | None = None
    depends_on: list[str] | None = None
    """Beyond Docker: ``NAME[:started|healthy|completed]``."""


class EndpointIPAMConfig(Wire):
    ipv4_address: str | None = None
    ipv6_address: str | None = None
    link_local_ips: list[str] | None = None


class EndpointSettings(Wire):
    """One network of a container: asked for (create, connect) and as it is (inspect)."""

    ipam_config: EndpointIPAMConfig | None = None
    links: list[str] | None = None
    aliases: list[str] | None = None
    mac_address: str | None = None
    driver_opts: dict[str, str] | None = None
    gw_priority: int | None = None
    network_id: str | None = None
    endpoint_id: str | None = None
    gateway: str | None = None
    ip_address: str | None = None
    ip_prefix_len: int | None = None
    ipv6_gateway: str | None = None
    global_ipv6_address: str | None = None
    global_ipv6_prefix_len: int | None = None
    dns_names: list[str] | None = None


class NetworkingConfig(Wire):
    endpoints_config: dict[str, EndpointSettings | None] | None = None


class CreateRequest(Config):
    """Body of ``POST /containers/create``: a ``Config`` with two more keys."""

    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None


class UpdateRequest(HostConfig):
    """Body of ``POST /containers/{id}/update``: Docker's resources and ``RestartPolicy``, and,
    beyond Docker, what else may change. Other fields of ``HostConfig`` are ignored, as in Docker.
    """

    env_add: list[str] | None = None
    """``NAME=value``."""
    env_remove: list[str] | None = None
    labels_add: dict[str, str] | None = None
    labels_remove: list[str] | None = None
    publish_add: dict[str, list[PortBinding] | None] | None = None
    """As ``PortBindings``; no binding means any free port."""
    publish_remove: dict[str, list[PortBinding] | None] | None = None
    """No binding, or one without address and port, means all of the container's port."""
    mounts_add: list[Mount] | None = None
    mounts_remove: list[str] | None = None
    """Targets."""
    healthcheck: HealthConfig | None = None
    """What is 0 or empty stays as it is; ``Test`` ``["NONE"]`` ends the checks."""


class CheckpointRequest(Wire):
    """Body of ``POST /containers/{id}/checkpoints``."""

    checkpoint_id: str | None = None
    checkpoint_dir: str | None = None
    exit: bool | None = None
