"""Limits of a container that change while it exists; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from wherry.containers.defaults import MOST_MEMORY
from wherry.errors import Invalid
from wherry.wire.container import HostConfig

_TEXT_RESOURCES = (
    "cpu_shares memory nano_cpus blkio_weight blkio_weight_device blkio_device_read_bps "
    "blkio_device_write_bps blkio_device_read_iops blkio_device_write_iops cpu_period "
    "cpu_quota cpu_realtime_period cpu_realtime_runtime cpuset_cpus cpuset_mems "
    "memory_reservation memory_swap memory_swappiness oom_kill_disable pids_limit"
)
RESOURCES = _TEXT_RESOURCES.split()


def merge_resources(old: HostConfig, asked: HostConfig) -> HostConfig:
    """``old`` with what was asked; zero and empty mean no change (moby ``UpdateContainer``);
    a limit of processes of 0 or less means none.

    Raises ``Invalid`` for limits that contradict the ones already there.
    """
    changes: dict[str, Any] = {
        name: getattr(asked, name) for name in RESOURCES if getattr(asked, name)
    }
    if asked.pids_limit is not None and asked.pids_limit <= 0:
        changes["pids_limit"] = 0
    if changes.get("nano_cpus"):
        if old.cpu_period:
            raise Invalid(
                "Conflicting options: Nano CPUs cannot be updated as CPU Period has already "
                "been set"
            )
        if old.cpu_quota:
            raise Invalid(
                "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set"
            )
    for name, words in (("cpu_period", "CPU Period"), ("cpu_quota", "CPU Quota")):
        if changes.get(name) and old.nano_cpus:
            raise Invalid(
                f"Conflicting options: {words} cannot be updated as NanoCPUs has already been set"
            )
    memory, swap = changes.get("memory", 0), changes.get("memory_swap")
    old_swap = old.memory_swap or 0
    if memory and swap is None and 0 < old_swap < memory:
        raise Invalid(
            "Memory limit should be smaller than already set memoryswap limit, update the "
            "memoryswap at the same time"
        )
    if memory and swap is None and not old_swap:
        changes["memory_swap"] = min(memory * 2, MOST_MEMORY)
    merged: HostConfig = msgspec.structs.replace(old, **changes)
    return merged


_NEUTRAL: Mapping[str, Mapping[str, Any]] = {
    "memory": {
        "limit": -1,
        "reservation": -1,
        "swap": -1,
        "swappiness": 60,
        "disableOOMKiller": False,
    },
    "cpu": {
        "shares": 1024,
        "quota": -1,
        "period": 100_000,
        "realtimePeriod": 1_000_000,
        "realtimeRuntime": 0,
    },
    "blockIO": {"weight": 500},
    "pids": {"limit": 4_194_304},
}
"""What a container without the limit has. Of processes the most that any Linux can have: crun
before 1.9 writes -1 as it is, which the kernel refuses."""

UNIFIED: Mapping[str, Any] = {"reservation": 0, "shares": 2622, "weight": 20}
"""The same where version 2 of cgroups differs: as runtimes convert them, its usual weights."""


def transition(
    before: Mapping[str, Any], after: Mapping[str, Any], whole: Mapping[str, Any]
) -> dict[str, Any]:
    """OCI ``linux.resources`` that lead from ``before`` to ``after``: what only ``before`` limits
    is set free. ``whole``: what means none on this host: its ``cpus`` and ``mems``, and
    ``UNIFIED``."""
    result: dict[str, Any] = {}
    for part in dict.fromkeys((*after, *before)):
        old, new = before.get(part) or {}, after.get(part) or {}
        merged = dict(new)
        for key in old:
            if key in merged:
                continue
            if key in whole:
                merged[key] = whole[key]
            elif key in _NEUTRAL.get(part, {}):
                merged[key] = _NEUTRAL[part][key]
            elif part == "blockIO" and isinstance(old[key], list):
                merged[key] = [_freed(each) for each in old[key]]
        if merged:
            result[part] = merged
    return result


def _freed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A limit of one device that is none."""
    key = "weight" if "weight" in entry else "rate"
    return {**entry, key: 500 if key == "weight" else 0}
