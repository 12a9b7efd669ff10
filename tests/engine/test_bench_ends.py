"""The bench ends what it started, however it is ended itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.leftovers import cgroups_of, interfaces, mounts_below, network_tag, tables
from bench.processes import of_root
from tests.support.engine import eventually
from tests.support.machine import temporary_root

pytestmark = pytest.mark.root

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def root() -> Iterator[Path]:
    path = temporary_root()
    yield path
    shutil.rmtree(path, ignore_errors=True)


def containers(root: Path) -> set[str]:
    return {each.name for each in root.glob("wb-*/wherry/data/containers/*")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_bench_that_is_ended(root: Path, number: signal.Signals) -> None:
    # Five containers run during this case, and more rounds than anybody waits for.
    command = [sys.executable, "-m", "bench", "--no-docker", "--only", "ps"]
    bench = subprocess.Popen(
        [*command, "--rounds", "1000000", "--root", str(root)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        eventually(lambda: len(containers(root)) == 5 and len(running(root)) == 5, seconds=120)
        identities = containers(root)
        tags = [network_tag(each) for each in root.glob("wb-*/wherry")]
        assert [bool(interfaces(each)) for each in tags] == [True]
        # As a terminal and ``timeout`` do it: to all that are in the group, and more than once.
        os.killpg(bench.pid, number)
        os.killpg(bench.pid, number)
        assert bench.wait(120) == (-number if number == signal.SIGKILL else 130)
        eventually(lambda: not list(root.iterdir()), seconds=120)
        eventually(lambda: not of_root(root), seconds=60)
        assert not cgroups_of(identities)
        assert not mounts_below(root)
        assert not [each for each in tags if interfaces(each) or each in tables()]
    finally:
        bench.kill()
        bench.wait(30)


def running(root: Path) -> set[str]:
    """Containers that have a cgroup with processes."""
    return {
        identity
        for identity in containers(root)
        if any(held(each / "cgroup.procs") for each in cgroups_of({identity}))
    }


def held(members: Path) -> bool:
    try:
        return bool(members.read_text())
    except OSError:
        return False
