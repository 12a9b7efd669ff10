"""The in-memory runtime passes the suite of all runtimes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.runtime.runtime_conformance import RuntimeConformance, World

from wherry.runtime.memory import MemoryRuntime
from wherry.runtime.port import ExecLaunch, Launch, RootMounts


class MemoryWorld(World):
    def __init__(self, base: Path) -> None:
        self.base = base
        self.runtime = MemoryRuntime()

    def launch(
        self,
        container_id: str,
        *arguments: str,
        stdin: bool = False,
        leave_stdin_open: bool = True,
        terminal: bool = False,
        runtime: str = "",
    ) -> Launch:
        folder = self.base / container_id
        folder.mkdir(exist_ok=True)
        return Launch(
            container_id,
            folder / "run",
            {"process": {"args": list(arguments)}},
            RootMounts([], folder / "upper", folder / "work", folder / "rootfs"),
            folder / "log",
            folder / "exit",
            terminal=terminal,
            stdin=stdin,
            leave_stdin_open=leave_stdin_open,
            runtime=runtime,
        )

    def exec_launch(
        self,
        exec_id: str,
        container_id: str,
        *arguments: str,
        stdin: bool = False,
        attach: bool = True,
        terminal: bool = False,
    ) -> ExecLaunch:
        return ExecLaunch(
            exec_id,
            container_id,
            self.base / container_id / "run",
            {"args": list(arguments)},
            self.base / exec_id,
            terminal=terminal,
            stdin=stdin,
            attach=attach,
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return MemoryWorld(tmp_path)


class TestMemoryRuntime(RuntimeConformance):
    pass
