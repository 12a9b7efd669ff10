"""Limits of a container as ``linux.resources`` of the OCI spec. Pure.

Rules: moby ``daemon/daemon_unix.go`` (``getMemoryResources``, ``getCPUResources``,
``getBlkioResources`` ...).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from wherry.errors import Invalid
from wherry.linux.devices import DeviceNode
from wherry.wire.container import HostConfig, ThrottleDevice

DeviceNumbers = Callable[[str], tuple[int, int]]
"""Path of a block device -> (major, minor); raises ``Invalid``."""

CPU_PERIOD = 100_000
_RULE = re.compile(r"^([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})$")
_DEFAULT_DEVICES = ((1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1))


def _set(target: dict[str, Any], key: str, value: Any) -> None:
    if value:
        target[key] = value


def memory(host: HostConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    _set(found, "limit", host.memory if (host.memory or 0) > 0 else 0)
    _set(found, "reservation", host.memory_reservation)
    _set(found, "swap", host.memory_swap)
    if host.memory and not host.memory_swap:
        found["swap"] = min(host.memory * 2, (1 << 63) - 1)
    if host.memory_swappiness is not None and host.memory_swappiness >= 0:
        found["swappiness"] = host.memory_swappiness
    if host.oom_kill_disable:
        found["disableOOMKiller"] = True
    return found


def cpu(host: HostConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    shares = host.cpu_shares or 0
    if shares:
        found["shares"] = min(max(shares, 2), 262_144)
    if host.nano_cpus:
        found["period"] = CPU_PERIOD
        found["quota"] = host.nano_cpus * CPU_PERIOD // 1_000_000_000
    _set(found, "period", host.cpu_period)
    # Without limit (-1) is what a new cgroup has; crun cannot write it.
    _set(found, "quota", max(host.cpu_quota or 0, 0))
    _set(found, "realtimePeriod", host.cpu_realtime_period)
    _set(found, "realtimeRuntime", host.cpu_realtime_runtime)
    _set(found, "cpus", host.cpuset_cpus)
    _set(found, "mems", host.cpuset_mems)
    return found


def block_io(host: HostConfig, numbers: DeviceNumbers) -> dict[str, Any]:
    found: dict[str, Any] = {}
    _set(found, "weight", host.blkio_weight)
    weights = []
    for device in host.blkio_weight_device or ():
        if not 10 <= device.weight <= 1000:
            raise Invalid(f"Range of blkio weight is from 10 to 1000: {device.path}")
        major, minor = numbers(device.path)
        weights.append({"major": major, "minor": minor, "weight": device.weight})
    _set(found, "weightDevice", weights)
    for key, devices in (
        ("throttleReadBpsDevice", host.blkio_device_read_bps),
        ("throttleWriteBpsDevice", host.blkio_device_write_bps),
        ("throttleReadIOPSDevice", host.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", host.blkio_device_write_iops),
    ):
        _set(found, key, [_throttle(device, numbers) for device in devices or ()])
    return found


def _throttle(device: ThrottleDevice, numbers: DeviceNumbers) -> dict[str, int]:
    if device.rate < 0:
        raise Invalid(f"invalid rate {device.rate} for the device {device.path}")
    major, minor = numbers(device.path)
    return {"major": major, "minor": minor, "rate": device.rate}


def limits(host: HostConfig, numbers: DeviceNumbers) -> dict[str, Any]:
    """Everything that may change while a container runs (also what ``update`` sends)."""
    found: dict[str, Any] = {}
    _set(found, "memory", memory(host))
    _set(found, "cpu", cpu(host))
    _set(found, "blockIO", block_io(host, numbers))
    if (host.pids_limit or 0) > 0:
        found["pids"] = {"limit": host.pids_limit}
    return found


def parse_rule(text: str) -> dict[str, Any]:
    """``c 10:200 rwm`` as an OCI device rule. Raises ``Invalid``."""
    match = _RULE.match(text)
    if match is None:
        raise Invalid(f"invalid device cgroup rule format: '{text}'")
    rule: dict[str, Any] = {"allow": True, "type": match[1], "access": match[4]}
    if match[2] != "*":
        rule["major"] = int(match[2])
    if match[3] != "*":
        rule["minor"] = int(match[3])
    return rule


def check_permissions(text: str) -> str:
    """Access letters of a device; empty stands for all. Raises ``Invalid``."""
    if not text:
        return "rwm"
    if len(set(text)) != len(text) or not set(text) <= set("rwm"):
        raise Invalid(f"invalid device mode: {text}")
    return text


def device_rules(
    devices: Sequence[tuple[DeviceNode, str]], rules: Sequence[str] | None, *, privileged: bool
) -> list[dict[str, Any]]:
    """``linux.resources.devices``: (device, access letters) and further rules in text."""
    if privileged:
        return [{"allow": True, "access": "rwm"}]
    made: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    made += [
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in _DEFAULT_DEVICES
    ]
    made += [
        {
            "allow": True,
            "type": node.kind,
            "major": node.major,
            "minor": node.minor,
            "access": access,
        }
        for node, access in devices
    ]
    return made + [parse_rule(rule) for rule in rules or ()]
