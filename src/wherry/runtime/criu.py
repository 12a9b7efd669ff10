"""Checkpoints of processes through criu: whether this host can, and what its calls look like.

Looked at when somebody asks for a checkpoint, not at start-up; a host that gets criu later can
from then on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from wherry.runtime.commands import ENVIRONMENT, Commands, find
from wherry.runtime.crun import is_crun

DUMP_LOG, RESTORE_LOG = "dump.log", "restore.log"
LIMIT = 600.0
"""Seconds for a checkpoint: a large process is written to disk."""
_ERROR = re.compile(r"^\([\d.]+\)\s+(?:\d+: )?Error \([^)]*\): (.*)$", re.MULTILINE)
_DONE = "Dumping finished successfully"


class Criu:
    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._good: set[str] = set()
        """Binaries that have passed their own check on this kernel."""

    async def lack(self, runtime: str) -> str:
        """What is missing for checkpoints under this runtime (a path); empty: nothing."""
        if is_crun(runtime):
            done = await self._commands.run([runtime, "--version"], limit=10.0)
            if "+CRIU" not in done.stdout:
                return (
                    "this host's crun is built without criu: make the container with a runtime "
                    "that can, such as --runtime runc"
                )
        path = find("criu")
        if path is None:
            return "criu is not installed: install the package criu"
        if path in self._good:
            return ""
        done = await self._commands.run([path, "check"], limit=60.0)
        if done.code != 0:
            return f"this kernel lacks what criu needs: {first_error(done.stdout + done.stderr)}"
        self._good.add(path)
        return ""

    def environment(self) -> Mapping[str, str]:
        """For runtimes, which look for criu in PATH."""
        path = find("criu")
        if path is None:
            return ENVIRONMENT
        return {**ENVIRONMENT, "PATH": f"{ENVIRONMENT['PATH']}:{os.path.dirname(path)}"}


def first_error(text: str) -> str:
    """The first line of what ``criu check`` complains about."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = [line for line in lines if line.startswith("Error") or "is not supported" in line]
    return (wrong or lines or ["criu check failed"])[0]


def checkpoint_words(image: Path, container_id: str, *, leave_running: bool) -> list[str]:
    """Words of ``runc checkpoint`` and ``crun checkpoint``."""
    words = ["checkpoint", "--image-path", str(image), "--work-path", str(image)]
    if leave_running:
        words.append("--leave-running")
    return [*words, container_id]


def complaint(log: Path) -> str:
    """The last error of criu's log; empty when there is none."""
    try:
        found = _ERROR.findall(log.read_text(errors="replace"))
    except OSError:
        return ""
    return str(found[-1]).strip() if found else ""


def finished(image: Path) -> bool:
    """Whether the checkpoint in this directory is whole, as its log says."""
    try:
        return _DONE in (image / DUMP_LOG).read_text(errors="replace")
    except OSError:
        return False
