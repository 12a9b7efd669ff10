"""Options of networks: what is refused, and with which words."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec
import pytest

from wherry.errors import Invalid
from wherry.networks import ipam
from wherry.networks.definition import Surroundings, check_options, define
from wherry.networks.values import GATEWAY_MODES, Network
from wherry.wire.network import NetworkCreate

AROUND = Surroundings(
    pools=ipam.DEFAULT_POOLS,
    local=ipam.Pool(ipaddress.ip_network("fd00::/48"), 64),
    networks=[],
    host=[],
)


def made(mode: str, **more: Any) -> Network:
    body = {"Name": "shop", "Options": {mode: "isolated"}, **more}
    return define(msgspec.convert(body, type=NetworkCreate), "0" * 64, "", AROUND)


@pytest.mark.parametrize("mode", GATEWAY_MODES.values())
def test_isolated_is_for_internal_networks(mode: str) -> None:
    with pytest.raises(Invalid, match="gateway mode 'isolated' can only be used for an internal"):
        made(mode)
    assert made(mode, Internal=True).internal
    assert made(mode, ConfigOnly=True).config_only  # is no bridge yet
    assert made(mode, Driver="macvlan").driver == "macvlan"  # knows no such option


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
