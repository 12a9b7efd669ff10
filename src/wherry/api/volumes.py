"""``/volumes/...``, and ``/wherry/volumes/...`` for what Docker does not have."""

from __future__ import annotations

from aiohttp import web

from wherry.api.replies import empty, json_reply
from wherry.api.routing import Call, Router
from wherry.errors import Invalid, NotImplementedYet, Unavailable
from wherry.volumes.service import VolumeService
from wherry.wire.volume import VolumeCreate, VolumeUpdate


class VolumeRoutes:
    def __init__(self, volumes: VolumeService) -> None:
        self._volumes = volumes

    def register(self, router: Router) -> None:
        add = router.add
        add("GET", "/volumes", self.listing)
        add("POST", "/volumes/create", self.create)
        add("POST", "/volumes/prune", self.prune)
        add("GET", "/volumes/{name}", self.inspect)
        add("DELETE", "/volumes/{name}", self.remove)
        add("PUT", "/volumes/{name}", self.cluster_update)
        add("POST", "/wherry/volumes/{name}/update", self.update)
        add("POST", "/wherry/volumes/{name}/rename", self.rename)

    async def listing(self, call: Call) -> web.StreamResponse:
        try:
            filters = call.query.filters()
        except Invalid as error:
            raise Invalid(f"error reading volume filters: {error.message}") from error
        return json_reply(await self._volumes.listing(filters))

    async def create(self, call: Call) -> web.StreamResponse:
        body = await call.body(VolumeCreate, optional=True)
        if body.cluster_volume_spec is not None:
            raise NotImplementedYet("cluster volumes are not implemented by this version of Wherry")
        volume = await self._volumes.create(
            body.name or "", body.driver or "", body.driver_opts, body.labels
        )
        return json_reply(volume, 201)

    async def inspect(self, call: Call) -> web.StreamResponse:
        return json_reply(await self._volumes.inspect(call.path["name"]))

    async def remove(self, call: Call) -> web.StreamResponse:
        await self._volumes.remove(call.path["name"], force=call.query.flag("force"))
        return empty()

    async def prune(self, call: Call) -> web.StreamResponse:
        asked = call.rehearsal()
        pruned = await self._volumes.prune(
            call.query.filters(),
            only_anonymous=call.version >= (1, 42),
            dry_run=asked.dry_run,
            without=asked.without,
        )
        return json_reply(asked.mark(pruned))

    async def cluster_update(self, call: Call) -> web.StreamResponse:
        raise Unavailable("volume update only valid for cluster volumes, but swarm is unavailable")

    async def update(self, call: Call) -> web.StreamResponse:
        body = await call.body(VolumeUpdate)
        volume = await self._volumes.update(
            call.path["name"],
            size=body.size,
            labels=body.labels,
            remove_labels=body.remove_labels or (),
        )
        return json_reply(volume)

    async def rename(self, call: Call) -> web.StreamResponse:
        await self._volumes.rename(call.path["name"], call.query.text("name"))
        return empty()
