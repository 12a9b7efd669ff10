"""``/networks/...``."""

from __future__ import annotations

from aiohttp import web

from wherry.api.replies import json_reply
from wherry.api.routing import Call, Router
from wherry.errors import Invalid
from wherry.networks.management import NetworkManagement
from wherry.wire.network import NetworkConnect, NetworkCreate, NetworkDisconnect


class NetworkRoutes:
    def __init__(self, networks: NetworkManagement) -> None:
        self._networks = networks

    def register(self, router: Router) -> None:
        add = router.add
        add("GET", "/networks", self.listing)
        add("POST", "/networks/create", self.create)
        add("POST", "/networks/prune", self.prune)
        add("GET", "/networks/{id}", self.inspect)
        add("DELETE", "/networks/{id}", self.remove)
        add("POST", "/networks/{id}/connect", self.connect)
        add("POST", "/networks/{id}/disconnect", self.disconnect)

    async def listing(self, call: Call) -> web.StreamResponse:
        return json_reply(self._networks.list(call.query.filters()))

    async def create(self, call: Call) -> web.StreamResponse:
        identity, warning = await self._networks.create(await call.body(NetworkCreate))
        return json_reply({"Id": identity, "Warning": warning}, 201)

    async def inspect(self, call: Call) -> web.StreamResponse:
        scope = call.query.text("scope")
        return json_reply(self._networks.inspect(call.path["id"], scope=scope))

    async def remove(self, call: Call) -> web.StreamResponse:
        await self._networks.remove(call.path["id"])
        return web.Response(status=204)

    async def prune(self, call: Call) -> web.StreamResponse:
        asked = call.rehearsal()
        gone = await self._networks.prune(
            call.query.filters(), dry_run=asked.dry_run, without=asked.without
        )
        return json_reply(asked.mark({"NetworksDeleted": gone or None}))

    async def connect(self, call: Call) -> web.StreamResponse:
        body = await call.body(NetworkConnect)
        if not body.container:
            raise Invalid("invalid parameter: the field Container is empty")
        await self._networks.connect(call.path["id"], body.container, body.endpoint_config)
        return web.Response(status=200)

    async def disconnect(self, call: Call) -> web.StreamResponse:
        body = await call.body(NetworkDisconnect)
        if not body.container:
            raise Invalid("invalid parameter: the field Container is empty")
        await self._networks.disconnect(call.path["id"], body.container, force=bool(body.force))
        return web.Response(status=200)
