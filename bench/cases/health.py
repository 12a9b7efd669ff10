"""Health checks of many containers: what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager

from bench.case import Case, Generated, Measure
from bench.engines import Engine
from bench.image import IMAGE
from bench.processes import cpu_seconds, of_root

CONTAINERS = 200
INTERVAL = 5
SETTLE = 10.0
WATCHED = 30.0
"""Seconds; six checks of every container."""


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
                time.sleep(SETTLE)
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
