from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from wherry.errors import Conflict, Exhausted, Internal, Invalid, NotFound, Unavailable
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.syscalls import RecordingSyscalls
from wherry.store.database import Database
from wherry.store.paths import Paths
from wherry.store.volumes import POPULATING, READY, REMOVING, VolumeRow
from wherry.volumes import ContainerVolumes, VolumeArchive, VolumeService, build, files, local
from wherry.volumes.filling import COPYING
from wherry.volumes.locks import KeyedLocks
from wherry.wire.container import HostConfig, Mount, VolumeOptions
from wherry.wire.mounts import MountPoint, MountRequest, RootView


class Bus:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def publish(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        assert kind == "volume"
        self.seen.append((action, actor_id))


class House:
    """The room over real directories and a recording kernel."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root / "data", root / "run")
        self.paths.data.mkdir()
        self.bus = Bus()
        self.calls = RecordingSyscalls()
        self.peers: dict[str, list[MountPoint]] = {}
        self.database = Database(self.paths.database)
        self.service, self.archive, self.mounts = self.open()

    def open(self) -> tuple[VolumeService, VolumeArchive, ContainerVolumes]:
        return build(
            self.database,
            self.paths,
            PrivateMounts(self.calls),
            self.bus,
            lambda ref: self.peers[ref],
        )

    async def plan(
        self, container_id: str = "c1", image_volumes: tuple[str, ...] = (), **host: Any
    ) -> list[MountPoint]:
        config = HostConfig(**host)
        points, _ = await self.mounts.plan(MountRequest(container_id, config, image_volumes))
        return points

    def view(self) -> RootView:
        return RootView([str(self.paths.data)], self.paths.data / "none")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.database.close()


async def test_create_inspect_remove(house: House) -> None:
    made = await house.service.create("data1", labels={"a": "b"})
    assert made == await house.service.inspect("data1")
    assert (made["Name"], made["Driver"], made["Scope"]) == ("data1", "local", "local")
    assert made["Labels"] == {"a": "b"}
    assert made["Options"] is None
    assert made["CreatedAt"].endswith("Z")
    assert made["Mountpoint"] == str(house.paths.volumes / "data1" / "_data")
    assert Path(made["Mountpoint"]).is_dir()
    again = await house.service.create("data1", labels={"other": "x"})
    assert again["Labels"] == {"a": "b"}
    await house.service.remove("data1")
    assert not (house.paths.volumes / "data1").exists()
    assert house.bus.seen == [("create", "data1"), ("destroy", "data1")]
    with pytest.raises(NotFound, match=r"^get data1: no such volume$"):
        await house.service.inspect("data1")
    with pytest.raises(NotFound, match="get data1: no such volume"):
        await house.service.remove("data1")
    await house.service.remove("data1", force=True)


async def test_anonymous_create(house: House) -> None:
    made = await house.service.create()
    assert len(made["Name"]) == 64
    assert made["Labels"] == {"com.docker.volume.anonymous": ""}


@pytest.mark.parametrize(
    ("name", "driver", "options", "kind", "message"),
    [
        ("a", "", {}, Invalid, "create a: volume name is too short"),
        ("a/b", "", {}, Invalid, 'create a/b: "a/b" includes invalid characters'),
        ("ab", "", {"foo": "x"}, Invalid, 'create ab: invalid option: "foo"'),
        ("ab", "", {"type": "nfs"}, Invalid, 'create ab: missing required option: "device"'),
        ("ab", "", {"size": "x"}, Invalid, "create ab: invalid size: 'x'"),
        ("ab", "", {"size": "4k"}, Invalid, "the least is 1MiB"),
        ("ab", "nope", {}, NotFound, 'error looking up volume plugin nope: plugin "nope" not'),
    ],
)
async def test_create_refused(
    house: House, name: str, driver: str, options: dict[str, str], kind: type, message: str
) -> None:
    with pytest.raises(kind, match=message):
        await house.service.create(name, driver, options)
    assert house.service.table.all() == []
    assert not list(house.paths.volumes.glob("*"))


async def test_list_and_filters(house: House) -> None:
    await house.service.create("web-1", labels={"tier": "web"})
    await house.service.create("db-1", labels={"tier": "db"})
    await house.plan(binds=["web-1:/w"])

    async def names(**filters: list[str]) -> list[str]:
        listed = await house.service.listing({k.replace("_", "!"): v for k, v in filters.items()})
        assert listed["Warnings"] is None
        return [each["Name"] for each in listed["Volumes"]]

    assert await names() == ["db-1", "web-1"]
    assert await names(name=["web"]) == ["web-1"]
    assert await names(label=["tier=db"]) == ["db-1"]
    assert await names(label_=["tier=db"]) == ["web-1"]
    assert await names(dangling=["true"]) == ["db-1"]
    assert await names(dangling=["false"]) == ["web-1"]
    assert await names(driver=["other"]) == []
    with pytest.raises(Invalid, match="invalid filter 'foo'"):
        await names(foo=["x"])


async def test_in_use_is_never_removed(house: House) -> None:
    await house.plan("c1", binds=["data1:/d"])
    with pytest.raises(Conflict, match=r"^remove data1: volume is in use - \[c1\]$"):
        await house.service.remove("data1", force=True)
    pruned = await house.service.prune({"all": ["true"]})
    assert pruned["VolumesDeleted"] is None
    await house.mounts.forget("c1", (), remove_anonymous=True)
    assert (await house.service.inspect("data1"))["Name"] == "data1"
    await house.service.remove("data1")


async def test_prune(house: House) -> None:
    await house.service.create("named")
    anonymous = await house.service.create()
    Path(anonymous["Mountpoint"], "file").write_bytes(b"x" * 100)
    pruned = await house.service.prune({})
    assert pruned == {"VolumesDeleted": [anonymous["Name"]], "SpaceReclaimed": 100}
    pruned = await house.service.prune({"label": ["x"]}, only_anonymous=False)
    assert pruned["VolumesDeleted"] is None
    pruned = await house.service.prune({"all": ["1"]})
    assert pruned["VolumesDeleted"] == ["named"]


async def test_prune_takes_only_what_is_still_as_it_was_chosen(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While sizes are counted, which may take long, one is made anew and another is labelled."""
    for name in ("anew", "kept", "taken"):
        await house.service.create(name)
    count = house.service._size

    async def slowly(row: VolumeRow) -> int:
        if row.name == "anew":
            await house.service.remove("anew")
            await house.service.create("anew")
            await house.service.update("kept", labels={"keep": ""})
        return await count(row)

    monkeypatch.setattr(house.service, "_size", slowly)
    pruned = await house.service.prune({"all": ["1"], "label!": ["keep"]})
    assert pruned["VolumesDeleted"] == ["taken"]


async def test_prune_goes_on_where_one_cannot_be_removed(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("broken", "good"):
        await house.service.create(name)
    remove = house.service.drivers.local.remove

    async def fail(row: VolumeRow) -> None:
        if row.name == "broken":
            raise Internal("the disk fails")
        await remove(row)

    monkeypatch.setattr(house.service.drivers.local, "remove", fail)
    assert (await house.service.prune({"all": ["1"]}))["VolumesDeleted"] == ["good"]
    assert "remove broken: the disk fails" in caplog.text
    assert (await house.service.inspect("broken"))["Name"] == "broken"


async def test_plan_orders_and_describes(house: House, tmp_path: Path) -> None:
    points = await house.plan(
        binds=[f"{tmp_path}:/a/b/c:ro,rslave", "data1:/a"],
        tmpfs={"/run": "size=1m"},
        mounts=[Mount(type="volume", target="/a/b", source="data2", read_only=True)],
        image_volumes=("/a/", "/var/lib/x"),
    )
    assert [each.destination for each in points] == ["/a", "/run", "/a/b", "/a/b/c", "/var/lib/x"]
    by_path = {each.destination: each for each in points}
    bind, named, anonymous = by_path["/a/b/c"], by_path["/a"], by_path["/var/lib/x"]
    assert (bind.type, bind.rw, bind.mode, bind.propagation) == (
        "bind",
        False,
        "ro,rslave",
        "rslave",
    )
    assert bind.options == ("rbind", "rro", "rslave")
    assert (named.type, named.name, named.mode, named.driver) == ("volume", "data1", "z", "local")
    assert by_path["/a/b"].rw is False
    assert (len(anonymous.name), anonymous.mode) == (64, "")
    assert by_path["/run"].options == ("noexec", "nosuid", "nodev", "size=1m")


async def test_plan_is_all_or_nothing(house: House) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"binds": ["data1:/a", "/x:/a/"]}, "Duplicate mount point: /a"),
        ({"binds": ["data1:/a", "b:/c"]}, "volume name is too short"),
        ({"binds": ["data1:/a"], "tmpfs": {"/a": ""}}, "Duplicate mount point: /a"),
        (
            {"binds": ["data1:/a"], "mounts": [Mount(type="bind", source="/nope", target="/b")]},
            "bind source path does not exist: /nope",
        ),
        ({"binds": ["data1:/a"], "volumes_from": ["c9:what"]}, "invalid mode: what"),
        (
            {
                "binds": ["data1:/a"],
                "mounts": [
                    Mount(
                        type="volume",
                        target="/b",
                        source="data2",
                        volume_options=VolumeOptions(subpath="../x"),
                    )
                ],
            },
            "subpath must be a relative path within the volume",
        ),
    ]
    for host, message in cases:
        with pytest.raises(Invalid, match=message):
            await house.plan(**host)
        assert house.service.table.all() == [], host
        assert not list(house.paths.volumes.glob("*"))


