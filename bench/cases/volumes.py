"""Volumes: a thousand of them, the first filling by an image, and the speed inside."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.case import Case, Generated, Prepared
from bench.engines import Engine
from bench.http import Client, EngineError
from bench.image import IMAGE

MANY = 1000
FILES = 20_000
MEGABYTES = 256
READS = 40
"""Enough for a clock of hundredths of a second."""
SMALL_FILES = 4_000
TAR = "small.tar"
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

        try:
            yield measure
        finally:
            client.request("DELETE", f"/images/{FILLED}?force=1")


WRITE = f"busybox dd if=/dev/zero of=$1/f bs=1M count={MEGABYTES} conv=fsync"
READ = f"""busybox dd if=/dev/zero of=$1/f bs=1M count={MEGABYTES}
read begin x < /proc/uptime
for each in $(busybox seq {READS}); do busybox dd if=$1/f of=/dev/null bs=64k; done"""
SMALL = f"""for each in 1 2 3; do
busybox mkdir -p $1/$each; busybox tar xf $1/{TAR} -C $1/$each; busybox sync -f $1
done"""
_CLOCK = re.compile(rb"took ([0-9.]+) ([0-9.]+)")


def _script(work: str) -> str:
    """The work, timed by itself: the container's start is no part of it."""
    clock = "read begin x < /proc/uptime"
    clear = f"for each in $1/*; do [ $each = $1/{TAR} ] || busybox rm -rf $each; done"
    end = "read end x < /proc/uptime; echo took $begin $end"
    return "\n".join((clear, "busybox sync -f $1", clock, f"{work}", end))


def _seconds(output: bytes) -> float:
    found = _CLOCK.search(output)
    if found is None:
        raise EngineError(f"no time in {output!r}")
    return float(found[2]) - float(found[1])


def _on_the_host(script: str, folder: Path) -> float:
    words = ["/bin/busybox", "sh", "-c", script, "sh", str(folder)]
    done = subprocess.run(words, capture_output=True, check=True)
    return _seconds(done.stdout)


def _in_a_volume(client: Client, script: str) -> float:
    body = {
        "Image": IMAGE,
        "Cmd": ["/bin/busybox", "sh", "-c", script, "sh", "/v"],
        "HostConfig": {"NetworkMode": "none", "Binds": ["bench-io:/v"]},
    }
    name = client.json("POST", "/containers/create", body)["Id"]
    client.json("POST", f"/containers/{name}/start")
    client.json("POST", f"/containers/{name}/wait")
    _, output = client.request("GET", f"/containers/{name}/logs?stdout=1&stderr=1")
    client.json("DELETE", f"/containers/{name}")
    return _seconds(output)


def _io(work: str) -> Callable[[Engine], Prepared]:
    """How much longer the work takes in a volume than beside it on the same file system."""

    @contextmanager
    def prepare(engine: Engine) -> Generated:
        script = _script(work)
        host = engine.root / "host-io"
        with engine.client() as client:
            volume = client.json("POST", "/volumes/create", {"Name": "bench-io"})["Mountpoint"]
            host.mkdir()
            for folder in (host, Path(volume)):
                (folder / TAR).write_bytes(_small_files())

            def measure() -> float:
                # Host first and last, so that a drift of the disk falls on both.
                outside = _on_the_host(script, host)
                inside = _in_a_volume(client, script) + _in_a_volume(client, script)
                return inside / (outside + _on_the_host(script, host))

            try:
                yield measure
            finally:
                shutil.rmtree(host)
                client.request("DELETE", "/volumes/bench-io?force=1")

    return prepare


def _small_files() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(SMALL_FILES):
            info = tarfile.TarInfo(f"d{number // 100}/{number}")
            info.size = 1000
            archive.addfile(info, io.BytesIO(b"x" * 1000))
    return out.getvalue()


def _beside_host(name: str, what: str, work: str) -> Case:
    return Case(
        name,
        f"{what} in a volume, against the host's own files",
        _io(work),
        unit="x",
        rounds=4,
        budget=1 / 0.97,
        absolute=True,
    )


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
    _beside_host("volume-write", f"writing {MEGABYTES} MB and fsync", WRITE),
    _beside_host("volume-read", f"reading {READS * MEGABYTES:,} MB", READ),
    _beside_host("volume-small", f"writing {3 * SMALL_FILES:,} files of 1 kB", SMALL),
)
