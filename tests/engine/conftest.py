"""Hosts and daemons for the tests of networks.

A module asks for its own network namespace with ``usefixtures("near")``, or ``usefixtures("far")``
for one that another host is linked to, and may say how ``daemon`` is set up by a fixture
``network_settings`` of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.networks import SETTINGS, Daemon, far_host, own_host

from wherry.networks.settings import NetworkSettings


@pytest.fixture
def near() -> Iterator[int]:
    """The test lives in a network namespace of its own."""
    with own_host() as fd:
        yield fd


@pytest.fixture
def far(near: int) -> Iterator[int]:
    """The namespace of another host, which reaches this one."""
    with far_host() as fd:
        yield fd


@pytest.fixture
def network_settings() -> NetworkSettings:
    return SETTINGS


@pytest.fixture
async def daemon(
    near: int, network_settings: NetworkSettings, tmp_path: Path
) -> AsyncIterator[Daemon]:
    """The networks room, started; at the end nothing of it is left."""
    made = await Daemon(tmp_path, network_settings).start()
    try:
        yield made
    finally:
        await made.dismantle()
