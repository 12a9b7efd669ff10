"""Update of resources and restart policy, on a running container at once."""

from __future__ import annotations

from typing import Any

import msgspec

from wherry.containers import defaults
from wherry.containers.book import Book, Live
from wherry.containers.facts import HostFacts
from wherry.containers.specs import Specs
from wherry.containers.transitions import Status, has_process
from wherry.errors import Conflict, Invalid
from wherry.runtime.port import Runtime
from wherry.wire.container import HostConfig, RestartPolicy

_TEXT_RESOURCES = (
    "cpu_shares memory nano_cpus blkio_weight blkio_weight_device blkio_device_read_bps "
    "blkio_device_write_bps blkio_device_read_iops blkio_device_write_iops cpu_period "
    "cpu_quota cpu_realtime_period cpu_realtime_runtime cpuset_cpus cpuset_mems "
    "memory_reservation memory_swap memory_swappiness oom_kill_disable pids_limit"
)
RESOURCES = _TEXT_RESOURCES.split()


def merge_resources(old: HostConfig, asked: HostConfig) -> HostConfig:
    """``old`` with what was asked; zero and empty mean no change (moby ``UpdateContainer``).

    Raises ``Invalid`` for limits that contradict the ones already there.
    """
    changes: dict[str, Any] = {
        name: getattr(asked, name) for name in RESOURCES if getattr(asked, name)
    }
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
        changes["memory_swap"] = memory * 2
    merged: HostConfig = msgspec.structs.replace(old, **changes)
    return merged


class Updater:
    def __init__(self, book: Book, runtime: Runtime, specs: Specs, facts: HostFacts) -> None:
        self._book = book
        self._runtime = runtime
        self._specs = specs
        self._facts = facts

    async def update(
        self, live: Live, asked: HostConfig, restart: RestartPolicy | None
    ) -> list[str]:
        """See ``containers.service.Containers.update``. All of it, or nothing."""
        async with live.lock:
            record = live.record
            if record.status in (Status.REMOVING, Status.DEAD):
                raise Conflict(
                    f"Cannot update container {record.id}: container is marked for removal and "
                    'cannot be "update"'
                )
            old = record.host_config
            merged = merge_resources(old, asked)
            warnings = defaults.check_resources(merged, self._facts)
            if restart is not None and restart.name:
                if old.auto_remove and restart.name != "no":
                    raise Conflict(
                        "Restart policy cannot be updated because AutoRemove is enabled for the "
                        "container"
                    )
                merged = msgspec.structs.replace(merged, restart_policy=restart)
                defaults.check_policy(merged)
            changed = any(getattr(merged, name) != getattr(old, name) for name in RESOURCES)
            if changed and has_process(record.status):
                runtime = old.runtime or ""
                await self._runtime.update(record.id, self._specs.resources(merged), runtime)
            self._book.commit(live, host_config=merged, revision=record.revision + 1)
            self._book.publish(live.record, "update")
            return warnings
