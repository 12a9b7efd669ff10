"""Bodies of the exec calls of the Engine API (v1.24-v1.55)."""

from __future__ import annotations

from wherry.wire.container import Wire


class ExecBody(Wire):
    """``POST /containers/{id}/exec``."""

    user: str | None = None
    privileged: bool | None = None
    tty: bool | None = None
    console_size: list[int] | None = None
    attach_stdin: bool | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    detach: bool | None = None
    detach_keys: str | None = None
    env: list[str] | None = None
    working_dir: str | None = None
    cmd: list[str] | None = None


class ExecStartBody(Wire):
    """``POST /exec/{id}/start``."""

    detach: bool | None = None
    tty: bool | None = None
    console_size: list[int] | None = None
