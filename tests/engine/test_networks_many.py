"""Two hundred containers on one network, and several at the same moment."""

from __future__ import annotations

import asyncio
import random
from functools import partial

import pytest
from tests.support.networks import Container, Daemon, Echo, ask, end, lookup, request

from wherry.wire.network import NetworkCreate

pytestmark = pytest.mark.root

MANY = 200


async def test_two_hundred_containers_find_and_reach_each_other(daemon: Daemon) -> None:
    await daemon.management.create(NetworkCreate(name="crowd"))
    containers: list[Container] = []
    echoes: list[Echo] = []
    try:
        wanted = [request(f"c{number}", "crowd") for number in range(MANY)]
        attached = await asyncio.gather(*(daemon.service.attach(each) for each in wanted))
        containers += [Container(*pair) for pair in zip(wanted, attached, strict=True)]
        addresses = [each.network("crowd")["IPAddress"] for each in containers]
        assert len(set(addresses)) == MANY
        assert daemon.management.inspect("crowd")["Containers"].keys() == {
            each.id for each in containers
        }
        chance = random.Random(7)
        for _ in range(40):
            one, other = chance.sample(range(MANY), 2)
            found = containers[one].inside(partial(lookup, f"c{other}"))
            assert found == [addresses[other]]
        for number in chance.sample(range(MANY), 5):
            echoes.append(Echo(containers[number].fd, 7000, f"c{number}"))
            guest = containers[(number + 1) % MANY]
            answer = guest.inside(partial(ask, addresses[number], 7000))
            assert answer.startswith(f"c{number} ")
    finally:
        for echo in echoes:
            echo.close()
        end(*containers)
