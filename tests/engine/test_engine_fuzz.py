"""No request makes the daemon fail: every route, with drawn paths, queries and bodies.

The examples are the same in every run; ``WHERRY_FUZZ=1000`` asks for as many others a route.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tests.support import fuzz
from tests.support.engine import Engine
from tests.support.images import busybox_root, docker_archive
from tests.support.rawhttp import request
from tests.support.routes import router

pytestmark = pytest.mark.root

ROUTES = sorted(
    f"{method} {pattern}"
    for method, pattern in router().routes()
    if f"{method} {pattern}" not in fuzz.OUTSIDE
)
MORE = int(os.environ.get("WHERRY_FUZZ", "0"))


DOCKERS = "is not connected to network"
"""A mistake of the caller's that Docker answers with 500, and so do we."""


class World:
    """The things that the requests are about; what a request has broken is made whole again."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.sent = 0

    def mend(self) -> None:
        if self.engine.get(f"/images/{fuzz.IMAGE}/json").status == 404:
            loaded = self.engine.upload("/images/load", docker_archive(fuzz.IMAGE, busybox_root()))
            assert loaded.status == 200
        states = {each["Names"][0]: each for each in self.engine.containers()}
        for name, state in (("stopped", "created"), ("running", "running"), ("paused", "paused")):
            held = states.pop(f"/{name}", None)
            if held is None or held["State"] != state:
                if held is not None:
                    assert self.engine.delete(f"/containers/{held['Id']}?force=1").status == 204
                self._make(name, state)
        for other in states.values():
            assert self.engine.delete(f"/containers/{other['Id']}?force=1&v=1").status == 204

    def _make(self, name: str, state: str) -> None:
        body = {
            "Image": fuzz.IMAGE,
            "Cmd": ["sleep", "10000"],
            "StopSignal": "SIGKILL",
            "HostConfig": {"NetworkMode": "none"},
        }
        assert self.engine.post(f"/containers/create?name={name}", body).status == 201
        if state != "created":
            assert self.engine.post(f"/containers/{name}/start").status == 204
        if state == "paused":
            assert self.engine.post(f"/containers/{name}/pause").status == 204

    def names(self) -> dict[str, tuple[str, ...]]:
        return {"id": ("running", "stopped", "paused", "bridge"), "name": (fuzz.IMAGE, "fuzzed")}

    def send(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        """Status and, of a failure, the reply's text; 0 where the daemon hung up without one."""
        self.sent += 1
        if self.sent % 10 == 0:
            self.mend()
        heard = b""
        with socket.socket(socket.AF_UNIX) as link, suppress(ConnectionError):
            link.settimeout(60)
            link.connect(str(self.engine.socket))
            with suppress(ConnectionError):
                link.sendall(request(method, path, body))
            while heard[9:10] in (b"", b"5") and (chunk := link.recv(4096)):
                heard += chunk
        return int(heard.split()[1]) if heard else 0, heard.decode(errors="replace")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Engine() as engine:
        engine.start()
        yield World(engine)
        for kind in ("containers", "networks", "volumes"):
            engine.post(f"/{kind}/prune")


@pytest.mark.parametrize("route", ROUTES)
def test_no_request_fails(world: World, route: str) -> None:
    world.mend()
    logged = len(world.engine.log())

    @given(drawn=fuzz.requests(route, world.names()))
    @settings(
        derandomize=MORE == 0,
        database=None,
        deadline=None,
        max_examples=MORE or 15,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    def send(drawn: tuple[str, str, bytes]) -> None:
        status, text = world.send(*drawn)
        assert status != 500 or DOCKERS in text, (drawn, text)

    send()
    assert "Traceback" not in world.engine.log()[logged:]


def test_every_route_with_a_body_is_drawn() -> None:
    assert set(fuzz.BODIES) <= set(ROUTES)
