"""The check at the end of a run of the tests finds what they left, and nothing of others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.leftovers import network_tag, wipe
from tests.support.machine import temporary_root, traces

from wherry.linux.cgroups import host_layout

pytestmark = pytest.mark.root


@pytest.fixture
def root() -> Iterator[Path]:
    made = temporary_root()
    yield made
    wipe(made)


def sh(*words: str | Path) -> None:
    subprocess.run(words, check=True)


def test_a_network_is_told_when_its_daemon_has_gone(root: Path, tmp_path: Path) -> None:
    tag = network_tag(root)
    sh("ip", "link", "add", "wt-left", "type", "bridge")
    sh("ip", "link", "set", "wt-left", "alias", f"wherry:{tag}:0123")
    sh("nft", "add", "table", "inet", tag)
    both = {"network interface wt-left", f"nftables table inet {tag}"}
    assert both <= traces(tmp_path)
    daemon = [sys.executable, "-c", "input()", "--data-root", f"{root}/data"]
    with subprocess.Popen(daemon, stdin=subprocess.PIPE) as beside:
        told = traces(tmp_path)
        assert both <= traces(tmp_path, used=True)
        beside.communicate(b"\n")
    assert not both & told
    assert [each for each in told if each.startswith(f"process {beside.pid}: ")]
    assert both <= traces(tmp_path)
    wipe(root)
    assert not both & traces(tmp_path)


def test_mounts_and_cgroups_are_told(root: Path, tmp_path: Path) -> None:
    for folder in (root / "m", tmp_path / "m"):
        folder.mkdir()
        sh("mount", "-t", "tmpfs", "tmpfs", folder)
    group = Path(host_layout().directories(root.name)[0])
    group.mkdir()
    try:
        assert {f"mount {root}/m", f"mount {tmp_path}/m", f"cgroup {group}"} <= traces(tmp_path)
    finally:
        group.rmdir()
        sh("umount", tmp_path / "m")
    wipe(root)
    assert not [each for each in traces(tmp_path) if root.name in each or str(tmp_path) in each]
