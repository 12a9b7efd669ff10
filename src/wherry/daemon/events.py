"""The event bus: what services publish is kept in the database and streamed to who listens.

A listener holds no queue: it remembers the number of the last event it took and reads on, from the
newest events in memory, or from the table, so a slow one costs nothing but its own lag.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from wherry.errors import WherryError
from wherry.store.events import EventTable
from wherry.wire.events import Event

_log = logging.getLogger(__name__)

_NEWEST = 64
"""Events kept in memory for the listeners that keep up, which are nearly all."""
_AT_ONCE = 25
"""Listeners woken in one turn of the loop: a hundred of them take longer than it may be held."""


class EventBus:
    """Implements ``containers.ports.EventSink`` and ``api.events.Events``."""

    def __init__(self, table: EventTable, clock: Callable[[], int] = time.time_ns) -> None:
        self._table = table
        self._clock = clock
        self._newest: deque[Event] = deque(maxlen=_NEWEST)
        self._waiting: set[asyncio.Future[None]] = set()
        self.listeners = 0
        """Streams that are open now."""

    def publish(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        """Keep and stream one event. A full disk loses the event, not the caller's work."""
        now = self._clock()
        try:
            sequence = self._table.append(now, kind, action, actor_id, attributes)
        except WherryError as error:
            _log.error("event %s %s of %s is lost: %s", kind, action, actor_id, error)
            return
        self._newest.append(Event(sequence, now, kind, action, actor_id, dict(attributes)))
        if self._waiting:
            waiting, self._waiting = list(self._waiting), set()
            self._wake(waiting)

    def _wake(self, waiting: list[asyncio.Future[None]]) -> None:
        some, rest = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
        for future in some:
            if not future.done():
                future.set_result(None)
        if rest:
            asyncio.get_running_loop().call_soon(self._wake, rest)

    def stream(self, since: int | None, until: int | None) -> AsyncGenerator[Event, None]:
        """Events from ``since`` (None: from now) to ``until`` (None: for ever), in order."""
        at = self._table.last() if since is None else self._table.before_time(since)
        return self._stream(at, until)

    async def _stream(self, at: int, until: int | None) -> AsyncGenerator[Event, None]:
        self.listeners += 1
        try:
            while True:
                events = self._after(at)
                for event in events:
                    at = event.sequence
                    if until is not None and event.time > until:
                        return
                    yield event
                if not events and not await self._more(until):
                    return
        finally:
            self.listeners -= 1

    def _after(self, at: int) -> Sequence[Event]:
        """Some events beyond the one numbered ``at``, in order; none when there is none."""
        newest = self._newest
        if newest and newest[0].sequence <= at + 1:
            return [event for event in newest if event.sequence > at]
        return [
            Event(row.sequence, row.time, row.kind, row.action, row.actor, row.attributes)
            for row in self._table.after(at)
        ]

    async def _more(self, until: int | None) -> bool:
        """Wait for the next event; False when ``until`` passes first."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        left = None if until is None else (until - self._clock()) / 1e9
        try:
            if left is not None and left <= 0:
                return False
            await asyncio.wait_for(future, left)
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(future)
        return True
