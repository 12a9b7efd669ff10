"""Sizes of volumes by real project quotas, on ext4 and xfs: ``scripts/vm`` has a kernel with them.

scripts/vm .venv/bin/python -m pytest tests/engine/test_engine_volume_quota.py
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engine.test_engine_volume_archive import Shelf, stream, tar
from tests.support.engine import Engine
from tests.support.filesystems import EXT4, EXT4_QUOTA, XFS, XFS_QUOTA, file_system, projects

from wherry.errors import Conflict, Exhausted
from wherry.linux.capabilities import within_limits
from wherry.linux.syscalls import LinuxSyscalls
from wherry.volumes.files import command
from wherry.volumes.quota import INHERIT

pytestmark = pytest.mark.root
MIB = 1 << 20
FULL = r"(?i)quota exceeded|no space left"


@pytest.fixture(params=[EXT4_QUOTA, XFS_QUOTA], ids=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with file_system(request.param, tmp_path / "disk") as place:
        yield place


@pytest.fixture
def shelf(disk: Path) -> Iterator[Shelf]:
    made = Shelf(disk)
    yield made
    made.close()


def write(path: Path, size: int) -> int:
    """Write as much of ``size`` as a container's user may; how much that is."""
    done = 0
    try:
        with within_limits(), path.open("wb") as file:
            while done < size:
                done += os.write(file.fileno(), os.urandom(min(size - done, 1 << 18)))
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (errno.EDQUOT, errno.ENOSPC):
            raise
    return done


def again(shelf: Shelf) -> Shelf:
    """The next daemon, after the end of this one."""
    shelf.close()
    return Shelf(shelf.root_folder)


def project(path: Path) -> tuple[int, int]:
    return LinuxSyscalls().project(str(path))


async def sized(shelf: Shelf, name: str, size: int = 8 * MIB) -> Path:
    await shelf.service.create(name, options={"size": str(size)})
    assert shelf.service.get(name).backing == "quota"
    return shelf.data(name)


async def test_a_limit_holds(shelf: Shelf, disk: Path) -> None:
    data = await sized(shelf, "lim")
    assert os.listdir(data.parent) == ["_data"]
    whole = os.statvfs(data)
    assert whole.f_blocks * whole.f_frsize == 8 * MIB
    assert 7 * MIB <= write(data / "f", 20 * MIB) <= 8 * MIB
    assert write(data / "g", MIB) < MIB
    (made,) = projects(disk).values()
    assert made[0] == 8 * MIB
    assert 7 * MIB <= made[1] <= 8 * MIB
    (shown,) = await shelf.service.disk_usage()
    assert shown["UsageData"]["Size"] == sum(each.stat().st_size for each in data.iterdir())


async def test_it_grows_and_shrinks_in_use(shelf: Shelf, disk: Path) -> None:
    data = await sized(shelf, "lim")
    await shelf.hold("lim")
    write(data / "f", 20 * MIB)
    shown = await shelf.service.update("lim", size=16 * MIB)
    assert shown["Options"] == {"size": str(16 * MIB)}
    assert 15 * MIB <= write(data / "f", 20 * MIB) <= 16 * MIB
    with pytest.raises(Conflict, match=r"the volume holds 1\d+ bytes: a limit of 4194304 is too"):
        await shelf.service.update("lim", size=4 * MIB)
    assert shelf.service.get("lim").size_limit == 16 * MIB
    assert [limit for limit, _ in projects(disk).values()] == [16 * MIB]
    (data / "f").unlink()
    await shelf.service.update("lim", size=4 * MIB)
    assert 3 * MIB <= write(data / "f", 20 * MIB) <= 4 * MIB


async def test_volumes_do_not_share(shelf: Shelf, disk: Path) -> None:
    """Nor those of another daemon whose data root is on the same file system."""
    one, two = await sized(shelf, "one"), await sized(shelf, "two")
    (disk / "other").mkdir()
    other = Shelf(disk / "other")
    three = await sized(other, "three")
    assert len({project(each)[1] for each in (one, two, three)}) == 3
    write(one / "f", 20 * MIB)
    assert write(two / "f", 6 * MIB) == 6 * MIB
    assert write(three / "f", 6 * MIB) == 6 * MIB
    other.close()


async def test_a_removed_volume_leaves_no_limit(shelf: Shelf, disk: Path) -> None:
    data = await sized(shelf, "lim")
    write(data / "f", 2 * MIB)
    await shelf.archive.snapshot("lim", "s")
    assert [used < 3 * MIB for _, used in projects(disk).values()] == [True]
    await shelf.service.remove("lim")
    assert projects(disk) == {}
    assert list(shelf.paths.volumes.iterdir()) == []


