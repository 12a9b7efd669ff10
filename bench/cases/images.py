"""Images from files: load, import and removal of 1 GB in 60,000 files."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from bench.case import Case, Generated
from bench.engines import Engine
from bench.http import Client, EngineError
from bench.image import FILES, LARGE, LargeTar, large_tar

CACHE = Path(tempfile.gettempdir()) / "wherry-bench"
"""Kept between runs: making the tar takes longer than most cases."""


def _load(client: Client, tar: LargeTar) -> None:
    parts, length = tar.archive()
    status, answer = client.upload("POST", "/images/load?quiet=1", parts, length)
    if status != 200 or b'"error"' in answer:
        raise EngineError(f"load: {status} {answer[-500:]!r}")


def _import(client: Client, tar: LargeTar) -> None:
    repository, tag = LARGE.split(":")
    path = f"/images/create?fromSrc=-&repo={quote(repository)}&tag={tag}"
    status, answer = client.upload("POST", path, tar.plain(), tar.size)
    if status != 200 or b'"error"' in answer:
        raise EngineError(f"import: {status} {answer[-500:]!r}")


def _remove(client: Client) -> None:
    client.json("DELETE", f"/images/{LARGE}?force=1")


def _seconds(begin: float) -> float:
    return time.perf_counter() - begin


@contextmanager
def _loading(engine: Engine) -> Generated:
    tar = large_tar(CACHE)
    with engine.client() as client:

        def measure() -> float:
            os.sync()
            begin = time.perf_counter()
            _load(client, tar)
            taken = _seconds(begin)
            _remove(client)
            return taken

        yield measure


@contextmanager
def _importing(engine: Engine) -> Generated:
    tar = large_tar(CACHE)
    with engine.client() as client:

        def measure() -> float:
            os.sync()
            begin = time.perf_counter()
            _import(client, tar)
            taken = _seconds(begin)
            _remove(client)
            return taken

        yield measure


@contextmanager
def _removing(engine: Engine) -> Generated:
    tar = large_tar(CACHE)
    with engine.client() as client:

        def measure() -> float:
            _load(client, tar)
            os.sync()
            begin = time.perf_counter()
            _remove(client)
            return _seconds(begin)

        yield measure


_WHAT = f"1 GB, {FILES:,} files"
CASES = (
    Case(
        "load",
        f"load of an image tar ({_WHAT})",
        _loading,
        unit="s",
        rounds=2,
        warmup=0,
        budget=0.1,
    ),
    Case(
        "import", f"import of a tar ({_WHAT})", _importing, unit="s", rounds=2, warmup=0, budget=0.1
    ),
    Case(
        "rmi",
        f"removal of that image ({_WHAT})",
        _removing,
        unit="s",
        rounds=2,
        warmup=0,
        budget=0.02,
    ),
)
