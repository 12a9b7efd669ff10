"""Files in and out of running containers, through the API and by each engine's own command."""

from __future__ import annotations

import io
import mmap
import os
import resource
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import processes
from bench.case import Case, Generated
from bench.cases.clients import own_command, timed
from bench.cases.life import running
from bench.engines import Engine
from bench.http import Client, EngineError
from bench.image import big_file, many_files

FILES = 20_000
AVERAGE = 4_000
"""Bytes of a file, as in a tree of sources: sizes go from nothing to twice this."""
BIG = 1 << 30
COMMITTED = 500
"""Files of 1 MB in the layer that is committed."""
_SLACK = 64 << 20
_SLEEP = ["sleep", "100000"]
Parts = tuple[Iterator[bytes], int]


def _many() -> Callable[[], Parts]:
    data = many_files("data", files=FILES, average=AVERAGE)
    return lambda: (iter([data]), len(data))


def _big() -> Callable[[], Parts]:
    return lambda: big_file("data", BIG)


def _layer() -> Callable[[], Parts]:
    data = many_files("data", files=COMMITTED, average=1_000_000)
    return lambda: (iter([data]), len(data))


def _put(client: Client, name: str, content: Parts) -> None:
    parts, length = content
    path = f"/containers/{name}/archive?path=/"
    status, answer = client.upload("PUT", path, parts, length)
    if status != 200:
        raise EngineError(f"archive: {status} {answer[-500:]!r}")


def _settled(engine: Engine, free: int) -> None:
    """Wait until what was removed is gone from the disk: one engine removes later, in peace.

    ``free``: bytes that were free before.
    """
    deadline = time.monotonic() + 60
    while _free(engine) < free - _SLACK and time.monotonic() < deadline:
        time.sleep(0.05)
    os.sync()


def _warm() -> None:
    """Touch as much memory as a case needs, and free it.

    A virtual machine may have handed its free memory back to its host: whoever comes first would
    pay for getting it again.
    """
    page = bytes(1 << 20)
    with mmap.mmap(-1, BIG + (BIG >> 2)) as area:
        while area.tell() < len(area):
            area.write(page)


def _free(engine: Engine) -> int:
    figures = os.statvfs(engine.root)
    return figures.f_bavail * figures.f_frsize


def _in(make: Callable[[], Callable[[], Parts]]) -> Any:
    @contextmanager
    def prepare(engine: Engine) -> Generated:
        content = make()

        def measure() -> float:
            free = _free(engine)
            try:
                with running(engine, _SLEEP) as (client, name):
                    _warm()
                    begin = time.perf_counter()
                    _put(client, name, content())
                    return time.perf_counter() - begin
            finally:
                _settled(engine, free)

        yield measure

    return prepare


def _out(make: Callable[[], Callable[[], Parts]]) -> Any:
    @contextmanager
    def prepare(engine: Engine) -> Generated:
        content = make()()
        with running(engine, _SLEEP) as (client, name):
            _put(client, name, content)
            os.sync()

            def measure() -> float:
                begin = time.perf_counter()
                if client.download(f"/containers/{name}/archive?path=/data") < content[1] - 4096:
                    raise EngineError("not all came out")
                return time.perf_counter() - begin

            yield measure

    return prepare


@contextmanager
def _on_host(engine: Engine, make: Callable[[], Callable[[], Parts]]) -> Iterator[Path]:
    """The content unpacked beside the engine's data."""
    folder = Path(tempfile.mkdtemp(prefix="wb-cp-", dir=engine.root.parent))
    try:
        parts, _ = make()()
        if make is _big:
            next(parts)
            with (folder / "data").open("wb") as file:
                left = BIG
                for part in parts:
                    left -= file.write(part[:left])
        else:
            with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as tar:
                tar.extractall(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _own_in(make: Callable[[], Callable[[], Parts]]) -> Any:
    @contextmanager
    def prepare(engine: Engine) -> Generated:
        command = own_command(engine)
        with _on_host(engine, make) as folder:

            def measure() -> float:
                free = _free(engine)
                try:
                    with running(engine, _SLEEP) as (_, name):
                        words = ["cp", f"{folder}/data", f"{name}:/"]
                        _warm()
                        return timed(engine, command, words) / 1000
                finally:
                    _settled(engine, free)

            yield measure

    return prepare


def _own_out(make: Callable[[], Callable[[], Parts]]) -> Any:
    @contextmanager
    def prepare(engine: Engine) -> Generated:
        command = own_command(engine)
        folder = Path(tempfile.mkdtemp(prefix="wb-cp-", dir=engine.root.parent))
        with running(engine, _SLEEP) as (client, name):
            _put(client, name, make()())

            def measure() -> float:
                os.sync()
                _warm()
                try:
                    words = ["cp", f"{name}:/data", f"{folder}/data"]
                    return timed(engine, command, words) / 1000
                finally:
                    shutil.rmtree(folder)
                    folder.mkdir()

            try:
                yield measure
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    return prepare


@contextmanager
def _commit(engine: Engine) -> Generated:
    with running(engine, _SLEEP) as (client, name):
        _put(client, name, _layer()())

        def measure() -> float:
            free = _free(engine)
            _warm()
            begin = time.perf_counter()
            made = client.json("POST", f"/commit?container={name}&repo=bench/committed", {})
            taken = time.perf_counter() - begin
            client.json("DELETE", f"/images/{made['Id']}?force=1")
            _settled(engine, free)
            return taken

        yield measure


def _spent(engine: Engine) -> float:
    """Processor seconds of the engine's processes, and of the clients that we have started."""
    clients = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = processes.cpu_seconds(processes.of_root(engine.root), children=True)
    return sum(own.values()) + clients.ru_utime + clients.ru_stime


def _cpu(prepare: Any) -> Any:
    """The same work, measured by what it takes of the processors: other load says nothing."""

    @contextmanager
    def prepared(engine: Engine) -> Generated:
        with prepare(engine) as measure:

            def spent() -> float:
                before = _spent(engine)
                measure()
                return _spent(engine) - before

            yield spent

    return prepared


def _case(name: str, title: str, prepare: Any) -> Case:
    return Case(name, title, prepare, unit="s", rounds=5, budget=0.5)


_TREE = f"{FILES:,} files"
CASES = (
    _case("cp-in", "archive PUT of 1 GiB", _in(_big)),
    _case("cp-out", "archive GET of 1 GiB", _out(_big)),
    _case("cp-in-files", f"archive PUT of {_TREE}", _in(_many)),
    _case("cp-out-files", f"archive GET of {_TREE}", _out(_many)),
    _case("own-cp-in", "own command, cp of 1 GiB in", _own_in(_big)),
    _case("own-cp-out", "own command, cp of 1 GiB out", _own_out(_big)),
    _case("own-cp-in-files", f"own command, cp of {_TREE} in", _own_in(_many)),
    _case("own-cp-out-files", f"own command, cp of {_TREE} out", _own_out(_many)),
    _case("cpu-cp-in-files", f"the same in, processor time, {_TREE}", _cpu(_own_in(_many))),
    _case("cpu-cp-out-files", f"the same out, processor time, {_TREE}", _cpu(_own_out(_many))),
    _case("commit", f"commit of {COMMITTED} MB", _commit),
)
