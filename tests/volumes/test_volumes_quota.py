"""Project quotas, as the kernel is asked for them; no file system here has them."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import pytest

from wherry.errors import Conflict, Internal
from wherry.linux.mounts import MountEntry, parse_mountinfo
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.syscalls import RecordingSyscalls
from wherry.store.database import Database
from wherry.store.paths import Paths
from wherry.volumes import build
from wherry.volumes.quota import FIRST_PROJECT, INHERIT, PROJECTS, Quotas

EXT4 = "30 1 8:1 / {} rw,relatime shared:1 - ext4 /dev/null rw,prjquota"
XFS = "30 1 8:1 / {} rw,relatime shared:1 - xfs /dev/zero rw,attr2,inode64,prjquota"
SET, GET = 0x80000802, 0x80000702


class Kernel(RecordingSyscalls):
    used = 0
    """Bytes that every project holds."""

    def quotactl(self, command: int, device: str, identity: int, data: bytes) -> bytes:
        known = super().quotactl(command, device, identity, data)
        fields = list(struct.unpack("8QI4x", known))
        return struct.pack("8QI4x", *fields[:2], fields[2] or self.used, *fields[3:])


class Directories(RecordingSyscalls):
    """A project goes with its directory when that is renamed."""

    def project(self, path: str) -> tuple[int, int]:
        return super().project(str(os.stat(path).st_ino))

    def set_project(self, path: str, flags: int, number: int) -> None:
        super().set_project(str(os.stat(path).st_ino), flags, number)


class Disk:
    """Volumes below a directory that stands for a mounted file system."""

    def __init__(self, root: Path, line: str, fail: dict[str, int] | None = None) -> None:
        self.calls = Kernel(fail)
        self.root = root
        self.line = line.format(root)
        self.quotas = Quotas(self.calls, self.mounts, count(FIRST_PROJECT).__next__)

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
        (EXT4.replace("/dev/null", "overlay"), False),
        (EXT4.replace("/dev/null", "/dev/not-there"), False),
    ],
)
def test_where_they_are(tmp_path: Path, line: str, there: bool) -> None:
    assert Disk(tmp_path, line).quotas.available(tmp_path) is there


def test_a_kernel_that_says_no_quota_is_believed(tmp_path: Path) -> None:
    assert not Disk(tmp_path, EXT4, {"quotactl": errno.ESRCH}).quotas.available(tmp_path)
    assert Disk(tmp_path, XFS, {"quotactl": errno.ENOENT}).quotas.available(tmp_path)


def test_below_a_limited_directory_the_project_is_not_ours_to_choose(tmp_path: Path) -> None:
    disk = Disk(tmp_path, EXT4)
    disk.calls.projects[str(tmp_path)] = (INHERIT, 7)
    assert not disk.quotas.available(tmp_path)


@pytest.mark.parametrize(("line", "device"), [(EXT4, "/dev/null"), (XFS, "/dev/zero")])
def test_limits_are_in_blocks_of_a_kilobyte(tmp_path: Path, line: str, device: str) -> None:
    disk = Disk(tmp_path, line)
    data = disk.volume("one")
    disk.quotas.begin(data, 10_000)
    assert disk.calls.projects == {str(data): (INHERIT, FIRST_PROJECT)}
    name, command, asked, identity, structure = disk.calls.calls[-1]
    assert (name, command, asked, identity) == ("quotactl", SET, device, FIRST_PROJECT)
    assert isinstance(structure, bytes)
    hard, soft, *rest, valid = struct.unpack("8QI4x", structure)
    assert (hard, soft, rest, valid) == (10, 10, [0] * 6, 1)
    assert disk.quotas.figures(data) == (10 * 1024, 0, 0)


def test_a_number_that_is_in_use_is_not_taken(tmp_path: Path) -> None:
    """By a volume, by another data root on the same file system, by files that are left."""
    disk = Disk(tmp_path, EXT4)
    disk.calls.quotas[FIRST_PROJECT] = struct.pack("8QI4x", 0, 0, 4096, 0, 0, 1, 0, 0, 0)
    for name in ("one", "two"):
        disk.quotas.begin(disk.volume(name), 1 << 20)
    numbers = [number for _, number in disk.calls.projects.values()]
    assert numbers == [FIRST_PROJECT + 1, FIRST_PROJECT + 2]


def test_new_content_has_a_project_of_its_own(tmp_path: Path) -> None:
    disk = Disk(tmp_path, EXT4)
    data = disk.volume("one")
    disk.quotas.begin(data, 1 << 20)
    disk.quotas.change(data, 2 << 20)
    aside = data.with_name(".new-1")
    aside.mkdir()
    disk.quotas.succeed(aside, data)
    assert disk.calls.projects[str(aside)] == (INHERIT, FIRST_PROJECT + 1)
    assert disk.quotas.figures(aside).limit == disk.quotas.figures(data).limit == 2 << 20
    disk.quotas.drop(data)
    assert disk.quotas.figures(data).limit == 0
    assert disk.quotas.figures(aside).limit == 2 << 20


def test_a_limit_below_what_is_there_is_refused(tmp_path: Path) -> None:
    disk = Disk(tmp_path, EXT4)
    data = disk.volume("one")
    disk.quotas.begin(data, 8 << 20)
    disk.calls.used = 5 << 20
    with pytest.raises(Conflict, match="the volume holds 5242880 bytes: a limit of 4194304"):
        disk.quotas.change(data, 4 << 20)
    assert blocks(disk.calls)[-2:] == [4096, 8192]
    assert not disk.quotas.exceeded(data)


@pytest.mark.parametrize("number", [0, 5, FIRST_PROJECT - 1, FIRST_PROJECT + PROJECTS])
def test_the_limits_of_others_are_never_touched(tmp_path: Path, number: int) -> None:
    """0 is everything on the file system that is in no project."""
    disk = Disk(tmp_path, EXT4)
    data = disk.volume("one")
    disk.calls.projects[str(data)] = (INHERIT, number)
    with pytest.raises(Conflict, match="is in no project any more"):
        disk.quotas.keep(data, 1 << 20)
    with pytest.raises(Conflict, match="is in no project any more"):
        disk.quotas.change(data, 1 << 20)
    disk.quotas.drop(data)
    assert disk.quotas.figures(data) == (0, 0, 0)
    assert blocks(disk.calls) == []


def test_refusals(tmp_path: Path) -> None:
    disk = Disk(tmp_path, EXT4)
    data = disk.volume("one")
    disk.quotas.begin(data, 1 << 20)
    disk.calls.fail["quotactl"] = errno.ESRCH
    with pytest.raises(Conflict, match="project quota is not switched on"):
        disk.quotas.keep(data, 1 << 20)
    disk.calls.fail["quotactl"] = errno.EPERM
    with pytest.raises(Internal, match="cannot set the quota of"):
        disk.quotas.begin(data, 1 << 20)
    disk.quotas.drop(data)


async def test_the_life_of_a_limited_volume(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "data", tmp_path / "run")
    paths.data.mkdir()
    calls = Directories()
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
    data = [each[4] for each in calls.calls if each[:2] == ("quotactl", SET)]
    return [struct.unpack_from("Q", each)[0] for each in data if isinstance(each, bytes)]


class Silent:
    def publish(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        return None
