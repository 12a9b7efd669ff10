"""Load, save and import against real files and the real kernel."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engine import archives
from tests.engine.images_host import Host, chunks

from wherry.errors import Exhausted, Internal, Invalid, NotFound
from wherry.linux.syscalls import LinuxSyscalls
from wherry.linux.tasks import spawn

pytestmark = pytest.mark.root

ONE = archives.files({"etc/": b"", "etc/one": b"first", "data": b"x" * 5000})
TWO = archives.files({"etc/two": b"second", "etc/.wh.one": b""})


@pytest.fixture(params=["mounted", "unpacked"])
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    made = Host(tmp_path, unpack=request.param == "unpacked")
    yield made
    made.close()


def silent(item: object) -> None:
    pass


async def load(host: Host, data: bytes, **more: Any) -> list[str]:
    return await host.engine.load(chunks(data), silent, **more)


async def collected(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in stream])


def members(data: bytes) -> dict[str, bytes]:
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {}
        for member in archive.getmembers():
            file = archive.extractfile(member)
            found[member.name] = file.read() if file else b""
        return found


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("outer", ["plain", "gzip", "xz", "bzip2", "zstd"])
async def test_a_docker_archive_is_loaded(host: Host, zipped: bool, outer: str) -> None:
    import bz2
    import lzma

    import zstandard

    data = archives.docker_archive([ONE, TWO], ["app:1", "app:2"], zipped=zipped)
    squeeze: Any = {
        "plain": lambda data: data,
        "gzip": gzip.compress,
        "xz": lzma.compress,
        "bzip2": bz2.compress,
        "zstd": zstandard.compress,
    }[outer]
    assert await load(host, squeeze(data)) == ["app:1", "app:2"]

    image = host.engine.get("app:2")
    assert image.id == archives.sha(archives.config([ONE, TWO]))
    assert image.layers == (archives.sha(ONE), archives.sha(TWO))
    assert image.size == 5000 + len(b"first") + len(b"second")
    top, base = host.engine.lower_dirs(image.layers)
    assert (Path(base) / "etc/one").read_bytes() == b"first"
    whiteout = (Path(top) / "etc/one").lstat()
    assert (whiteout.st_rdev, whiteout.st_mode & 0o170000) == (0, 0o020000)
    assert [event[0] for event in host.recorder.events] == ["load", "load"]
    assert await host.leftovers() == []


async def test_a_save_is_loaded_with_the_same_digests(tmp_path: Path, host: Host) -> None:
    await load(host, archives.docker_archive([ONE, TWO], ["app:1", "other/app:2"]))
    first = host.engine.get("app:1")
    data = await collected(host.engine.save(["app:1", "other/app:2"]))

    (tmp_path / "again").mkdir()
    other = Host(tmp_path / "again")
    try:
        assert await load(other, data) == ["app:1", "other/app:2"]
        assert other.engine.get("app:1") == first
        saved_again = await collected(other.engine.save(["app:1", "other/app:2"]))
        assert archives.sha(saved_again) == archives.sha(data)
    finally:
        other.close()
    held = members(data)
    assert held[f"blobs/sha256/{archives.sha(ONE)[7:]}"] == ONE
    entry = json.loads(held["manifest.json"])[0]
    assert entry["RepoTags"] == ["app:1", "other/app:2"]


async def test_gzipped_layers_keep_their_bytes(host: Host) -> None:
    await load(host, archives.oci_archive([ONE], "zipped/app:1"))
    image = host.engine.get("zipped/app:1")
    assert image.layers == (archives.sha(ONE),)
    held = members(await collected(host.engine.save(["zipped/app:1"])))
    zipped = gzip.compress(ONE, mtime=0)
    assert held[f"blobs/sha256/{archives.sha(zipped)[7:]}"] == zipped


async def test_a_multi_platform_index_is_kept_whole(host: Host) -> None:
    layout = archives.Layout()
    arm = layout.manifest([TWO], architecture="arm64")
    amd = layout.manifest([ONE])
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": archives.INDEX,
            "manifests": [
                layout.descriptor(
                    arm, archives.MANIFEST, platform={"os": "linux", "architecture": "arm64"}
                ),
                layout.descriptor(
                    amd, archives.MANIFEST, platform={"os": "linux", "architecture": "amd64"}
                ),
            ],
        }
    ).encode()
    names = {"io.containerd.image.name": "docker.io/library/multi:1"}
    data = layout.finish([layout.descriptor(index, archives.INDEX, annotations=names)])

    assert await load(host, data) == ["multi:1"]
    assert host.engine.get("multi:1").target == archives.sha(index)
    assert host.engine.get("multi:1").layers == (archives.sha(ONE),)
    assert host.engine.get("multi:1", "linux/arm64").layers == (archives.sha(TWO),)
    with pytest.raises(NotFound, match="does not match the specified platform"):
        host.engine.get("multi:1", "linux/s390x")
    with pytest.raises(NotFound, match="not usable"):
        host.engine.lower_dirs(host.engine.get("multi:1", "linux/arm64").layers)
    arm_image = host.engine.get("multi:1", "linux/arm64")
    await host.engine.prepare(arm_image)
    (lower,) = host.engine.lower_dirs(arm_image.layers)
    assert (Path(lower) / "etc/two").read_bytes() == b"second"
    held = members(await collected(host.engine.save(["multi:1"])))
    for blob in (index, arm, amd):
        assert held[f"blobs/sha256/{archives.sha(blob)[7:]}"] == blob


async def test_archives_of_old_docker_are_loaded(host: Host) -> None:
    base, top = "b" * 64, "t".replace("t", "a") * 64
    data = archives.files(
        {
            f"{base}/json": json.dumps({"id": base, "os": "linux"}).encode(),
            f"{base}/layer.tar": ONE,
            f"{top}/json": json.dumps(
                {
                    "id": top,
                    "parent": base,
                    "architecture": "amd64",
                    "config": {"Cmd": ["true"]},
                    "container_config": {"Cmd": ["/bin/sh", "-c", "make"]},
                }
            ).encode(),
            f"{top}/layer.tar": TWO,
            "repositories": json.dumps({"old/app": {"1": top}}).encode(),
        }
    )
    assert await load(host, data) == ["old/app:1"]
    image = host.engine.get("old/app:1")
    assert image.layers == (archives.sha(ONE), archives.sha(TWO))
    assert host.engine.history("old/app:1")[0]["CreatedBy"] == "/bin/sh -c make"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"this is no archive at all " * 100, "invalid tar header"),
        (archives.docker_archive([ONE], ["app:1"])[:-9000], "unexpected EOF"),
        (gzip.compress(archives.docker_archive([ONE], ["app:1"]))[:-20], "unexpected EOF"),
        (archives.files({"hello": b"world"}), "no manifest.json"),
        (archives.files({"manifest.json": b"{"}), "invalid JSON"),
        (
            archives.files({"manifest.json": b'[{"Config":"x.json","Layers":[]}]'}),
            "names 'x.json'",
        ),
        (archives.docker_archive([b"junk" * 300], ["app:1"]), "Error processing tar file"),
        (archives.docker_archive([ONE[:-9500]], ["app:1"]), "unexpected EOF"),
        (
            archives.docker_archive(
                [ONE], ["app:1"], rootfs={"type": "layers", "diff_ids": [archives.sha(b"")]}
            ),
            "invalid diffID for layer 0",
        ),
        (archives.docker_archive([ONE], ["app:1"], rootfs={"diff_ids": []}), "length mismatch"),
    ],
)
async def test_bad_archives_leave_nothing(host: Host, data: bytes, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        await load(host, data)
    assert host.engine.summaries({}, all=True) == []
    assert await host.leftovers() == []
    assert host.stored() == ([], [])


async def test_a_failure_at_the_very_end_leaves_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layers are in the store already when naming fails."""

    def fail(*arguments: object, **options: object) -> None:
        raise Exhausted("no space left for the database")

    monkeypatch.setattr("wherry.images.naming.Names.set", fail)
    data = archives.docker_archive([ONE, TWO], ["app:1"])
    with pytest.raises(Exhausted):
        await load(host, data)
    with pytest.raises(Exhausted):
        await host.engine.import_(
            chunks(ONE),
            reference="made:1",
            message="",
            changes=[],
            platform=None,
            progress=silent,
        )
    assert host.engine.summaries({}, all=True) == []
    assert host.stored() == ([], [])


