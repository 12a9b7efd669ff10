"""Looking at many containers: what a hundred use, and the list of five hundred."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from bench.case import Case, Generated
from bench.cases.life import create
from bench.engines import Engine
from bench.http import EngineError

STATS = 100
LISTED = 500


@contextmanager
def _containers(engine: Engine, count: int, *, start: bool) -> Any:
    """So many sleepers, started or only created: their ids, and a client."""
    names: list[str] = []
    with engine.client() as client, ThreadPoolExecutor(4) as pool:

        def one(_: int) -> None:
            with engine.client() as own:
                names.append(create(own, ["sleep", "100000"], "none"))
                if start:
                    own.json("POST", f"/containers/{names[-1]}/start")

        def away(name: str) -> None:
            with engine.client() as own:
                own.request("DELETE", f"/containers/{name}?force=1")

        try:
            list(pool.map(one, range(count)))
            yield names, client
        finally:
            list(pool.map(away, names))


@contextmanager
def _stats(engine: Engine) -> Generated:
    with _containers(engine, STATS, start=True) as (names, client):

        def measure() -> float:
            begin = time.perf_counter()
            for name in names:
                path = f"/containers/{name}/stats?stream=0&one-shot=1"
                if client.json("GET", path)["memory_stats"]["usage"] <= 0:
                    raise EngineError(f"{name} uses no memory")
            return (time.perf_counter() - begin) * 1000

        yield measure


@contextmanager
def _list(engine: Engine) -> Generated:
    with _containers(engine, LISTED, start=False) as (_, client):

        def measure() -> float:
            begin = time.perf_counter()
            if len(client.json("GET", "/containers/json?all=1")) < LISTED:
                raise EngineError("not all are listed")
            return (time.perf_counter() - begin) * 1000

        yield measure


CASES = (
    Case("stats", f"stats of {STATS} running, one after the other", _stats, budget=0.5),
    Case("list", f"list of {LISTED}", _list, rounds=20, budget=0.5),
)
