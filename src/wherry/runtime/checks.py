"""Short commands in a running container without a monitor: health checks.

A monitor lets a process outlive the daemon; a check need not, and there may be hundreds every few
seconds. So the runtime's ``exec`` is called directly with a pipe of ours. What a killed daemon
leaves behind is ended by the next one (``sweep``): the pid file is there as long as a check runs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from wherry.linux.namespaces import PrivateMounts
from wherry.linux.pidfd import end_process, start_time, wait_pid
from wherry.linux.tasks import spawn
from wherry.runtime.commands import ENVIRONMENT
from wherry.runtime.failures import classify
from wherry.runtime.finishing import finishing
from wherry.runtime.monitor import CHECK_PID, CHECK_SPEC
from wherry.runtime.port import Check, Checked

_KEEP = 5.0
"""Seconds that one private mount namespace is used for: what the host mounts and unmounts
meanwhile is not seen in it."""
_BLOCK = 65536
_PATIENCE = 5.0
_RESET = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores them; what it starts must not."""


class Launcher:
    """Starts processes from one thread in a private mount namespace, where crun needs one."""

    def __init__(self, mounts: PrivateMounts) -> None:
        self._enter: Callable[[], None] | None = mounts.enter if mounts.hide else None
        self._pool: ThreadPoolExecutor | None = None
        self._until = 0.0

    async def start(self, arguments: Sequence[str], output: int) -> int:
        """Its pid; ``output`` takes what it writes. Raises ``OSError``."""
        loop = asyncio.get_running_loop()
        pool = self._fresh(loop)
        return await loop.run_in_executor(pool, _start, list(arguments), output)

    def _fresh(self, loop: asyncio.AbstractEventLoop) -> ThreadPoolExecutor:
        now = time.monotonic()
        if self._pool is None or now >= self._until:
            self.close()
            enter = self._enter or (lambda: None)
            self._pool = ThreadPoolExecutor(1, "launcher", initializer=enter)
            self._until = now + _KEEP
            loop.call_later(_KEEP * 2, self._retire, self._pool)
        return self._pool

    def _retire(self, pool: ThreadPoolExecutor) -> None:
        if pool is self._pool:
            self.close()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None


def _start(arguments: list[str], output: int) -> int:
    return os.posix_spawn(
        arguments[0],
        arguments,
        ENVIRONMENT,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ],
        setsigdef=_RESET,
    )


class Checks:
    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._written: dict[Path, Mapping[str, Any]] = {}

    async def run(self, check: Check, command: Sequence[str]) -> Checked:
        """``command``: the runtime and its global options. Raises as ``Runtime.check``."""
        spec = self._spec(check)
        pid_file = check.bundle / CHECK_PID
        words = [*command, "exec", "--process", str(spec), "--pid-file", str(pid_file)]
        output = _Output(check.most)
        try:
            pid = await finishing(
                self._launcher.start([*words, check.container_id], output.writer), _abandon
            )
            output.close_writer()
            ended = await self._wait(pid, pid_file, check.timeout)
            text = output.rest()
        finally:
            output.close()
            ran = _unlink(pid_file)
        if ended is None:
            return Checked(-1, text, timed_out=True)
        if ended != 0 and not ran:
            program = (check.process.get("args") or [""])[0]
            raise classify(text.decode(errors="replace"), program, starting=False)
        return Checked(ended, text)

    def _spec(self, check: Check) -> Path:
        """The file with the process; written when it is another than the last."""
        path = check.bundle / CHECK_SPEC
        if self._written.get(check.bundle) is not check.process or not path.exists():
            path.write_bytes(msgspec.json.encode(check.process))
            self._written[check.bundle] = check.process
        return path

    async def _wait(self, pid: int, pid_file: Path, timeout: float) -> int | None:
        """The exit code; None when it took too long and was ended."""
        try:
            async with asyncio.timeout(timeout):
                await wait_pid(pid)
            return _reap(pid)
        except TimeoutError:
            await _end(pid, _pid_of(pid_file))
            return None
        except asyncio.CancelledError:
            spawn(_end(pid, _pid_of(pid_file)), name=f"end check {pid}")
            raise

    def forget(self, bundle: Path) -> None:
        self._written.pop(bundle, None)

    def close(self) -> None:
        self._launcher.close()


def _reap(pid: int) -> int:
    """Exit code of a process that has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def _end(pid: int, inner: int) -> None:
    """End the command (``inner``, where it is known) and the runtime's process above it."""
    started = start_time(inner) if inner else None
    if started is not None:
        await end_process(inner, started)
    else:
        os.kill(pid, signal.SIGKILL)
    try:
        async with asyncio.timeout(_PATIENCE):
            await wait_pid(pid)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        await wait_pid(pid)
    _reap(pid)


async def _abandon(pid: int) -> None:
    """Nobody waits any more for what has just been started."""
    await _end(pid, 0)


async def sweep(bundle: Path, inside: Sequence[int]) -> None:
    """End the check that a killed daemon left; ``inside``: the container's processes."""
    pid_file = bundle / CHECK_PID
    pid = _pid_of(pid_file)
    if pid in inside and (started := start_time(pid)) is not None:
        await end_process(pid, started)
    _unlink(pid_file)


def _pid_of(pid_file: Path) -> int:
    """0 where there is none."""
    try:
        return int(pid_file.read_text())
    except (OSError, ValueError):
        return 0


def _unlink(path: Path) -> bool:
    """Whether it was there."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


class _Output:
    """A pipe that is read as it fills; its first ``most`` bytes are kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = bytearray()
        self._loop = asyncio.get_running_loop()
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        self._reading = True
        self._loop.add_reader(self._reader, self._read)

    def _read(self) -> bool:
        """Whether there may be more."""
        try:
            block = os.read(self._reader, _BLOCK)
        except BlockingIOError:
            return False
        room = self._most - len(self._kept)
        if room > 0:
            self._kept += block[:room]
        if not block:
            self._stop()
        return bool(block)

    def _stop(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._reader)

    def rest(self) -> bytes:
        """All that has been written; what a process left running writes later is not waited for."""
        while self._reading and self._read():
            pass
        return bytes(self._kept)

    def close_writer(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close(self) -> None:
        self.close_writer()
        self._stop()
        os.close(self._reader)