async def test_import_makes_an_image_of_one_layer(host: Host) -> None:
    said: list[dict[str, Any]] = []
    image_id = await host.engine.import_(
        chunks(gzip.compress(ONE)),
        reference="made:1",
        message="by hand",
        changes=['CMD ["cat", "/etc/one"]', "ENV A=1 B='two words'", "EXPOSE 80"],
        platform=None,
        progress=lambda item: said.append(dict(item)),
    )
    shown = host.engine.inspect("made:1")
    assert said == [{"status": image_id}]
    assert shown["Id"] == image_id
    assert shown["Comment"] == "by hand"
    assert shown["Config"]["Cmd"] == ["cat", "/etc/one"]
    assert shown["Config"]["Env"] == ["A=1", "B=two words"]
    assert shown["Config"]["ExposedPorts"] == {"80/tcp": {}}
    assert shown["RootFS"] == {"Type": "layers", "Layers": [archives.sha(ONE)]}


async def test_a_wrong_change_reads_nothing(host: Host) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the stream was read")
        yield b""

    with pytest.raises(Invalid, match="FROM is not a valid change command"):
        await host.engine.import_(
            never(),
            reference=None,
            message="",
            changes=["FROM scratch"],
            platform=None,
            progress=silent,
        )


async def test_the_same_layer_is_stored_once(host: Host) -> None:
    await load(host, archives.docker_archive([ONE], ["a:1"]))
    await load(host, archives.docker_archive([ONE, TWO], ["b:1"]))
    assert len(host.stored()[1]) == 2
    rows = host.engine.summaries({}, all=False, shared_size=True)
    assert {row["RepoTags"][0]: row["SharedSize"] for row in rows} == {"a:1": 5005, "b:1": 5005}


