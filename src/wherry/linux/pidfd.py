"""Processes held by descriptor: awaited and signalled without races on reused numbers."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path


def start_time(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (proc(5) field 22); None when gone.

    A zombie counts as gone.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def is_alive(pid: int, started: int) -> bool:
    """Whether this very process (not another with its number) still runs."""
    return pid > 0 and start_time(pid) == started


def open_process(pid: int, started: int | None = None) -> int | None:
    """A pidfd, or None when the process has ended or is another one than ``started`` says.

    A zombie that has not been waited for can be opened: its end is then seen at once.
    """
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    if started is not None and not _same(pid, started):
        os.close(fd)
        return None
    return fd


def _same(pid: int, started: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    fields = stat.rpartition(")")[2].split()
    return len(fields) >= 20 and int(fields[19]) == started


def send_signal(pid: int, started: int, number: int) -> bool:
    """Signal exactly this process; False when it has ended already."""
    fd = open_process(pid, started)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


async def wait_ended(fd: int) -> None:
    """Until the process behind a pidfd has ended. Does not close ``fd``."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def readable() -> None:
        loop.remove_reader(fd)
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(fd, readable)
    try:
        await ended
    finally:
        loop.remove_reader(fd)


async def wait_pid(pid: int, started: int | None = None) -> None:
    """Until the process has ended; at once when it already has."""
    fd = open_process(pid, started)
    if fd is None:
        return
    try:
        await wait_ended(fd)
    finally:
        os.close(fd)


async def end_process(pid: int, started: int, *, patience: float = 2.0) -> bool:
    """SIGKILL and wait; False when it still runs after ``patience`` seconds (stuck in kernel)."""
    fd = open_process(pid, started)
    if fd is None:
        return True
    try:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        try:
            await asyncio.wait_for(wait_ended(fd), patience)
        except TimeoutError:
            return False
    finally:
        os.close(fd)
    return True
