"""``/_ping``, ``/version``, ``/info``, ``/system/df``."""

from __future__ import annotations

from typing import Any, Protocol

from aiohttp import web

from wherry.api.replies import json_reply
from wherry.api.routing import Call, Router
from wherry.errors import Invalid, NotFound

_NO_VIRTUAL_SIZE = (1, 44)
_SUMS = (1, 52)
_CACHE_FIELDS = ("id", "parent", "type", "description", "inuse", "shared", "private")
_BUILD_FILTERS = frozenset(("until", "unused-for", "label", "label!", *_CACHE_FIELDS))
"""The labels' have no meaning for a cache: ``docker system prune`` sends its filters to every
prune."""


class System(Protocol):
    """Implemented by the daemon: who it is and what it has."""

    @property
    def experimental(self) -> bool:
        """Whether Docker's client shows commands such as ``checkpoint``."""

    def version(self) -> dict[str, Any]:
        """The body of ``GET /version``."""

    async def info(self) -> dict[str, Any]:
        """The body of ``GET /info``."""

    async def disk_usage(self, kinds: frozenset[str], verbose: bool) -> dict[str, Any]:
        """The body of ``GET /system/df`` for the kinds container, image, volume, build-cache."""


class SystemRoutes:
    def __init__(self, system: System) -> None:
        self._system = system

    def register(self, router: Router) -> None:
        router.add("GET", "/_ping", self.ping)
        router.add("HEAD", "/_ping", self.ping)
        router.add("GET", "/version", self.version)
        router.add("GET", "/info", self.info)
        router.add("GET", "/system/df", self.disk_usage)
        router.add("POST", "/build/prune", self.prune_builds)
        router.add("GET", "/plugins", self.plugins)
        router.add("GET", "/plugins/{name:.+}/json", self.plugin)

    async def ping(self, call: Call) -> web.StreamResponse:
        headers = {
            "Cache-Control": "no-cache, no-store, must-revalidate",
            "Pragma": "no-cache",
            "Builder-Version": "1",
            "Swarm": "inactive",
            "Docker-Experimental": "true" if self._system.experimental else "false",
            # Clients send ``dry-run`` to the prunes named here and to no other: one that does
            # not know the parameter would really remove things.
            "Wherry-Dry-Run": "containers, images, networks, volumes",
        }
        if call.request.method == "HEAD":
            return web.Response(headers=headers, content_type="text/plain", charset="utf-8")
        return web.Response(text="OK", headers=headers)

    async def version(self, call: Call) -> web.StreamResponse:
        return json_reply(self._system.version())

    async def info(self, call: Call) -> web.StreamResponse:
        return json_reply(await self._system.info())

    async def plugins(self, call: Call) -> web.StreamResponse:
        """Managed plugins cannot be installed, so there are none."""
        return json_reply([])

    async def plugin(self, call: Call) -> web.StreamResponse:
        """``docker inspect NAME`` asks here last: "not found" is what it needs to hear."""
        raise NotFound(f'plugin "{call.path["name"]}" not found')

    async def prune_builds(self, call: Call) -> web.StreamResponse:
        """``docker system prune`` asks for it last. Nothing is built, so nothing is kept: the
        cache is empty, as ``/system/df`` says too."""
        call.query.filters().validate(_BUILD_FILTERS)
        return json_reply({"CachesDeleted": None, "SpaceReclaimed": 0})

    async def disk_usage(self, call: Call) -> web.StreamResponse:
        known = frozenset({"container", "image", "volume", "build-cache"})
        asked = frozenset(call.query.texts("type") if call.version >= (1, 42) else ())
        for kind in asked - known:
            raise Invalid(f"unknown object type: {kind}")
        verbose = call.query.flag("verbose", default=call.version < (1, 52))
        usage = await self._system.disk_usage(asked or known, verbose)
        return json_reply(usage_for_version(usage, call.version))


def usage_for_version(usage: dict[str, Any], version: tuple[int, int]) -> dict[str, Any]:
    """Up to 1.51 only the rows, each kind's key there whatever was asked for. Newer versions have
    the sums (their own ``Items`` if verbose) and, for clients that read nothing else, the rows."""
    body = dict(usage)
    if version >= _NO_VIRTUAL_SIZE:
        rows = [body.get("Images") or [], (body.get("ImageUsage") or {}).get("Items") or []]
        for row in (row for each in rows for row in each):
            row.pop("VirtualSize", None)
    if version < _SUMS:
        body = {key: value for key, value in body.items() if not key.endswith("Usage")}
        body.setdefault("LayersSize", 0)
        for key in ("Images", "Containers", "Volumes", "BuildCache"):
            body.setdefault(key, None)
    return body
