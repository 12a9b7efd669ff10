"""Cgroup layouts and figures of version 1, 2 and hybrid hosts, from their files' texts."""

from __future__ import annotations

from pathlib import Path

from wherry.linux.cgroups import (
    CgroupLayout,
    freeze,
    has_device_weights,
    is_frozen,
    layout_of,
    oom_kills,
    path_in,
    place,
    processes,
    remove,
    usual_shares,
    weight_of,
)
from wherry.linux.mounts import parse_mountinfo

V1 = """31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
"""
V2 = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"


def test_version_1() -> None:
    layout = layout_of(parse_mountinfo(V1))
    assert (layout.version, layout.hybrid) == (1, False)
    assert layout.has("memory")
    assert not layout.has("pids")
    assert layout.directory("/x/y", "cpuacct") == Path("/sys/fs/cgroup/cpu,cpuacct/x/y")
    assert layout.directory("/x", "pids") is None
    assert len(layout.directories("/x")) == 3


def test_version_2() -> None:
    layout = layout_of(parse_mountinfo(V2), "cpu io memory pids")
    assert (layout.version, layout.hybrid) == (2, False)
    assert layout.has("blkio")
    assert layout.has("devices")
    assert not layout.has("cpuset")
    assert layout.directory("/x", "memory") == Path("/sys/fs/cgroup/x")


def test_hybrid() -> None:
    layout = layout_of(parse_mountinfo(V1 + UNIFIED), "")
    assert (layout.version, layout.hybrid) == (1, True)
    assert "/sys/fs/cgroup/unified/x" in layout.directories("/x")


def test_named_hierarchies_do_not_make_a_version_1_host() -> None:
    systemd = V1.splitlines()[-1] + "\n"
    assert layout_of(parse_mountinfo(systemd + UNIFIED), "memory").version == 2


def make(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_version_1_files(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "c/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            "c/freezer.state": "THAWED\n",
            "c/cgroup.procs": "12\n7\n",
            "c/below/cgroup.procs": "9\n",
        },
    )
    layout = CgroupLayout(None, {name: str(tmp_path) for name in ("memory", "freezer")})
    assert oom_kills("/c", layout) == 2
    assert processes("/c", layout) == [7, 9, 12]
    freeze("/c", True, layout)
    assert is_frozen("/c", layout)
    freeze("/c", False, layout)
    assert not is_frozen("/c", layout)
    assert processes("/gone", layout) == []
    assert not is_frozen("/gone", layout)


def test_version_2_files(tmp_path: Path) -> None:
    make(
        tmp_path,
        {"c/memory.events": "low 0\nmax 4\noom_kill 1\n", "c/cgroup.freeze": "0\n"},
    )
    layout = CgroupLayout(str(tmp_path), {}, frozenset({"memory"}))
    assert oom_kills("/c", layout) == 1
    freeze("/c", True, layout)
    assert (tmp_path / "c" / "cgroup.freeze").read_text() == "1"
    assert is_frozen("/c", layout)


def test_empty_cgroups_are_removed_with_those_below(tmp_path: Path) -> None:
    (tmp_path / "c" / "a" / "b").mkdir(parents=True)
    layout = CgroupLayout(str(tmp_path), {}, frozenset())
    assert remove("/c", layout)
    assert not (tmp_path / "c").exists()
    assert remove("/c", layout)
    assert not remove("/", layout)
    assert tmp_path.exists()


def test_shares_become_weights_as_runtimes_convert_them() -> None:
    assert [weight_of(each) for each in (2, 1024, 262_144)] == [1, 39, 10_000]
    assert (weight_of(0), weight_of(10**9)) == (1, 10_000)


def test_the_place_of_a_process_where_processor_time_is_weighed() -> None:
    first = layout_of(parse_mountinfo(V1))
    text = "9:name=systemd:/init\n8:cpu,cpuacct:/a:b\n2:cpuset:/c\n0::/unified\n"
    assert path_in(text, first) == "/a:b"
    assert path_in("0::/system.slice/x.service\n", layout_of(parse_mountinfo(V2), "cpu")) == (
        "/system.slice/x.service"
    )
    assert path_in("2:cpuset:/c\n", first) == ""


def test_a_process_is_placed_in_a_cgroup_that_is_made(tmp_path: Path) -> None:
    layout = CgroupLayout(None, {"cpu": str(tmp_path)})
    assert place("/a", 7, shares=2048, layout=layout)
    assert (tmp_path / "a" / "cpu.shares").read_text() == "2048"
    assert (tmp_path / "a" / "cgroup.procs").read_text() == "7"
    assert not place("/a", 7, layout=CgroupLayout(None, {"memory": str(tmp_path)}))


def test_usual_weights(tmp_path: Path) -> None:
    unified = CgroupLayout(str(tmp_path))
    assert weight_of(usual_shares(unified)) == 100
    assert usual_shares(CgroupLayout(None, {"cpu": "/c"})) == 1024
    assert not has_device_weights(unified)
    (tmp_path / "system.slice").mkdir()
    (tmp_path / "system.slice/io.weight").touch()
    assert not has_device_weights(unified)
    (tmp_path / "system.slice/io.bfq.weight").touch()
    assert has_device_weights(unified)
    (tmp_path / "blkio.bfq.weight_device").touch()
    assert has_device_weights(CgroupLayout(None, {"blkio": str(tmp_path)}))
    assert not has_device_weights(CgroupLayout(None, {"cpu": str(tmp_path)}))
