"""Options of networks: what is refused, and with which words."""

from __future__ import annotations

import pytest

from wherry.errors import Invalid
from wherry.networks.definition import check_options


@pytest.mark.parametrize(
    ("driver", "options", "said"),
    [
        (
            "macvlan",
            {"macvlan_mode": "l2"},
            "requested macvlan mode 'l2' is not valid, 'bridge' mode is the macvlan driver default",
        ),
        (
            "ipvlan",
            {"ipvlan_mode": "l4"},
            "requested ipvlan mode 'l4' is not valid, 'l2' mode is the ipvlan driver default",
        ),
        (
            "ipvlan",
            {"ipvlan_flag": "public"},
            "requested ipvlan flag 'public' is not valid, 'bridge' is the ipvlan driver default",
        ),
    ],
)
def test_modes_are_dockers(driver: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_options(driver, options)
    assert caught.value.message == said


@pytest.mark.parametrize("mode", ["", "l2", "l3", "l3s"])
@pytest.mark.parametrize("flag", ["", "bridge", "private", "vepa"])
def test_known_modes_pass(mode: str, flag: str) -> None:
    check_options("ipvlan", {"ipvlan_mode": mode, "ipvlan_flag": flag, "macvlan_mode": "any"})
