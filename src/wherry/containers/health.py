"""Health checks: one probe at a time in a container, results on the record.

Rules: moby ``daemon/health.go``. The first probe runs one interval after the start; failures
within the start period do not count until a first success; the last five results are kept, each
with at most 4096 bytes of output. A result that changes the status is written to the database;
others stay in memory.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from wherry.containers.book import Book, Live
from wherry.containers.record import Health, Probe, Record
from wherry.containers.service import ExecRequest
from wherry.containers.specs import Specs
from wherry.containers.transitions import Status
from wherry.errors import Conflict, NotFound, NotModified, WherryError
from wherry.linux.tasks import spawn
from wherry.runtime.port import AttachStream, ExecLaunch, Runtime
from wherry.store.paths import Paths
from wherry.wire.container import HealthConfig
from wherry.wire.durations import format_duration

_log = logging.getLogger(__name__)

KEPT = 5
MOST_OUTPUT = 4096
_SECOND = 1_000_000_000


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
    ) -> None:
        self._book = book
        self._paths = paths
        self._runtime = runtime
        self._specs = specs
        self._unhealthy = unhealthy
        self._acting: set[str] = set()
        self._sleep = sleep
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
        while True:
            record = live.record
            age = (time.time_ns() - record.state.started_ns) / _SECOND
            await self._sleep(pause_before(record.state.health or Health(), plan, age))
            if live.record.status is Status.PAUSED:
                continue
            if live.record.status is not Status.RUNNING or live.running is None:
                return
            probe = await self._probe(live, plan)
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
        self._book.commit(live, state=changed)
        self._book.publish(live.record, f"health_status: {new.status}")

    async def _probe(self, live: Live, plan: Plan) -> Probe:
        start = time.time_ns()
        try:
            code, output = await self._run(live, plan)
        except WherryError as error:
            code, output = -1, error.message
        return Probe(start, time.time_ns(), code, output)

    async def _run(self, live: Live, plan: Plan) -> tuple[int, str]:
        record, running = live.record, live.running
        if running is None:
            return -1, "the container does not run"
        exec_id = secrets.token_hex(32)
        run_dir = self._paths.exec_dir(live.id, exec_id)
        process, stream = await self._runtime.exec(self._launch(record, plan, exec_id, running.pid))
        output = bytearray()
        try:
            async with asyncio.timeout(plan.timeout):
                if stream is not None:
                    await _collect(stream, output)
                end = await self._runtime.exec_wait(exec_id, run_dir, process)
            return end.code, output.decode(errors="replace")
        except TimeoutError:
            await self._runtime.kill(process, 9)
            limit = format_duration(int(plan.timeout * _SECOND))
            text = output.decode(errors="replace")
            return -1, f"Health check exceeded timeout ({limit}): {text}".removesuffix(": ")
        finally:
            if stream is not None:
                await stream.close()
            await asyncio.to_thread(shutil.rmtree, run_dir, True)

    def _launch(self, record: Record, plan: Plan, exec_id: str, pid: int) -> ExecLaunch:
        request = ExecRequest(plan.command, attach_stdout=True, attach_stderr=True)
        return ExecLaunch(
            exec_id=exec_id,
            container_id=record.id,
            bundle=self._paths.container(record.id).bundle,
            process=self._specs.exec_process(record, request, Path(f"/proc/{pid}/root")),
            run_dir=self._paths.exec_dir(record.id, exec_id),
            terminal=False,
            stdin=False,
            attach=True,
            runtime=record.host_config.runtime or "",
        )


async def _collect(stream: AttachStream, output: bytearray) -> None:
    while (chunk := await stream.read()) is not None:
        room = MOST_OUTPUT - len(output)
        if room > 0:
            output += chunk[1][:room]
