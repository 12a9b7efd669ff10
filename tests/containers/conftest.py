"""A world with a fake runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.containers.container_fakes import World

from wherry.store.paths import Paths


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(Paths(tmp_path / "data", tmp_path / "run"))
    await world.engine.reconcile()
    yield world
    await world.engine.shutdown()
    world.database.close()
