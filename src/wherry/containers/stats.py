"""What containers use, as ``GET /containers/{id}/stats`` gives it (API v1.24-v1.55)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import asdict
from typing import Any

from wherry.containers.book import Book, Live
from wherry.containers.record import Record
from wherry.linux.usage import BlockUsage, Usage, interfaces, read_usage, system_cpu
from wherry.wire.durations import ZERO_TIME, rfc3339

Rows = list[dict[str, Any]] | None

_PERIOD = 1.0
"""Seconds between two samples of a stream."""


class Stats:
    def __init__(self, book: Book, cgroup_path: Callable[[Record], str], memory_total: int) -> None:
        """``memory_total``: bytes of the host, shown as the limit where there is none."""
        self._book = book
        self._cgroup_path = cgroup_path
        self._memory_total = memory_total

    def sample(self, live: Live, before: dict[str, Any] | None) -> dict[str, Any]:
        """One object of the stream; ``before`` is the sample before it, for rates."""
        record, running = live.record, live.running
        names = {"name": f"/{record.name}", "id": record.id}
        if running is None:
            return {**_nothing(), **names}
        usage = read_usage(self._cgroup_path(record))
        before = before or {}
        found = {
            "read": rfc3339(time.time_ns()),
            "preread": before.get("read", ZERO_TIME),
            "pids_stats": _without_zeros(current=usage.pids, limit=usage.pids_limit),
            "blkio_stats": _block(usage),
            "num_procs": 0,
            "storage_stats": {},
            "cpu_stats": _cpu(usage),
            "precpu_stats": before.get("cpu_stats") or _nothing()["precpu_stats"],
            "memory_stats": self._memory(usage),
            **names,
        }
        networks = {name: asdict(each) for name, each in interfaces(running.pid).items()}
        if networks:
            found["networks"] = networks
        return found

    def _memory(self, usage: Usage) -> dict[str, Any]:
        memory = usage.memory
        limit = memory.limit or self._memory_total
        return {
            "usage": memory.usage,
            **_without_zeros(max_usage=memory.peak, failcnt=memory.failures),
            "stats": memory.details,
            "limit": min(limit, self._memory_total),
        }

    async def stream(
        self, live: Live, *, follow: bool, one_shot: bool
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Samples each second until the container is removed; or one.

        One sample without ``one_shot`` waits for a second one, so that rates can be told.
        """
        before: dict[str, Any] | None = None
        if not follow and not one_shot and live.running is not None:
            before = self.sample(live, None)
            await asyncio.sleep(_PERIOD)
        due = time.monotonic()
        while True:
            before = self.sample(live, before)
            yield before
            if not follow:
                return
            due += _PERIOD
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self._book.find(live.id) is not live:
                return


def _without_zeros(**figures: int) -> dict[str, int]:
    return {name: value for name, value in figures.items() if value}


def _nothing() -> dict[str, Any]:
    """What Docker says of a container that does not run."""
    usage = {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0}
    cpu = {
        "cpu_usage": usage,
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }
    return {
        "read": ZERO_TIME,
        "preread": ZERO_TIME,
        "pids_stats": {},
        "blkio_stats": _rows(None, None, None),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu,
        "precpu_stats": cpu,
        "memory_stats": {},
    }


def _cpu(usage: Usage) -> dict[str, Any]:
    cpu = usage.cpu
    used: dict[str, Any] = {
        "total_usage": cpu.total,
        "usage_in_kernelmode": cpu.system,
        "usage_in_usermode": cpu.user,
    }
    if cpu.per_cpu:
        used["percpu_usage"] = list(cpu.per_cpu)
    return {
        "cpu_usage": used,
        "system_cpu_usage": system_cpu(),
        "online_cpus": os.cpu_count() or 1,
        "throttling_data": {
            "periods": cpu.periods,
            "throttled_periods": cpu.throttled,
            "throttled_time": cpu.throttled_ns,
        },
    }


def _block(usage: Usage) -> dict[str, Any]:
    """Docker's names. What no kernel gives any more is empty with control groups of version 1, as
    is what a container has not used, and null with version 2."""
    sizes, operations = _io(usage.block_bytes), _io(usage.block_operations)
    if usage.version == 1:
        return _rows(sizes, operations, [])
    return _rows(sizes or None, operations or None, None)


def _rows(sizes: Rows, operations: Rows, rest: Rows) -> dict[str, Any]:
    return {
        "io_service_bytes_recursive": sizes,
        "io_serviced_recursive": operations,
        "io_queue_recursive": rest,
        "io_service_time_recursive": rest,
        "io_wait_time_recursive": rest,
        "io_merged_recursive": rest,
        "io_time_recursive": rest,
        "sectors_recursive": rest,
    }


def _io(rows: Sequence[BlockUsage]) -> list[dict[str, Any]]:
    return [
        {"major": each.major, "minor": each.minor, "op": each.operation, "value": each.value}
        for each in rows
    ]
