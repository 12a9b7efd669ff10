"""When health checks run, by a clock of the test's own."""

from __future__ import annotations

import asyncio
import errno

import pytest
from tests.containers.container_fakes import World

from wherry.errors import Exhausted
from wherry.runtime.failures import CommandNotFound
from wherry.runtime.port import Check, Checked
from wherry.wire.container import HealthConfig

SECOND = 1_000_000_000


class Clock:
    """Time passes only in ``sleep`` and when a check takes some."""

    def __init__(self, world: World) -> None:
        self.now = 1000.0
        self.begun: list[float] = []
        self.at_once = 0
        self.takes = 0.0
        self.turns = asyncio.Semaphore(0)
        health = world.engine._health
        health._sleep = self.sleep
        health._clock = lambda: self.now
        world.runtime.answer = self.answer
        self._world = world

    async def turn(self) -> None:
        """Let the next check come, and end."""
        count = len(self.begun)
        self.turns.release()
        await self._world.until(lambda: len(self.begun) > count and not self.at_once)

    async def sleep(self, seconds: float) -> None:
        await self.turns.acquire()
        self.now += seconds

    async def answer(self, check: Check) -> Checked:
        self.at_once += 1
        assert self.at_once == 1
        self.begun.append(self.now)
        await asyncio.sleep(0)
        self.now += self.takes
        self.at_once -= 1
        return Checked(0, b"fine")


def check(retries: int = 3) -> HealthConfig:
    return HealthConfig(test=["CMD", "probe"], interval=5 * SECOND, retries=retries)


async def test_checks_neither_drift_nor_overlap(world: World) -> None:
    clock = Clock(world)
    container = await world.run("sleep", healthcheck=check())
    for takes in (0.0, 1.5, 0.2, 7.0, 0.0, 12.0, 0.0):
        clock.takes = takes
        await clock.turn()
    gaps = [late - early for early, late in zip(clock.begun, clock.begun[1:], strict=False)]
    assert [round(gap, 6) for gap in gaps] == [5, 5, 5, 10, 5, 15]
    log = world.state(container)["Health"]["Log"]
    assert len(log) == 5
    assert {row["Output"] for row in log} == {"fine"}
    await world.engine.remove(container, force=True)


async def test_the_process_is_prepared_once_for_a_run(world: World) -> None:
    clock = Clock(world)
    container = await world.run("sleep", healthcheck=check())
    for _ in range(3):
        await clock.turn()
    first, *others = [each.process for each in world.runtime.checked]
    assert all(each is first for each in others)
    await world.engine.remove(container, force=True)


async def test_a_check_that_cannot_run_fails(world: World) -> None:
    clock = Clock(world)

    async def missing(check: Check) -> Checked:
        raise CommandNotFound("not found in $PATH")

    world.runtime.answer = missing
    container = await world.run("sleep", healthcheck=check(retries=1))
    clock.turns.release()
    await world.until(lambda: world.state(container)["Health"]["Status"] == "unhealthy")
    (row,) = world.state(container)["Health"]["Log"]
    assert (row["ExitCode"], row["Output"]) == (-1, "not found in $PATH")
    assert "health_status: unhealthy" in world.events.actions(container)
    await world.engine.remove(container, force=True)


async def test_a_host_that_cannot_run_a_check_is_a_failed_check(world: World) -> None:
    """No room, no process: the checks go on."""
    clock = Clock(world)
    container = await world.run("sleep", healthcheck=check())

    async def cannot(asked: Check) -> Checked:
        await clock.answer(asked)
        raise OSError(errno.ENOSPC, "No space left on device")

    world.runtime.answer = cannot
    await clock.turn()
    world.runtime.answer = clock.answer
    await clock.turn()
    first, second = world.state(container)["Health"]["Log"]
    assert (first["ExitCode"], second["ExitCode"]) == (-1, 0)
    assert "No space left" in first["Output"]
    await world.engine.remove(container, force=True)


async def test_a_full_disk_does_not_end_the_checks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(world)
    container = await world.run("sleep", healthcheck=check())

    def full(*_: object) -> None:
        raise Exhausted("no space left for the database")

    with monkeypatch.context() as broken:
        broken.setattr(world.engine._book._table, "update", full)
        await clock.turn()
        await world.until(lambda: world.state(container)["Health"]["Status"] == "healthy")
    await clock.turn()
    assert len(world.state(container)["Health"]["Log"]) == 2
    await world.engine.remove(container, force=True)