async def test_rename_and_clone_keep_the_size(shelf: Shelf, disk: Path) -> None:
    await sized(shelf, "old")
    await shelf.fill("old", {"f": "x" * MIB})
    await shelf.service.rename("old", "new")
    made = await shelf.archive.clone("new", "copy")
    assert made["Options"] == {"size": str(8 * MIB)}
    assert sorted(limit for limit, _ in projects(disk).values()) == [8 * MIB] * 2
    for name in ("new", "copy"):
        assert 6 * MIB < write(shelf.data(name) / "g", 20 * MIB) <= 7 * MIB
        assert (shelf.data(name) / "f").read_text() == "x" * MIB
    await shelf.archive.clone("copy", "large", {"size": "16m"})
    assert shelf.service.get("large").size_limit == 16 * MIB
    with pytest.raises(Exhausted, match=FULL):
        await shelf.archive.clone("copy", "small", {"size": "2m"})
    assert sorted(limit for limit, _ in projects(disk).values()) == [8 * MIB, 8 * MIB, 16 * MIB]
    assert sorted(os.listdir(shelf.paths.volumes)) == ["copy", "large", "new"]


async def test_new_content_has_all_the_room(shelf: Shelf, disk: Path) -> None:
    """The old content, which is there until the new is whole, does not count with it."""
    data = await sized(shelf, "lim")
    assert write(data / "f", 6 * MIB) == 6 * MIB
    await shelf.archive.snapshot("lim", "s")
    await shelf.fill("lim", {"g": "y" * (6 * MIB)}, overwrite=True)
    assert os.listdir(data) == ["g"]
    await shelf.archive.restore("lim", "s")
    assert os.listdir(data) == ["f"]
    assert [limit for limit, _ in projects(disk).values()] == [8 * MIB]
    assert write(data / "h", 4 * MIB) < 2 * MIB + 1


async def test_new_content_must_fit(shelf: Shelf, disk: Path) -> None:
    data = await sized(shelf, "lim")
    write(data / "f", 6 * MIB)
    await shelf.archive.snapshot("lim", "s")
    (data / "f").unlink()
    await shelf.service.update("lim", size=4 * MIB)
    (data / "old").write_text("old")
    with pytest.raises(Exhausted, match=FULL):
        await shelf.fill("lim", {"g": "y" * (9 * MIB)}, overwrite=True)
    with pytest.raises(Exhausted, match=FULL):
        await shelf.archive.restore("lim", "s")
    assert os.listdir(data) == ["old"]
    assert sorted(os.listdir(data.parent)) == ["_data", "snapshots"]
    assert [limit for limit, _ in projects(disk).values()] == [4 * MIB]


async def test_an_import_stops_when_it_is_full(shelf: Shelf) -> None:
    await sized(shelf, "lim", MIB)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        async for chunk in stream(tar({"g": "y" * (40 * MIB)}), 1 << 18):
            sent += len(chunk)
            yield chunk

    with pytest.raises(Exhausted, match=FULL):
        await shelf.archive.load("lim", endless(), overwrite=False)
    assert os.listdir(shelf.data("lim")) == []


async def test_image_content_must_fit(shelf: Shelf) -> None:
    (shelf.image / "d").mkdir()
    (shelf.image / "d" / "f").write_bytes(os.urandom(2 * MIB))
    await sized(shelf, "small", MIB)
    await sized(shelf, "large")
    with pytest.raises(Exhausted, match=FULL):
        await shelf.start("c1", binds=["small:/d"])
    assert os.listdir(shelf.data("small")) == []
    (data,) = await shelf.start("c2", binds=["large:/d"])
    assert project(Path(data))[1] > 0
    assert 5 * MIB < write(Path(data, "g"), 20 * MIB) <= 6 * MIB


async def test_what_is_moved_in_counts(shelf: Shelf, disk: Path) -> None:
    data = await sized(shelf, "lim")
    (disk / "outside" / "d").mkdir(parents=True)
    (disk / "outside" / "d" / "f").write_bytes(os.urandom(2 * MIB))
    with pytest.raises(OSError, match="cross-device"):
        (disk / "outside").rename(data / "inside")
    with pytest.raises(OSError, match="cross-device"):
        (data / "link").hardlink_to(disk / "outside" / "d" / "f")
    await command("mv", str(disk / "outside"), str(data / "inside"), what="mv")
    flags, number = project(data / "inside" / "d")
    assert flags & INHERIT
    assert number == project(data)[1]
    assert write(data / "inside" / "d" / "g", 20 * MIB) < 6 * MIB + 1


async def test_the_next_daemon_keeps_it(shelf: Shelf, disk: Path) -> None:
    data = await sized(shelf, "lim")
    number = project(data)[1]
    # as a change that was cut short
    shelf.service.drivers.local.quotas.keep(data, 64 * MIB)
    shelf = again(shelf)
    await shelf.mounts.adopt((), ())
    assert projects(disk)[number][0] == 8 * MIB
    assert 7 * MIB <= write(data / "f", 20 * MIB) <= 8 * MIB
    shelf.close()
    shelf.paths.database.unlink()
    shelf = Shelf(shelf.root_folder)
    await shelf.mounts.adopt((), ())
    row = shelf.service.get("lim")
    assert (row.backing, row.size_limit, row.options) == ("quota", 8 * MIB, {"size": str(8 * MIB)})
    await shelf.service.remove("lim")
    assert projects(disk) == {}
    shelf.close()


