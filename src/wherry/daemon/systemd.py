"""systemd around the daemon: readiness, sockets it passes, log lines, the end of the machine.

Specifications: sd_notify(3), sd_listen_fds(3), sd-daemon(3). Nothing here needs systemd: without
it there is nobody to tell, no socket passed, and nothing ends but us.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress

_FIRST_PASSED = 3
_ASK_LIMIT = 10.0
"""Seconds that ``systemctl`` may take."""
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def notify(state: str) -> None:
    """Tell systemd (``Type=notify``), if it asked."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), address)


def passed(environment: Mapping[str, str] = os.environ) -> list[int]:
    """Descriptors of the sockets that were passed to this process."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environment.get("LISTEN_FDS", "")
    return list(range(_FIRST_PASSED, _FIRST_PASSED + int(count))) if count.isdigit() else []


async def machine_ends() -> bool:
    """Whether the whole machine is being shut down, and not the daemon alone."""
    try:
        asked = await asyncio.create_subprocess_exec(
            "systemctl",
            "is-system-running",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return False
    try:
        answer, _ = await asyncio.wait_for(asked.communicate(), _ASK_LIMIT)
    except TimeoutError:
        with suppress(ProcessLookupError):
            asked.kill()
        await asked.wait()
        return False
    return answer.strip() == b"stopping"


class _JournalFormatter(logging.Formatter):
    """The journal knows the time; it takes the level from a prefix."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        level = next((shown for least, shown in _PRIORITIES if record.levelno >= least), 7)
        return "\n".join(f"<{level}>{line}" for line in super().format(record).splitlines())


def log_formatter(stderr: int = 2) -> logging.Formatter:
    """For lines on standard error, which may be the journal (``JOURNAL_STREAM``)."""
    with suppress(OSError):
        status = os.fstat(stderr)
        if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
            return _JournalFormatter()
    return logging.Formatter(LOG_FORMAT)
