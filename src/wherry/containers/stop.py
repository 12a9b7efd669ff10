"""Ending, freezing and thawing: stop, kill, pause, unpause.

A stop holds the container's lock only while it decides and sends its first signal, so that a
kill or a forced removal need not wait for a slow stop.
"""

from __future__ import annotations

import asyncio
import logging
import signal as system_signal
from collections.abc import Callable, Sequence
from contextlib import suppress

from wherry.containers.book import Book, Live
from wherry.containers.transitions import (
    Event,
    Status,
    can_pause,
    can_unpause,
    counts_as_running,
    has_process,
)
from wherry.containers.watch import Supervisor
from wherry.errors import Conflict, Internal, NotModified, WherryError
from wherry.runtime.port import Runtime
from wherry.wire import signals

_log = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 10
KILL_PATIENCE = 10.0
"""Seconds to wait for the end after SIGKILL before the kill counts as failed."""
_ENDING = frozenset({2, 3, 9, 15})


class Stopper:
    def __init__(self, book: Book, runtime: Runtime, supervisor: Supervisor) -> None:
        self._book = book
        self._runtime = runtime
        self._supervisor = supervisor

    async def stop(self, live: Live, timeout: int | None, signal: str | None) -> None:
        """Signal, wait, then SIGKILL. ``timeout`` seconds; -1 for ever.

        A start that waits for what the container depends on is cancelled. Raises ``NotModified``
        when it neither runs nor waits.
        """
        config = live.record.config
        number = signals.parse(signal or config.stop_signal or "SIGTERM")
        if timeout is None:
            timeout = DEFAULT_TIMEOUT if config.stop_timeout is None else config.stop_timeout
        async with live.lock:
            waited = live.call_off("stop")
            if not counts_as_running(live.record.status):
                if waited:
                    self._book.commit(live, stopped_by_user=True)
                    return
                raise NotModified(f"container {live.id} is not running")
            live.stopping = True
            self._book.commit(live, stopped_by_user=True)
            if live.record.status is Status.RESTARTING:
                self._supervisor.halt(live)
                self._book.publish(live.record, "stop")
                return
            ended = self._exit_of(live)
            await self._signal(live, number, thaw=True)
        if await _within(ended, None if timeout < 0 else float(timeout)):
            await _given_back(live)
        else:
            await self._kill_and_wait(live, ended)
        self._book.publish(live.record, "stop")

    async def kill(self, live: Live, signal: str | None) -> None:
        """Send a signal; SIGKILL waits for the end. One that ends cancels a start that waits for
        what the container depends on. Raises ``Conflict`` when it neither runs nor waits.
        """
        number = signals.parse(signal or "SIGKILL")
        async with live.lock:
            own = live.record.config.stop_signal
            ending = number in _ENDING or (bool(own) and number == signals.parse(own or ""))
            waited = ending and live.call_off("kill")
            if not has_process(live.record.status):
                if live.record.status is Status.RESTARTING:
                    self._book.commit(live, stopped_by_user=True)
                    self._supervisor.halt(live)
                    return
                if waited:
                    self._book.commit(live, stopped_by_user=True)
                    return
                raise Conflict(
                    f"cannot kill container: {live.record.name}: container {live.id} is not running"
                )
            if ending:
                live.stopping = True
                self._book.commit(live, stopped_by_user=True)
            ended = self._exit_of(live)
            await self._signal(live, number, thaw=ending)
        if number == system_signal.SIGKILL:
            await self._expect_end(live, ended)

    async def strike(self, live: Live) -> None:
        """SIGKILL that is no user's wish: what follows is the restart policy's to say."""
        async with live.lock:
            if has_process(live.record.status):
                ended = self._exit_of(live)
                await self._signal(live, system_signal.SIGKILL, thaw=True)
                await self._expect_end(live, ended)

    async def rest_all(self, lives: Sequence[Live], extend: Callable[[float], None]) -> None:
        """Stop with the machine, side by side: no user's wish, so the policies say at the next
        boot what follows. ``extend`` is told how many seconds that may take."""
        extend(max(map(_allowed, lives), default=0.0) + KILL_PATIENCE)
        ends = await asyncio.gather(*(self._rest(live) for live in lives), return_exceptions=True)
        for live, end in zip(lives, ends, strict=True):
            if isinstance(end, Exception):
                _log.error("container %s does not end with the machine: %s", live.id[:12], end)

    async def _rest(self, live: Live) -> None:
        live.call_off("shutdown")
        async with live.lock:
            live.stopping = True
            if live.restart is not None:
                live.restart.cancel()
                live.restart = None
            if not has_process(live.record.status):
                return
            ended = self._exit_of(live)
            number = signals.parse(live.record.config.stop_signal or "SIGTERM")
            await self._signal(live, number, thaw=True)
        if await _within(ended, _allowed(live)):
            await _given_back(live)
        else:
            await self._kill_and_wait(live, ended)

    async def force(self, live: Live) -> None:
        """Kill for a removal, the lock held by the caller."""
        live.stopping = True
        if live.record.status is Status.RESTARTING:
            self._supervisor.halt(live)
        if not has_process(live.record.status):
            return
        ended = self._exit_of(live)
        await self._signal(live, system_signal.SIGKILL, thaw=True)
        await self._expect_end(live, ended)

    async def pause(self, live: Live) -> None:
        async with live.lock:
            record = live.record
            if not can_pause(record.status):
                if record.status is Status.PAUSED:
                    raise Conflict(f"container {record.name} is already paused")
                if record.status is Status.RESTARTING:
                    raise Conflict(
                        f"container {record.id} is restarting, wait until the container is running"
                    )
                raise Conflict(f"container {record.name} is not running")
            try:
                await self._runtime.pause(record.id, record.host_config.runtime or "")
            except WherryError as error:
                if await self._alive(live):
                    raise
                raise Conflict(f"container {record.name} is not running") from error
            if has_process(live.record.status):
                self._book.settle(live, self._book.after(live, Event.PAUSE))
                self._book.publish(live.record, "pause")

    async def freeze(self, live: Live) -> bool:
        """A short pause of our own; False where nothing runs. It is not recorded: if the daemon
        dies meanwhile, the next one thaws what should run."""
        async with live.lock:
            if live.record.status is not Status.RUNNING:
                return False
            await self._runtime.pause(live.id, live.record.host_config.runtime or "")
            self._book.publish(live.record, "pause")
            return True

    async def unfreeze(self, live: Live) -> None:
        """The end of ``freeze``; a pause that the user asked for meanwhile stays."""
        async with live.lock:
            if live.record.status is not Status.RUNNING:
                return
            try:
                await self._runtime.resume(live.id, live.record.host_config.runtime or "")
            except Internal as error:
                # It may have been killed this moment; else somebody must know.
                _log.warning("container %s is not thawed: %s", live.id[:12], error.message)
            self._book.publish(live.record, "unpause")

    async def unpause(self, live: Live) -> None:
        async with live.lock:
            record = live.record
            if not can_unpause(record.status):
                raise Conflict(f"Container {record.id} is not paused")
            await self._thaw(live)

    async def _alive(self, live: Live) -> bool:
        """It may just have ended, and nobody has told us yet."""
        if live.running is None:
            return False
        try:
            await self._runtime.processes(live.id, live.running)
        except Conflict:
            return False
        return True

    async def _thaw(self, live: Live) -> None:
        """Raises ``Conflict`` when it has ended instead."""
        try:
            await self._runtime.resume(live.id, live.record.host_config.runtime or "")
        except WherryError as error:
            if await self._alive(live):
                raise
            raise Conflict(f"Container {live.id} is not paused") from error
        if live.record.status is Status.PAUSED:
            self._book.settle(live, self._book.after(live, Event.UNPAUSE))
            self._book.publish(live.record, "unpause")

    async def _signal(self, live: Live, number: int, *, thaw: bool) -> None:
        running = live.running
        if running is None:
            return
        await self._runtime.kill(running, number)
        self._book.publish(live.record, "kill", signal=str(number))
        half = number == system_signal.SIGKILL and live.record.status is not Status.PAUSED
        # A pause that went wrong half way: a frozen process does not hear of the signal.
        if (thaw and live.record.status is Status.PAUSED) or (
            half and await self._runtime.is_paused(live.id)
        ):
            with suppress(Conflict):
                await self._thaw(live)

    def _exit_of(self, live: Live) -> asyncio.Future[tuple[int, str]]:
        ended: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        live.next_stop.append(ended)
        return ended

    async def _kill_and_wait(self, live: Live, ended: asyncio.Future[tuple[int, str]]) -> None:
        _log.info("container %s did not end in time: killed", live.id[:12])
        await self._signal(live, system_signal.SIGKILL, thaw=True)
        await self._expect_end(live, ended)

    async def _expect_end(self, live: Live, ended: asyncio.Future[tuple[int, str]]) -> None:
        if not await _within(ended, KILL_PATIENCE):
            raise Internal(
                f"container {live.id} did not end within {KILL_PATIENCE:g} s of SIGKILL: it may "
                "wait for the kernel (a zombie or an uninterruptible system call)"
            )
        await _given_back(live)


def _allowed(live: Live) -> float:
    """Seconds to end in with the machine, which does not wait for ever."""
    timeout = live.record.config.stop_timeout
    return float(DEFAULT_TIMEOUT if timeout is None or timeout < 0 else timeout)


async def _given_back(live: Live) -> None:
    """Wait until what the run used (addresses, ports, mounts) can be used again."""
    if live.cleanup is not None:
        await asyncio.wait([live.cleanup], timeout=KILL_PATIENCE)


async def _within(ended: asyncio.Future[tuple[int, str]], timeout: float | None) -> bool:
    done, _ = await asyncio.wait([ended], timeout=timeout)
    return bool(done)