async def test_plan_undoes_what_it_made(house: House) -> None:
    house.peers["old"] = [MountPoint("volume", "/v", name="gone", extra={"volume_id": "gone"})]
    with pytest.raises(NotFound, match="get gone: no such volume"):
        await house.plan(binds=["data1:/a"], image_volumes=("/b",), volumes_from=["old"])
    assert house.service.table.all() == []


async def test_volumes_from(house: House, tmp_path: Path) -> None:
    first = await house.plan("c1", ("/own", "/both"), binds=[f"{tmp_path}:/h"])
    house.peers["c1"] = first
    second = await house.plan("c2", ("/both",), volumes_from=["c1:ro"], binds=["data1:/own"])
    by_path = {each.destination: each for each in second}
    assert set(by_path) == {"/h", "/own", "/both"}
    assert by_path["/own"].name == "data1"
    assert by_path["/both"].name == next(p.name for p in first if p.destination == "/both")
    assert (by_path["/h"].rw, by_path["/h"].options[1]) == (False, "rro")
    await house.mounts.forget("c1", first, remove_anonymous=True)
    left = [row.name for row in house.service.table.all()]
    assert by_path["/both"].name in left
    assert len(left) == 2
    await house.mounts.forget("c2", second, remove_anonymous=True)
    assert [row.name for row in house.service.table.all()] == ["data1"]