async def test_a_lost_project_limits_nobody_else(
    shelf: Shelf, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As of a data root that was copied by something that knows no projects."""
    data = await sized(shelf, "lim")
    LinuxSyscalls().set_project(str(data), 0, 0)
    await shelf.mounts.adopt((), ())
    assert "the size of volume lim does not hold" in caplog.text
    with pytest.raises(Conflict, match="clone the volume"):
        await shelf.service.update("lim", size=4 * MIB)
    assert write(data / "f", 10 * MIB) == 10 * MIB
    await shelf.archive.clone("lim", "again", {"size": "16m"})
    assert 5 * MIB < write(shelf.data("again") / "g", 20 * MIB) < 6 * MIB + 1


async def test_below_a_limited_directory(disk: Path) -> None:
    """Projects do not nest: the size is a disk image's, and both limits hold."""
    (disk / "mine").mkdir()
    LinuxSyscalls().set_project(str(disk / "mine"), INHERIT, 7)
    shelf = Shelf(disk / "mine")
    await shelf.service.create("lim", options={"size": "8m"})
    assert shelf.service.get("lim").backing == "image"
    await shelf.fill("lim", {"f": "x"})
    await shelf.archive.restore("lim", (await shelf.archive.snapshot("lim", "s"))["Name"])
    await shelf.service.remove("lim")
    shelf.close()


@pytest.mark.parametrize("kind", [EXT4, XFS], ids=["ext4", "xfs"])
async def test_without_quota_it_is_an_image(tmp_path: Path, kind: str) -> None:
    with file_system(kind, tmp_path / "disk") as place:
        shelf = Shelf(place)
        await shelf.service.create("lim", options={"size": "8m"})
        assert shelf.service.get("lim").backing == "image"
        (data,) = await shelf.start("c1", binds=["lim:/l"])
        assert 5 * MIB < write(Path(data, "f"), 20 * MIB) < 8 * MIB
        await shelf.mounts.release("c1", ())
        shelf.close()


HOST = ["/usr:/usr:ro", "/usr/lib:/lib:ro", "/usr/lib64:/lib64:ro"]
"""Programs of this machine, which the image lacks."""


def test_users_of_containers_cannot_lift_it(disk: Path) -> None:
    """Root and others fill it to its limit and no further, also after the daemon's crash; neither
    takes a file out of the project, or keeps a directory from handing it on."""
    with Engine() as engine:
        engine.data = disk / "data"
        engine.start()
        body = {"Name": "lim", "DriverOpts": {"size": "8m"}}
        assert engine.post("/volumes/create", body).status == 201
        binds = [*HOST, "lim:/lim"]

        def ask(script: str, **host: Any) -> tuple[int, str]:
            made = engine.run("sh", "-c", script, Binds=binds, **host)
            return engine.wait(made), engine.logs(made).decode()

        fill = "dd if=/dev/zero of=/lim/f bs=65536 count=320"
        code, said = ask(f"chmod 777 /lim; mkdir /lim/d; {fill}")
        assert code == 1
        assert re.search(FULL, said)
        assert 7 * MIB <= (disk / "data/volumes/lim/_data/f").stat().st_size <= 8 * MIB
        code, said = ask("df -k /lim | tail -n 1; rm /lim/f")
        assert said.split()[-5] == "8192"
        for script in (
            "chattr -p 0 /lim/d", "chattr -P /lim/d", "chattr -P /lim", "chattr -R -p 1 /lim",
        ):  # fmt: skip
            code, said = ask(script)
            assert code != 0
            assert "Operation not permitted" in said, said
        code, said = ask(
            f"setpriv --reuid 65534 --clear-groups {fill}; chattr -p 0 /lim/d /lim/f; {fill}"
        )
        assert code == 1
        assert len(re.findall(FULL, said)) == 2
        engine.crash_and_start()
        code, said = ask(f"rm -f /lim/f; {fill}")
        assert code == 1
        assert re.search(FULL, said)
        assert 7 * MIB <= (disk / "data/volumes/lim/_data/f").stat().st_size <= 8 * MIB
        code, said = ask("chattr -P /tmp; tty; ls", SecurityOpt=["seccomp=unconfined"])
        assert "not a tty" in said
        running = engine.run("sleep", "600", name="live")
        mount = {"Type": "volume", "Source": "lim", "Target": "/lim"}
        answer = engine.post(f"/containers/{running}/update", {"MountsAdd": [mount]})
        assert answer.status == 200, answer.body
        assert "at the next start only" in answer.body.decode()
        engine.create("true", name="put", Binds=["lim:/lim"])
        content = tar({"g": "y" * (20 * MIB)})
        with engine.client() as client:
            where = "/containers/put/archive?path=/lim"
            status, answered = client.upload("PUT", where, [content], len(content))
        assert status != 200
        assert re.search(FULL, answered.decode())
        engine.remove_containers()
        assert engine.delete("/volumes/lim").status == 204
        assert projects(disk) == {}
