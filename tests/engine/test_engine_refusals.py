"""Bad input, route by route: the status, the name of the field or thing, and nothing changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from tests.support.badinput import TABLE
from tests.support.engine import Engine
from tests.support.rawhttp import answer, exchange, request
from tests.support.traces import traces, untouched

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def names(engine: Engine) -> Iterator[Mapping[str, str]]:
    """Containers in every state that the rows speak of; what their paths are filled with."""
    found = {
        "stopped": engine.create("true", name="stopped"),
        "running": engine.run("sleep", "1000", name="running"),
        "paused": engine.run("sleep", "1000", name="paused"),
    }
    assert engine.post("/containers/paused/pause").status == 204
    found["image"] = engine.inspect("running")["Image"]
    for name, options in (
        ("vol", {}),
        ("lim", {"size": "4m"}),
        ("mem", {"type": "tmpfs", "device": "tmpfs"}),
    ):
        body = {"Name": name, "DriverOpts": options}
        assert engine.post("/volumes/create", body).status == 201
    assert engine.post("/wherry/volumes/vol/snapshots?name=first").status == 201
    (engine.data / "volumes" / "vol" / "_data" / "kept").write_text("kept")
    engine.run("sleep", "1000", Binds=["used:/used"])
    found["exec"] = engine.post("/containers/running/exec", {"Cmd": ["true"]}).json["Id"]
    yield found
    engine.remove_containers()
    for each in engine.get("/volumes").json["Volumes"]:
        assert engine.delete(f"/volumes/{each['Name']}").status == 204


@pytest.mark.parametrize("route", TABLE)
def test_refused(engine: Engine, names: Mapping[str, str], route: str) -> None:
    with untouched(engine):
        before = traces(engine)
        for row in TABLE[route]:
            method, target = row.method or route.partition(" ")[0], row.target(names)
            logged = len(engine.log())
            sent = request(method, target, row.sent(names), row.headers)
            got = answer(exchange(engine.socket, sent))
            shown = f"{method} {target} {row.body!r:.200}: {got}"
            assert got.status == row.status, shown
            assert row.says.lower() in got.body.decode().lower(), shown
            assert "Traceback" not in engine.log()[logged:], shown
            assert traces(engine)["containers"] == before["containers"], shown
