"""Fixtures that all tests share.

``WHERRY_TEST_ENGINE=docker`` runs the client tests against Docker's engine instead, which shows
that they ask for what Docker does; ``DOCKERD`` says where it is.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.support.clients import Cli, Program, programs
from tests.support.engine import Engine, eventually
from tests.support.machine import traces

# Always the same examples, and no opinion about how fast this machine is.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")

# Daemons and commands under test start as installed ones do: with their compiled files.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A shell starts its background jobs with interrupts ignored, and so would be all that we start.
signal.signal(signal.SIGINT, signal.default_int_handler)

ORDER = ("engine", "clients", "faults")
"""Folders of the slow tests; the pure ones come before."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """What ``scripts/soak`` makes longer than the suite has time for."""
    group = parser.getgroup("soak", "kills of the daemon in the middle of mixed work")
    group.addoption("--soak-seed", type=int, action="append", help="again with each seed")
    group.addoption("--soak-rounds", type=int, default=3, help="kills for each seed")
    group.addoption("--soak-operations", type=int, default=60, help="operations for each kill")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pure tests first; what needs root is skipped without it."""

    def place(item: pytest.Item) -> int:
        folder = Path(item.path).parent.name
        return ORDER.index(folder) + 1 if folder in ORDER else 0

    items.sort(key=place)
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="needs root"))


FIRST_SEEN: dict[str, str] = {}
"""After which test a network interface was there: of what is left, mostly the one that made it."""


def pytest_runtest_logfinish(nodeid: str) -> None:
    for name in os.listdir("/sys/class/net"):
        FIRST_SEEN.setdefault(f"network interface {name}", f", since {nodeid}")


@pytest.fixture(scope="session", autouse=True)
def nothing_left(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """What the run makes on the machine is gone at its end."""
    if os.geteuid() != 0 or not any(
        each.get_closest_marker("root") for each in request.session.items
    ):
        yield
        return
    folder = tmp_path_factory.getbasetemp()
    before = traces(folder, used=True)
    yield
    left = traces(folder) - before

    def gone() -> bool:
        left.intersection_update(traces(folder))
        return not left

    # Somebody else's come and go: what comes only now is not this run's.
    with suppress(TimeoutError):
        eventually(gone, seconds=20)
    told = [f"{each}{FIRST_SEEN.get(each, '')}" for each in sorted(left)]
    assert not told, "left on the machine by this run:\n" + "\n".join(told)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A running daemon for a module; at the end nothing of it may be left on the machine."""
    with Engine() as running:
        running.start()
        yield running


@pytest.fixture
def own_engine() -> Iterator[Engine]:
    """A running daemon for one test, which may kill it."""
    with Engine() as running:
        running.start()
        yield running


@pytest.fixture(params=programs(), ids=lambda program: program.name)
def program(request: pytest.FixtureRequest) -> Program:
    found: Program = request.param
    return found


@pytest.fixture
def cli(program: Program, engine: Engine) -> Iterator[Cli]:
    """Each client program in turn, on the module's daemon; containers are removed after."""
    yield Cli(program, engine)
    engine.remove_containers()
