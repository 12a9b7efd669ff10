"""The containers service: what the API asks of containers. (Contract; see methods.)

Implemented by ``containers.engine.ContainerEngine``. ``ref`` is a full id, a unique id prefix or a
name, with or without the leading slash. ``NotFound`` text: "No such container: REF".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from wherry.runtime.logline import Entry
from wherry.trees.flow import Inlet, Outlet
from wherry.wire.container import CreateRequest, UpdateRequest


@dataclass(frozen=True)
class AttachOptions:
    logs: bool = False
    stream: bool = False
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    detach_keys: str | None = None
    """None: the default ``ctrl-p,ctrl-q``; text as Docker's ``detachKeys``."""


@dataclass(frozen=True)
class LogOptions:
    stdout: bool = True
    stderr: bool = True
    follow: bool = False
    since: float | None = None
    until: float | None = None
    timestamps: bool = False
    tail: int | None = None
    """None: all."""
    details: bool = False


LogLine = Entry
"""One line of a log with its newline; a line that has not ended has none."""


@dataclass(frozen=True)
class ExecRequest:
    cmd: Sequence[str]
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    tty: bool = False
    detach_keys: str | None = None
    env: Sequence[str] = ()
    working_dir: str = ""
    user: str = ""
    privileged: bool = False
    console_size: tuple[int, int] | None = None


@dataclass
class Outcome:
    """What an update answers: API names of what changed, mounts as ``Mounts TARGET``."""

    warnings: list[str] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)
    at_next_start: list[str] = field(default_factory=list)


class Session(Protocol):
    """One client's stdio session on a container or exec; the API pumps it to the socket.

    The API frames chunks (multiplexed when ``tty`` is False). A detach key sequence read from
    the client ends the session with ``detached``.
    """

    tty: bool

    async def read(self) -> tuple[int, bytes] | None:
        """Next output chunk, or None at the end (exit or detach)."""

    async def write(self, data: bytes) -> None:
        """Client input. Recognises the detach keys."""

    async def close_stdin(self) -> None: ...

    async def close(self) -> None:
        """The client is gone."""


