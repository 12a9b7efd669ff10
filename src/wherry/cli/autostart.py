"""Start the daemon when root finds none on the default socket."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.client.config import Endpoint

START_TIMEOUT = 30.0


def ensure_daemon(endpoint: Endpoint) -> None:
    """Do nothing when a host was chosen, we are not root, or something listens already.

    Raises :class:`~wherry.cli.errors.CliError` with the end of the daemon's log when the daemon
    we started does not become ready.
    """
    if endpoint.chosen or os.geteuid() != 0 or os.environ.get("WHERRY_NO_AUTOSTART"):
        return
    path = endpoint.host.removeprefix("unix://")
    if _listening(path):
        return
    _start(path)


def _listening(path: str) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _start(path: str) -> None:
    import fcntl
    import subprocess
    import sys

    from wherry.cli.errors import CliError

    folder = os.path.dirname(path)
    log = os.path.join(folder, "wherryd.log")
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        lock = os.open(os.path.join(folder, "autostart.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise CliError(f"cannot start the Wherry daemon: {error}") from None
    try:
        # Two commands at once: the second waits and finds the first one's daemon.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _listening(path):
            return
        print(f"Starting the Wherry daemon (log: {log})", file=sys.stderr)
        with open(log, "ab") as output:
            begin = output.tell()
            process = subprocess.Popen(
                _program(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
                close_fds=True,
            )
        _wait_ready(path, process, log, begin)
    finally:
        os.close(lock)


def _program() -> list[str]:
    """``wherryd`` beside this interpreter, else the module."""
    import sys

    beside = os.path.join(os.path.dirname(sys.executable), "wherryd")
    return [beside] if os.access(beside, os.X_OK) else [sys.executable, "-m", "wherry.daemon.main"]


def _wait_ready(path: str, process: subprocess.Popen[bytes], log: str, begin: int) -> None:
    import time

    from wherry.cli.errors import CliError

    end = time.monotonic() + START_TIMEOUT
    while not _listening(path):
        ended = process.poll() is not None
        if not ended and time.monotonic() < end:
            time.sleep(0.02)
            continue
        what = (
            f"ended with code {process.returncode}"
            if ended
            else f"is not ready after {START_TIMEOUT:.0f} s"
        )
        raise CliError(f"the Wherry daemon {what}; the end of {log}:\n{_tail(log, begin)}")


def _tail(log: str, begin: int, lines: int = 15) -> str:
    try:
        with open(log, "rb") as file:
            file.seek(begin)
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        return str(error)
    return "\n".join(text.strip().splitlines()[-lines:]) or "(nothing was written)"


if TYPE_CHECKING:
    import subprocess
