"""Logs: printing and reading back 100 MB, and the last lines of a small and a large log."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager

from bench.case import Case, Generated, Measure
from bench.engines import Engine
from bench.http import Client, EngineError
from bench.image import IMAGE

MB = 1_000_000
LINE = "x" * 99
"""A line has a hundred bytes."""
TAIL = 100


def _talker(client: Client, size: int) -> str:
    """A container that prints ``size`` bytes and ends; its whole log is kept."""
    body = {
        "Image": IMAGE,
        "Cmd": ["sh", "-c", f"yes {LINE} | head -c {size}"],
        "HostConfig": {
            "NetworkMode": "none",
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10g"}},
        },
    }
    return str(client.json("POST", "/containers/create", body)["Id"])


def _finish(client: Client, name: str) -> None:
    client.json("POST", f"/containers/{name}/start")
    if client.json("POST", f"/containers/{name}/wait")["StatusCode"] != 0:
        raise EngineError("the container that prints failed")


@contextmanager
def _print(engine: Engine) -> Generated:
    """Seconds until a container has printed 100 MB and ended."""
    with engine.client() as client:

        def measure() -> float:
            name = _talker(client, 100 * MB)
            try:
                begin = time.perf_counter()
                _finish(client, name)
                return time.perf_counter() - begin
            finally:
                client.request("DELETE", f"/containers/{name}?force=1")

        yield measure


def _reading(
    size: int, tail: str, least: int, scale: float
) -> Callable[[Engine], AbstractContextManager[Measure]]:
    """Time to read a log of ``size`` bytes back; ``least`` bytes must come."""

    @contextmanager
    def prepare(engine: Engine) -> Generated:
        with engine.client() as client:
            name = _talker(client, size)
            try:
                _finish(client, name)

                def measure() -> float:
                    begin = time.perf_counter()
                    got = client.swallow(f"/containers/{name}/logs?stdout=1&tail={tail}")
                    taken = time.perf_counter() - begin
                    if got < least:
                        raise EngineError(f"only {got} bytes of logs came")
                    return taken * scale

                yield measure
            finally:
                client.request("DELETE", f"/containers/{name}?force=1")

    return prepare


CASES = (
    Case("log-print", "a container prints 100 MB", _print, unit="s", rounds=3, budget=0.5),
    Case(
        "log-read",
        "a log of 100 MB is read back",
        _reading(100 * MB, "all", 100 * MB, 1),
        unit="s",
        rounds=3,
        budget=0.5,
    ),
    Case(
        "log-tail",
        f"the last {TAIL} lines of a log of 1 MB",
        _reading(MB, str(TAIL), TAIL * len(LINE), 1000),
        rounds=20,
        budget=0.5,
    ),
    Case(
        "log-tail-large",
        f"the last {TAIL} lines of a log of 1 GB",
        _reading(1000 * MB, str(TAIL), TAIL * len(LINE), 1000),
        rounds=20,
        budget=0.5,
    ),
)
