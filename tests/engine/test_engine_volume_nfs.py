"""Volumes on an NFS server, one that answers and ones that do not. A server must run already:

scripts/vm sh -c 'systemctl start nfs-server &&
    .venv/bin/python -m pytest tests/engine/test_engine_volume_nfs.py'
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.engine.volumes_host import VolumesHost
from tests.support.engine import Engine, eventually

from wherry.errors import Invalid, Unavailable
from wherry.linux.mounts import read_mounts
from wherry.volumes import local

pytestmark = pytest.mark.root
SOON = 4.0
"""Seconds that a silent server is given here."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[VolumesHost]:
    made = VolumesHost(tmp_path)
    yield made
    assert made.mounted() == []
    made.close()


@pytest.fixture
def client() -> None:
    loader = shutil.which("modprobe", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if loader:
        subprocess.run([loader, "nfs"], capture_output=True, check=False)
    if "\tnfs4\n" not in Path("/proc/filesystems").read_text():
        pytest.skip("this kernel has no NFS client")


@contextmanager
def exported(folder: Path, *options: str) -> Iterator[Path]:
    """A folder that the server of this machine gives to this machine."""
    threads = Path("/proc/fs/nfsd/threads")
    if not threads.exists() or int(threads.read_text()) == 0:
        pytest.skip("no NFS server runs on this machine")
    folder.mkdir()
    where = f"127.0.0.1:{folder}"
    chosen = ",".join(("rw", "insecure", "no_subtree_check", "fsid=7", *options))
    subprocess.run(["exportfs", "-o", chosen, where], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["exportfs", "-u", where], check=True)
        subprocess.run(["exportfs", "-f"], check=True)


@pytest.fixture
def export(client: None, tmp_path: Path) -> Iterator[Path]:
    with exported(tmp_path / "export", "no_root_squash") as folder:
        yield folder


def options(folder: Path | str, words: str = "", port: int = 0) -> dict[str, str]:
    given = ["addr=127.0.0.1", "nfsvers=4", *filter(None, [words, port and f"port={port}"])]
    return {"type": "nfs", "device": f":{folder}", "o": ",".join(map(str, given))}


class Silence:
    """Passes a port of ours on to the server, until it does not."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open = threading.Event()
        self._open.set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def fall(self) -> None:
        self._open.clear()

    def end(self) -> None:
        self._open.set()
        self._ended.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        ways: dict[socket.socket, socket.socket] = {}
        while not self._ended.is_set():
            ready, _, _ = select.select([self._listener, *ways], [], [], 0.1)
            for each in ready:
                self._open.wait()
                if each is self._listener:
                    near = each.accept()[0]
                    far = socket.create_connection(("127.0.0.1", 2049))
                    ways |= {near: far, far: near}
                    continue
                data = each.recv(1 << 16)
                if data:
                    ways[each].sendall(data)
                else:
                    for gone in (each, ways.pop(each)):
                        ways.pop(gone, None)
                        gone.close()
        for each in ways:
            each.close()


@pytest.fixture
def proxy() -> Iterator[Silence]:
    made = Silence()
    yield made
    made.end()


async def test_the_data_is_on_the_server(house: VolumesHost, export: Path) -> None:
    (house.image / "srv").mkdir()
    (house.image / "srv" / "first").write_text("from the image")
    await house.service.create("far", options=options(export, "rw"))
    (data,) = await house.start("c1", binds=["far:/srv"])
    assert (export / "first").read_text() == "from the image"
    Path(data, "second").write_text("from the container")
    await house.start("c2", binds=["far:/srv"])
    await house.mounts.release("c1", ())
    assert (export / "second").read_text() == "from the container"
    assert Path(data, "second").exists()
    await house.mounts.release("c2", ())
    assert os.listdir(data) == []
    assert house.mounted() == []


async def test_a_server_by_its_name(house: VolumesHost, export: Path) -> None:
    given = options(export)
    given["o"] = given["o"].replace("127.0.0.1", "localhost")
    await house.service.create("far", options=given)
    await house.start("c1", binds=["far:/srv"])
    await house.mounts.release("c1", ())


async def test_where_our_root_is_nobody(house: VolumesHost, client: None, tmp_path: Path) -> None:
    """What cannot be filled stays empty, and can be used for what it permits."""
    (house.image / "srv").mkdir()
    (house.image / "srv" / "first").write_text("from the image")
    with exported(tmp_path / "export", "root_squash") as folder:
        await house.service.create("far", options=options(folder))
        await house.service.create("still", options=options(folder, "ro"))
        for number, mode in enumerate((0o755, 0o777)):
            folder.chmod(mode)
            for name in ("far", "still"):
                (data,) = await house.start(f"c{number}", binds=[f"{name}:/srv"])
                assert os.listdir(data) == []
                assert house.service.get(name).state == "ready"
                await house.mounts.release(f"c{number}", ())


async def test_what_is_not_exported(house: VolumesHost, export: Path, tmp_path: Path) -> None:
    await house.service.create("far", options=options(tmp_path / "nowhere"))
    with pytest.raises(Invalid, match=r"failed to mount local volume: mount :.*nowhere.*addr=127"):
        await house.start("c1", binds=["far:/srv"])
    assert house.service.table.holders(house.service.get("far").id) == []
    assert house.mounted() == []


async def test_a_server_that_is_not_there(
    house: VolumesHost, client: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setattr(local, "MOUNT_TIMEOUT", SOON)
    await house.service.create("far", options=options("/x", port=port))
    with pytest.raises((Invalid, Unavailable), match="failed to mount local volume: mount :/x"):
        await house.start("c1", binds=["far:/srv"])
    assert house.service.table.holders(house.service.get("far").id) == []
    assert house.mounted() == []


async def test_a_server_that_never_answers(
    house: VolumesHost, client: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits any more afterwards, so that nothing is mounted later."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setattr(local, "MOUNT_TIMEOUT", SOON)
        await house.service.create("far", options=options("/x", port=mute.getsockname()[1]))
        with pytest.raises(Unavailable, match="no answer in 4 s"):
            await house.start("c1", binds=["far:/srv"])
        assert children() == []
    assert house.service.table.holders(house.service.get("far").id) == []
    assert house.mounted() == []
    await house.mounts.forget("c1", (), remove_anonymous=True)
    await house.service.remove("far")


def children() -> list[str]:
    """Processes of ours that are still there."""
    mine = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [each for each in mine if b"umount2" in Path(f"/proc/{each}/cmdline").read_bytes()]


async def test_a_server_that_falls_silent(
    house: VolumesHost, export: Path, proxy: Silence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes then is told so; what is mounted goes away, and nobody waits for it."""
    await house.service.create("far", options=options(export, port=proxy.port))
    await house.service.create("near")
    await house.start("c1", binds=["far:/srv"])
    proxy.fall()
    monkeypatch.setattr(local, "MOUNT_TIMEOUT", SOON)
    with pytest.raises(Unavailable, match=r"volume far: :.*export gives no answer in 4 s"):
        await house.start("c2", binds=["far:/srv"])
    await house.start("c3", binds=["near:/srv"])
    assert [each["Name"] for each in (await house.service.listing({}))["Volumes"]] == [
        "far",
        "near",
    ]
    await house.mounts.release("c1", ())
    assert house.mounted() == []


def test_a_container_with_a_volume_on_a_server(client: None, tmp_path: Path) -> None:
    with exported(tmp_path / "export", "no_root_squash") as folder, Engine() as engine:
        engine.start()
        body = {"Name": "far", "Driver": "local", "DriverOpts": options(folder, "rw")}
        assert engine.post("/volumes/create", body).status == 201
        made = engine.run("sh", "-c", "echo hello > /srv/f; ls /srv", Binds=["far:/srv"])
        assert engine.wait(made) == 0
        assert engine.logs(made) == b"f\n"
        assert (folder / "f").read_text() == "hello\n"
        engine.crash_and_start()
        again = engine.run("cat", "/srv/f", Binds=["far:/srv:ro"])
        assert engine.wait(again) == 0
        assert engine.logs(again) == b"hello\n"
        eventually(lambda: "nfs" not in {each.fstype for each in read_mounts()})
        assert (folder / "f").exists()
    shutil.rmtree(folder)
