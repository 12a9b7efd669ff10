"""Other firewalls on the host: nothing of ours comes back once it has been taken away."""

from __future__ import annotations

import pytest

from wherry.linux import nft
from wherry.networks.neighbours import Neighbours


def test_nothing_is_appended_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the host's firewall may be told when the daemon has taken its rules away."""

    def asked(text: str) -> str:
        raise AssertionError(f"nft was asked: {text}")

    neighbours = Neighbours(7)
    neighbours.part()
    monkeypatch.setattr(nft, "run", asked)
    assert neighbours.come_to_terms() == []
