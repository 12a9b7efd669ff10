"""Half-made images: the daemon dies, the client goes, the disk is full."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from bench.http import EngineError
from tests.support.engine import Engine, eventually
from tests.support.filesystems import small_disk
from tests.support.images import busybox_root, docker_archive, tar_of

pytestmark = pytest.mark.root
IMPORT = "/images/create?fromSrc=-&repo=half&tag=1"


def many_files(count: int, size: int = 2000) -> bytes:
    source = random.Random(1)
    return tar_of({f"d{number % 50}/f{number}": source.randbytes(size) for number in range(count)})


def stored(engine: Engine) -> dict[str, list[str]]:
    """Names of all that the image store keeps on disk."""
    found = {}
    for name in ("tmp", "blobs/sha256", "layers"):
        folder = engine.data / name
        found[name] = sorted(each.name for each in folder.iterdir()) if folder.exists() else []
    return found


def halves(tar: bytes, gate: threading.Event) -> Iterator[bytes]:
    """The first half, then nothing until the gate opens."""
    yield tar[: len(tar) // 2]
    gate.wait(30)
    yield tar[len(tar) // 2 :]


@pytest.mark.parametrize("path", [IMPORT, "/images/load"])
def test_killed_in_the_middle(own_engine: Engine, path: str) -> None:
    engine = own_engine
    before, images = stored(engine), engine.get("/images/json?all=1").json
    tar = many_files(1000)
    tar = tar if path == IMPORT else docker_archive("half:1", tar)
    gate = threading.Event()

    def send() -> None:
        with suppress(OSError, EngineError), engine.client() as client:
            client.upload("POST", path, halves(tar, gate), len(tar))

    sender = threading.Thread(target=send)
    sender.start()
    # Something of it must be on disk for the test to mean anything.
    eventually(lambda: stored(engine) != before)
    engine.kill()
    gate.set()
    sender.join(20)
    engine.start()
    eventually(lambda: stored(engine) == before)
    assert engine.get("/images/json?all=1").json == images
    assert engine.upload(path, tar).status == 200
    assert engine.get("/images/half:1/json").status == 200


def test_killed_at_random_moments(own_engine: Engine) -> None:
    engine = own_engine
    before = stored(engine)
    tar = many_files(3000, 500)
    source = random.Random(3)
    for _ in range(6):

        def send() -> None:
            with suppress(OSError, EngineError), engine.client() as client:
                client.upload("POST", IMPORT, [tar], len(tar))

        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(source.uniform(0.0, 0.6))
        engine.kill()
        sender.join(20)
        engine.start()
        if engine.get("/images/half:1/json").status == 200:
            assert engine.delete("/images/half:1").status == 200
        with suppress(TimeoutError):
            eventually(lambda: stored(engine) == before, seconds=60)
        assert stored(engine) == before


def test_the_client_goes_away(own_engine: Engine) -> None:
    engine = own_engine
    before = stored(engine)
    tar = many_files(1000)
    client = engine.client()

    def part() -> Iterator[bytes]:
        yield tar[: len(tar) // 2]
        eventually(lambda: stored(engine) != before)
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        client.upload("POST", IMPORT, part(), len(tar))
    client.close()
    eventually(lambda: stored(engine) == before)
    assert engine.get("/images/half:1/json").status == 404


@pytest.fixture
def small() -> Iterator[Engine]:
    with small_disk("tmpfs", 96) as engine:
        yield engine


def answer_of(engine: Engine, tar: bytes) -> tuple[int, str]:
    answer = engine.upload(IMPORT, tar)
    return answer.status, answer.body.decode(errors="replace").lower()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "bomb"])
def test_a_full_disk(small: Engine, packed: bool) -> None:
    engine = small
    script = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done"
    name = engine.run("sh", "-c", script)
    before = stored(engine)
    free = os.statvfs(engine.data).f_bavail
    if packed:
        huge = gzip.compress(tar_of({"zeros": bytes(200 << 20)}), 1)
    else:
        huge = tar_of({f"f{number}": os.urandom(1 << 20) for number in range(150)})
    status, text = answer_of(engine, huge)
    assert "no space left" in text, (status, text)
    assert status in (200, 500, 507)
    with suppress(TimeoutError):
        eventually(lambda: stored(engine) == before, seconds=60)
    assert stored(engine) == before
    # All is free again, but for what the log and the database have taken.
    assert os.statvfs(engine.data).f_bavail > free * 0.9
    seen = len(engine.logs(name).split())
    eventually(lambda: len(engine.logs(name).split()) > seen + 3)
    status, text = answer_of(engine, busybox_root())
    assert (status, "error" in text) == (200, False)
    fresh = engine.run("true", image="half:1")
    assert engine.wait(fresh) == 0


def test_a_tar_cut_short_leaves_nothing(own_engine: Engine) -> None:
    before = stored(own_engine)
    plain = many_files(200)
    for tar in (plain[: len(plain) // 3], gzip.compress(plain)[:-5000]):
        status, text = answer_of(own_engine, tar)
        assert status == 400 or "error" in text
        assert stored(own_engine) == before


def test_nothing_escapes_from_a_layer(own_engine: Engine) -> None:
    """Names that point out of the layer end inside it or are refused."""
    victim = own_engine.root / "victim"
    victim.mkdir()
    tricks: list[list[tuple[str, Any]]] = [
        [(f"../../../../../../../../../..{victim}/a", b"x")],
        [(f"{victim}/b", b"x")],
        [("out", str(victim)), ("out/c", b"x")],
        [("a", ".."), (f"a/../../../../../../../../../..{victim}/d", b"x")],
        [("l", "/"), (f"l{victim}/e", b"x")],
    ]
    for trick in tricks:
        own_engine.upload(IMPORT, tar_of(dict(trick)))
        own_engine.delete("/images/half:1")
        assert list(victim.iterdir()) == []
    hard = own_engine.root / "secret"
    hard.write_text("secret")
    own_engine.upload(IMPORT, _hard_link(str(hard)))
    assert hard.stat().st_nlink == 1


def _hard_link(target: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.LNKTYPE, target
        tar.addfile(info)
    return buffer.getvalue()
