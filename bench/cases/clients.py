"""Whole client processes: Docker's command against both engines, and each engine's own."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.case import Case, Generated, Prepared
from bench.cases.life import running
from bench.engines import Engine, docker_cli, find_dockerd
from bench.http import EngineError
from bench.image import IMAGE

LISTED = 5
"""Containers that run while ``ps`` is measured."""


def _docker_command() -> Path:
    found = docker_cli(find_dockerd(None)) or _unpacked()
    if found is None:
        raise EngineError("there is no docker command on this machine")
    return found


def _unpacked() -> Path | None:
    found = Path(__file__).resolve().parents[2] / ".tools/docker/usr/bin/docker"
    return found if found.exists() else None


def own_command(engine: Engine) -> Path:
    if engine.cli is None:
        raise EngineError(f"{engine.name} has no command of its own here")
    return engine.cli


def timed(engine: Engine, command: Path, arguments: list[str]) -> float:
    begin = time.perf_counter()
    done = subprocess.run(
        [str(command), *arguments],
        env=engine.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    taken = time.perf_counter() - begin
    if done.returncode != 0:
        raise EngineError(f"{command.name} {' '.join(arguments)}: {done.stderr.decode()}")
    return taken * 1000


def _docker(arguments: list[str]) -> Callable[[Engine], Prepared]:
    @contextmanager
    def prepare(engine: Engine) -> Generated:
        command = _docker_command()
        yield lambda: timed(engine, command, arguments)

    return prepare


@contextmanager
def _docker_exec(engine: Engine) -> Generated:
    command = _docker_command()
    with running(engine, ["sleep", "100000"]) as (_, name):
        yield lambda: timed(engine, command, ["exec", name, "true"])


@contextmanager
def _own_ps(engine: Engine) -> Generated:
    command = own_command(engine)
    with ExitStack() as stack:
        for _ in range(LISTED):
            stack.enter_context(running(engine, ["sleep", "100000"]))
        yield lambda: timed(engine, command, ["ps"])


_RUN = ["run", "--rm", "--network", "none", IMAGE, "true"]
CASES: tuple[Case, ...] = (
    Case("cli-run", "docker run --rm --network none ... true", _docker(_RUN), budget=0.5),
    Case("cli-exec", "docker exec ... true", _docker_exec, budget=0.6),
    Case("ps", "`ps` of 5 running, own command, whole process", _own_ps, rounds=15),
)
if not (shutil.which("docker") or _unpacked()):
    CASES = CASES[2:]
