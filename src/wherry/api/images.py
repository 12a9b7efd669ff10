"""``/images/...``: listing, inspection, names, removal, and images in files."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from aiohttp import web

from wherry.api.replies import Progress, json_reply
from wherry.api.routing import Call, Router
from wherry.errors import Invalid, Unavailable
from wherry.images.service import Images

_NO_VIRTUAL_SIZE = (1, 44)
_NO_CONTAINER_CONFIG = (1, 45)
_IMAGE_CONFIG_ONLY = (1, 50)
_NO_EMPTY_FIELDS = (1, 52)
_CONTAINER_FIELDS = (
    "Hostname",
    "Domainname",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Image",
    "NetworkDisabled",
    "MacAddress",
    "StopTimeout",
)


class ImageRoutes:
    def __init__(self, images: Images) -> None:
        self._images = images

    def register(self, router: Router) -> None:
        add = router.add
        add("GET", "/images/json", self.listing)
        add("POST", "/images/create", self.create, streams=True)
        add("POST", "/images/load", self.load, streams=True)
        add("POST", "/images/prune", self.prune)
        add("GET", "/images/get", self.save_several, streams=True)
        add("GET", "/images/{name:.+}/get", self.save_one, streams=True)
        add("GET", "/images/{name:.+}/json", self.inspect)
        add("GET", "/images/{name:.+}/history", self.history)
        add("POST", "/images/{name:.+}/tag", self.tag)
        add("DELETE", "/images/{name:.+}", self.remove)

    # ---- looking

    async def listing(self, call: Call) -> web.StreamResponse:
        filters = {name: list(values) for name, values in call.query.filters().items()}
        if pattern := call.query.maybe("filter"):
            filters.setdefault("reference", []).append(pattern)
        rows = self._images.summaries(
            filters, all=call.query.flag("all"), shared_size=call.query.flag("shared-size")
        )
        if call.version >= _NO_VIRTUAL_SIZE:
            for row in rows:
                row.pop("VirtualSize", None)
        return json_reply(rows)

    async def inspect(self, call: Call) -> web.StreamResponse:
        body = self._images.inspect(call.path["name"], platform(call.query.maybe("platform")))
        return json_reply(for_version(body, call.version))

    async def history(self, call: Call) -> web.StreamResponse:
        wanted = platform(call.query.maybe("platform"))
        return json_reply(self._images.history(call.path["name"], wanted))

    # ---- names

    async def tag(self, call: Call) -> web.StreamResponse:
        repository = call.query.text("repo")
        if not repository:
            raise Invalid("invalid reference format")
        self._images.tag(call.path["name"], repository, call.query.text("tag"))
        return web.Response(status=201)

    async def remove(self, call: Call) -> web.StreamResponse:
        rows = self._images.remove(
            call.path["name"],
            force=call.query.flag("force"),
            prune_parents=not call.query.flag("noprune"),
        )
        return json_reply(rows)

    async def prune(self, call: Call) -> web.StreamResponse:
        asked = call.rehearsal()
        answer = await self._images.prune(
            call.query.filters(), dry_run=asked.dry_run, without=asked.without
        )
        return json_reply(asked.mark(answer))

    # ---- files

    async def load(self, call: Call) -> web.StreamResponse:
        quiet = call.query.flag("quiet")
        wanted = platform(call.query.maybe("platform"))

        async def operation(emit: Any) -> None:
            def say(item: Mapping[str, Any]) -> None:
                if not quiet or "stream" in item:
                    emit(item)

            await self._images.load(call.stream(), say, platform=wanted)

        return await Progress(call.request).run(operation)

    async def save_one(self, call: Call) -> web.StreamResponse:
        return await self._save(call, [call.path["name"]])

    async def save_several(self, call: Call) -> web.StreamResponse:
        names = [name for text in call.query.texts("names") for name in text.split(",") if name]
        return await self._save(call, names)

    async def _save(self, call: Call, names: list[str]) -> web.StreamResponse:
        wanted = platform(call.query.maybe("platform"))
        async with aclosing(self._images.save(names, platform=wanted)) as stream:
            # What is unknown is said with a status, before the reply begins.
            first = await anext(stream)
            response = web.StreamResponse(headers={"Content-Type": "application/x-tar"})
            await response.prepare(call.request)
            await response.write(first)
            async for chunk in stream:
                await response.write(chunk)
            await response.write_eof()
        return response

    async def create(self, call: Call) -> web.StreamResponse:
        if call.query.maybe("fromImage"):
            return await self._pull(call)
        if call.query.maybe("fromSrc"):
            return await self._import(call)
        raise Invalid("fromImage or fromSrc is required")

    async def _pull(self, call: Call) -> web.StreamResponse:
        """Registries are not reached yet: only the built-in base can be had."""
        query = call.query
        name, tag = query.text("fromImage"), query.text("tag")

        async def operation(emit: Any) -> None:
            await self._images.pull(name, tag, emit, platform=query.maybe("platform"))

        return await Progress(call.request).run(operation)

    async def _import(self, call: Call) -> web.StreamResponse:
        query = call.query
        source, repository, tag = query.text("fromSrc"), query.text("repo"), query.text("tag")
        reference = f"{repository}:{tag}" if repository and tag else repository
        message = query.text("message")

        async def operation(emit: Any) -> None:
            stream = call.stream() if source == "-" else fetch(source, emit)
            await self._images.import_(
                stream,
                reference=reference or None,
                message=message or f"Imported from {source}",
                changes=query.texts("changes"),
                platform=query.maybe("platform"),
                progress=emit,
            )

        return await Progress(call.request).run(operation)


async def fetch(source: str, emit: Any) -> AsyncIterator[bytes]:
    """The bytes behind a URL. ``Unavailable`` when the server does not give them."""
    import aiohttp  # the client is 4 MB that an idle daemon does without

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=120)
    url = source if "://" in source else f"http://{source}"
    emit({"status": f"Downloading from {url}"})
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.get(url) as response,
        ):
            if response.status >= 400:
                raise Unavailable(f"got HTTP status code >= 400: {response.status} from {url}")
            async for chunk in response.content.iter_any():
                yield chunk
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Unavailable(f"cannot download {url}: {error or type(error).__name__}") from error


def platform(text: str | None) -> str | None:
    """``os/arch[/variant]``, or the JSON form that newer clients send."""
    if not text or not text.lstrip().startswith("{"):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"failed to parse platform: {error}") from error
    parts = [value.get(key) for key in ("os", "architecture", "variant")]
    if not all(part is None or isinstance(part, str) for part in parts):
        raise Invalid("failed to parse platform: its fields are text")
    if not parts[0] or not parts[1]:
        raise Invalid("both OS and Architecture must be provided")
    return "/".join(part for part in parts if part)


def for_version(body: dict[str, Any], version: tuple[int, int]) -> dict[str, Any]:
    """Leave out what the API of ``version`` no longer has."""
    result = dict(body)
    if version >= _NO_VIRTUAL_SIZE:
        result.pop("VirtualSize", None)
    if version >= _NO_CONTAINER_CONFIG:
        result.pop("Container", None)
        result.pop("ContainerConfig", None)
    config = dict(result.get("Config") or {})
    if version >= _IMAGE_CONFIG_ONLY:
        for name in _CONTAINER_FIELDS:
            config.pop(name, None)
    if version >= _NO_EMPTY_FIELDS:
        config = {key: value for key, value in config.items() if value not in (None, "", [], {})}
        for name in ("Parent", "Comment", "DockerVersion", "Author"):
            if not result.get(name):
                result.pop(name, None)
    result["Config"] = config
    return result
