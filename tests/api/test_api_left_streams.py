"""A client that goes away in the middle of a stream: what the stream holds is let go at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.api.api_fakes import Service

from wherry.api.events import EventRoutes
from wherry.api.images import ImageRoutes
from wherry.api.routing import Router
from wherry.api.stats import StatsRoutes
from wherry.wire.events import Event


class Source:
    """Events, samples and an image, without end. Its stream is kept, so that no collector ends
    it."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.kept: AsyncGenerator[Any, None] | None = None

    async def _endless(self, item: Any) -> AsyncGenerator[Any, None]:
        try:
            while True:
                yield item
        finally:
            self.closed.set()

    def _keep(self, item: Any) -> AsyncGenerator[Any, None]:
        self.kept = self._endless(item)
        return self.kept

    def stream(self, since: int | None, until: int | None) -> AsyncGenerator[Event, None]:
        return self._keep(Event(1, 10**9, "container", "start", "c", {}))

    def stats(self, ref: str, **_: bool) -> AsyncGenerator[dict[str, Any], None]:
        return self._keep({"read": "now"})

    def save(self, names: list[str], **_: Any) -> AsyncGenerator[bytes, None]:
        return self._keep(b"tar")


@pytest.mark.parametrize("path", ["/events", "/containers/c1/stats", "/images/i/get"])
async def test_a_stream_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def gone(*_: Any) -> None:
        raise ConnectionResetError("Cannot write to closing transport")

    source, router = Source(), Router()
    unlike: Any = source
    for routes in (EventRoutes(source), StatsRoutes(unlike), ImageRoutes(unlike)):
        routes.register(router)
    async with Service(tmp_path / "s", router) as service:
        monkeypatch.setattr(web.StreamResponse, "write", gone)
        _, writer = await service.send("GET", path)
        async with asyncio.timeout(60):
            await source.closed.wait()
        writer.close()
