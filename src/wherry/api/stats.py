"""``GET /containers/{id}/stats``: a stream of samples, or one."""

from __future__ import annotations

import contextlib

import msgspec
from aiohttp import web

from wherry.api.routing import Call, Router
from wherry.containers.service import ContainerStats
from wherry.errors import Invalid


class StatsRoutes:
    def __init__(self, containers: ContainerStats) -> None:
        self._containers = containers

    def register(self, router: Router) -> None:
        router.add("GET", "/containers/{id}/stats", self.stats, streams=True)

    async def stats(self, call: Call) -> web.StreamResponse:
        follow = call.query.flag("stream", default=True)
        one_shot = call.query.flag("one-shot")
        if follow and one_shot:
            raise Invalid("cannot have stream=true and one-shot=true")
        stream = self._containers.stats(call.path["id"], follow=follow, one_shot=one_shot)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        async with contextlib.aclosing(stream) as samples:
            await response.prepare(call.request)
            with contextlib.suppress(ConnectionError):
                async for sample in samples:
                    await response.write(msgspec.json.encode(sample) + b"\n")
                await response.write_eof()
        return response
