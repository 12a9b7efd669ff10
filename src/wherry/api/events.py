"""``GET /events``: what happened and what happens, as a stream of JSON."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Protocol

from aiohttp import web

from wherry.api.replies import encode
from wherry.api.routing import Call, Router
from wherry.errors import Invalid
from wherry.wire.events import FILTERS, Event, matches, render
from wherry.wire.filters import Filters


class Events(Protocol):
    """Implemented by the daemon's event bus."""

    def stream(self, since: int | None, until: int | None) -> AsyncGenerator[Event, None]:
        """Events from ``since`` (None: from now) to ``until`` (None: for ever), ns since 1970.

        The subscription is made by the call itself, not by the first step.
        """


def media_type(accept: str) -> str:
    """Content type of the stream: what ``Accept`` asks first of the three that are spoken."""
    for part in accept.split(","):
        sort = part.partition(";")[0].strip().lower()
        if sort in ("application/json-seq", "application/x-ndjson", "application/json"):
            return sort
        if sort == "application/jsonl":
            return sort
    return "application/json"


class EventRoutes:
    def __init__(self, events: Events) -> None:
        self._events = events
        self._written: tuple[Event | None, bytes] = (None, b"")
        """The event written last and its text: the next listener wants the same."""

    def register(self, router: Router) -> None:
        router.add("GET", "/events", self.events, streams=True)

    async def events(self, call: Call) -> web.StreamResponse:
        query = call.query
        since, until = query.nanoseconds("since"), query.nanoseconds("until")
        if since is not None and until is not None and since > until:
            raise Invalid("`since` is after `until`")
        filters: Filters = query.filters()
        filters.validate(FILTERS)
        sort = media_type(call.request.headers.get("Accept", ""))
        before = b"\x1e" if sort == "application/json-seq" else b""
        response = web.StreamResponse(headers={"Content-Type": sort})
        async with contextlib.aclosing(self._events.stream(since, until)) as happened:
            await response.prepare(call.request)
            with contextlib.suppress(ConnectionError):
                async for event in happened:
                    if matches(event, filters):
                        await response.write(before + self._text(event) + b"\n")
                await response.write_eof()
        return response

    def _text(self, event: Event) -> bytes:
        if self._written[0] is not event:
            self._written = (event, encode(render(event)))
        return self._written[1]
