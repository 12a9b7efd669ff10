"""``network`` commands against a daemon of the tests."""

from __future__ import annotations

import pytest
from tests.cli.fake_daemon import FakeDaemon

from wherry.cli.main import main


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
