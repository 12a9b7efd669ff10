"""Bodies of replies: what JSON cannot hold is told all the same."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.api.api_fakes import Service

from wherry.api.archive import ArchiveRoutes
from wherry.api.replies import encode
from wherry.api.routing import Router
from wherry.containers.service import Outgoing
from wherry.trees.flow import Outlet


def test_names_that_are_no_text() -> None:
    name = os.fsdecode(b"/a\xff\xfeb")
    assert json.loads(encode([{"Path": name, "Kind": 1}])) == [
        {"Path": "/a\ufffd\ufffdb", "Kind": 1}
    ]
    assert json.loads(encode({name: ("\ud800", {"x": None})})) == {
        "/a\ufffd\ufffdb": ["\ufffd", {"x": None}]
    }
    assert encode({"a": "ü"}) == '{"a":"ü"}'.encode()


class Files:
    """A container whose only file is a link to bytes that are no text."""

    def __init__(self) -> None:
        self.closed = 0

    async def path_stat(self, ref: str, path: str) -> dict[str, Any]:
        return {"name": "link", "linkTarget": os.fsdecode(b"/\xff")}

    async def archive(
        self, ref: str, path: str, *, name: str = "", pattern: bool = False
    ) -> tuple[dict[str, Any], Outgoing]:
        return await self.path_stat(ref, path), self

    def send(self, outlet: Outlet) -> None:
        outlet.write(b"a tar")

    async def close(self) -> None:
        self.closed += 1

    async def extract(self, *_: object, **__: object) -> None:
        raise NotImplementedError

    async def export(self, ref: str) -> Outgoing:
        raise NotImplementedError


async def test_a_link_to_no_text(tmp_path: Path) -> None:
    files, router = Files(), Router()
    ArchiveRoutes(files).register(router)
    async with Service(tmp_path / "s.sock", router) as service:
        head = await service.ask("HEAD", "/containers/c/archive?path=/link")
        assert head.status == 200
        reply = await service.ask("GET", "/containers/c/archive?path=/link")
        assert reply.status == 200
        assert "x-docker-container-path-stat" in reply.headers
    assert files.closed == 1
