"""What ``daemon.json`` says about networks, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.errors import Invalid
from wherry.networks.settings import NetworkSettings
from wherry.networks.values import Subnet


def test_the_defaults_are_dockers() -> None:
    settings = NetworkSettings.parse({})
    assert settings == NetworkSettings()
    assert not settings.host_firewall
    assert settings.userland_proxy
    assert settings.iptables


def test_who_may_refuse_a_port_and_what_helpers_may_do() -> None:
    values = {"firewall": "host", "iptables": False, "ip6tables": False, "userland_proxy": False}
    settings = NetworkSettings.parse(values)
    assert settings.host_firewall
    assert (settings.iptables, settings.ip6tables) == (False, False)
    assert not settings.userland_proxy


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"firewall": "ufw"}, "firewall 'ufw'"),
        ({"ip": "1.2.3"}, "ip '1.2.3'"),
        ({"bip": "10.0.0.300/24"}, "bip"),
        ({"host_gateway_ip": "10.0.0.1,x"}, "host-gateway-ip '10.0.0.1,x'"),
        ({"default_gateway": "fd00::1"}, "default-gateway 'fd00::1'"),
        ({"default_gateway_v6": "10.0.0.1"}, "default-gateway-v6 '10.0.0.1'"),
        ({"default_address_pools": ["base=10.0.0.0/8"]}, "default address pool"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(Invalid) as caught:
        NetworkSettings.parse(values).default_subnet()
    assert named in caught.value.message


def test_another_router_than_the_bridge() -> None:
    settings = NetworkSettings.parse({"bip": "10.0.0.1/24", "default_gateway": "10.0.0.254"})
    subnet = settings.default_subnet()
    assert subnet is not None
    routed = settings.routed(subnet)
    assert (routed.gateway, routed.router) == ("10.0.0.1", "10.0.0.254")
    assert NetworkSettings().routed(routed) == subnet
    with pytest.raises(Invalid, match=r"10\.0\.0\.254: it is not in 10\.1\.0\.0/24"):
        settings.routed(Subnet("10.1.0.0/24", "10.1.0.1"))
