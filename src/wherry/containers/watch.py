"""What follows the end of a container: record it at once, clean up, restart or remove.

Recording never waits for a lock, so that waiters hear of the end immediately; freeing what the
run used happens beside the reply, and start and remove wait for it (``Live.cleanup``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec

from wherry.containers.book import Book, Live
from wherry.containers.ports import Networking, Volumes
from wherry.containers.record import Record
from wherry.containers.transitions import Event, Status, has_process
from wherry.errors import WherryError
from wherry.linux.tasks import spawn
from wherry.runtime.port import Exit, Runtime
from wherry.store.paths import Paths

_log = logging.getLogger(__name__)

FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0
STEADY = 10.0
"""Seconds of running after which the next delay is the first one again."""


def restart_due(record: Record, *, code: int, asked: bool, at_boot: bool = False) -> bool:
    """Whether the policy wants another start after an end with ``code``.

    ``asked``: the user ended it; at the daemon's start ``always`` starts it all the same. N of
    ``on-failure:N`` counts the restarts since a user's start, as in Docker.
    """
    policy = record.host_config.restart_policy
    name = (policy.name if policy else "") or "no"
    if name == "always":
        return at_boot or not asked
    if name == "unless-stopped":
        return not asked
    if name == "on-failure":
        most = (policy.maximum_retry_count if policy else 0) or 0
        return (not asked) and code != 0 and (most == 0 or record.restart_count < most)
    return False


def next_delay(previous: float, ran: float) -> float:
    """Seconds before the next restart: doubling from 0.1, again from 0.1 after a steady run."""
    if previous <= 0 or ran >= STEADY:
        return FIRST_DELAY
    return min(previous * 2, LONGEST_DELAY)


class Supervisor:
    def __init__(
        self,
        book: Book,
        paths: Paths,
        runtime: Runtime,
        networking: Networking,
        volumes: Volumes,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._book = book
        self._paths = paths
        self._runtime = runtime
        self._networking = networking
        self._volumes = volumes
        self._sleep = sleep
        self._start: Callable[[Live], Awaitable[None]] | None = None
        self._start_fresh: Callable[[Live], Awaitable[None]] | None = None
        self._remove: Callable[[Live], Awaitable[None]] | None = None
        self._ready: Callable[[Live], Awaitable[None]] | None = None
        self.settled = asyncio.Event()
        """Set once every container is known as it is: nothing starts before that."""
        self.on_start: list[Callable[[Live], None]] = []
        """Called when a process runs (health checks begin)."""
        self.on_end: list[Callable[[Live], None]] = []

    def bind(
        self,
        again: Callable[[Live], Awaitable[None]],
        start: Callable[[Live], Awaitable[None]],
        remove: Callable[[Live], Awaitable[None]],
        ready: Callable[[Live], Awaitable[None]],
    ) -> None:
        """What a restart and an auto-removal do, and what a start at boot waits for; given later,
        as all need this object."""
        self._start, self._start_fresh, self._remove = again, start, remove
        self._ready = ready

    def watch(self, live: Live) -> None:
        """Begin to wait for the end of ``live.running``."""
        live.over = asyncio.Event()
        live.supervisor = spawn(self._follow(live), name=f"supervise {live.id[:12]}")
        for hook in self.on_start:
            hook(live)

    async def _follow(self, live: Live) -> None:
        running = live.running
        if running is None:
            return
        try:
            end = await self._runtime.wait(running, self._paths.container(live.id).exit_dir)
        except WherryError as error:
            end = Exit(255, time.time(), error=error.message)
        self.ended(live, end)

    def ended(self, live: Live, end: Exit, *, at_boot: bool = False) -> None:
        """Record the end, tell the waiters, and begin what follows. Never awaits."""
        record = live.record
        live.running = None
        ran = max(0.0, end.at - record.state.started_ns / 1e9)
        again = restart_due(
            record,
            code=end.code,
            asked=live.stopping or (at_boot and record.stopped_by_user),
            at_boot=at_boot,
        )
        if has_process(record.status):
            self._record(live, end, Event.BACKOFF if again and not at_boot else Event.EXIT)
        for hook in self.on_end:
            hook(live)
        if end.oom:
            self._book.publish(live.record, "oom")
        self._book.publish(live.record, "die", exitCode=str(end.code), execDuration=str(int(ran)))
        if again and not at_boot:
            live.backoff = next_delay(live.backoff, ran)
        live.over.set()
        resolve(live.next_exit, end.code, end.error)
        resolve(live.next_stop, end.code, end.error)
        live.cleanup = spawn(
            self._clean(live, again=again, at_boot=at_boot), name=f"clean {live.id[:12]}"
        )

    def _record(self, live: Live, end: Exit, event: Event) -> None:
        changes = {
            "pid": 0,
            "pid_start": 0,
            "monitor_pid": 0,
            "monitor_start": 0,
            "exit_code": end.code,
            "error": end.error,
            "oom": end.oom,
            # The exit file's time comes from a coarser clock than the start's.
            "finished_ns": max(int(end.at * 1e9), live.record.state.started_ns),
        }
        self._book.settle(live, self._book.after(live, event, **changes))

    async def _clean(self, live: Live, *, again: bool, at_boot: bool) -> None:
        record = live.record
        bundle = self._paths.container(live.id).bundle
        results = await asyncio.gather(
            self._runtime.delete(live.id, bundle, record.host_config.runtime or ""),
            self._networking.detach(live.id),
            self._release(live),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, asyncio.CancelledError):
                raise result
            if isinstance(result, BaseException):
                _log.error("container %s: cleaning up: %s", live.id, result)
        await let_go(self._book, self._volumes, live)
        if again and at_boot:
            self.boot(live)
        elif again:
            self.schedule(live)
        elif record.host_config.auto_remove and not live.keep and self._remove is not None:
            spawn(self._auto_remove(live), name=f"auto-remove {live.id[:12]}")

    async def _release(self, live: Live) -> None:
        """Drivers may unmount volumes: the container's own mounts of them go first."""
        record = live.record
        if record.mount_points or record.staying:
            await self._runtime.unmounted(live.id)
        await self._volumes.release(live.id, record.mount_points)

    async def _auto_remove(self, live: Live) -> None:
        assert self._remove is not None
        try:
            await self._remove(live)
        except WherryError as error:
            _log.info("container %s: auto-remove: %s", live.id, error.message)

    def boot(self, live: Live) -> None:
        """The policy wants a container that rests to run when the daemon starts."""
        live.restart = spawn(self._boot(live), name=f"boot {live.id[:12]}")

    async def _boot(self, live: Live) -> None:
        waited = await self._wait_for_others(live)
        async with live.lock:
            live.restart = None
            if not waited or live.record.status is not Status.EXITED or self._start_fresh is None:
                return
            try:
                await self._start_fresh(live)
            except WherryError as error:
                _log.warning("container %s: start at boot: %s", live.id, error.message)

    async def _wait_for_others(self, live: Live) -> bool:
        """At boot: what the container depends on comes first. False when it cannot be had."""
        await self.settled.wait()
        try:
            if self._ready is not None:
                await self._ready(live)
        except WherryError as error:
            _log.warning("container %s: start at boot: %s", live.id, error.message)
            if live.id in self._book:
                state = msgspec.structs.replace(live.record.state, error=error.message)
                self._book.commit(live, state=state)
            return False
        return True

    def schedule(self, live: Live, *, at_boot: bool = False) -> None:
        """A restart after ``live.backoff`` seconds; the state is ``restarting``."""
        live.restart = spawn(self._restart(live, at_boot), name=f"restart {live.id[:12]}")

    async def _restart(self, live: Live, at_boot: bool) -> None:
        if live.backoff:
            await self._sleep(live.backoff)
        waited = not at_boot or await self._wait_for_others(live)
        async with live.lock:
            live.restart = None
            if live.record.status is not Status.RESTARTING or self._start is None:
                return
            if not waited:
                self.halt(live)
                return
            try:
                await self._start(live)
            except Exception as error:
                _log.warning("container %s: restart: %s", live.id, error)
                if live.record.status is Status.RESTARTING:
                    self.halt(live)

    def halt(self, live: Live) -> None:
        """Give a due restart up: ``restarting`` becomes ``exited``."""
        if live.restart is not None:
            live.restart.cancel()
            live.restart = None
        self._book.step(live, Event.HALT)
        state = live.record.state
        resolve(live.next_stop, state.exit_code, state.error)

    def close(self) -> None:
        """The daemon ends: stop waiting; containers go on."""
        for live in self._book:
            live.over.set()
            for task in (live.supervisor, live.restart):
                if task is not None:
                    task.cancel()


async def let_go(book: Book, volumes: Volumes, live: Live) -> None:
    """Mounts that were removed while it ran, and that it kept, are gone with its end. An update
    that is under way sees to it when it settles. Never raises."""
    if not live.record.staying or live.record.intent is not None or live.running is not None:
        return
    try:
        await volumes.retain(live.id, live.record.mount_points)
        book.commit(live, staying=())
    except Exception as error:  # a full disk: the next start tries again
        _log.error("container %s: removed mounts are kept: %s", live.id, error)


def resolve(waiters: list[asyncio.Future[tuple[int, str]]], code: int, error: str) -> None:
    """Answer and forget all waiters of a list."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result((code, error))
    waiters.clear()
