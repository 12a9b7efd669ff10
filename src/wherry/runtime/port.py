"""The runtime port: what the life cycle asks of a monitor (conmon) and an OCI runtime.

The monitor outlives the daemon: it owns the container's stdio or terminal, writes the log
(CRI line format: ``<RFC3339Nano> stdout|stderr P|F <text>``) and the exit code. Everything that
the port returns can be found again after a daemon restart by ``adopt``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class RootMounts:
    """How the root file system is stacked: mounted in the monitor's private mount namespace."""

    lower: Sequence[str]
    """Read-only layer directories, topmost first."""
    upper: Path
    work: Path
    target: Path


@dataclass(frozen=True)
class Launch:
    """One start of a container."""

    container_id: str
    bundle: Path
    spec: Mapping[str, Any]
    """OCI runtime spec (``config.json``)."""
    root: RootMounts
    log_path: Path | None
    """None: no log is kept."""
    exit_dir: Path
    terminal: bool
    stdin: bool
    leave_stdin_open: bool
    """False: the container's stdin ends when an attached client ends its own (StdinOnce)."""
    runtime: str = ""
    """Name of a configured runtime; empty for the default."""
    console_size: tuple[int, int] | None = None
    """Height and width, of a terminal."""
    restore: Path | None = None
    """A checkpoint to go on from; the processes then run at once, without ``start``."""


@dataclass(frozen=True)
class Running:
    """A created or running container as the world has it. Pids with start times, against reuse."""

    container_id: str
    pid: int
    pid_start: int
    monitor_pid: int
    monitor_start: int


@dataclass(frozen=True)
class Exit:
    """How a container or exec ended."""

    code: int
    at: float
    """Unix time, seconds."""
    oom: bool = False
    error: str = ""


@dataclass(frozen=True)
class ExecLaunch:
    """One exec session."""

    exec_id: str
    container_id: str
    bundle: Path
    process: Mapping[str, Any]
    """``process`` object of the OCI runtime spec."""
    run_dir: Path
    terminal: bool
    stdin: bool
    attach: bool
    runtime: str = ""
    console_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Check:
    """A short command in a running container, whose output is wanted when it has ended."""

    container_id: str
    bundle: Path
    process: Mapping[str, Any]
    """``process`` object of the OCI runtime spec; the same object for each check of one run."""
    timeout: float
    """Seconds, then it is ended."""
    most: int
    """Bytes of output that are kept."""
    runtime: str = ""


@dataclass(frozen=True)
class Checked:
    code: int
    output: bytes
    timed_out: bool = False


class AttachStream(Protocol):
    """A client of one container's (or exec's) stdio, through the monitor's attach socket."""

    async def read(self) -> tuple[int, bytes] | None:
        """Next chunk as (1 stdout | 2 stderr, bytes), or None when the output has ended."""

    async def write(self, data: bytes) -> None:
        """Write to stdin; waits while the container does not read."""

    async def close_stdin(self) -> None:
        """End of our input."""

    async def close(self) -> None: ...


class Runtime(Protocol):
    """Adapters: the real one (``runtime.conmon``) and the in-memory one (``runtime.memory``)."""

    async def create(self, launch: Launch) -> Running:
        """Mount the root, start monitor and runtime; the process waits for ``start``.

        Raises ``NotFound`` for an unknown runtime; ``CommandNotFound`` (127) and
        ``CommandNotExecutable`` (126) of ``runtime.failures``; ``Internal`` else. Leaves nothing
        behind when it raises.
        """

    async def start(self, container_id: str, runtime: str = "") -> None:
        """Let the created process run. May raise as ``create`` (crun finds 126/127 here)."""

    async def adopt(self, container_id: str, bundle: Path) -> Running | None:
        """Find a container launched by an earlier daemon; None when its monitor has ended."""

    async def wait(self, running: Running, exit_dir: Path) -> Exit:
        """Until the monitor has ended (and so the log is complete); then code and time."""

    async def unmounted(self, container_id: str) -> None:
        """After ``wait``: until nothing of the ended run is mounted any more.

        Mounting its layers or its volumes' devices again must wait for it; nothing else need.
        """

    async def exit_record(self, container_id: str, exit_dir: Path) -> Exit | None:
        """The exit written while nobody looked, or None."""

    async def kill(self, running: Running, signal: int) -> None:
        """Send a signal to the container's first process. No error when it has just ended."""

    async def pause(self, container_id: str, runtime: str = "") -> None: ...

    async def resume(self, container_id: str, runtime: str = "") -> None: ...

    async def is_paused(self, container_id: str) -> bool:
        """Whether it is frozen now; False for what is not there."""

    async def delete(self, container_id: str, bundle: Path, runtime: str = "") -> None:
        """Remove what the runtime keeps (cgroup, state, run directory); kills what remains.

        Idempotent; also ends a monitor that is left without container.
        """

    async def attach(self, container_id: str, bundle: Path, *, stdin: bool = True) -> AttachStream:
        """``stdin`` False for a client that only listens: its close then never ends stdin.

        Raises ``Conflict`` when the monitor has ended.
        """

    async def resize(self, control_dir: Path, height: int, width: int) -> None:
        """Resize the terminal of the container or exec whose monitor lives in ``control_dir``."""

    async def reopen_log(self, control_dir: Path) -> None:
        """Make the monitor reopen its log path, after a rotation by rename."""

    async def exec(self, launch: ExecLaunch) -> tuple[Running, AttachStream | None]:
        """Start a process in a running container; attached before it runs, if asked."""

    async def exec_wait(self, exec_id: str, run_dir: Path, running: Running) -> Exit: ...

    async def check(self, check: Check) -> Checked:
        """Run to the end; one at a time in a container. It does not outlive the daemon: ``adopt``
        ends what a killed one left. Raises as ``exec`` for a command that cannot run."""

    async def update(
        self, container_id: str, resources: Mapping[str, Any], runtime: str = ""
    ) -> None:
        """Apply OCI ``linux.resources`` to a running container."""

    async def checkpoint_lack(self, runtime: str = "") -> str:
        """What this host lacks for checkpoints under the runtime, for the user; empty: nothing."""

    async def checkpoint(
        self, container_id: str, image: Path, *, leave_running: bool, runtime: str = ""
    ) -> None:
        """Write the container's processes into ``image``, an empty directory; they end unless
        ``leave_running``. Raises ``Internal`` with criu's words, and they go on then."""

    def checkpoint_whole(self, image: Path) -> bool:
        """Whether a checkpoint that nobody saw the end of is complete."""

    async def processes(self, container_id: str, running: Running) -> list[int]:
        """Host pids of all processes of the container."""

    def runtimes(self) -> dict[str, str]:
        """Configured runtimes: name -> path of the binary; the default one is under ``""`` too."""


@dataclass(frozen=True)
class RuntimeFacts:
    """What was probed at start-up, for ``/info``."""

    default: str
    versions: dict[str, str] = field(default_factory=dict)
    monitor_version: str = ""
    private_cgroup_view: bool = False
    """True where crun only runs with the hybrid host's v2 cgroup mount hidden from it."""
