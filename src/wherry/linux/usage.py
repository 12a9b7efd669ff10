"""What a control group and a network namespace have used: plain reads, nothing kept.

Files: kernel documentation ``cgroup-v1/*`` and ``cgroup-v2``. A file that is not there counts as
nothing, since controllers may be missing and a container may end while it is read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from wherry.linux.cgroups import CgroupLayout, host_layout

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_UNLIMITED = 1 << 62
"""Limits of this size and more mean none (version 1 writes the largest page count)."""


@dataclass(frozen=True)
class CpuUsage:
    """Nanoseconds of processor time; throttling counts periods."""

    total: int = 0
    user: int = 0
    system: int = 0
    per_cpu: tuple[int, ...] = ()
    """Version 1 only."""
    periods: int = 0
    throttled: int = 0
    throttled_ns: int = 0


@dataclass(frozen=True)
class MemoryUsage:
    """Bytes."""

    usage: int = 0
    peak: int = 0
    limit: int = 0
    """0: none."""
    failures: int = 0
    details: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BlockUsage:
    """One row of ``io_service_bytes_recursive`` or ``io_serviced_recursive``."""

    major: int
    minor: int
    operation: str
    """As each version says it: ``Read``, ``Write`` ... (1), ``read``, ``write`` (2)."""
    value: int


@dataclass(frozen=True)
class Usage:
    cpu: CpuUsage
    memory: MemoryUsage
    block_bytes: tuple[BlockUsage, ...]
    block_operations: tuple[BlockUsage, ...]
    pids: int
    pids_limit: int
    """0: none."""
    version: int
    """Of control groups: 1 or 2."""


def read_usage(path: str, layout: CgroupLayout | None = None) -> Usage:
    """What the cgroup ``path`` has used until now."""
    layout = layout or host_layout()
    if layout.version == 2:
        folder = layout.directory(path, "memory") or Path("/nonexistent")
        memory, (reads, operations) = _memory_v2(folder), _block_v2(folder)
        return Usage(_cpu_v2(folder), memory, reads, operations, *_pids(folder), 2)
    blkio = layout.directory(path, "blkio")
    return Usage(
        _cpu_v1(layout.directory(path, "cpuacct"), layout.directory(path, "cpu")),
        _memory_v1(layout.directory(path, "memory")),
        _block_v1(blkio, "blkio.throttle.io_service_bytes_recursive"),
        _block_v1(blkio, "blkio.throttle.io_serviced_recursive"),
        *_pids(layout.directory(path, "pids")),
        1,
    )


def _text(folder: Path | None, name: str) -> str:
    if folder is None:
        return ""
    try:
        return (folder / name).read_text(encoding="ascii")
    except OSError:
        return ""


def _number(folder: Path | None, name: str) -> int:
    text = _text(folder, name).strip()
    return int(text) if text.isdigit() else 0


def _pairs(text: str) -> dict[str, int]:
    """``key value`` lines."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.isdigit():
            found[key] = int(value)
    return found


def _pids(folder: Path | None) -> tuple[int, int]:
    return _number(folder, "pids.current"), _number(folder, "pids.max")


def _cpu_v1(accounting: Path | None, bandwidth: Path | None) -> CpuUsage:
    ticks = _pairs(_text(accounting, "cpuacct.stat"))
    throttling = _pairs(_text(bandwidth, "cpu.stat"))
    return CpuUsage(
        total=_number(accounting, "cpuacct.usage"),
        user=ticks.get("user", 0) * _TICK_NS,
        system=ticks.get("system", 0) * _TICK_NS,
        per_cpu=tuple(int(each) for each in _text(accounting, "cpuacct.usage_percpu").split()),
        periods=throttling.get("nr_periods", 0),
        throttled=throttling.get("nr_throttled", 0),
        throttled_ns=throttling.get("throttled_time", 0),
    )


def _cpu_v2(folder: Path) -> CpuUsage:
    figures = _pairs(_text(folder, "cpu.stat"))
    return CpuUsage(
        total=figures.get("usage_usec", 0) * 1000,
        user=figures.get("user_usec", 0) * 1000,
        system=figures.get("system_usec", 0) * 1000,
        periods=figures.get("nr_periods", 0),
        throttled=figures.get("nr_throttled", 0),
        throttled_ns=figures.get("throttled_usec", 0) * 1000,
    )


def _memory_v1(folder: Path | None) -> MemoryUsage:
    limit = _number(folder, "memory.limit_in_bytes")
    return MemoryUsage(
        usage=_number(folder, "memory.usage_in_bytes"),
        peak=_number(folder, "memory.max_usage_in_bytes"),
        limit=0 if limit >= _UNLIMITED else limit,
        failures=_number(folder, "memory.failcnt"),
        details=_pairs(_text(folder, "memory.stat")),
    )


def _memory_v2(folder: Path) -> MemoryUsage:
    return MemoryUsage(
        usage=_number(folder, "memory.current"),
        peak=_number(folder, "memory.peak"),
        limit=_number(folder, "memory.max"),
        failures=_pairs(_text(folder, "memory.events")).get("max", 0),
        details=_pairs(_text(folder, "memory.stat")),
    )


def _block_v1(folder: Path | None, name: str) -> tuple[BlockUsage, ...]:
    rows = []
    for line in _text(folder, name).splitlines():
        words = line.split()
        if len(words) == 3 and ":" in words[0]:
            major, _, minor = words[0].partition(":")
            rows.append(BlockUsage(int(major), int(minor), words[1], int(words[2])))
    return tuple(rows)


def _block_v2(folder: Path) -> tuple[tuple[BlockUsage, ...], tuple[BlockUsage, ...]]:
    read: list[BlockUsage] = []
    done: list[BlockUsage] = []
    for line in _text(folder, "io.stat").splitlines():
        words = line.split()
        if not words or ":" not in words[0]:
            continue
        major, _, minor = words[0].partition(":")
        figures = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        for key, operation, rows in (
            ("rbytes", "read", read),
            ("wbytes", "write", read),
            ("rios", "read", done),
            ("wios", "write", done),
        ):
            value = figures.get(key, "0")
            rows.append(BlockUsage(int(major), int(minor), operation, int(value)))
    return tuple(read), tuple(done)


def system_cpu() -> int:
    """Nanoseconds that all processors of the host have counted, idle time included."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    except OSError:
        return 0
    # user nice system idle iowait irq softirq steal; guest time is part of user already.
    return sum(int(each) for each in first.split()[1:9]) * _TICK_NS


@dataclass(frozen=True)
class InterfaceUsage:
    """Counters of one interface since it was made."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


def interfaces(pid: int) -> dict[str, InterfaceUsage]:
    """Every interface but ``lo`` of the network namespace that ``pid`` is in."""
    try:
        text = Path(f"/proc/{pid}/net/dev").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return parse_interfaces(text)


def parse_interfaces(text: str) -> dict[str, InterfaceUsage]:
    """``/proc/net/dev``. The names are the container's own: they need be no ASCII."""
    found: dict[str, InterfaceUsage] = {}
    for line in text.split("\n")[2:]:
        name, _, rest = line.partition(":")
        words = [int(each) for each in rest.split()]
        if name.strip() != "lo" and len(words) >= 12:
            found[name.strip()] = InterfaceUsage(*words[0:4], *words[8:12])
    return found
