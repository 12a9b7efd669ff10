"""Export, import, clone and snapshots of volumes, plain ones and ones with a size."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.engine.volumes_host import VolumesHost

from wherry.errors import Conflict, Invalid, NotFound
from wherry.store.volumes import MAKING

pytestmark = pytest.mark.root


class Shelf(VolumesHost):
    async def hold(self, name: str) -> None:
        await self.start("c1", binds=[f"{name}:/x:nocopy"])

    async def fill(self, name: str, entries: dict[str, str], *, overwrite: bool = False) -> None:
        data = tar(entries)
        await self.archive.load(name, stream(data, max(1000, len(data) // 50)), overwrite=overwrite)

    async def read(self, name: str) -> dict[str, str]:
        data = b"".join([chunk async for chunk in self.archive.export(name)])
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            return {
                member.name.removeprefix("./"): file.read().decode()
                for member in archive
                if (file := archive.extractfile(member)) is not None
            }


def tar(entries: dict[str, str], **links: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for name, text in entries.items():
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.gid, info.mode = len(text), 12, 34, 0o640
            archive.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


async def stream(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["plain", "sized"])
async def options(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"size": "8m"} if request.param == "sized" else {}


def _clean(shelf: Shelf) -> bool:
    left = [each.name for each in shelf.paths.volumes.rglob(".new-*")]
    return not left and not shelf.mounted() and not shelf.loop_devices()


async def test_import_export_round_trip(shelf: Shelf, options: dict[str, str]) -> None:
    await shelf.service.create("v1", options=options)
    await shelf.fill("v1", {"a": "one", "d/b": "two"})
    assert await shelf.read("v1") == {"a": "one", "d/b": "two"}
    with pytest.raises(Conflict, match="the volume is not empty"):
        await shelf.fill("v1", {"c": "x"})
    await shelf.fill("v1", {"c": "x"}, overwrite=True)
    assert await shelf.read("v1") == {"c": "x"}
    assert _clean(shelf)


async def test_import_keeps_owners_and_unpacks_gzip(shelf: Shelf) -> None:
    await shelf.service.create("v1")
    await shelf.archive.load("v1", stream(gzip.compress(tar({"a": "x"}))), overwrite=False)
    found = (shelf.data("v1") / "a").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12, 34, 0o640)


async def test_bad_imports_change_nothing(shelf: Shelf, options: dict[str, str]) -> None:
    await shelf.service.create("v1", options=options)
    await shelf.fill("v1", {"keep": "x"})
    whole = tar({"a": "y" * 5000})
    for bad in (b"", b"this is no tar at all" * 100, whole[:3000]):
        with pytest.raises(Invalid, match="import v1"):
            await shelf.archive.load("v1", stream(bad), overwrite=True)
        assert await shelf.read("v1") == {"keep": "x"}
        assert _clean(shelf)


async def test_import_makes_a_volume_that_is_not_there(shelf: Shelf) -> None:
    await shelf.fill("fresh", {"a": "x"})
    assert await shelf.read("fresh") == {"a": "x"}
    assert shelf.service.table.users(shelf.service.get("fresh").id) == []
    with pytest.raises(Invalid, match="import broken"):
        await shelf.archive.load("broken", stream(b"no tar" * 300), overwrite=False)
    with pytest.raises(Invalid, match="invalid characters"):
        await shelf.fill("a/b", {"a": "x"})
    assert [row.name for row in shelf.service.table.all()] == ["fresh"]
    assert _clean(shelf)


async def test_import_cannot_write_outside(shelf: Shelf, tmp_path: Path) -> None:
    await shelf.service.create("v1")
    outside = tmp_path / "outside"
    outside.mkdir()
    data = tar({"link/evil": "x", "../evil": "x"}, link=str(outside))
    with pytest.raises(Invalid):
        await shelf.archive.load("v1", stream(data), overwrite=False)
    assert list(outside.iterdir()) == []
    assert not list(shelf.paths.volumes.rglob("evil"))


async def test_running_users(shelf: Shelf) -> None:
    await shelf.service.create("v1")
    await shelf.fill("v1", {"a": "x"})
    await shelf.hold("v1")
    with pytest.raises(Conflict, match=r"import v1: volume is in use by running containers - \[c1"):
        await shelf.fill("v1", {"b": "y"}, overwrite=True)
    with pytest.raises(Conflict, match="snapshot v1"):
        await shelf.archive.snapshot("v1", "s1")
    with pytest.raises(Conflict, match="clone v1"):
        await shelf.archive.clone("v1", "v2")
    assert await shelf.read("v1") == {"a": "x"}


async def test_clone(shelf: Shelf, options: dict[str, str]) -> None:
    await shelf.service.create("v1", options=options, labels={"l": "1"})
    await shelf.fill("v1", {"a": "x"})
    made = await shelf.archive.clone("v1", "v2")
    assert (made["Labels"], made["Options"]) == ({"l": "1"}, options or None)
    await shelf.fill("v1", {"b": "y"}, overwrite=True)
    assert await shelf.read("v2") == {"a": "x"}
    with pytest.raises(Conflict, match="volume name must be unique: v2"):
        await shelf.archive.clone("v1", "v2")
    limited = await shelf.archive.clone("v2", "v3", {"size": "16m"})
    assert limited["Options"] == {"size": "16m"}
    assert await shelf.read("v3") == {"a": "x"}


async def test_a_clone_that_does_not_fit_leaves_nothing(shelf: Shelf) -> None:
    await shelf.service.create("v1")
    (shelf.data("v1") / "big").write_bytes(os.urandom(4 << 20))
    with pytest.raises(Exception, match="No space left"):
        await shelf.archive.clone("v1", "v2", {"size": "2m"})
    assert [row.name for row in shelf.service.table.all()] == ["v1"]
    assert [each.name for each in shelf.paths.volumes.iterdir()] == ["v1"]


async def test_snapshots(shelf: Shelf, options: dict[str, str]) -> None:
    await shelf.service.create("v1", options=options)
    await shelf.fill("v1", {"a": "first"})
    made = await shelf.archive.snapshot("v1", "s1")
    assert made["Name"] == "s1"
    await shelf.fill("v1", {"a": "second"}, overwrite=True)
    await shelf.archive.snapshot("v1", "s2")
    assert [each["Name"] for each in shelf.archive.snapshots("v1")] == ["s1", "s2"]
    await shelf.archive.restore("v1", "s1")
    assert await shelf.read("v1") == {"a": "first"}
    await shelf.archive.restore("v1", "s2")
    assert await shelf.read("v1") == {"a": "second"}
    with pytest.raises(Conflict, match="snapshot name must be unique: s1"):
        await shelf.archive.snapshot("v1", "s1")
    await shelf.archive.drop_snapshot("v1", "s1")
    with pytest.raises(NotFound, match="volume v1 has no snapshot s1"):
        await shelf.archive.restore("v1", "s1")
    for bad in ("", "../s2", "a/b", "x.partial"):
        with pytest.raises(Invalid, match="invalid snapshot name"):
            await shelf.archive.snapshot("v1", bad)
    assert _clean(shelf)
    await shelf.service.remove("v1")
    assert list(shelf.paths.volumes.iterdir()) == []


async def test_restart_sweeps_what_was_left(shelf: Shelf) -> None:
    await shelf.service.create("v1")
    await shelf.service.create("half")
    await shelf.fill("v1", {"a": "x"})
    await shelf.archive.snapshot("v1", "s1")
    folder = shelf.paths.volumes / "v1"
    (folder / ".new-1" / "deep").mkdir(parents=True)
    (folder / ".new-2.img").write_text("x")
    (folder / "snapshots" / "s2.partial").mkdir()
    shelf.service.table.set_state(shelf.service.get("half").id, MAKING)
    await shelf.mounts.adopt((), ())
    assert sorted(each.name for each in folder.iterdir()) == ["_data", "snapshots"]
    assert [each["Name"] for each in shelf.archive.snapshots("v1")] == ["s1"]
    assert [row.name for row in shelf.service.table.all()] == ["v1"]
