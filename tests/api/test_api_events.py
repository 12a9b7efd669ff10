"""``/events``: formats, filters, times."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.api.api_fakes import Service

from wherry.api.events import EventRoutes, media_type
from wherry.api.routing import Router
from wherry.wire.events import Event


class Past:
    def __init__(self) -> None:
        self.asked: list[tuple[int | None, int | None]] = []

    async def stream(self, since: int | None, until: int | None) -> AsyncGenerator[Event, None]:
        self.asked.append((since, until))
        yield Event(1, 10**9, "container", "start", "c", {})
        yield Event(2, 2 * 10**9, "image", "pull", "i", {})


@pytest.mark.parametrize(
    ("accept", "sort"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json-seq", "application/json-seq"),
        ("text/html, application/x-ndjson;q=0.9", "application/x-ndjson"),
    ],
)
def test_negotiation(accept: str, sort: str) -> None:
    assert media_type(accept) == sort


async def test_stream(tmp_path: Path) -> None:
    past, router = Past(), Router()
    EventRoutes(past).register(router)
    async with Service(tmp_path / "s", router) as service:
        filters = "%7B%22type%22%3A%5B%22image%22%5D%7D"
        path = f"/v1.55/events?since=1.5&until=9&filters={filters}"
        reply = await service.ask("GET", path, Accept="application/json-seq")
        assert reply.headers["content-type"] == "application/json-seq"
        assert reply.body[:1] == b"\x1e"
        assert reply.body[-1:] == b"\n"
        assert json.loads(reply.body[1:])["Action"] == "pull"
        reply = await service.ask("GET", "/v1.41/events")
        assert [json.loads(line)["status"] for line in reply.body.splitlines()] == ["start", "pull"]
        assert (await service.ask("GET", "/events?since=9&until=2")).status == 400
    assert past.asked == [(1_500_000_000, 9_000_000_000), (None, None)]
