"""Other firewalls on the host: nothing of ours comes back once it has been taken away."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.linux import nft
from wherry.networks import neighbours as module
from wherry.networks.neighbours import Neighbours
from wherry.networks.zones import Zones


def test_nothing_is_appended_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the host's firewall may be told when the daemon has taken its rules away."""

    def asked(text: str) -> str:
        raise AssertionError(f"nft was asked: {text}")

    neighbours = Neighbours(7, Zones(list))
    neighbours.part()
    monkeypatch.setattr(nft, "run", asked)
    assert neighbours.come_to_terms() == []


def test_comments_of_the_hosts_rules_may_be_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "iptables-nft"
    program.write_text("#!/bin/sh\nprintf '# Gr\\374\\337e\\n-P FORWARD DROP\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert module._drops("ip filter")
