"""Record Docker's answers to every scenario: see ``tests.support.recording``.

Run it in a network namespace of its own, where Docker may make bridges and rules.
"""

from __future__ import annotations

import subprocess
import sys

from tests.support import network_scenario
from tests.support.engine import Engine
from tests.support.recording import play, write

SCENARIOS = {"networks": (network_scenario.STEPS, network_scenario.VOLATILE)}


class Docker(Engine):
    """Docker with its bridge and firewall, which the tests' reference engine goes without."""

    def __init__(self) -> None:
        super().__init__("docker")

    def command(self) -> list[str]:
        return [
            each
            for each in super().command()
            if each not in ("--bridge", "none", "--iptables=false")
        ]


def main(names: list[str]) -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name in names or SCENARIOS:
        steps, volatile = SCENARIOS[name]
        with Docker() as engine:
            engine.start()
            answers = play(engine, steps, volatile)
        write(name, answers)
        print(f"{name}: {len(answers)} answers")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
