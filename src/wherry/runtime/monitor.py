"""conmon's conventions, pure: its argument lists, sync-pipe messages and our note beside it.

The note (``monitor.json`` in the monitor's directory) is what ``adopt`` reads after a restart of
the daemon.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

NOTE = "monitor.json"
PID_FILE = "pid"
ATTACH_SOCKET = "attach"
CONTROL = "ctl"
STDERR = "monitor.err"
SPEC = "config.json"
PROCESS_SPEC = "process.json"
CHECK_SPEC = "check.json"
CHECK_PID = "check.pid"
PLUMBING = (
    NOTE,
    CHECK_SPEC,
    CHECK_PID,
    PID_FILE,
    ATTACH_SOCKET,
    CONTROL,
    "winsz",
    STDERR,
    SPEC,
    PROCESS_SPEC,
    "oom",
    "restore.log",
    "stats-restore",
)
"""Every file that can appear in a monitor's directory; nothing else is removed from it."""


class Note(msgspec.Struct):
    """What must be known of a monitor to adopt it: numbers of its processes, and how it runs."""

    container_id: str
    runtime: str
    """Name of the configured runtime, never empty."""
    monitor_pid: int
    monitor_start: int
    pid: int = 0
    """0: launched, and not known to have reached the created state."""
    pid_start: int = 0
    terminal: bool = False
    stdin: bool = False
    leave_stdin_open: bool = True
    cgroup: str = ""
    shares: int = 0
    """CPU weight that the container should have while it runs; 0: not known."""


def encode_note(note: Note) -> bytes:
    return msgspec.json.encode(note)


def decode_note(raw: bytes) -> Note | None:
    """None for a note cut short by a crash."""
    try:
        return msgspec.json.decode(raw, type=Note)
    except (msgspec.DecodeError, ValueError):
        return None


@dataclass(frozen=True)
class SyncMessage:
    """One line of the sync pipe: a pid, an exit code, or a negative number and a complaint."""

    value: int
    message: str = ""


def parse_sync(line: bytes) -> SyncMessage | None:
    """None for what is no message. conmon does not escape every control character rightly."""
    try:
        value = json.loads(line.decode("utf-8", "replace"), strict=False)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    for key in ("data", "pid", "exit_code"):
        number = value.get(key)
        if isinstance(number, int):
            return SyncMessage(number, str(value.get("message", "")))
    return None


@dataclass(frozen=True)
class Tools:
    """Where the binaries are and where the runtime keeps its state."""

    monitor: str
    state_root: Path


def _common(tools: Tools, runtime: str, bundle: Path, container_id: str) -> list[str]:
    return [
        tools.monitor,
        "--api-version",
        "1",
        "--sync",
        "--cid",
        container_id,
        "--runtime",
        runtime,
        f"--runtime-arg=--root={tools.state_root}",
        "--bundle",
        str(bundle),
        "--container-pidfile",
        str(bundle / PID_FILE),
        "--full-attach",
        "--no-sync-log",
        "--log-level",
        "error",
    ]


def create_arguments(
    tools: Tools,
    runtime: str,
    bundle: Path,
    container_id: str,
    *,
    log_path: Path | None,
    exit_dir: Path,
    terminal: bool,
    stdin: bool,
    leave_stdin_open: bool,
    restore: Path | None = None,
) -> list[str]:
    """Arguments of the monitor of a container. ``restore``: a checkpoint to go on from."""
    arguments = _common(tools, runtime, bundle, container_id)
    arguments += ["--cuuid", container_id, "--name", container_id]
    arguments += ["--exit-dir", str(exit_dir), "--persist-dir", str(exit_dir)]
    arguments += ["--log-path", f"k8s-file:{log_path}" if log_path is not None else "none:"]
    if terminal:
        arguments.append("--terminal")
    if stdin:
        arguments.append("--stdin")
        if leave_stdin_open:
            arguments.append("--leave-stdin-open")
    if restore is not None:
        arguments += ["--restore", str(restore)]
    return arguments


def exec_arguments(
    tools: Tools,
    runtime: str,
    run_dir: Path,
    container_id: str,
    exec_id: str,
    *,
    terminal: bool,
    stdin: bool,
    attach: bool,
) -> list[str]:
    """Arguments of the monitor of an exec session."""
    arguments = _common(tools, runtime, run_dir, container_id)
    arguments += ["--cuuid", exec_id, "--name", exec_id]
    arguments += ["--exec", "--exec-process-spec", str(run_dir / PROCESS_SPEC)]
    arguments += ["--exit-dir", str(run_dir), "--log-path", "none:"]
    if terminal:
        arguments.append("--terminal")
    if stdin:
        arguments.append("--stdin")
    if attach:
        arguments.append("--exec-attach")
    return arguments


def resize_message(height: int, width: int) -> bytes:
    """Control line; conmon accepts sizes from 0 to 1000 only."""
    return b"1 %d %d\n" % (max(0, min(height, 1000)), max(0, min(width, 1000)))


REOPEN_MESSAGE = b"2 0 0\n"


def runtime_arguments(runtime: str, tools: Tools, words: Sequence[str]) -> list[str]:
    """Arguments of a direct call of the runtime."""
    return [runtime, f"--root={tools.state_root}", *words]
