"""The router and what a handler receives.

A group of routes is a class that takes its services by constructor and has one method
``register(router)``::

    class VolumeRoutes:
        def __init__(self, volumes: VolumeService) -> None: ...

        def register(self, router: Router) -> None:
            router.add("GET", "/volumes/{name}", self.inspect)

        async def inspect(self, call: Call) -> web.StreamResponse:
            return json_reply(self._volumes.inspect(call.path["name"]))

Patterns have no version prefix. ``{name}`` matches one path segment, ``{name:.+}`` anything.
Handlers raise kinds of ``wherry.errors``; the application turns them into replies.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from wherry.api.errors import MethodNotAllowed
from wherry.api.query import Query
from wherry.errors import Internal, Invalid, NotFound, NotImplementedYet
from wherry.wire.decode import decode

T = TypeVar("T")
_PARAMETER = re.compile(r"\{(\w+)(?::([^}]+))?\}")
_LINK = re.compile(r"/containers/([^/]+)/([^/]+)((?:/.+)?)")
_PLACE = re.compile(r"((?:/wherry)?/(\w+))((?:/.+)?)")
"""Where a name belongs that is not there: behind the kind of object."""
_DOUBLED = re.compile(r"((?:/wherry)?/(\w+))/((?:/.+)?)")
_SLASHED = re.compile(r"/(volumes|networks)/([^/]+/.+)")
_BODY_LIMIT = 64 << 20
"""Bytes of a JSON body; uploads are streamed and have no limit."""


@dataclass(frozen=True)
class Rehearsal:
    """``without``: ids of containers to be taken as removed; nothing without ``dry_run``."""

    dry_run: bool
    without: frozenset[str]

    def __post_init__(self) -> None:
        if self.without and not self.dry_run:
            raise Invalid('the parameter "without" is only for a dry-run')

    def mark(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The prune's answer, saying so when nothing was really removed."""
        return answer | {"DryRun": True} if self.dry_run else answer


