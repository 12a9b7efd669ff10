"""``/wherry/volumes/{name}/...``: export, import, clone, snapshots. Beyond Docker's API."""

from __future__ import annotations

from aiohttp import web

from wherry.api.replies import empty, json_reply
from wherry.api.routing import Call, Router
from wherry.errors import Invalid
from wherry.volumes.archive import VolumeArchive
from wherry.wire.volume import VolumeClone

TAR = "application/x-tar"


class VolumeArchiveRoutes:
    def __init__(self, archive: VolumeArchive) -> None:
        self._archive = archive

    def register(self, router: Router) -> None:
        base = "/wherry/volumes/{name}"
        router.add("GET", f"{base}/export", self.export)
        router.add("POST", f"{base}/import", self.load)
        router.add("POST", f"{base}/clone", self.clone)
        router.add("GET", f"{base}/snapshots", self.snapshots)
        router.add("POST", f"{base}/snapshots", self.snapshot)
        router.add("DELETE", f"{base}/snapshots/{{label}}", self.drop)
        router.add("POST", f"{base}/snapshots/{{label}}/restore", self.restore)

    async def export(self, call: Call) -> web.StreamResponse:
        chunks = self._archive.export(call.path["name"])
        response = web.StreamResponse(headers={"Content-Type": TAR})
        try:
            async for chunk in chunks:
                if not response.prepared:
                    await response.prepare(call.request)
                await response.write(chunk)
        finally:
            await chunks.aclose()
        await response.write_eof()
        return response

    async def load(self, call: Call) -> web.StreamResponse:
        overwrite = call.query.flag("overwrite")
        await self._archive.load(call.path["name"], call.stream(), overwrite=overwrite)
        return empty()

    async def clone(self, call: Call) -> web.StreamResponse:
        body = await call.body(VolumeClone)
        if not body.name:
            raise Invalid("clone needs the name of the new volume")
        made = await self._archive.clone(
            call.path["name"], body.name, body.driver_opts, body.labels
        )
        return json_reply(made, 201)

    async def snapshots(self, call: Call) -> web.StreamResponse:
        return json_reply(self._archive.snapshots(call.path["name"]))

    async def snapshot(self, call: Call) -> web.StreamResponse:
        label = call.query.text("name")
        return json_reply(await self._archive.snapshot(call.path["name"], label), 201)

    async def drop(self, call: Call) -> web.StreamResponse:
        await self._archive.drop_snapshot(call.path["name"], call.path["label"])
        return empty()

    async def restore(self, call: Call) -> web.StreamResponse:
        await self._archive.restore(call.path["name"], call.path["label"])
        return empty()
