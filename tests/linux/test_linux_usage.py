"""Reading what control groups have used, from files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

from wherry.linux.cgroups import CgroupLayout
from wherry.linux.usage import BlockUsage, parse_interfaces, read_usage


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_version_1(tmp_path: Path) -> None:
    """Each controller has its own tree; what has no limit says so."""
    mounts = {}
    for name in ("cpu", "cpuacct", "memory", "pids", "blkio"):
        mounts[name] = str(tmp_path / name)
    write(tmp_path / "cpu/w/c", cpu__stat="nr_periods 10\nnr_throttled 3\nthrottled_time 700\n")
    write(
        tmp_path / "cpuacct/w/c",
        cpuacct__usage="5000\n",
        cpuacct__usage_percpu="2000 3000 \n",
        cpuacct__stat="user 2\nsystem 1\n",
    )
    write(
        tmp_path / "memory/w/c",
        memory__usage_in_bytes="4096\n",
        memory__max_usage_in_bytes="8192\n",
        memory__limit_in_bytes="9223372036854771712\n",
        memory__failcnt="0\n",
        memory__stat="cache 100\ntotal_inactive_file 50\n",
    )
    write(tmp_path / "pids/w/c", pids__current="7\n", pids__max="max\n")
    write(
        tmp_path / "blkio/w/c",
        blkio__throttle__io_service_bytes_recursive="8:0 Read 512\n8:0 Write 1024\nTotal 1\n",
    )
    usage = read_usage("/w/c", CgroupLayout(None, mounts))
    assert usage.cpu.total == 5000
    assert usage.cpu.per_cpu == (2000, 3000)
    assert (usage.cpu.user, usage.cpu.system) == (20_000_000, 10_000_000)
    assert (usage.cpu.periods, usage.cpu.throttled, usage.cpu.throttled_ns) == (10, 3, 700)
    assert (usage.memory.usage, usage.memory.peak, usage.memory.limit) == (4096, 8192, 0)
    assert usage.memory.details == {"cache": 100, "total_inactive_file": 50}
    assert (usage.pids, usage.pids_limit) == (7, 0)
    assert usage.block_bytes == (BlockUsage(8, 0, "Read", 512), BlockUsage(8, 0, "Write", 1024))


def test_version_2(tmp_path: Path) -> None:
    """One tree; microseconds become nanoseconds."""
    write(
        tmp_path / "w/c",
        cpu__stat="usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 1\nthrottled_usec 4\n",
        memory__current="100\n",
        memory__max="1000\n",
        memory__peak="200\n",
        memory__stat="anon 60\n",
        memory__events="low 0\nmax 9\n",
        pids__current="2\n",
        pids__max="50\n",
        io__stat="254:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
    )
    usage = read_usage("/w/c", CgroupLayout(str(tmp_path), {}, frozenset({"memory"})))
    assert (usage.cpu.total, usage.cpu.user, usage.cpu.system) == (5000, 3000, 2000)
    assert (usage.cpu.periods, usage.cpu.throttled_ns) == (1, 4000)
    assert (usage.memory.usage, usage.memory.limit, usage.memory.failures) == (100, 1000, 9)
    assert (usage.pids, usage.pids_limit) == (2, 50)
    assert [each.value for each in usage.block_bytes] == [10, 20]
    assert [each.value for each in usage.block_operations] == [1, 2]


def test_a_container_that_has_ended_used_nothing(tmp_path: Path) -> None:
    usage = read_usage("/gone", CgroupLayout(str(tmp_path), {}))
    assert (usage.cpu.total, usage.memory.usage, usage.pids) == (0, 0, 0)


def test_interfaces_may_be_called_anything() -> None:
    """Their names are the container's own."""
    figures = " ".join(map(str, range(1, 17)))
    text = f"head\nhead\n    lo: {figures}\n  ü\u2028x: {figures}\n eth0: {figures}\n"
    found = parse_interfaces(text)
    assert list(found) == ["ü\u2028x", "eth0"]
    assert (found["eth0"].rx_bytes, found["eth0"].tx_bytes) == (1, 9)