async def test_anonymous_volumes_stay_without_the_word(house: House) -> None:
    points = await house.plan("c1", ("/x",))
    await house.mounts.forget("c1", points, remove_anonymous=False)
    assert [row.name for row in house.service.table.all()] == [points[0].name]


async def test_prepare_and_release(house: House, tmp_path: Path) -> None:
    source = tmp_path / "made" / "here"
    points = await house.plan(binds=[f"{source}:/h", "data1:/d:nocopy"], tmpfs={"/t": ""})
    mounts = await house.mounts.prepare("c1", points, house.view())
    assert source.is_dir()
    assert mounts == [
        {
            "destination": "/h",
            "type": "bind",
            "source": str(source),
            "options": ["rbind", "rw", "rprivate"],
        },
        {
            "destination": "/d",
            "type": "bind",
            "source": str(house.paths.volumes / "data1" / "_data"),
            "options": ["rbind", "rw", "rprivate"],
        },
        {
            "destination": "/t",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["noexec", "nosuid", "nodev"],
        },
    ]
    assert ("mount", "data1") in house.bus.seen
    await house.mounts.forget("c1", points, remove_anonymous=True)
    with pytest.raises(Conflict, match="volume is in use"):
        await house.service.remove("data1")
    await house.mounts.release("c1", points)
    await house.mounts.release("c1", points)
    assert house.bus.seen.count(("unmount", "data1")) == 1
    await house.service.remove("data1")


