"""Health checks of many containers: what they cost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import quote

from bench.case import Case, Generated, Measure
from bench.engines import Engine
from bench.http import Client, EngineError
from bench.image import IMAGE
from bench.processes import cpu_seconds, of_root

CONTAINERS = 200
INTERVAL = 5
PATIENCE = 120.0
"""Seconds until all are healthy."""
WATCHED = 30.0
"""Seconds; six checks of every container."""


def _await_healthy(client: Client) -> None:
    healthy = quote(json.dumps({"health": ["healthy"]}))
    deadline = time.monotonic() + PATIENCE
    while (count := len(client.json("GET", f"/containers/json?filters={healthy}"))) < CONTAINERS:
        if time.monotonic() > deadline:
            raise EngineError(f"only {count} of {CONTAINERS} containers are healthy")
        time.sleep(0.5)


def _checked(*, children: bool) -> Callable[[Engine], AbstractContextManager[Measure]]:
    """Share of one core, in percent, of the engine's processes: daemons, monitors, shims.

    ``children``: and of what the daemon starts, which is the runtime and the checks themselves.
    Docker's are started by other processes and do not show.
    """

    @contextmanager
    def prepare(engine: Engine) -> Generated:
        body = {
            "Image": IMAGE,
            "Cmd": ["sleep", "100000"],
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": INTERVAL * 1_000_000_000},
            "HostConfig": {"NetworkMode": "none"},
        }
        names = []
        with engine.client() as client:

            def measure() -> float:
                pids = of_root(engine.root)
                before, begin = cpu_seconds(pids, children=children), time.perf_counter()
                time.sleep(WATCHED)
                after = cpu_seconds(pids, children=children)
                used = sum(after[pid] - before[pid] for pid in after if pid in before)
                return used / (time.perf_counter() - begin) * 100

            try:
                for _ in range(CONTAINERS):
                    names.append(client.json("POST", "/containers/create", body)["Id"])
                    client.json("POST", f"/containers/{names[-1]}/start")
                _await_healthy(client)
                yield measure
            finally:
                for name in names:
                    client.request("DELETE", f"/containers/{name}?force=1")

    return prepare


_TITLE = f"CPU, {CONTAINERS} containers checked every {INTERVAL} s"

CASES = (
    Case(
        "health",
        f"{_TITLE}, engine's processes",
        _checked(children=False),
        unit="%",
        rounds=1,
        warmup=0,
        budget=10,
        absolute=True,
    ),
    Case(
        "health-all",
        f"{_TITLE}, with what they start",
        _checked(children=True),
        unit="%",
        rounds=1,
        warmup=0,
    ),
)
