"""Containers that do their worst: what the API is like beside them, and what memory they cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from bench.case import Case, simple
from bench.engines import Engine
from bench.http import Client, EngineError
from bench.image import IMAGE

TIMES = 200
"""How often the API is asked in one round: of fewer than a hundred, the 99th percentile is simply
the worst."""
LONGEST = 60.0
"""Seconds after which a round ends all the same."""
SECONDS = 15.0
"""How long logs are read while memory is watched."""
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
_AT_ONCE = 20
"""Sleeping containers beside them, of which the oldest is killed each time."""
_TOGETHER = "the three together"
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


Stopwatch = Callable[[str], AbstractContextManager[None]]
"""``with watch(name)``: one request, or several that a user sees as one."""
Work = Callable[[Stopwatch], None]


@contextmanager
def look(client: Client) -> Iterator[Work]:
    """List, and inspect of one of the hostile containers."""
    name = client.json("GET", "/containers/json")[0]["Id"]

    def work(watch: Stopwatch) -> None:
        with watch("list"):
            client.json("GET", "/containers/json")
        with watch("inspect"):
            client.json("GET", f"/containers/{name}/json")

    yield work


@contextmanager
def cycle(client: Client) -> Iterator[Work]:
    """create + start + remove with force, of a command that ends at once."""

    def work(watch: Stopwatch) -> None:
        with watch(_TOGETHER):
            _remove(client, _begin(client, ["true"], watch), watch)

    yield work


@contextmanager
def kill(client: Client) -> Iterator[Work]:
    """create + start of one, and remove with force of one that has run for seconds."""
    command = ["sleep", "1000"]
    running = [_begin(client, command, lambda what: nullcontext()) for _ in range(_AT_ONCE)]

    def work(watch: Stopwatch) -> None:
        with watch(_TOGETHER):
            running.append(_begin(client, command, watch))
            _remove(client, running.pop(0), watch)

    try:
        yield work
    finally:
        for name in running:
            client.request("DELETE", f"/containers/{name}?force=1")


def _begin(client: Client, command: list[str], watch: Stopwatch) -> str:
    body = {"Image": IMAGE, "Cmd": command, "HostConfig": {"NetworkMode": "none"}}
    with watch("create"):
        name = str(client.json("POST", "/containers/create", body)["Id"])
    with watch("start"):
        client.json("POST", f"/containers/{name}/start")
    return name


def _remove(client: Client, name: str, watch: Stopwatch) -> None:
    with watch("remove"):
        status, answer = client.request("DELETE", f"/containers/{name}?force=1")
    if status != 204:
        raise EngineError(f"a container is not removed: {status} {answer!r}")


def _timed(work: Work, pause: float) -> dict[str, list[float]]:
    """How long each request took, in milliseconds."""
    taken: dict[str, list[float]] = {}

    @contextmanager
    def watch(what: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        taken.setdefault(what, []).append((time.perf_counter() - begin) * 1000)

    until = time.monotonic() + LONGEST
    for _ in range(TIMES):
        work(watch)
        time.sleep(pause)
        if time.monotonic() > until:
            break
    return taken


def p99(figures: list[float]) -> float:
    """The least that 99 of 100 do not exceed."""
    return sorted(figures)[math.ceil(len(figures) * 0.99) - 1]


def _p99(
    prepare: Callable[[Client], AbstractContextManager[Work]], pause: float
) -> Callable[[Engine], Mapping[str, float]]:
    def measure(engine: Engine) -> Mapping[str, float]:
        with hostile(engine), engine.client() as client, prepare(client) as work:
            return {what: p99(each) for what, each in _timed(work, pause).items()}

    return measure


def _growth(engine: Engine) -> float:
    """What the engine's processes take more at their worst than at rest, while logs are read."""
    engine.restart()
    time.sleep(2)
    rest = engine.memory().rss
    with hostile(engine):
        until = time.monotonic() + SECONDS
        worst = rest
        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(_read_logs, engine, until)
            while time.monotonic() < until:
                worst = max(worst, engine.memory().rss)
                time.sleep(0.2)
            reader.result()
    return worst - rest


def _read_logs(engine: Engine, until: float) -> None:
    with engine.client() as client:
        while time.monotonic() < until:
            for row in client.json("GET", "/containers/json"):
                client.request("GET", f"/containers/{row['Id']}/logs?stdout=1&tail=1000")
            time.sleep(0.5)


def _latency(
    name: str,
    what: str,
    prepare: Callable[[Client], AbstractContextManager[Work]],
    pause: float,
) -> Case:
    return Case(
        name,
        f"beside hostile containers, {what}99th percentile",
        simple(_p99(prepare, pause)),
        rounds=2,
        warmup=0,
        budget=100,
        absolute=True,
    )


CASES = (
    _latency("hostile-look", "", look, 0.02),
    _latency("hostile-run", "`true`, ", cycle, 0.05),
    _latency("hostile-kill", "`sleep`, ", kill, 0.05),
    Case(
        "hostile-memory",
        "growth of all engine processes by hostile containers, RSS",
        simple(_growth),
        unit="MB",
        rounds=1,
        warmup=0,
    ),
)
