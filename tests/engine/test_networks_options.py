"""Options of a bridge's ports, as the kernel has them, after what changes on a live container."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
from tests.support.networks import (
    SETTINGS,
    Container,
    Daemon,
    Echo,
    ask,
    delete_bridge,
    end,
    request,
    run,
    started,
)

from wherry.networks.settings import NetworkSettings
from wherry.wire.network import NetworkCreate

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("near")]

QUIET = dataclasses.replace(SETTINGS, icc=False)
PORTS = {"7000/tcp": [("", "8080")]}


@pytest.fixture
def network_settings() -> NetworkSettings:
    return QUIET


def options(daemon: Daemon, container: Container, network: str = "bridge") -> dict[str, bool]:
    """The options that are on, of the port of the container's interface in the network."""
    wanted = daemon.service.book.network(network).id
    rows = daemon.service.book.endpoints[container.id]
    name = next(each.host_interface for each in rows if each.network_id == wanted)
    command = ["ip", "-d", "-j", "link", "show", "dev", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    data = json.loads(done.stdout)[0]["linkinfo"]["info_slave_data"]
    return {key: data[key] for key in ("isolated", "hairpin")}


async def test_a_bridge_made_again_has_the_options_of_its_ports(daemon: Daemon) -> None:
    one = await run(daemon, request("one", ports=PORTS))
    plain = await run(daemon, request("plain"))
    echo = Echo(one.fd, 7000, "one")
    try:
        assert options(daemon, one) == {"isolated": True, "hairpin": True}
        delete_bridge(daemon)
        new = await run(daemon, request("new"))
        new.end()
        assert options(daemon, one) == {"isolated": True, "hairpin": True}
        assert options(daemon, plain) == {"isolated": True, "hairpin": False}
        assert ask("127.0.0.1", 8080, timeout=10).startswith("one ")
        assert plain.inside(lambda: ask("10.90.0.2", 7000, timeout=0.5)) == ""
    finally:
        echo.close()
        end(one, plain)


async def test_the_next_daemon_makes_the_bridge_again_with_them(
    daemon: Daemon, tmp_path: Path
) -> None:
    one = await run(daemon, request("one", ports=PORTS))
    echo = Echo(one.fd, 7000, "one")
    try:
        delete_bridge(daemon)
        daemon.abandon()
        async with started(tmp_path, QUIET, one=one) as second:
            assert options(second, one) == {"isolated": True, "hairpin": True}
            assert ask("127.0.0.1", 8080, timeout=10).startswith("one ")
    finally:
        echo.close()
        one.end()


async def test_ports_published_later_are_reached_from_inside(daemon: Daemon) -> None:
    await daemon.management.create(NetworkCreate(name="open"))
    gateway = daemon.service.book.network("open").subnets[0].gateway
    one = await run(daemon, request("one", "open"))
    echo = Echo(one.fd, 7000, "one")
    try:
        assert options(daemon, one, "open") == {"isolated": False, "hairpin": False}
        await daemon.service.change_ports(request("one", "open", ports=PORTS))
        assert options(daemon, one, "open") == {"isolated": False, "hairpin": True}
        assert one.inside(lambda: ask(gateway, 8080, timeout=10)).startswith("one ")
    finally:
        echo.close()
        one.end()


async def test_ports_that_lead_to_another_network_are_reached_from_inside(daemon: Daemon) -> None:
    await daemon.management.create(NetworkCreate(name="other"))
    one = await run(daemon, request("one", ports=PORTS))
    echo = Echo(one.fd, 7000, "one")
    try:
        await daemon.management.connect("other", one.id)
        await daemon.management.disconnect("bridge", one.id)
        assert options(daemon, one, "other") == {"isolated": False, "hairpin": True}
        gateway = daemon.service.book.network("other").subnets[0].gateway
        assert one.inside(lambda: ask(gateway, 8080, timeout=10)).startswith("one ")
    finally:
        echo.close()
        one.end()


async def test_ports_change_while_the_bridge_is_missing(daemon: Daemon) -> None:
    one = await run(daemon, request("one"))
    try:
        delete_bridge(daemon)
        await daemon.service.change_ports(request("one", ports=PORTS))
        new = await run(daemon, request("new"))
        new.end()
        assert options(daemon, one) == {"isolated": True, "hairpin": True}
    finally:
        one.end()
