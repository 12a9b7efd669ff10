"""What this host has of runtimes and monitors, found out once at start-up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

from wherry.errors import Unavailable
from wherry.linux.cgroups import host_layout
from wherry.linux.namespaces import Hidden, PrivateMounts
from wherry.linux.syscalls import LinuxSyscalls, Syscalls
from wherry.runtime.commands import Commands, find
from wherry.runtime.conmon import ConmonRuntime
from wherry.runtime.port import RuntimeFacts

PREFERRED = ("crun", "runc")
_PATIENCE = 120.0
"""Seconds that a program may take to say its version: at boot everything starts at once."""


def hidden_mounts(run_dir: Path) -> list[Hidden]:
    """Mounts that crun must not see: the version 2 tree of a hybrid host. Makes the cover."""
    layout = host_layout()
    if not layout.hybrid or layout.unified is None:
        return []
    cover = run_dir / "nothing"
    cover.mkdir(mode=0o555, parents=True, exist_ok=True)
    return [Hidden(str(Path(layout.unified).parent), layout.unified, str(cover))]


def version_of(text: str) -> str:
    """``1.8.1`` from what ``--version`` prints; empty when there is none."""
    match = re.search(r"version:?\s+v?(\d+[\w.+~-]*)", text)
    return match[1] if match else ""


def _lack(wanted: str, failures: Mapping[str, str]) -> str:
    """Why there is no runtime to work with."""
    if wanted:
        return f"the OCI runtime {wanted} cannot be run: {failures.get(wanted, 'it is not there')}"
    if failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        return f"no OCI runtime can be run: {reasons}"
    return "no OCI runtime is installed: install the package crun or runc"


async def open_runtime(
    run_dir: Path,
    *,
    configured: Mapping[str, str] | None = None,
    default: str = "",
    calls: Syscalls | None = None,
) -> tuple[ConmonRuntime, RuntimeFacts]:
    """The real adapter, and the facts for ``/info``.

    ``configured``: further runtimes by name, and where a standard one is overridden. Raises
    ``Unavailable`` naming the package when the monitor or every runtime is missing.
    """
    monitor = find("conmon")
    if monitor is None:
        raise Unavailable("conmon is not installed: install the package conmon")
    hide = hidden_mounts(run_dir)
    mounts = PrivateMounts(calls or LinuxSyscalls(), hide=hide)
    runtimes = {name: path for name in PREFERRED if (path := find(name))}
    runtimes.update(configured or {})
    commands = Commands(mounts)
    names = [name for name, path in runtimes.items() if Path(path).is_file()]
    answers = await asyncio.gather(
        *(commands.run([runtimes[name], "--version"], limit=_PATIENCE) for name in names),
        commands.run([monitor, "--version"], limit=_PATIENCE),
        return_exceptions=True,
    )
    versions, failures = {}, {}
    for name, answer in zip(names, answers, strict=False):
        if isinstance(answer, BaseException):
            failures[name] = str(answer)
        elif answer.code == 0:
            versions[name] = version_of(answer.stdout)
        else:
            failures[name] = f"exit code {answer.code} {answer.stderr.strip()}"
    chosen = default or next((name for name in PREFERRED if name in versions), "")
    if not chosen or chosen not in versions:
        raise Unavailable(_lack(chosen, failures))
    last = answers[-1]
    facts = RuntimeFacts(
        default=chosen,
        versions=versions,
        monitor_version="" if isinstance(last, BaseException) else version_of(last.stdout),
        private_cgroup_view=bool(hide),
    )
    state_root = run_dir / "runtime"
    state_root.mkdir(mode=0o711, parents=True, exist_ok=True)
    runtime = ConmonRuntime(
        monitor_path=monitor,
        runtimes=runtimes,
        default=chosen,
        state_root=state_root,
        mounts=mounts,
    )
    return runtime, facts
