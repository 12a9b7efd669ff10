"""Volumes: a thousand of them, the first filling by an image, and the speed inside."""

from __future__ import annotations

import io
import tarfile
import time
from contextlib import contextmanager
from typing import Any

from bench.case import Case, Generated
from bench.engines import Engine
from bench.http import Client, EngineError
from bench.image import IMAGE

MANY = 1000
FILES = 20_000
MEGABYTES = 256
FILLED = "bench/files:1"


@contextmanager
def _many(engine: Engine) -> Generated:
    with engine.client() as client:

        def measure() -> float:
            begin = time.perf_counter()
            for number in range(MANY):
                client.json("POST", "/volumes/create", {"Name": f"bench-{number}"})
            for number in range(MANY):
                client.json("DELETE", f"/volumes/bench-{number}")
            return (time.perf_counter() - begin) * 1000

        yield measure


def _files() -> bytes:
    """A tar of many small files in folders of a hundred, and the program that is run."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add("/bin/busybox", "bin/true")
        for number in range(FILES):
            info = tarfile.TarInfo(f"data/{number // 100}/{number}")
            info.size, info.mode, info.uid = 600, 0o640, number % 5
            archive.addfile(info, io.BytesIO(b"x" * 600))
    return out.getvalue()


def _ran(client: Client, image: str, command: list[str], bind: str) -> float:
    """Seconds of a container from its creation to its end."""
    host = {"NetworkMode": "none", "Binds": [bind]}
    body: dict[str, Any] = {"Image": image, "Cmd": command, "HostConfig": host}
    begin = time.perf_counter()
    name = client.json("POST", "/containers/create", body)["Id"]
    client.json("POST", f"/containers/{name}/start")
    code = client.json("POST", f"/containers/{name}/wait")["StatusCode"]
    taken = time.perf_counter() - begin
    client.json("DELETE", f"/containers/{name}")
    if code != 0:
        raise EngineError(f"{command} ended with {code}")
    return taken


@contextmanager
def _copy_up(engine: Engine) -> Generated:
    with engine.client() as client:
        data = _files()
        path = "/images/create?fromSrc=-&repo=bench/files&tag=1"
        status, answer = client.upload("POST", path, [data], len(data))
        if status != 200 or b'"error"' in answer:
            raise EngineError(f"import: {status} {answer[-500:]!r}")

        def measure() -> float:
            taken = _ran(client, FILLED, ["/bin/true"], "bench-fill:/data")
            client.json("DELETE", "/volumes/bench-fill")
            return taken * 1000

        yield measure
        client.json("DELETE", f"/images/{FILLED}?force=1")


@contextmanager
def _inside(engine: Engine) -> Generated:
    words = f"dd if=/dev/zero of=/v/f bs=1M count={MEGABYTES} conv=fsync".split()
    with engine.client() as client:

        def measure() -> float:
            taken = _ran(client, IMAGE, ["/bin/busybox", *words], "bench-io:/v")
            client.json("DELETE", "/volumes/bench-io")
            return taken * 1000

        yield measure


CASES = (
    Case("volumes", f"create+remove of {MANY:,} volumes", _many, rounds=2, warmup=0, budget=0.5),
    Case(
        "copy-up",
        f"first run with a volume over {FILES:,} files of the image",
        _copy_up,
        rounds=3,
        warmup=0,
        budget=0.7,
    ),
    Case("volume-io", f"run that writes {MEGABYTES} MB into a volume", _inside, rounds=3),
)
