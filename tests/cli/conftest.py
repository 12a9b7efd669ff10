from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conversations import OWN, SOURCE
from tests.cli.fake_daemon import FakeDaemon, fake_daemon
from tests.support.clients import LIKE_DOCKER, like_docker


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """A fake daemon that the environment points to, and an empty configuration."""
    with fake_daemon(tmp_path) as running:
        config = tmp_path / "config"
        config.mkdir()
        for name in ("DOCKER_CONTEXT", "WHERRY_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("WHERRY_HOST", running.host)
        monkeypatch.setenv("DOCKER_HOST", running.host)
        monkeypatch.setenv("WHERRY_CONFIG", str(config))
        monkeypatch.setenv("DOCKER_CONFIG", str(config))
        yield running


@pytest.fixture(
    params=[
        pytest.param(OWN, id="wherry"),
        pytest.param([LIKE_DOCKER], id="docker", marks=like_docker),
    ]
)
def program(request: pytest.FixtureRequest) -> list[str]:
    found: list[str] = request.param
    return found


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.setenv("TERM", "dumb")
