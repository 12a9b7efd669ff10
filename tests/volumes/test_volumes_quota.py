"""Project quotas, as the kernel is asked for them; no file system here has them."""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from wherry.errors import Internal
from wherry.linux.mounts import MountEntry, parse_mountinfo
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.syscalls import RecordingSyscalls
from wherry.store.database import Database
from wherry.store.paths import Paths
from wherry.volumes import build
from wherry.volumes.quota import FIRST_PROJECT, INHERIT, Quotas

EXT4 = "30 1 8:1 / {} rw,relatime shared:1 - ext4 /dev/sda1 rw,prjquota"
XFS = "30 1 8:1 / {} rw,relatime shared:1 - xfs /dev/sdb1 rw,attr2,inode64,prjquota"


class Disk:
    """Volumes below a directory that stands for a mounted file system."""

    def __init__(self, root: Path, line: str, fail: dict[str, int] | None = None) -> None:
        self.calls = RecordingSyscalls(fail)
        self.root = root
        self.line = line.format(root)
        self.quotas = Quotas(self.calls, self.mounts)

    def mounts(self) -> list[MountEntry]:
        return parse_mountinfo(f"1 0 8:0 / / rw - ext4 /dev/root rw\n{self.line}")

    def volume(self, name: str) -> Path:
        data = self.root / name / "_data"
        data.mkdir(parents=True)
        return data


@pytest.mark.parametrize(
    ("line", "there"),
    [
        (EXT4, True),
        (XFS, True),
        (XFS.replace("prjquota", "pquota"), True),
        (EXT4.replace(",prjquota", ""), False),
        (EXT4.replace("prjquota", "usrquota"), False),
        (EXT4.replace("ext4", "btrfs"), False),
        (EXT4.replace("/dev/sda1", "overlay"), False),
    ],
)
def test_where_they_are(tmp_path: Path, line: str, there: bool) -> None:
    assert Disk(tmp_path, line).quotas.available(tmp_path) is there


def test_ext4_limits_are_in_blocks_of_a_kilobyte(tmp_path: Path) -> None:
    disk = Disk(tmp_path, EXT4)
    data = disk.volume("one")
    disk.quotas.begin(data, 10_000)
    assert disk.calls.projects == {str(data): (INHERIT, FIRST_PROJECT)}
    name, command, device, identity, structure = disk.calls.calls[-1]
    assert (name, command, device, identity) == (
        "quotactl", 0x80000802, "/dev/sda1", FIRST_PROJECT,
    )  # fmt: skip
    assert isinstance(structure, bytes)
    hard, soft, *rest, valid = struct.unpack("8QI4x", structure)
    assert (hard, soft, rest, valid) == (10, 10, [0] * 6, 1)


def test_xfs_limits_are_in_blocks_of_half_a_kilobyte(tmp_path: Path) -> None:
    disk = Disk(tmp_path, XFS)
    disk.quotas.begin(disk.volume("one"), 10_000)
    _, command, device, identity, structure = disk.calls.calls[-1]
    assert (command, device, identity) == (0x580402, "/dev/sdb1", FIRST_PROJECT)
    assert isinstance(structure, bytes)
    assert len(structure) == 112
    assert struct.unpack_from("bbHI2Q", structure) == (1, 2, 12, FIRST_PROJECT, 20, 20)


def test_every_volume_has_a_project_of_its_own(tmp_path: Path) -> None:
    disk = Disk(tmp_path, EXT4)
    for name in ("one", "two", "three"):
        disk.quotas.begin(disk.volume(name), 1 << 20)
    numbers = [number for _, number in disk.calls.projects.values()]
    assert numbers == [FIRST_PROJECT, FIRST_PROJECT + 1, FIRST_PROJECT + 2]


def test_another_limit_and_new_content_keep_the_project(tmp_path: Path) -> None:
    disk = Disk(tmp_path, EXT4)
    disk.quotas.begin(disk.volume("one"), 1 << 20)
    two = disk.volume("two")
    disk.quotas.begin(two, 1 << 20)
    disk.quotas.limit(two, 2 << 20)
    assert disk.calls.calls[-1][3] == FIRST_PROJECT + 1
    aside = two.with_name(".new-1")
    aside.mkdir()
    disk.quotas.join(aside, two)
    assert disk.calls.projects[str(aside)] == (INHERIT, FIRST_PROJECT + 1)
    disk.quotas.drop(two)
    last = disk.calls.calls[-1][4]
    assert isinstance(last, bytes)
    assert struct.unpack("8QI4x", last)[:2] == (0, 0)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ESRCH, "project quota is not switched on for /dev/sda1"),
        (errno.EPERM, "cannot set the quota of"),
    ],
)
def test_refusals(tmp_path: Path, number: int, text: str) -> None:
    disk = Disk(tmp_path, EXT4, {"quotactl": number})
    data = disk.volume("one")
    with pytest.raises(Internal, match=text):
        disk.quotas.begin(data, 1 << 20)
    disk.quotas.drop(data)


async def test_the_life_of_a_limited_volume(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "data", tmp_path / "run")
    paths.data.mkdir()
    calls = RecordingSyscalls()
    database = Database(":memory:")
    service, _, mounts = build(
        database, paths, PrivateMounts(calls), Silent(), lambda ref: [], plugins=None
    )
    table = parse_mountinfo(f"1 0 8:0 / / rw - ext4 /dev/root rw\n{EXT4.format(tmp_path)}")
    service.drivers.local.quotas = Quotas(calls, lambda: table)
    made = await service.create("lim", options={"size": "8m"})
    assert made["Options"] == {"size": "8m"}
    assert not (paths.volumes / "lim" / "disk.img").exists()
    row = service.get("lim")
    assert (row.backing, row.size_limit, row.state) == ("quota", 8 << 20, "ready")
    await service.update("lim", size=16 << 20)
    assert blocks(calls) == [8192, 16384]
    await mounts.adopt((), ())
    assert blocks(calls)[-1] == 16384
    await service.remove("lim")
    assert blocks(calls)[-1] == 0
    database.close()


def blocks(calls: RecordingSyscalls) -> list[int]:
    """Limits that were set, in KiB."""
    data = [each[4] for each in calls.calls if each[0] == "quotactl"]
    return [struct.unpack_from("Q", each)[0] for each in data if isinstance(each, bytes)]


class Silent:
    def publish(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        return None
