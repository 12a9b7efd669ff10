"""Health checks: one probe at a time in a container, results on the record.

Rules: moby ``daemon/health.go``. The first probe runs one interval after the start, later ones at
whole intervals from there; they never overlap; failures
within the start period do not count until a first success; the last five results are kept, each
with at most 4096 bytes of output. A result that changes the status is written to the database;
others stay in memory.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from wherry.containers.book import Book, Live
from wherry.containers.record import Health, Probe
from wherry.containers.service import ExecRequest
from wherry.containers.specs import Specs
from wherry.containers.transitions import Status
from wherry.errors import Conflict, NotFound, NotModified, WherryError
from wherry.linux.tasks import spawn
from wherry.runtime.port import Check, Runtime
from wherry.store.paths import Paths
from wherry.wire.container import HealthConfig
from wherry.wire.durations import format_duration

_log = logging.getLogger(__name__)

KEPT = 5
MOST_OUTPUT = 4096
_SECOND = 1_000_000_000
_EARLY = 1e-3
"""Part of an interval."""


@dataclass(frozen=True)
class Plan:
    """A health check with its defaults filled in; seconds."""

    command: tuple[str, ...]
    interval: float
    timeout: float
    start_period: float
    start_interval: float
    retries: int
    on_unhealthy: str = ""
    """restart, stop, kill; "" for nothing."""


def plan_of(config: HealthConfig | None, shell: list[str] | None) -> Plan | None:
    """What to run and when; None when there is no check."""
    if config is None or not config.test or config.test[0] in ("NONE", ""):
        return None
    kind, *words = config.test
    command = [*(shell or ["/bin/sh", "-c"]), *words] if kind == "CMD-SHELL" else words
    if not command:
        return None
    return Plan(
        command=tuple(command),
        interval=(config.interval or 30 * _SECOND) / _SECOND,
        timeout=(config.timeout or 30 * _SECOND) / _SECOND,
        start_period=config.start_period / _SECOND,
        start_interval=(config.start_interval or 5 * _SECOND) / _SECOND,
        retries=config.retries or 3,
        on_unhealthy="" if config.on_unhealthy == "none" else config.on_unhealthy,
    )


def judge(health: Health, probe: Probe, plan: Plan, started_ns: int) -> Health:
    """The health after a probe; pure."""
    status, failing = health.status, health.failing
    if probe.exit_code == 0:
        status, failing = "healthy", 0
    else:
        age = (probe.start_ns - started_ns) / _SECOND
        if not (status == "starting" and age < plan.start_period):
            failing += 1
            if failing >= plan.retries:
                status = "unhealthy"
    return Health(status, failing, (*health.probes, probe)[-KEPT:])


def pause_before(health: Health, plan: Plan, age: float) -> float:
    """Seconds until the next probe of a container that has run for ``age`` seconds."""
    starting = health.status == "starting" and age < plan.start_period
    return plan.start_interval if starting else plan.interval


def next_due(anchor: float, interval: float, now: float) -> float:
    """The first of the times ``anchor`` + n intervals (n > 0) that is later than ``now``.

    A timer that fires a little early has still reached its time.
    """
    return anchor + max(1, math.floor((now - anchor) / interval + _EARLY) + 1) * interval


class HealthChecks:
    """``unhealthy`` does what ``on_unhealthy`` names; it is called outside the checking task, since
    the end of the container cancels that."""

    def __init__(
        self,
        book: Book,
        paths: Paths,
        runtime: Runtime,
        specs: Specs,
        unhealthy: Callable[[Live, str], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book = book
        self._paths = paths
        self._runtime = runtime
        self._specs = specs
        self._unhealthy = unhealthy
        self._acting: set[str] = set()
        self._sleep = sleep
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, live: Live) -> None:
        """The container runs, or has another check: check it, if it has one."""
        self.end(live)
        config = live.record.config
        plan = plan_of(config.healthcheck, config.shell)
        if plan is None:
            return
        self._tasks[live.id] = spawn(self._check(live, plan), name=f"health {live.id[:12]}")

    def end(self, live: Live) -> None:
        task = self._tasks.pop(live.id, None)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    async def _check(self, live: Live, plan: Plan) -> None:
        """Checks at whole intervals from the start of the run: one that takes long skips times,
        and shifts none. The interval changes when the start period is over."""
        anchor = self._clock() - (time.time_ns() - live.record.state.started_ns) / _SECOND
        process: Mapping[str, Any] | None = None
        due, last = anchor, 0.0
        while True:
            record = live.record
            now = self._clock()
            age = (time.time_ns() - record.state.started_ns) / _SECOND
            interval = pause_before(record.state.health or Health(), plan, age)
            if interval != last:
                anchor, last = due, interval
            due = next_due(anchor, interval, now)
            await self._sleep(due - now)
            if live.record.status is Status.PAUSED:
                continue
            if live.record.status is not Status.RUNNING or live.running is None:
                return
            probe, process = await self._probe(live, plan, process)
            if live.record.state.started_ns != record.state.started_ns:
                return
            self._note(live, plan, probe)
            # At every failure, not only at the change: the daemon may have been killed between
            # the change and the deed.
            health = live.record.state.health
            if probe.exit_code and health and health.status == "unhealthy" and plan.on_unhealthy:
                spawn(self._act(live, plan.on_unhealthy), name=f"unhealthy {live.id[:12]}")

    async def _act(self, live: Live, action: str) -> None:
        if live.id in self._acting:
            return
        self._acting.add(live.id)
        try:
            _log.info("container %s is unhealthy: %s", live.id[:12], action)
            await self._unhealthy(live, action)
        except (Conflict, NotFound, NotModified) as error:
            _log.debug("container %s ended by itself meanwhile: %s", live.id[:12], error)
        except WherryError as error:
            _log.error("container %s is unhealthy, %s failed: %s", live.id[:12], action, error)
        finally:
            self._acting.discard(live.id)

    def _note(self, live: Live, plan: Plan, probe: Probe) -> None:
        state = live.record.state
        old = state.health or Health()
        new = judge(old, probe, plan, state.started_ns)
        changed = msgspec.structs.replace(state, health=new)
        if new.status == old.status:
            self._book.keep(live, changed)
            return
        self._book.settle(live, changed)
        self._book.publish(live.record, f"health_status: {new.status}")

    async def _probe(
        self, live: Live, plan: Plan, process: Mapping[str, Any] | None
    ) -> tuple[Probe, Mapping[str, Any] | None]:
        """One check; ``process`` is what the last one ran, to be run again."""
        start = time.time_ns()
        try:
            if process is None:
                process = self._process(live, plan)
            done = await self._runtime.check(
                Check(
                    container_id=live.id,
                    bundle=self._paths.container(live.id).bundle,
                    process=process,
                    timeout=plan.timeout,
                    most=MOST_OUTPUT,
                    runtime=live.record.host_config.runtime or "",
                )
            )
            code, output = done.code, done.output.decode(errors="replace")
            if done.timed_out:
                limit = format_duration(int(plan.timeout * _SECOND))
                output = f"Health check exceeded timeout ({limit}): {output}".removesuffix(": ")
        except WherryError as error:
            code, output = -1, error.message
        except OSError as error:  # no room, no process: the host's trouble, which may pass
            code, output = -1, f"the check cannot be run: {error}"
        return Probe(start, time.time_ns(), code, output), process

    def _process(self, live: Live, plan: Plan) -> Mapping[str, Any]:
        running = live.running
        if running is None:
            raise Conflict("the container does not run")
        request = ExecRequest(plan.command, attach_stdout=True, attach_stderr=True)
        return self._specs.exec_process(live.record, request, Path(f"/proc/{running.pid}/root"))