async def test_prepare_fails_whole(house: House, tmp_path: Path) -> None:
    source = tmp_path / "s"
    source.mkdir()
    points = await house.plan(
        binds=["data1:/a:nocopy"], mounts=[Mount(type="bind", source=str(source), target="/b/c")]
    )
    source.rmdir()
    with pytest.raises(Invalid, match="bind source path does not exist"):
        await house.mounts.prepare("c1", points, house.view())
    row = house.service.get("data1")
    assert house.service.table.holders(row.id) == []


async def test_reconcile(house: House) -> None:
    table = house.service.table
    await house.service.create("data1")
    await house.plan("gone", binds=["data1:/a", "data5:/b"])
    await house.plan("kept", binds=["data2:/a"])
    for name in ("data3", "data4"):
        await house.service.create(name)
    half = Path((await house.service.inspect("data4"))["Mountpoint"])
    (half / COPYING / "deep").mkdir(parents=True)
    (half / "written").write_text("by a container meanwhile")
    table.set_state(house.service.get("data3").id, REMOVING)
    table.set_state(house.service.get("data4").id, POPULATING)
    orphan, empty = house.paths.volumes / "orphan", house.paths.volumes / "empty"
    trash = house.paths.volumes / ".removed-1"
    for folder in (orphan, empty, trash):
        (folder / "_data").mkdir(parents=True)
    (orphan / "_data" / "precious").write_text("x")
    (trash / "_data" / "old").write_text("x")
    await house.mounts.adopt({"kept"}, [])
    assert sorted(row.name for row in table.all()) == ["data1", "data2", "data4", "orphan"]
    assert table.users(house.service.get("data1").id) == []
    assert table.users(house.service.get("data2").id) == ["kept"]
    assert house.service.get("data4").state == READY
    assert [each.name for each in half.iterdir()] == ["written"]
    assert (orphan / "_data" / "precious").exists()
    assert not empty.exists()
    assert not trash.exists()


async def test_rename_and_labels(house: House) -> None:
    made = await house.service.create("old1", labels={"a": "1", "b": "2"})
    Path(made["Mountpoint"], "f").write_text("x")
    await house.service.create("taken")
    with pytest.raises(Conflict, match="volume name must be unique: taken"):
        await house.service.rename("old1", "taken")
    await house.service.rename("old1", "new1")
    found = await house.service.inspect("new1")
    assert Path(found["Mountpoint"], "f").read_text() == "x"
    updated = await house.service.update("new1", labels={"c": "3"}, remove_labels=["a", "z"])
    assert updated["Labels"] == {"b": "2", "c": "3"}
    assert updated["Warnings"] == ["RemoveLabels: the volume has no label z"]
    with pytest.raises(Invalid, match="Labels and RemoveLabels both name c"):
        await house.service.update("new1", labels={"c": "4"}, remove_labels=["c"])
    assert (await house.service.inspect("new1"))["Labels"] == {"b": "2", "c": "3"}
    await house.plan("c1", binds=["new1:/a"])
    with pytest.raises(Conflict, match=r"rename new1: volume is in use - \[c1\]"):
        await house.service.rename("new1", "new2")
    with pytest.raises(Invalid, match="was made without a size"):
        await house.service.update("new1", size=1 << 30)


async def test_disk_usage(house: House) -> None:
    made = await house.service.create("data1")
    data = Path(made["Mountpoint"])
    (data / "a").write_bytes(b"x" * 1000)
    (data / "b").hardlink_to(data / "a")
    await house.plan("c1", binds=["data1:/a"])
    usage = await house.service.disk_usage()
    assert [each["UsageData"] for each in usage] == [{"RefCount": 1, "Size": 1000}]


async def test_concurrent_creates_make_one(house: House) -> None:
    await asyncio.gather(*(house.service.create("same") for _ in range(10)))
    assert house.bus.seen == [("create", "same")]


async def test_locks_exclude_and_vanish() -> None:
    locks = KeyedLocks()
    inside = 0

    async def one() -> None:
        nonlocal inside
        async with locks("k"):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(one() for _ in range(20)))
    assert len(locks) == 0


