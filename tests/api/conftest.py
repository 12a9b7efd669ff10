from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.api.api_fakes import FakeContainers, Service

from wherry.api import missing
from wherry.api.containers import ContainerRoutes
from wherry.api.routing import Router
from wherry.api.streams import StreamRoutes


@pytest.fixture
def containers() -> FakeContainers:
    return FakeContainers()


@pytest.fixture
async def service(tmp_path: Path, containers: FakeContainers) -> AsyncIterator[Service]:
    router = Router()
    ContainerRoutes(containers).register(router)
    StreamRoutes(containers).register(router)
    missing.register(router)
    async with Service(tmp_path / "s.sock", router) as running:
        yield running
