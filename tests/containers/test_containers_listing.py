"""List, its filters, and inspect."""

from __future__ import annotations

from typing import Any

import pytest
from tests.containers.container_fakes import World

from wherry.containers.listing import ports
from wherry.errors import Invalid, NotFound
from wherry.wire.container import HostConfig, PortBinding


@pytest.fixture
async def crowd(world: World) -> World:
    await world.make("sleep", name="first", labels={"tier": "a"})
    await world.run("sleep", name="second", labels={"tier": "b", "extra": ""})
    await world.run("fail", "3", name="third", exposed_ports={"53/udp": {}})
    bound = HostConfig(port_bindings={"8080/tcp": [PortBinding(host_port="80")]})
    await world.run("sleep", name="fourth", host=bound)
    await world.engine.pause("fourth")
    await world.until(lambda: world.state("third")["Status"] == "exited")
    return world


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, "second fourth"),
        ({"status": ["created"]}, "first"),
        ({"status": ["exited", "paused"]}, "third fourth"),
        ({"exited": ["3"]}, "third"),
        ({"exited": ["0"]}, ""),
        ({"name": ["ir"]}, ""),
        ({"name": ["^/second$"]}, "second"),
        ({"name": ["our"]}, "fourth"),
        ({"label": ["tier"]}, "second"),
        ({"label": ["tier=b", "extra"]}, "second"),
        ({"label": ["tier=x"]}, ""),
        ({"before": ["second"]}, "first"),
        ({"since": ["second"]}, "third fourth"),
        ({"ancestor": ["box"]}, "second fourth"),
        ({"ancestor": ["other"]}, ""),
        ({"health": ["none"]}, "second fourth"),
        ({"health": ["healthy"]}, ""),
        ({"network": ["none"]}, "second fourth"),
        ({"network": ["host"]}, ""),
        ({"expose": ["80"]}, "second fourth"),
        ({"expose": ["50-60/udp"], "status": ["exited"]}, "third"),
        ({"publish": ["8000-9000/tcp"]}, "fourth"),
        ({"publish": ["81"]}, ""),
        ({"volume": ["/data"]}, ""),
        ({"is-task": ["true"]}, ""),
        ({"is-task": ["false"]}, "second fourth"),
    ],
)
async def test_filters(crowd: World, filters: dict[str, list[str]], found: str) -> None:
    rows = crowd.engine.summaries(filters)
    names = [row["Names"][0].removeprefix("/") for row in rows]
    assert sorted(names) == sorted(found.split())


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"nope": ["x"]}, "invalid filter 'nope'"),
        ({"status": ["x"]}, "invalid filter 'status=x'"),
        ({"health": ["x"]}, "invalid filter 'health=x'"),
        ({"exited": ["x"]}, "invalid filter 'exited=x'"),
        ({"publish": ["x"]}, "invalid port specification"),
    ],
)
async def test_bad_filters(crowd: World, filters: dict[str, list[str]], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        crowd.engine.summaries(filters)


async def test_unknown_reference_in_a_filter(crowd: World) -> None:
    with pytest.raises(NotFound, match="No such container: nobody"):
        crowd.engine.summaries({"before": ["nobody"]})


async def test_order_limit_and_size(crowd: World) -> None:
    rows = crowd.engine.summaries({}, all=True)
    assert [row["Names"] for row in rows] == [["/fourth"], ["/third"], ["/second"], ["/first"]]
    assert [row["Names"] for row in crowd.engine.summaries({}, limit=2)] == [
        ["/fourth"],
        ["/third"],
    ]
    third = crowd.engine.inspect("third")["Id"]
    (crowd.paths.container(third).upper / "file").write_bytes(b"x" * 100)
    (row,) = await crowd.engine.sized({"status": ["exited"]})
    assert (row["SizeRw"], row["SizeRootFs"]) == (100, 1100)
    assert await crowd.engine.sizes("third") == (100, 1100)


async def test_words(crowd: World) -> None:
    rows = {row["Names"][0]: row for row in crowd.engine.summaries({}, all=True)}
    assert rows["/first"]["Status"] == "Created"
    assert rows["/second"]["Status"] == "Up Less than a second"
    assert rows["/third"]["Status"] == "Exited (3) Less than a second ago"
    assert rows["/fourth"]["Status"] == "Up Less than a second (Paused)"
    assert rows["/third"]["Command"] == "fail 3"
    assert rows["/third"]["Image"] == "box"


async def test_references(crowd: World) -> None:
    container = crowd.engine.inspect("second")["Id"]
    for ref in (container, container[:12], container[:3] + container[3:20], "/second"):
        assert crowd.engine.inspect(ref)["Name"] == "/second"
    with pytest.raises(NotFound, match="No such container: zz"):
        crowd.engine.inspect("zz")
    with pytest.raises(Invalid):
        crowd.engine.inspect("")


async def test_inspect_has_dockers_fields_and_empty_values(crowd: World) -> None:
    shown = crowd.engine.inspect("first")
    assert shown["State"] == {
        "Status": "created",
        "Running": False,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
        "Dead": False,
        "Pid": 0,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": "0001-01-01T00:00:00Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    }
    assert (shown["Path"], shown["Args"]) == ("sleep", [])
    assert shown["ResolvConfPath"] == ""
    assert crowd.engine.inspect("second")["ResolvConfPath"].endswith("/resolv.conf")
    host = shown["HostConfig"]
    assert host["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert host["LogConfig"] == {"Type": "json-file", "Config": {}}
    assert (host["Binds"], host["Dns"], host["Memory"], host["PidMode"]) == (None, None, 0, "")
    assert (host["ShmSize"], host["IpcMode"], host["ConsoleSize"]) == (64 << 20, "private", [0, 0])
    assert "Tmpfs" not in host
    assert shown["Config"]["Entrypoint"] is None
    assert shown["Config"]["Labels"] == {"origin": "image", "tier": "a"}
    assert list(shown["NetworkSettings"]["Networks"]) == ["none"]


async def test_prune_takes_what_rests(crowd: World) -> None:
    assert (await crowd.engine.prune({"label": ["tier=zz"]}))["ContainersDeleted"] is None
    assert (await crowd.engine.prune({"until": ["24h"]}))["ContainersDeleted"] is None
    with pytest.raises(Invalid, match="invalid filter 'names'"):
        await crowd.engine.prune({"names": ["x"]})
    pruned = await crowd.engine.prune({})
    assert len(pruned["ContainersDeleted"]) == 2
    assert [row["Names"] for row in crowd.engine.summaries({}, all=True)] == [
        ["/fourth"],
        ["/second"],
    ]


@pytest.mark.parametrize(
    ("bindings", "public"),
    [
        (None, {}),
        ([], {}),
        # Of a routed network: no port of the host leads there.
        ([{"HostIp": "0.0.0.0", "HostPort": ""}], {}),
        ([{"HostIp": "::", "HostPort": "8080"}], {"IP": "::", "PublicPort": 8080}),
    ],
)
def test_ports(bindings: list[dict[str, str]] | None, public: dict[str, Any]) -> None:
    assert ports({"Ports": {"80/udp": bindings}}) == [{"PrivatePort": 80, "Type": "udp", **public}]