class Containers(Protocol):
    async def create(
        self, name: str | None, request: CreateRequest, platform: str | None = None
    ) -> tuple[str, list[str]]:
        """Returns id and warnings. ``Conflict``: name in use; ``NotFound``: no such image."""

    async def start(self, ref: str, checkpoint: str = "", checkpoint_dir: str = "") -> None:
        """``NotModified`` when running already. ``checkpoint``: go on from it; its directory is
        the container's own, or below ``checkpoint_dir``."""

    async def stop(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        """``timeout`` seconds, -1 for ever. ``NotModified`` when not running."""

    async def restart(
        self, ref: str, timeout: int | None = None, signal: str | None = None
    ) -> None: ...

    async def kill(self, ref: str, signal: str | None = None) -> None: ...

    async def pause(self, ref: str) -> None: ...

    async def unpause(self, ref: str) -> None: ...

    async def wait(self, ref: str, condition: str = "not-running") -> tuple[int, str]:
        """Exit code and error message. Conditions: not-running, next-exit, removed.

        The lookup and the registration happen before the first await: a caller that has started
        the coroutine misses no exit.
        """

    async def rename(self, ref: str, name: str) -> None: ...

    async def remove(
        self, ref: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None: ...

    def summaries(
        self,
        filters: Mapping[str, Sequence[str]],
        *,
        all: bool = False,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """Rows of ``GET /containers/json``, newest first."""

    async def sized(
        self,
        filters: Mapping[str, Sequence[str]],
        *,
        all: bool = False,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """The same with sizes, which take their time on the disk."""

    async def sizes(self, ref: str) -> tuple[int, int]:
        """Bytes of the writable layer, and of the whole root file system."""

    def inspect(self, ref: str, *, sizes: tuple[int, int] | None = None) -> dict[str, Any]: ...

    def logs(self, ref: str, options: LogOptions) -> AsyncGenerator[list[LogLine], None]:
        """Lines in batches. Raises before the first is asked for when the container is unknown."""

    def log_details(self, ref: str) -> str:
        """``key=value,...`` of the labels and variables that the log options name."""

    async def clear_logs(self, ref: str) -> None:
        """Forget everything logged so far (beyond Docker)."""

    def tty(self, ref: str) -> bool:
        """Whether the container has a terminal (and so raw streams)."""

    async def attach(self, ref: str, options: AttachOptions) -> Session: ...

    async def resize(self, ref: str, height: int, width: int) -> None: ...

    async def exec_create(self, ref: str, request: ExecRequest) -> str: ...

    async def exec_start(
        self,
        exec_id: str,
        *,
        detach: bool = False,
        tty: bool | None = None,
        console_size: tuple[int, int] | None = None,
    ) -> Session | None:
        """None when detached."""

    async def exec_resize(self, exec_id: str, height: int, width: int) -> None: ...

    def exec_inspect(self, exec_id: str) -> dict[str, Any]: ...

    async def update(self, ref: str, asked: UpdateRequest) -> Outcome:
        """Change an existing container, as a whole or not at all; a running one at once where
        the kernel allows. ``Invalid`` names a field that contradicts itself or the container."""

    async def top(self, ref: str, ps_args: str = "-ef") -> tuple[list[str], list[list[str]]]: ...

    async def changes(self, ref: str) -> list[tuple[str, int]]:
        """(path, 0 modified | 1 added | 2 deleted)."""

    async def commit(
        self,
        ref: str,
        *,
        reference: str | None,
        comment: str = "",
        author: str = "",
        pause: bool = True,
        changes: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
    ) -> str:
        """Returns the image id."""

    async def prune(
        self, filters: Mapping[str, Sequence[str]], *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Remove the containers that do not run; ``dry_run``: only say which and how much."""

    async def disk_usage(self) -> list[dict[str, Any]]: ...

    def counts(self) -> dict[str, int]:
        """{"running": n, "paused": n, "stopped": n}, for ``/info``."""

    def using(self, image_id: str) -> list[tuple[str, bool]]:
        """(container id, running) of containers made from the image, or mounting it."""

    async def reconcile(self) -> None:
        """Start-up: adopt what runs, record what ended, finish or undo what was interrupted."""

    async def end_all(self, extend: Callable[[float], None]) -> None:
        """The machine goes down: end every container as ``stop`` does, side by side; at the next
        boot restart policies start them again. Tells ``extend`` how many seconds it may take."""

    async def shutdown(self) -> None:
        """The daemon ends: leave containers running, end our own sessions and tasks."""


class Outgoing(Protocol):
    """A tar that is yet to be made: ``send`` once, in a thread, or not; then ``close``."""

    def send(self, outlet: Outlet) -> None:
        """Blocks. Raises ``ConnectionError`` when nobody takes it, else kinds of ours."""

    async def close(self) -> None:
        """Let go of the container's files. Idempotent."""


class ContainerFiles(Protocol):
    """Files in and out of containers, running or not."""

    async def path_stat(self, ref: str, path: str) -> dict[str, Any]:
        """name, size, mode (Go's), mtime, linkTarget of a path inside the container."""

    async def archive(
        self, ref: str, path: str, *, name: str = "", pattern: bool = False
    ) -> tuple[dict[str, Any], Outgoing]:
        """The path's stat and a tar of it, its first member called ``name``, or as the path is.

        ``pattern``: the path has wildcards (Go's ``path.Match``): a tar of all that match, and
        the stat of the folder that they are in, or of the one before the first wildcard.
        """

    async def extract(
        self,
        ref: str,
        path: str,
        inlet: Inlet,
        stop: Callable[[], None],
        *,
        keep_kinds: bool = False,
        copy_owner: bool = False,
    ) -> None:
        """Unpack a tar (plain or compressed) into a folder of the container.

        ``stop`` makes reads of ``inlet`` fail, for a caller that is cancelled.
        """

    async def export(self, ref: str) -> Outgoing:
        """A tar of the root file system."""


class ContainerStats(Protocol):
    """What containers use."""

    def stats(
        self, ref: str, *, follow: bool, one_shot: bool = False
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Samples of ``GET /containers/{id}/stats``: one a second, or one in all.

        Raises ``NotFound`` before the first sample is asked for.
        """


class ContainerCheckpoints(Protocol):
    """Containers' processes as files; ``folder``: where else than beside the container."""

    async def checkpoint(self, ref: str, name: str, folder: str = "", *, end: bool = False) -> None:
        """``end``: the container ends with it. ``NotImplementedYet`` says what the host lacks."""

    def checkpoints(self, ref: str, folder: str = "") -> list[str]: ...

    async def remove_checkpoint(self, ref: str, name: str, folder: str = "") -> None: ...
