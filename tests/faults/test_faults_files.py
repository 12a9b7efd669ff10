"""Files on their way in, and a commit, when the daemon is killed."""

from __future__ import annotations

import io
import socket
import tarfile
import threading
from contextlib import suppress
from functools import partial

import pytest
from bench.http import API, EngineError
from tests.support.engine import Engine, eventually

pytestmark = pytest.mark.root


def tar_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def names(engine: Engine, container: str, path: str) -> set[str]:
    answer = engine.get(f"/containers/{container}/archive?path={path}")
    assert answer.status == 200, answer.body
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        return set(tar.getnames())


def has(engine: Engine, container: str, folder: str, name: str) -> bool:
    return f"{folder}/{name}" in names(engine, container, f"/{folder}")


@pytest.mark.parametrize("runs", [True, False], ids=["running", "stopped"])
def test_killed_while_a_file_comes_in(own_engine: Engine, runs: bool) -> None:
    """What was whole is there, of the rest nothing; volumes are let go; it goes on."""
    engine = own_engine
    name = engine.create("sleep", "1000", Binds=["faults-files:/vol"])
    if runs:
        assert engine.post(f"/containers/{name}/start").status == 204
    data = tar_of(before=b"whole", half=b"h" * 4_000_000)
    for folder in ("tmp", "vol"):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(engine.socket))
            head = f"PUT {API}/containers/{name}/archive?path=/{folder} HTTP/1.1\r\nHost: e\r\n"
            link.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode())
            link.sendall(data[:2_000_000])
            eventually(partial(has, engine, name, folder, "before"))
            engine.crash_and_start()
        assert names(engine, name, f"/{folder}") == {folder, f"{folder}/before"}
    assert engine.request("PUT", f"/containers/{name}/archive?path=/vol", data).status == 200
    assert names(engine, name, "/vol") == {"vol", "vol/before", "vol/half"}
    assert engine.inspect(name)["State"]["Running"] is runs
    assert engine.delete(f"/containers/{name}?force=1").status == 204
    assert engine.delete("/volumes/faults-files").status == 204


def test_killed_in_a_commit(own_engine: Engine) -> None:
    """No part of an image stays, and a container that was paused for it goes on."""
    engine = own_engine
    name = engine.run("sleep", "1000")
    content = tar_of(big=b"c" * 60_000_000)
    assert engine.request("PUT", f"/containers/{name}/archive?path=/", content).status == 200
    before = {row["Id"] for row in engine.get("/images/json?all=1").json}

    def commit() -> None:
        with suppress(OSError, EngineError):
            engine.post(f"/commit?container={name}&repo=half&tag=1", {})

    sender = threading.Thread(target=commit)
    sender.start()
    tmp = engine.data / "tmp"
    eventually(lambda: list(tmp.glob("job-*/layer.tar")) or not sender.is_alive())
    engine.kill()
    sender.join(30)
    engine.start()
    eventually(lambda: not list(tmp.iterdir()))
    after = {row["Id"] for row in engine.get("/images/json?all=1").json}
    # It may have been done a moment before the kill: then it is whole, and has its name.
    whole = engine.get("/images/half:1/json")
    assert after - before == ({whole.json["Id"]} if whole.status == 200 else set())
    assert engine.inspect(name)["State"]["Status"] == "running"
    assert engine.post(f"/containers/{name}/pause").status == 204
    assert engine.post(f"/containers/{name}/unpause").status == 204
    made = engine.post(f"/commit?container={name}&repo=half&tag=2", {})
    assert made.status == 201, made.body
    assert engine.get("/images/half:2/json").json["RootFS"]["Layers"][1:]
