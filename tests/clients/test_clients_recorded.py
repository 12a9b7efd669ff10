"""Answers compared, field by field, with those that Docker 26.1.5 gave to the same requests.

Where Wherry means to differ, a row below says so and why; a row that nothing needs fails too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from tests.support import network_scenario
from tests.support.engine import Engine
from tests.support.recording import Step, Volatile, differences, play, recorded

pytestmark = pytest.mark.root

Reasons = Sequence[tuple[str, str]]
"""(pattern of a difference's line, why it is meant)."""

NETWORKS: Reasons = (
    (r"\.(GwPriority|EnableIPv4): Docker has nothing", "fields of later API versions"),
    (r"\.(NetworkID|DNSNames): Docker has (''|None)", "known before the first start, and listed"),
    (r"\.Options: Docker has None, Wherry {}", "no options are no options"),
    (
        r"(with ports|of ports).*(IPAddress|MacAddress)",
        "addresses are used again as late as can be",
    ),
    (r"stopped.*\.MacAddress: Docker has '', Wherry", "an address that was asked for is shown"),
    (r"\.Sandbox(ID|Key): Docker has '<(sandbox|path)>', Wherry ''", "no sandbox is shown there"),
    (r"\.(Aliases|DriverOpts): Docker has None", "lists show what inspect shows"),
    (
        r"^(create|connect|disconnect|list|prune|remove)[^.]*\.body\.message: ",
        "our words name more",
    ),
    (r"^container: malformed MAC\.body\.message", "the container's own, not an endpoint's"),
    (r"^create: slash in name|^made in all", "a name that no client can use in a path"),
    (r"^create: (overlay|ingress) without swarm\.status: .*403, Wherry 501", "there is no cluster"),
    (r"^list: bad type\.status: Docker has 500, Wherry 400", "the request is at fault"),
    (
        r"^(container|start|remove): (malformed (DNS|host address)|unknown protocol)",
        "told at create",
    ),
    (r"^(container|start|remove): joined to an unknown one", "told at create"),
    (r"^container: MAC on a joined network\.body\.Warnings", "nothing is deprecated here"),
    (r"^wide is not dangling", "a network with a container is in use"),
    (r"^prune (one|by label)", "a stopped container keeps its networks"),
)

SCENARIOS = {
    "networks": (network_scenario.STEPS, network_scenario.VOLATILE, NETWORKS),
}


class Alone(Engine):
    """In a network namespace of its own, where no address and no port is taken."""

    def command(self) -> list[str]:
        script = 'ip link set lo up && exec "$@"'
        return ["unshare", "--net", "sh", "-c", script, "sh", *super().command()]


@pytest.mark.parametrize("name", SCENARIOS)
def test_answers_like_docker(name: str) -> None:
    steps, volatile, reasons = SCENARIOS[name]
    with Alone() as engine:
        engine.start()
        found = _found(name, engine, steps, volatile)
    unexplained = [line for line in found if not _reason(line, reasons)]
    assert not unexplained, "\n".join(unexplained)
    idle = [row for row in reasons if not any(re.search(row[0], line) for line in found)]
    assert not idle, f"no answer needs these any more: {idle}"


def _found(name: str, engine: Engine, steps: Sequence[Step], volatile: Volatile) -> list[str]:
    docker = recorded(name)
    wherry = play(engine, steps, volatile)
    assert docker.keys() == wherry.keys(), "record again: the scenario has changed"
    return [line for step in docker for line in differences(docker[step], wherry[step], step)]


def _reason(line: str, reasons: Reasons) -> str:
    return next((why for pattern, why in reasons if re.search(pattern, line)), "")
