"""Memory: of the idle daemons, after work, and what one more running container costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager

from bench.case import Case, Generated, simple
from bench.cases.life import create, run_to_end
from bench.engines import Engine
from bench.processes import Memory

WORK = 300
RUNNING = 20
SETTLE = 2.0
"""Seconds of quiet before memory is read: both engines free some when work ends."""


def _rest(engine: Engine) -> Memory:
    time.sleep(SETTLE)
    return engine.memory()


def _idle(figure: Callable[[Memory], float]) -> Callable[[Engine], float]:
    def measure(engine: Engine) -> float:
        engine.restart()
        return figure(_rest(engine))

    return measure


def _after_work(engine: Engine) -> float:
    engine.restart()
    with engine.client() as client:
        for _ in range(WORK):
            run_to_end(client, "none")
    return _rest(engine).pss


@contextmanager
def _per_container(engine: Engine) -> Generated:
    with engine.client() as client:

        def measure() -> float:
            before = _rest(engine).pss
            names = []
            try:
                for _ in range(RUNNING):
                    names.append(create(client, ["sleep", "100000"], "none"))
                    client.json("POST", f"/containers/{names[-1]}/start")
                return (_rest(engine).pss - before) / RUNNING
            finally:
                for name in names:
                    client.request("DELETE", f"/containers/{name}?force=1")

        yield measure


CASES = (
    Case(
        "memory-idle",
        "all daemon processes idle, PSS",
        simple(_idle(lambda memory: memory.pss)),
        unit="MB",
        rounds=2,
        warmup=0,
        budget=45,
        absolute=True,
    ),
    Case(
        "memory-idle-rss",
        "all daemon processes idle, RSS",
        simple(_idle(lambda memory: memory.rss)),
        unit="MB",
        rounds=1,
        warmup=0,
    ),
    Case(
        "memory-work",
        f"the same after {WORK} containers, PSS",
        simple(_after_work),
        unit="MB",
        rounds=1,
        warmup=0,
        budget=45,
        absolute=True,
    ),
    Case(
        "memory-container",
        "per running container beyond its own processes, PSS",
        _per_container,
        unit="MB",
        rounds=2,
        warmup=0,
        budget=1.5,
        absolute=True,
    ),
)
