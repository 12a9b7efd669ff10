"""``/containers/{id}/checkpoints``."""

from __future__ import annotations

from aiohttp import web

from wherry.api.replies import empty, json_reply
from wherry.api.routing import Call, Router
from wherry.containers.service import ContainerCheckpoints
from wherry.wire.container import CheckpointRequest


class CheckpointRoutes:
    def __init__(self, checkpoints: ContainerCheckpoints) -> None:
        self._checkpoints = checkpoints

    def register(self, router: Router) -> None:
        router.add("GET", "/containers/{id}/checkpoints", self.listing)
        router.add("POST", "/containers/{id}/checkpoints", self.create)
        router.add("DELETE", "/containers/{id}/checkpoints/{name}", self.remove)

    async def listing(self, call: Call) -> web.StreamResponse:
        names = self._checkpoints.checkpoints(call.path["id"], call.query.text("dir"))
        return json_reply([{"Name": name} for name in names])

    async def create(self, call: Call) -> web.StreamResponse:
        asked = await call.body(CheckpointRequest)
        await self._checkpoints.checkpoint(
            call.path["id"],
            asked.checkpoint_id or "",
            asked.checkpoint_dir or "",
            end=bool(asked.exit),
        )
        return empty(201)

    async def remove(self, call: Call) -> web.StreamResponse:
        path = call.path
        await self._checkpoints.remove_checkpoint(path["id"], path["name"], call.query.text("dir"))
        return empty()
