"""Published ports of a running container are changed, and what stays is not disturbed."""

from __future__ import annotations

import socket

import pytest
from tests.support.networks import Daemon, Echo, ask, end, request, run

from wherry.errors import Internal

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("near")]


def shown(daemon: Daemon, container_id: str, key: str) -> list[str]:
    rows = daemon.service.settings(container_id)["Ports"][key]
    return sorted({each["HostPort"] for each in rows or ()})


def connected(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.settimeout(10)
    return sock


async def test_ports_of_a_running_container_change(daemon: Daemon) -> None:
    any_port = {"7000/tcp": [("", "8080"), ("", "")], "7000/udp": [("", "8080")]}
    one = await run(daemon, request("one", ports=any_port))
    two = await run(daemon, request("two", ports={"7000/tcp": [("", "8090")]}))
    echo = Echo(one.fd, 7000, "one")
    try:
        before = shown(daemon, one.id, "7000/tcp")
        chance = next(each for each in before if each != "8080")
        wanted = {"7000/tcp": [("", "8081"), ("", "")], "7000/udp": [("", "8080")]}
        await daemon.service.change_ports(request("one", ports=wanted))
        assert shown(daemon, one.id, "7000/tcp") == sorted(["8081", chance])
        assert ask("127.0.0.1", 8081).startswith("one ")
        assert ask("127.0.0.1", int(chance)).startswith("one ")
        assert ask("127.0.0.1", 8080, udp=True).startswith("one ")
        assert ask("127.0.0.1", 8080) == ""
        rows = daemon.service.settings(one.id)
        taken = {"7000/tcp": [("", "8082"), ("", "8090")]}
        with pytest.raises(Internal, match="8090 failed: port is already allocated"):
            await daemon.service.change_ports(request("one", ports=taken))
        assert daemon.service.settings(one.id) == rows
        with socket.socket() as free:
            free.bind(("0.0.0.0", 8082))
        assert ask("127.0.0.1", 8081).startswith("one ")
        await daemon.service.change_ports(request("one"))
        assert ask("127.0.0.1", 8081) == ""
        assert daemon.service.settings(one.id)["Ports"] == {}
    finally:
        echo.close()
        end(one, two)


async def test_a_long_run_grows_and_an_address_narrows(daemon: Daemon) -> None:
    one = await run(daemon, request("one", ports={"7000-7099/tcp": [("", "7000-7099")]}))
    echo = Echo(one.fd, 7000, "one")
    try:
        wider = {"7000-7199/tcp": [("", "7000-7199")]}
        await daemon.service.change_ports(request("one", ports=wider))
        assert ask("127.0.0.1", 7000).startswith("one ")
        await daemon.service.change_ports(
            request("one", ports={"7000/tcp": [("127.0.0.1", "7000")]})
        )
        assert ask("127.0.0.1", 7000).startswith("one ")
        assert ask("10.90.0.1", 7000) == ""
    finally:
        echo.close()
        one.end()


async def test_a_published_port_is_nobody_elses(daemon: Daemon) -> None:
    """Servers bind with SO_REUSEADDR: the port must be taken for them too."""
    one = await run(daemon, request("one", ports={"7000/tcp": [("", "8080")]}))
    try:
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("0.0.0.0", 8080))
    finally:
        one.end()


async def test_connections_of_a_former_server_do_not_keep_the_port(daemon: Daemon) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", 8080))
        server.listen()
        client = connected(8080)
        accepted, _ = server.accept()
        accepted.close()
        assert client.recv(1) == b""
        client.close()
    one = await run(daemon, request("one", ports={"7000/tcp": [("", "8080")]}))
    echo = Echo(one.fd, 7000, "one")
    try:
        assert ask("127.0.0.1", 8080).startswith("one ")
    finally:
        echo.close()
        one.end()
