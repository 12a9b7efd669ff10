"""``network`` commands against a daemon of the tests."""

from __future__ import annotations

import json

import pytest
from tests.cli.fake_daemon import FakeDaemon

from wherry.cli.main import main


def test_lists_with_commas(daemon: FakeDaemon) -> None:
    """What Docker's client calls ``strings``: several in one word, or the flag several times."""
    daemon.on("POST", "/networks/create", lambda exchange: exchange.reply(201, {"Id": "1"}))
    subnets = ["--subnet", "10.1.0.0/24,10.2.0.0/24", "--subnet", "10.3.0.0/24"]
    assert main(["network", "create", *subnets, "--gateway", "10.1.0.1,10.2.0.1", "shop"]) == 0
    (create,) = daemon.sent("POST", "/networks/create")
    pools = [(pool["Subnet"], pool.get("Gateway")) for pool in create.json["IPAM"]["Config"]]
    assert pools == [
        ("10.1.0.0/24", "10.1.0.1"), ("10.2.0.0/24", "10.2.0.1"), ("10.3.0.0/24", None)
    ]  # fmt: skip

    daemon.on("POST", "/networks/shop/connect", lambda exchange: exchange.raw(200, b""))
    words = ["--alias", "a,b", "--link-local-ip", "169.254.1.1,169.254.1.2", "--driver-opt"]
    assert main(["network", "connect", *words, "k=v,l=w", "shop", "web"]) == 0
    (connect,) = daemon.sent("POST", "/networks/shop/connect")
    settings = connect.json["EndpointConfig"]
    assert settings["Aliases"] == ["a", "b"]
    assert settings["IPAMConfig"]["LinkLocalIPs"] == ["169.254.1.1", "169.254.1.2"]
    assert settings["DriverOpts"] == {"k": "v", "l": "w"}

    daemon.on("DELETE", "/images/img", [])
    assert main(["rmi", "--platform", "linux/amd64,linux/arm64", "img"]) == 0
    (remove,) = daemon.sent("DELETE", "/images/img")
    assert [json.loads(one)["architecture"] for one in remove.query["platforms"]] == [
        "amd64", "arm64"
    ]  # fmt: skip


def test_rm_with_force_is_silent_about_what_is_not_there(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Docker's client, which names a missing container but not a missing network."""
    daemon.on(
        "DELETE",
        "/networks/gone",
        lambda exchange: exchange.reply(404, {"message": "network gone not found"}),
    )
    daemon.on(
        "DELETE",
        "/networks/busy",
        lambda exchange: exchange.reply(403, {"message": "network busy has active endpoints"}),
    )
    daemon.on("DELETE", "/networks/shop", lambda exchange: exchange.raw(204, b""))

    assert main(["network", "rm", "-f", "gone", "shop"]) == 0
    assert capsys.readouterr() == ("shop\n", "")

    assert main(["network", "rm", "-f", "busy", "gone", "shop"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "shop\n"
    assert "busy has active endpoints" in shown.err
    assert "gone" not in shown.err

    assert main(["network", "rm", "gone", "shop"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "shop\n"
    assert "network gone not found" in shown.err
