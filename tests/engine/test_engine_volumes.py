"""Volumes on the real kernel: copy-up, mounted volumes, size limits, subpaths, image mounts."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine.volumes_host import VolumesHost

from wherry.errors import Conflict, Invalid, NotFound
from wherry.linux.syscalls import MNT_DETACH, MS_BIND, MS_PRIVATE, MS_SHARED, LinuxSyscalls
from wherry.wire.container import BindOptions, ImageOptions, Mount, VolumeOptions
from wherry.wire.mounts import RootView

pytestmark = pytest.mark.root


@pytest.fixture
def house(tmp_path: Path) -> Iterator[VolumesHost]:
    made = VolumesHost(tmp_path)
    yield made
    made.close()


async def test_copy_up_keeps_everything(house: VolumesHost) -> None:
    source = house.image / "srv" / "app"
    source.mkdir(parents=True)
    source.chmod(0o2750)
    os.chown(source, 33, 44)
    (source / "file").write_text("hello")
    (source / "file").chmod(0o4711)
    os.chown(source / "file", 12, 34)
    os.chmod(source / "file", 0o4711)
    os.setxattr(source / "file", "user.note", b"kept")
    (source / "hard").hardlink_to(source / "file")
    (source / "soft").symlink_to("/etc/passwd")
    os.mkfifo(source / "pipe")
    os.mknod(source / "null", 0o020666, os.makedev(1, 3))
    os.utime(source / "file", (1_000_000_000, 1_000_000_000))
    with (source / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    (data,) = await house.start(binds=["v1:/srv/app"])
    into = Path(data)
    found = into.stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o2750, 33, 44)
    found = (into / "file").stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o4711, 12, 34)
    assert found.st_mtime == 1_000_000_000
    assert found.st_ino == (into / "hard").stat().st_ino
    assert os.getxattr(into / "file", "user.note") == b"kept"
    assert os.readlink(into / "soft") == "/etc/passwd"
    assert (into / "pipe").is_fifo()
    assert (into / "null").is_char_device()
    assert (into / "sparse").stat().st_blocks < 100
    assert house.mounted() == []


async def test_copy_up_sees_the_whole_root(house: VolumesHost) -> None:
    """Upper and lower together, deletions included; never twice; never into what has data."""
    for where in (house.image, house.upper):
        (where / "d").mkdir()
    (house.image / "d" / "a").write_text("low")
    (house.image / "d" / "gone").write_text("low")
    (house.upper / "d" / "b").write_text("up")
    os.mknod(house.upper / "d" / "gone", 0o020000, os.makedev(0, 0))
    (data,) = await house.start("c1", binds=["v1:/d"])
    assert sorted(os.listdir(data)) == ["a", "b"]
    Path(data, "a").unlink()
    await house.start("c2", binds=["v1:/d"])
    assert os.listdir(data) == ["b"]
    (other,) = await house.start("c3", binds=["v2:/d:nocopy"])
    assert os.listdir(other) == []
    (none,) = await house.start("c4", binds=["v3:/not/there"])
    assert os.listdir(none) == []


async def test_copy_up_cannot_leave_the_image(house: VolumesHost) -> None:
    outside = house.image.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    (house.image / "link").symlink_to(outside)
    (house.image / "inside").mkdir()
    (house.image / "inside" / "ok").write_text("x")
    (house.image / "absolute").symlink_to("/inside")
    (house.image / "up").symlink_to("../../../../inside")
    (data,) = await house.start("c1", binds=["v1:/link"])
    assert os.listdir(data) == []
    for number, name in enumerate(("absolute", "up")):
        (data,) = await house.start(f"d{number}", binds=[f"w{number}:/{name}"])
        assert os.listdir(data) == ["ok"], name


async def test_simultaneous_starts_copy_once(house: VolumesHost) -> None:
    folder = house.image / "d"
    folder.mkdir()
    for number in range(200):
        (folder / str(number)).write_text(str(number))
    sources = await asyncio.gather(
        *(house.start(f"c{number}", binds=["v1:/d"]) for number in range(8))
    )
    assert len({each[0] for each in sources}) == 1
    assert len(os.listdir(sources[0][0])) == 200


async def test_tmpfs_volume_lives_while_used(house: VolumesHost) -> None:
    await house.service.create(
        "mem", options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=0750,nosuid"}
    )
    first = await house.start("c1", binds=["mem:/m"])
    second = await house.start("c2", binds=["mem:/m"])
    assert first == second
    Path(first[0], "f").write_text("x")
    shared = str(house.paths.volumes.resolve())
    assert house.mounted() == [shared, str(Path(first[0]).resolve())]
    with pytest.raises(OSError, match="No space left"):
        Path(first[0], "big").write_bytes(b"x" * (2 << 20))
    await house.mounts.release("c1", ())
    assert Path(second[0], "f").exists()
    await house.mounts.release("c2", ())
    assert house.mounted() == []
    assert os.listdir(first[0]) == []
    with pytest.raises(Conflict, match=r"volume is in use - \[c1, c2\]"):
        await house.service.remove("mem")


async def test_a_mount_is_there_once_where_all_is_shared(tmp_path: Path) -> None:
    """As systemd has it: the directory of volumes must not pass it on to what it lies on."""
    calls = LinuxSyscalls()
    calls.mount("tmpfs", str(tmp_path), "tmpfs", 0, "size=16m")
    try:
        calls.mount(None, str(tmp_path), None, MS_SHARED, None)
        house = VolumesHost(tmp_path)
        await house.service.create("mem", options={"type": "tmpfs", "device": "tmpfs"})
        (data,) = await house.start("c1", binds=["mem:/m"])
        assert house.mounted() == [str(house.paths.volumes.resolve()), str(Path(data).resolve())]
        await house.mounts.release("c1", ())
        assert house.mounted() == []
        house.close()
    finally:
        calls.umount(str(tmp_path), MNT_DETACH)


async def test_bind_volume_and_a_bad_device(house: VolumesHost, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "f").write_text("x")
    options = {"type": "none", "device": str(there), "o": "bind"}
    await house.service.create("bound", options=options)
    (data,) = await house.start("c1", binds=["bound:/b"])
    assert os.listdir(data) == ["f"]
    await house.mounts.release("c1", ())
    await house.mounts.forget("c1", (), remove_anonymous=True)
    await house.service.remove("bound")
    assert (there / "f").read_text() == "x"
    await house.service.create("bad1", options={**options, "device": str(tmp_path / "nope")})
    with pytest.raises(Invalid, match=r"failed to mount local volume: mount .*nope.*no such file"):
        await house.start("c2", binds=["bad1:/b"])
    row = house.service.get("bad1")
    assert house.service.table.holders(row.id) == []


async def test_size_limit_holds_and_grows(house: VolumesHost) -> None:
    house.without_quota()
    made = await house.service.create("lim", options={"size": "8m"})
    assert made["Options"] == {"size": "8m"}
    (data,) = await house.start("c1", binds=["lim:/l"])
    assert os.listdir(data) == []

    def fill() -> int:
        try:
            with Path(data, "fill").open("wb") as file:
                for _ in range(64):
                    file.write(b"x" * (1 << 20))
                    file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        return Path(data, "fill").stat().st_size

    before = fill()
    assert before < 8 << 20
    with pytest.raises(Conflict, match="cannot shrink"):
        await house.service.update("lim", size=4 << 20)
    if _may_grow_in_use():
        updated = await house.service.update("lim", size=32 << 20)
        assert updated["Options"] == {"size": str(32 << 20)}
        assert before + (8 << 20) < fill() < 32 << 20
    else:
        with pytest.raises(Conflict, match="does not let a volume grow while it is in use"):
            await house.service.update("lim", size=32 << 20)
        assert fill() == before
    Path(data, "fill").unlink()
    Path(data, "keep").write_text("kept")
    await house.mounts.release("c1", ())
    assert not Path(data, "keep").exists()
    await house.service.update("lim", size=16 << 20)
    (data,) = await house.start("c2", binds=["lim:/l"])
    assert Path(data, "keep").read_text() == "kept"
    assert os.statvfs(data).f_blocks * os.statvfs(data).f_frsize < 16 << 20
    for each in ("c1", "c2"):
        await house.mounts.release(each, ())
        await house.mounts.forget(each, (), remove_anonymous=True)
    await house.service.remove("lim")
    assert list(house.paths.volumes.iterdir()) == []
    assert house.mounted() == []


def _may_grow_in_use() -> bool:
    lines = Path("/proc/self/status").read_text().splitlines()
    held = next(line for line in lines if line.startswith("CapEff:"))
    return bool(int(held.split()[1], 16) >> 24 & 1)


async def test_copy_up_into_a_sized_volume(house: VolumesHost) -> None:
    (house.image / "d").mkdir()
    (house.image / "d" / "a").write_text("x")
    await house.service.create("lim", options={"size": "8m"})
    (data,) = await house.start("c1", binds=["lim:/d"])
    assert Path(data, "a").read_text() == "x"
    assert os.listdir(data) == ["a"]


async def test_another_size_is_no_other_content(house: VolumesHost) -> None:
    await house.service.create("lim", options={"size": "8m"})
    await house.service.update("lim", size=16 << 20)
    (data,) = await house.start("c1", binds=["lim:/d"])
    assert os.listdir(data) == []


def _volume(subpath: str) -> Mount:
    return Mount(
        type="volume",
        target="/s",
        source="v1",
        volume_options=VolumeOptions(subpath=subpath),
    )


async def test_subpath(house: VolumesHost) -> None:
    made = await house.service.create("v1")
    data = Path(made["Mountpoint"])
    (data / "a" / "b").mkdir(parents=True)
    (data / "a" / "b" / "f").write_text("x")
    (data / "a" / "one").write_text("file")
    (data / "out").symlink_to("/etc")
    (data / "up").symlink_to("../../..")
    (data / "in").symlink_to("a/b")
    (source,) = await house.start("c1", mounts=[_volume("a/b")])
    assert os.listdir(source) == ["f"]
    (source,) = await house.start("c2", mounts=[_volume("in")])
    assert os.listdir(source) == ["f"]
    (source,) = await house.start("c3", mounts=[_volume("a/one")])
    assert Path(source).read_text() == "file"
    for bad in ("out", "out/passwd", "up"):
        with pytest.raises(Invalid, match="leads out of the volume"):
            await house.start("c4", mounts=[_volume(bad)])
    with pytest.raises(NotFound, match="no such file or directory"):
        await house.start("c4", mounts=[_volume("missing")])
    assert house.service.table.holders(house.service.get("v1").id) == ["c1", "c2", "c3"]
    for each in ("c1", "c2", "c3"):
        await house.mounts.release(each, ())
    assert house.mounted() == []


async def test_image_mount(house: VolumesHost) -> None:
    (house.image / "bin").mkdir()
    (house.image / "bin" / "tool").write_text("x")
    whole = Mount(type="image", source="tools", target="/t")
    part = Mount(
        type="image", source="tools", target="/u", image_options=ImageOptions(subpath="bin")
    )
    first, second = await house.start("c1", mounts=[whole, part])
    assert os.listdir(first) == ["bin"]
    assert os.listdir(second) == ["tool"]
    with pytest.raises(OSError, match="Read-only"):
        Path(first, "new").write_text("x")
    await house.mounts.release("c1", ())
    assert house.mounted() == []


async def test_propagation_needs_a_shared_source(house: VolumesHost, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    house.calls.mount(str(private), str(private), None, MS_BIND, None)
    house.calls.mount(None, str(private), None, MS_PRIVATE, None)
    for word, text in (("rshared", "not a shared mount"), ("rslave", "not a shared or slave")):
        mount = Mount(
            type="bind",
            source=str(private),
            target="/p",
            bind_options=BindOptions(propagation=word),
        )
        with pytest.raises(Invalid, match=text):
            await house.start("c1", mounts=[mount])


async def test_restart_unmounts_what_nobody_holds(house: VolumesHost) -> None:
    await house.service.create("mem", options={"type": "tmpfs", "device": "tmpfs"})
    await house.start("c1", binds=["mem:/m"])
    await house.mounts.adopt({"c1"}, {"c1"})
    assert len(house.mounted()) == 2
    await house.mounts.adopt({"c1"}, set())
    assert house.mounted() == []


async def test_idmapped_bind(house: VolumesHost, tmp_path: Path) -> None:
    source = tmp_path / "mine"
    source.mkdir()
    (source / "old").write_text("x")
    for path in (source, source / "old"):
        os.chown(path, 1234, 2345)
    mount = Mount(
        type="bind", source=str(source), target="/m", bind_options=BindOptions(idmap="match-user")
    )
    points = await house.plan("c1", mounts=[mount])
    view = RootView([str(house.image)], house.upper, lambda: (0, 0))
    (made,) = await house.mounts.prepare("c1", points, view)
    seen = Path(str(made["source"]))
    assert (seen.stat().st_uid, (seen / "old").stat().st_gid) == (0, 0)
    (seen / "new").write_text("x")
    found = (source / "new").stat()
    assert (found.st_uid, found.st_gid) == (1234, 2345)
    await house.mounts.release("c1", ())
    assert house.mounted() == []


async def test_idmap_words(house: VolumesHost, tmp_path: Path) -> None:
    mount = Mount(
        type="bind", source=str(tmp_path), target="/m", bind_options=BindOptions(idmap="other")
    )
    with pytest.raises(Invalid, match="invalid idmap: other"):
        await house.plan("c1", mounts=[mount])