def test_rows_survive_reopening(house: House) -> None:
    row = VolumeRow("1", "x1", "local", 5, {"size": "1"}, {"l": "v"}, 1, "image", bare=False)
    house.service.table.add(row)
    again, _, _ = house.open()
    assert again.table.by_name("x1") == row
    assert again.table.by_id("1") == row


async def test_a_tar_that_complains_much_is_exported(house: House) -> None:
    """Each socket is a line of its own on tar's standard error, more than any pipe holds."""
    await house.service.create("noisy")
    data = house.paths.volumes / "noisy" / "_data"
    for number in range(4000):
        os.mknod(data / f"{number:04}{'x' * 240}", stat.S_IFSOCK | 0o600)
    (data / "kept").write_text("kept")
    async with asyncio.timeout(60):
        tar = b"".join([chunk async for chunk in house.archive.export("noisy")])
    assert b"./kept" in tar


async def test_a_stream_that_breaks_off_is_told_as_such(house: House) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 1024
        raise Invalid("the request body ends too early or is malformed")

    await house.service.create("data1")
    with pytest.raises(Invalid, match="the request body ends too early"):
        await house.archive.load("data1", broken(), overwrite=False)
    assert list((house.paths.volumes / "data1").iterdir()) == [
        house.paths.volumes / "data1" / "_data"
    ]


async def test_a_device_that_does_not_answer_keeps_no_shared_thread(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, threads = threading.Event(), list[str]()

    def mount(*_: object) -> None:
        threads.append(threading.current_thread().name)
        release.wait(60)

    monkeypatch.setattr(local, "MOUNT_TIMEOUT", 0.01)
    monkeypatch.setattr(house.calls, "mount", mount)
    monkeypatch.setattr(house.service.drivers.local, "sharing", contextlib.nullcontext)
    options = {"type": "ext4", "device": "/dev/slow", "o": "ro"}
    await house.service.create("far", options=options)
    row = house.service.get("far")
    try:
        with pytest.raises(Unavailable, match="no answer in"):
            await house.service.mount(row, "c1")
    finally:
        release.set()
    assert len(threads) == 1
    assert not threads[0].startswith("asyncio")
    assert house.service.table.holders(row.id) == []


async def test_a_directory_that_cannot_be_removed_stops_no_daemon(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    (house.paths.volumes / ".removed-x").mkdir(parents=True)
    (house.paths.volumes / "found" / "_data").mkdir(parents=True)
    (house.paths.volumes / "found" / "_data" / "file").write_text("data")

    async def refuse(directory: Path) -> None:
        raise Internal("Device or resource busy")

    monkeypatch.setattr(files, "remove_tree", refuse)
    await house.mounts.adopt((), ())
    assert house.service.get("found").name == "found"


async def test_a_plugin_that_talks_nonsense_hides_no_volume(house: House) -> None:
    class Plugins:
        def find(self, name: str) -> None:
            return None

        def names(self) -> list[str]:
            return ["odd"]

        async def volumes(self, name: str) -> list[VolumeRow]:
            raise TypeError("'int' object is not iterable")

    house.service.drivers._plugins = Plugins()
    await house.service.create("data1")
    found = await house.service.listing({})
    assert [each["Name"] for each in found["Volumes"]] == ["data1"]
    assert "odd" in found["Warnings"][0]


def test_what_a_program_says_last_is_not_always_what_went_wrong() -> None:
    farewell = b"tar: Exiting with failure status due to previous errors\n"
    full = files.failure("x", b"tar: f: Cannot write: No space left on device\n" + farewell)
    assert isinstance(full, Exhausted)
    assert full.message == "x: tar: f: Cannot write: No space left on device"
    short = files.failure("x", b"tar: f: Wrote only 512 of 10240 bytes\n" + farewell)
    assert isinstance(short, Exhausted)
    other = files.failure("x", b"tar: f: Cannot open: Permission denied\n" + farewell)
    assert isinstance(other, Internal)
    assert other.message == "x: tar: f: Cannot open: Permission denied"
    assert files.failure("x", b"").message == "x: it failed without a word"
