"""Start processes inside private mount namespaces and wait for them without blocking the loop."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import Internal, Unavailable
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.pidfd import wait_pid
from wherry.linux.tasks import spawn

ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
}


_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/libexec/podman"


def find(name: str) -> str | None:
    """Absolute path of a tool, looked for in our PATH and in the system's directories."""
    return shutil.which(name) or shutil.which(name, path=_SEARCH)


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str


@dataclass
class Child:
    """A process we started and must wait for, so that no zombie stays."""

    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    async def ended(self) -> int:
        """Exit code as subprocess has it (negative: a signal)."""
        while True:
            code = self.process.poll()
            if code is not None:
                return code
            await wait_pid(self.pid)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()


def start(
    arguments: Sequence[str],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] = ENVIRONMENT,
    pass_fds: Sequence[int] = (),
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> Child:
    """Start a process in the namespaces of the calling thread. Raises ``Internal``."""
    try:
        return Child(
            subprocess.Popen(
                list(arguments),
                cwd=cwd,
                env=dict(environment),
                pass_fds=tuple(pass_fds),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        )
    except OSError as error:
        raise Internal(f"cannot run {arguments[0]}: {error}") from error


def reap(child: Child) -> None:
    """Kill a process that nobody wants any more, and wait for it in the background."""
    child.kill()
    spawn(child.ended(), name=f"reap-{child.pid}")


class Commands:
    """Runs short commands (calls of the OCI runtime)."""

    def __init__(self, mounts: PrivateMounts) -> None:
        self.mounts = mounts

    async def start(self, work: Callable[[], Child]) -> Child:
        """A process started by ``work`` in a private namespace; ended if we are cancelled."""
        return await self.mounts.run(work, abandon=reap)

    async def run(
        self,
        arguments: Sequence[str],
        *,
        limit: float = 30.0,
        environment: Mapping[str, str] = ENVIRONMENT,
    ) -> Finished:
        """Run to its end. Raises ``Unavailable`` when it takes more than ``limit`` seconds."""
        with ExitStack() as files:
            out, err = _memory("out", files), _memory("err", files)
            child = await self.start(
                lambda: start(arguments, environment=environment, stdout=out, stderr=err)
            )
            try:
                code = await asyncio.wait_for(child.ended(), limit)
            except (TimeoutError, asyncio.CancelledError) as error:
                reap(child)
                if isinstance(error, asyncio.CancelledError):
                    raise
                raise Unavailable(
                    f"{Path(arguments[0]).name} did not end within {limit:.0f} seconds: "
                    + " ".join(arguments[1:])
                ) from error
            return Finished(code, _content(out), _content(err))


def _memory(name: str, files: ExitStack) -> int:
    """A file without a place, closed with ``files``."""
    fd = os.memfd_create(name)
    files.callback(os.close, fd)
    return fd


def _content(fd: int, limit: int = 1 << 20) -> str:
    return os.pread(fd, limit, 0).decode("utf-8", "replace")