class Call:
    """One request: path parameters, query, API version, body."""

    __slots__ = ("_body", "_query", "path", "request", "version")

    def __init__(
        self, request: web.BaseRequest, path: dict[str, str], version: tuple[int, int]
    ) -> None:
        self.request = request
        self.path = path
        self.version = version
        """API version asked for, e.g. ``(1, 41)``; the newest when the path has none."""
        self._query: Query | None = None
        self._body: Any = None

    @property
    def query(self) -> Query:
        if self._query is None:
            values = self.request.query
            every: dict[str, list[str]] = {}
            for key, value in values.items():
                if "\0" in value:
                    raise Invalid(f"invalid value for {key}: it holds a null byte")
                every.setdefault(key, []).append(value)
            self._query = Query(values, every)
        return self._query

    @query.setter
    def query(self, narrowed: Query) -> None:
        self._query = narrowed

    def rehearsal(self) -> Rehearsal:
        """Beyond Docker: whether a prune is only to say what it would remove.

        Only prunes that ``/_ping`` announces in ``Wherry-Dry-Run`` are asked that.
        """
        return Rehearsal(self.query.flag("dry-run"), frozenset(self.query.texts("without")))

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes. ``Invalid`` when it breaks off or is not what its head promised."""
        try:
            async for chunk in self.request.content.iter_any():
                yield chunk
        except (ConnectionError, web.RequestPayloadError, HttpProcessingError) as error:
            raise Invalid("the request body ends too early or is malformed") from error

    async def read(self) -> bytes:
        """The whole body, of at most 64 MiB."""
        chunks: list[bytes] = []
        size = 0
        async for chunk in self.stream():
            size += len(chunk)
            if size > _BODY_LIMIT:
                raise Invalid("the request body is too large")
            chunks.append(chunk)
        return b"".join(chunks)

    async def body(self, kind: type[T], *, optional: bool = False) -> T:
        """The JSON body as ``kind``. ``optional``: no body gives ``kind()``.

        It is decoded once: whoever asks again, as kind that it is, gets the same object.
        Raises ``Invalid``: "invalid JSON: ..." naming the field, or for a body of another type.
        """
        if self._body is None:
            self._body = await self._decoded(kind, optional)
        if type(self._body) is not kind:
            raise Internal(f"the body was read as {type(self._body)} and is wanted as {kind}")
        return self._body

    async def _decoded(self, kind: type[T], optional: bool) -> T:
        data = await self.read()
        if not data.strip():
            if optional:
                return kind()
            raise Invalid("invalid JSON: got EOF while reading request body")
        sort = self.request.headers.get("Content-Type", "")
        if sort.partition(";")[0].strip().lower() != "application/json":
            raise Invalid(f"unsupported Content-Type header ({sort}): must be 'application/json'")
        value = decode(data, kind)
        return kind() if value is None else value


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Route:
    """``streams``: cancelled when the client goes away; else the handler runs to its end."""

    name: str
    """Method and pattern, e.g. ``GET /containers/{id}/json``."""
    handler: Handler
    streams: bool


class Router:
    """Method and path to handler. Exact paths first, then patterns in the order they came."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: dict[str, list[tuple[re.Pattern[str], str, dict[str, Route]]]] = {}
        self._fallback: Router | None = None

    def add(self, method: str, pattern: str, handler: Handler, *, streams: bool = False) -> None:
        """``streams``: end the handler (by cancellation) as soon as the client is gone."""
        self._methods(pattern)[method] = Route(f"{method} {pattern}", handler, streams)

    def missing(self, method: str, pattern: str, what: str) -> None:
        """An endpoint of Docker that is not there yet: 501, unless ``add`` has it as well."""
        if self._fallback is None:
            self._fallback = Router()

        async def refuse(call: Call) -> web.StreamResponse:
            raise NotImplementedYet(f"{what}: not implemented by this version of Wherry")

        self._fallback.add(method, pattern, refuse)

    def routes(self) -> list[tuple[str, str]]:
        """(method, pattern) of all that is served; what answers 501 is not."""
        known = dict(self._exact)
        known |= {pattern: each for room in self._patterns.values() for _, pattern, each in room}
        return sorted((method, pattern) for pattern, each in known.items() for method in each)

    def absent(self) -> list[tuple[str, str]]:
        """(method, pattern) of what answers 501."""
        return (
            []
            if self._fallback is None
            else sorted(set(self._fallback.routes()) - set(self.routes()))
        )

    def _methods(self, pattern: str) -> dict[str, Route]:
        if "{" not in pattern:
            return self._exact.setdefault(pattern, {})
        room = self._patterns.setdefault(pattern.split("/", 2)[1], [])
        for _, known, methods in room:
            if known == pattern:
                return methods
        methods = {}
        room.append((_compile(pattern), pattern, methods))
        return methods

    def _find(self, method: str, path: str) -> tuple[Route | None, dict[str, str], bool]:
        """Route and path parameters; else whether the path exists with another method."""
        methods = self._exact.get(path)
        known = methods is not None
        if methods is not None and method in methods:
            return methods[method], {}, True
        for regex, _, methods in self._patterns.get(path[1:].partition("/")[0], ()):
            match = regex.fullmatch(path)
            if match:
                known = True
                if method in methods:
                    return methods[method], match.groupdict(), True
        return None, {}, known

    def _linked(self, method: str, path: str) -> tuple[Route | None, dict[str, str]]:
        """A container may be named by another's link to it, ``PARENT/ALIAS``."""
        match = _LINK.fullmatch(path)
        if match is None:
            return None, {}
        route, parameters, _ = self._find(method, f"/containers/{match[1]}\0{match[2]}{match[3]}")
        return route, parameters | {"id": f"{match[1]}/{match[2]}"}

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Raises ``NotFound`` "page not found" or ``MethodNotAllowed``.

        ``//`` is one slash, as clients clean their paths: a container may be called ``/web``.
        """
        if "//" in path or (len(path) > 1 and path.endswith("/")):
            self._refuse_nameless(method, path, _DOUBLED.fullmatch(path))
            path = re.sub("//+", "/", path)
            if path.endswith("/"):
                raise NotFound("page not found")
        route, parameters, known = self._find(method, path)
        if route is None and self._fallback is not None:
            route, parameters, also = self._fallback._find(method, path)
            known = known or also
        if route is None and not known:
            route, parameters = self._linked(method, path)
        if route is not None:
            return route, parameters
        self._refuse_nameless(method, path, _PLACE.fullmatch(path))
        if known:
            raise MethodNotAllowed(f"method {method} is not allowed for {path}")
        if method in ("GET", "DELETE"):
            _refuse_slashed(_SLASHED.fullmatch(path))
        raise NotFound("page not found")

    def _refuse_nameless(self, method: str, path: str, match: re.Match[str] | None) -> None:
        """A path that is one of ours but for a name: ``/containers//start``, and
        ``/containers/start``, as clients clean it."""
        if match is None:
            return
        whole = f"{match[1]}/\0{match[3]}"
        route, parameters, _ = self._find(method, whole)
        if route is None and self._fallback is not None:
            route, parameters, _ = self._fallback._find(method, whole)
        if route is not None and "\0" in parameters.values():
            raise NotFound(f"invalid {match[2].removesuffix('s')} name or ID: value is empty")


def _refuse_slashed(match: re.Match[str] | None) -> None:
    """``volume rm a/b`` asks for something that cannot be there, not for another page."""
    if match is None:
        return
    if match[1] == "volumes":
        raise NotFound(f"get {match[2]}: no such volume")
    raise NotFound(f"network {match[2]} not found")


def _compile(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    end = 0
    for match in _PARAMETER.finditer(pattern):
        parts.append(re.escape(pattern[end : match.start()]))
        parts.append(f"(?P<{match[1]}>{match[2] or '[^/]+'})")
        end = match.end()
    parts.append(re.escape(pattern[end:]))
    return re.compile("".join(parts))
