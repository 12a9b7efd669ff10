"""Processes held by descriptor: awaited and signalled without races on reused numbers."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)


_PAUSE = 0.1
"""Seconds between two tries where the host has no descriptor to give."""


def _stat(pid: int) -> list[str]:
    """What proc(5) says of a process, behind its name; empty when it is gone.

    Raises ``OSError`` when nobody can tell: a host without free descriptors does not mean that
    the process has ended.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    fields = text.rpartition(")")[2].split()
    return fields if len(fields) >= 20 else []


def start_time(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (proc(5) field 22); None when gone.

    A zombie counts as gone. Raises ``OSError`` when nobody can tell.
    """
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in ("Z", "X") else None


def is_alive(pid: int, started: int) -> bool:
    """Whether this very process (not another with its number) still runs. ``OSError``: nobody
    can tell."""
    return pid > 0 and start_time(pid) == started


def open_process(pid: int, started: int | None = None) -> int | None:
    """A pidfd, or None when the process has ended or is another one than ``started`` says.

    A zombie that has not been waited for can be opened: its end is then seen at once. Raises
    ``OSError`` when the host has no descriptor to give.
    """
    if pid <= 0:
        return None
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        same = started is None or _same(pid, started)
    except BaseException:
        os.close(fd)
        raise
    if same:
        return fd
    os.close(fd)
    return None


async def opened(pid: int, started: int | None = None) -> int | None:
    """As ``open_process``; waits while the host has no descriptor to give."""
    while True:
        try:
            return open_process(pid, started)
        except OSError as error:
            _log.warning("process %d cannot be looked at: %s; trying again", pid, error)
            await asyncio.sleep(_PAUSE)


def _same(pid: int, started: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and int(fields[19]) == started


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
    fd = await opened(pid, started)
    if fd is None:
        return
    try:
        await wait_ended(fd)
    finally:
        os.close(fd)


async def end_process(pid: int, started: int, *, patience: float = 2.0) -> bool:
    """SIGKILL and wait; False when it still runs after ``patience`` seconds (stuck in kernel)."""
    fd = await opened(pid, started)
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