async def test_loading_over_a_name_leaves_the_old_image_without_it(host: Host) -> None:
    await load(host, archives.docker_archive([ONE], ["app:1"]))
    old = host.engine.get("app:1")
    said: list[str] = []
    await host.engine.load(
        chunks(archives.docker_archive([TWO], ["app:1"])),
        lambda item: said.append(str(item["stream"])),
    )
    assert said == [
        f"The image app:1 already exists, renaming the old one with ID {old.id} to empty string\n",
        "Loaded image: app:1\n",
    ]
    (dangling,) = host.engine.summaries({"dangling": ["true"]}, all=False)
    assert (dangling["Id"], dangling["RepoTags"]) == (old.id, [])


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
async def test_skopeo_reads_what_is_saved(tmp_path: Path, host: Host, kind: str) -> None:
    await load(host, archives.docker_archive([ONE, TWO], ["some/app:1"]))
    saved = tmp_path / "saved.tar"
    saved.write_bytes(await collected(host.engine.save(["some/app:1"])))
    out = tmp_path / "copied"
    done = await asyncio.to_thread(
        subprocess.run,
        ["skopeo", "--insecure-policy", "copy", f"{kind}:{saved}", f"dir:{out}"],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["config"]["digest"] == host.engine.get("some/app:1").id


async def test_a_restart_finds_everything_again(host: Host) -> None:
    await load(host, archives.docker_archive([ONE], ["app:1"]))
    image = host.engine.get("app:1")
    host.reopen()
    await host.engine.reconcile()
    assert host.engine.get("app:1") == image
    (lower,) = host.engine.lower_dirs(image.layers)
    assert (Path(lower) / "etc/one").read_bytes() == b"first"


async def test_a_layer_unmounted_from_outside_is_mounted_again(tmp_path: Path) -> None:
    host = Host(tmp_path)
    try:
        await load(host, archives.docker_archive([ONE], ["app:1"]))
        (lower,) = host.engine.lower_dirs(host.engine.get("app:1").layers)
        LinuxSyscalls().umount(lower)
        (again,) = host.engine.lower_dirs(host.engine.get("app:1").layers)
        assert (Path(again) / "etc/one").read_bytes() == b"first"
    finally:
        host.close()


async def test_a_helper_that_is_killed_leaves_nothing(host: Host) -> None:
    data = archives.docker_archive([ONE, TWO], ["app:1"])
    gate = asyncio.Event()

    async def halves() -> AsyncIterator[bytes]:
        yield data[: len(data) // 2]
        await gate.wait()

    task = spawn(host.engine.load(halves(), silent), name="load")
    for pid in await started():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(Internal, match="ended without an answer"):
        await task
    assert host.stored() == ([], [])
    assert await host.leftovers() == []


async def test_a_client_that_leaves_takes_the_helper_along(host: Host) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield archives.docker_archive([ONE], ["app:1"])[:2000]
        await asyncio.Event().wait()

    task = spawn(host.engine.load(endless(), silent), name="load")
    await started()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == []
    assert host.stored() == ([], [])
    assert await host.leftovers() == []


async def started() -> list[int]:
    """The helpers, once there are any."""
    for _ in range(1000):
        if found := children():
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("no helper was started")


def children() -> list[int]:
    """Helper processes of this test process."""
    found = []
    for folder in Path("/proc/self/task").iterdir():
        for pid in (folder / "children").read_text().split():
            with contextlib.suppress(OSError):
                if b"wherry.images.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
    return found
