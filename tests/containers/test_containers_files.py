"""Files put into a container that ends meanwhile."""

from __future__ import annotations

import os
from typing import Any

import pytest
from tests.containers.container_fakes import World

from wherry.containers.archive import Archiver
from wherry.errors import Conflict
from wherry.linux.tasks import spawn

NOBODY = 1 << 22
"""No process's number: the kernel gives smaller ones."""


async def test_what_has_just_ended_cannot_start_while_it_is_written_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is gone, but nobody has said so yet."""
    world.runtime._pid = NOBODY
    container = await world.run("sleep")
    live = world.engine._book.get(container)
    found: list[tuple[bool, bool]] = []

    async def mounted(*_: Any, **__: Any) -> Any:
        found.append((live.lock.locked(), live.running is None))
        raise Conflict("seen enough")

    monkeypatch.setattr(Archiver, "_mounted", mounted)
    put = spawn(put_into(world, live), name="put", awaited=True)
    await world.until(lambda: live.lock.locked() or put.done())
    world.runtime.boxes[container].finish(0)
    with pytest.raises(Conflict, match="seen enough"):
        await put
    assert found == [(True, True)]
    assert not live.lock.locked()


async def test_a_running_one_is_not_held(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.runtime._pid = os.getpid() - 1
    container = await world.run("sleep")
    live = world.engine._book.get(container)
    held: list[bool] = []

    async def extract(*_: Any, **__: Any) -> None:
        held.append(live.lock.locked())

    monkeypatch.setattr("wherry.containers.archive.in_own_thread", extract)
    await put_into(world, live)
    assert held == [False]


async def put_into(world: World, live: Any) -> None:
    nothing: Any = None
    await world.engine._archiver.put(
        live, "/x", nothing, lambda: None, keep_kinds=False, copy_owner=False
    )
