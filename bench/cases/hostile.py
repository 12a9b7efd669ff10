"""Containers that do their worst: what the API is like beside them, and what memory they cost."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.case import Case, simple
from bench.engines import Engine
from bench.http import Client, EngineError
from bench.image import IMAGE

SECONDS = 15.0
"""How long the API is asked in one round."""
_HALF = 500_000_000
"""Half a processor, in ``NanoCpus``."""
_MEMORY = 48 << 20

_SCRIPTS = {
    "forks without end": "f() { f | f & }; while :; do f; sleep 0.1; done",
    "eats memory": "while :; do head -c 100000000 /dev/zero | tail -n 1 >/dev/null; done",
    "fills its log": "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
    "ignores SIGTERM": "trap '' TERM; while :; do sleep 0.1; done",
    "prints 1 GB": "head -c 1000000000 /dev/zero | tr '\\0' x | fold -w 99; sleep 100000",
    "computes": "while :; do :; done",
}
_TWICE = ("fills its log", "prints 1 GB", "computes")


@contextmanager
def hostile(engine: Engine) -> Iterator[None]:
    """Nine such containers, and one that ends at once and is started again and again."""
    names = []
    with engine.client() as client:
        try:
            for kind, script in _SCRIPTS.items():
                for _ in range(2 if kind in _TWICE else 1):
                    names.append(_start(client, ["sh", "-c", script], PidsLimit=100))
            names.append(_start(client, ["true"], RestartPolicy={"Name": "always"}))
            time.sleep(1.0)
            yield
        finally:
            for name in names:
                client.request("DELETE", f"/containers/{name}?force=1")


def _start(client: Client, command: list[str], **host: Any) -> str:
    limits = {"NetworkMode": "none", "NanoCpus": _HALF, "Memory": _MEMORY, "MemorySwap": _MEMORY}
    body = {"Image": IMAGE, "Cmd": command, "HostConfig": limits | host}
    name = str(client.json("POST", "/containers/create", body)["Id"])
    client.json("POST", f"/containers/{name}/start")
    return name


def look(client: Client, name: str) -> None:
    client.json("GET", "/containers/json")
    client.json("GET", f"/containers/{name}/json")


def cycle(client: Client, _: str) -> None:
    """create + start + remove of a container, with force."""
    body = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    name = client.json("POST", "/containers/create", body)["Id"]
    client.json("POST", f"/containers/{name}/start")
    status, answer = client.request("DELETE", f"/containers/{name}?force=1")
    if status != 204:
        raise EngineError(f"a container is not removed: {status} {answer!r}")


def _asked(
    engine: Engine, work: Callable[[Client, str], None], pause: float, until: float
) -> list[float]:
    taken = []
    with engine.client() as client:
        name = client.json("GET", "/containers/json")[0]["Id"]
        while time.monotonic() < until:
            begin = time.perf_counter()
            work(client, name)
            taken.append((time.perf_counter() - begin) * 1000)
            time.sleep(pause)
    return taken


def _p99(work: Callable[[Client, str], None], pause: float) -> Callable[[Engine], float]:
    def measure(engine: Engine) -> float:
        with hostile(engine):
            taken = sorted(_asked(engine, work, pause, time.monotonic() + SECONDS))
            return taken[math.ceil(len(taken) * 0.99) - 1]

    return measure


def _growth(engine: Engine) -> float:
    """What the engine's processes take more at their worst than at rest, while logs are read."""
    engine.restart()
    time.sleep(2)
    rest = engine.memory().rss
    with hostile(engine):
        until = time.monotonic() + SECONDS
        reader = threading.Thread(target=_asked, args=(engine, _read_logs, 0.5, until))
        reader.start()
        worst = rest
        while time.monotonic() < until:
            worst = max(worst, engine.memory().rss)
            time.sleep(0.2)
        reader.join()
    return worst - rest


def _read_logs(client: Client, name: str) -> None:
    for row in client.json("GET", "/containers/json"):
        client.request("GET", f"/containers/{row['Id']}/logs?stdout=1&tail=1000")


CASES = (
    Case(
        "hostile-look",
        "list and inspect beside hostile containers, 99th percentile",
        simple(_p99(look, 0.02)),
        rounds=2,
        warmup=0,
        budget=100,
        absolute=True,
    ),
    Case(
        "hostile-run",
        "create+start+remove beside hostile containers, 99th percentile",
        simple(_p99(cycle, 0.05)),
        rounds=2,
        warmup=0,
        budget=100,
        absolute=True,
    ),
    Case(
        "hostile-memory",
        "growth of all engine processes by hostile containers, RSS",
        simple(_growth),
        unit="MB",
        rounds=1,
        warmup=0,
    ),
)
