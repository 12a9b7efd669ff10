"""The event bus: kept, bounded, streamed, slow listeners."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from wherry.daemon.events import EventBus
from wherry.store.database import Database
from wherry.store.events import EventTable
from wherry.wire.events import Event


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 10
        return self.now


async def take(stream: AsyncIterator[Event], count: int) -> list[str]:
    async with asyncio.timeout(5):
        return [(await anext(stream)).action for _ in range(count)]


def bus(keep: int = 10_000) -> EventBus:
    return EventBus(EventTable(Database(":memory:"), keep), Clock())


async def test_a_listener_gets_what_comes_after_it_asked() -> None:
    events = bus()
    events.publish("container", "old", "c", {})
    stream = events.stream(None, None)
    events.publish("container", "new", "c", {"name": "n"})
    async with asyncio.timeout(5):
        event = await anext(stream)
    assert (event.action, event.kind, event.actor_id, event.attributes) == (
        "new",
        "container",
        "c",
        {"name": "n"},
    )


async def test_since_and_until() -> None:
    events = bus()
    for action in ("a", "b", "c", "d"):
        events.publish("image", action, "i", {})
    assert [event.action async for event in events.stream(20, 30)] == ["b", "c"]
    assert [event.action async for event in events.stream(1000, 1)] == []


@pytest.mark.parametrize(("since", "found"), [(10**20, []), (-(10**20), ["a"])])
async def test_times_beyond_64_bits(since: int, found: list[str]) -> None:
    events = bus()
    events.publish("image", "a", "i", {})
    assert [event.action async for event in events.stream(since, 100)] == found


async def test_waiting_listeners_are_woken_in_order() -> None:
    events = bus()
    streams = [events.stream(None, None) for _ in range(3)]
    async with asyncio.TaskGroup() as tasks:
        takers = [tasks.create_task(take(stream, 2)) for stream in streams]
        await asyncio.sleep(0)
        events.publish("container", "start", "c", {})
        await asyncio.sleep(0)
        events.publish("container", "die", "c", {})
    assert [each.result() for each in takers] == [["start", "die"]] * 3
    assert events.listeners == 3
    for stream in streams:
        await stream.aclose()
    assert events.listeners == 0


async def test_the_table_is_bounded_and_a_slow_listener_costs_nothing() -> None:
    events = bus(keep=100)
    stream = events.stream(None, None)
    for number in range(1024):
        events.publish("container", str(number), "c", {})
    kept = [event.action async for event in events.stream(1, events._clock())]
    assert 100 <= len(kept) <= 356
    assert kept[-1] == "1023"
    assert int((await take(stream, 1))[0]) >= 1024 - 356


async def test_until_ends_a_quiet_stream() -> None:
    events = EventBus(EventTable(Database(":memory:")))
    soon = events._clock() + 20_000_000
    async with asyncio.timeout(5):
        assert [event async for event in events.stream(None, soon)] == []


@pytest.mark.parametrize("keep", [10])
async def test_numbers_go_on_after_a_restart(keep: int) -> None:
    database = Database(":memory:")
    first = EventTable(database, keep).append(1, "k", "a", "x", {})
    assert EventTable(database, keep).append(2, "k", "b", "x", {}) == first + 1
    assert EventTable(database, keep).before_time(2) == first
