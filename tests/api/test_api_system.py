"""``/_ping``, ``/version``, ``/info``, ``/system/df``, ``/plugins``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.api.api_fakes import Service, closing, read_head

from wherry.api import missing
from wherry.api.routing import Router
from wherry.api.system import SystemRoutes


class Facts:
    experimental = False

    def __init__(self) -> None:
        self.asked: list[tuple[set[str], bool]] = []

    def version(self) -> dict[str, Any]:
        return {"Version": "v"}

    async def info(self) -> dict[str, Any]:
        return {"ID": "i"}

    async def disk_usage(self, kinds: frozenset[str], verbose: bool) -> dict[str, Any]:
        self.asked.append((set(kinds), verbose))
        return {}


@pytest.fixture
def facts() -> Facts:
    return Facts()


@pytest.fixture
async def system(tmp_path: Path, facts: Facts) -> AsyncIterator[Service]:
    router = Router()
    SystemRoutes(facts).register(router)
    missing.register(router)
    async with Service(tmp_path / "s", router) as running:
        yield running


@pytest.mark.parametrize("path", ["/_ping", "/v1.24/_ping"])
async def test_ping(system: Service, path: str) -> None:
    reply = await system.ask("GET", path)
    assert (reply.status, reply.body) == (200, b"OK")
    assert reply.headers["api-version"] == "1.55"
    assert reply.headers["swarm"] == "inactive"
    assert reply.headers["docker-experimental"] == "false"
    assert "builder-version" in reply.headers
    assert "no-cache" in reply.headers["cache-control"]
    assert reply.headers["pragma"] == "no-cache"
    head = await system.ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["api-version"] == "1.55"


async def test_version_and_info(system: Service) -> None:
    assert json.loads((await system.ask("GET", "/version")).body) == {"Version": "v"}
    assert json.loads((await system.ask("GET", "/info")).body) == {"ID": "i"}


async def test_disk_usage(system: Service, facts: Facts) -> None:
    every = {"container", "image", "volume", "build-cache"}
    assert (await system.ask("GET", "/v1.41/system/df")).status == 200
    assert (await system.ask("GET", "/v1.55/system/df?type=image&type=volume")).status == 200
    assert (await system.ask("GET", "/v1.55/system/df?verbose=1")).status == 200
    assert facts.asked == [(every, True), ({"image", "volume"}, False), (every, True)]
    reply = await system.ask("GET", "/system/df?type=moon")
    assert (reply.status, json.loads(reply.body)["message"]) == (400, "unknown object type: moon")


async def test_no_plugin_is_there(system: Service) -> None:
    assert json.loads((await system.ask("GET", "/plugins")).body) == []
    reply = await system.ask("GET", "/plugins/a/b:c/json")
    assert (reply.status, json.loads(reply.body)["message"]) == (404, 'plugin "a/b:c" not found')


async def test_options(system: Service) -> None:
    assert (await system.ask("OPTIONS", "/whatever")).status == 200


async def test_keep_alive_and_pipelining(system: Service) -> None:
    reader, writer = await system.open()
    async with closing(writer):
        writer.write(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        for _ in range(3):
            status, head = await read_head(reader)
            assert (status, await reader.readexactly(int(head["content-length"]))) == (200, b"OK")
