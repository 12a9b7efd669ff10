"""``/containers/{id}/archive`` and ``/export``: files in and out of containers."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from aiohttp import web

from wherry.api.download import send_body
from wherry.api.replies import encode
from wherry.api.routing import Call, Router
from wherry.api.upload import receive_body
from wherry.containers.service import ContainerFiles, Outgoing
from wherry.errors import Invalid
from wherry.trees.flow import Inlet

_TAR = "application/x-tar"


class ArchiveRoutes:
    def __init__(self, files: ContainerFiles) -> None:
        self._files = files

    def register(self, router: Router) -> None:
        router.add("HEAD", "/containers/{id}/archive", self.stat)
        router.add("GET", "/containers/{id}/archive", self.get, streams=True)
        router.add("PUT", "/containers/{id}/archive", self.put, streams=True)
        router.add("GET", "/containers/{id}/export", self.export, streams=True)

    async def stat(self, call: Call) -> web.StreamResponse:
        found = await self._files.path_stat(call.path["id"], _path(call))
        return web.Response(headers={**_stat_header(found), "Content-Type": _TAR})

    async def get(self, call: Call) -> web.StreamResponse:
        found, outgoing = await self._files.archive(
            call.path["id"],
            _path(call),
            name=call.query.text("name"),
            pattern=call.query.flag("glob"),
        )
        return await _send(call, outgoing, {**_stat_header(found), "Content-Type": _TAR})

    async def put(self, call: Call) -> web.StreamResponse:
        query, path = call.query, _path(call)

        async def consume(inlet: Inlet, stop: Callable[[], None]) -> None:
            await self._files.extract(
                call.path["id"],
                path,
                inlet,
                stop,
                keep_kinds=query.flag("noOverwriteDirNonDir"),
                copy_owner=query.flag("copyUIDGID"),
            )

        return await receive_body(call, consume)

    async def export(self, call: Call) -> web.StreamResponse:
        outgoing = await self._files.export(call.path["id"])
        return await _send(call, outgoing, {"Content-Type": "application/octet-stream"})


def _path(call: Call) -> str:
    path = call.query.text("path")
    if not path:
        raise Invalid("bad parameter: path is required: name a file or folder of the container")
    return path


def _stat_header(found: dict[str, Any]) -> dict[str, str]:
    encoded = base64.b64encode(encode(found)).decode()
    return {"X-Docker-Container-Path-Stat": encoded}


async def _send(call: Call, outgoing: Outgoing, headers: dict[str, str]) -> web.StreamResponse:
    try:
        return await send_body(call, headers, outgoing.send)
    finally:
        await outgoing.close()
