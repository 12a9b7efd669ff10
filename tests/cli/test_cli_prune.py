"""``prune``: what is sent, what is asked, and that a dry run never becomes a real one."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.fake_daemon import FakeDaemon

from wherry.cli.main import main

KINDS = ("containers", "images", "networks", "volumes")
PRUNES = ("container", "image", "network", "volume", "system")
ANNOUNCED = {"Wherry-Dry-Run": "containers, images, networks, volumes"}


@pytest.fixture
def filled(daemon: FakeDaemon) -> FakeDaemon:
    daemon.on("POST", "/containers/prune", {"ContainersDeleted": ["c1"], "SpaceReclaimed": 5})
    images = {"ImagesDeleted": [{"Untagged": "a:1"}, {"Deleted": "sha256:a"}], "SpaceReclaimed": 7}
    daemon.on("POST", "/images/prune", images)
    daemon.on("POST", "/networks/prune", {"NetworksDeleted": ["n1"]})
    daemon.on("POST", "/volumes/prune", {"VolumesDeleted": ["v1"], "SpaceReclaimed": 1})
    return daemon


def confirming(exchange: Any) -> None:
    """Answers of a daemon that knows dry runs."""
    kind = exchange.request_record.path.split("/")[1]
    deleted = [{"Untagged": "a:1"}] if kind == "images" else [f"{kind}-1"]
    key = f"{kind.capitalize()}Deleted"
    exchange.reply(200, {key: deleted, "SpaceReclaimed": 1000, "DryRun": True})


@pytest.mark.parametrize("group", PRUNES)
def test_a_dry_run_is_not_sent_to_a_daemon_that_does_not_know_it(
    filled: FakeDaemon, capsys: pytest.CaptureFixture[str], group: str
) -> None:
    assert main([group, "prune", "--dry-run", "--force"]) == 1
    assert "nothing was sent" in capsys.readouterr().err
    assert not [one for one in filled.requests if one.method == "POST"]


def test_a_pinned_version_is_no_way_around(
    filled: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_API_VERSION", "1.41")
    assert main(["container", "prune", "--dry-run"]) == 1
    assert not [one for one in filled.requests if one.method == "POST"]


def test_each_kind_must_be_announced(filled: FakeDaemon) -> None:
    filled.ping_headers["Wherry-Dry-Run"] = "containers, networks"
    assert main(["system", "prune", "--dry-run"]) == 1
    assert not [one for one in filled.requests if one.method == "POST"]


def test_an_answer_without_confirmation_is_an_error(
    filled: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    filled.ping_headers.update(ANNOUNCED)
    assert main(["volume", "prune", "--dry-run"]) == 1
    assert "did not confirm" in capsys.readouterr().err


def test_a_dry_run_of_everything(filled: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    filled.ping_headers.update(ANNOUNCED)
    for kind in KINDS:
        filled.on("POST", f"/{kind}/prune", confirming)
    filled.on("GET", "/containers/json", [{"Id": "containers-1", "Names": ["/web"]}])
    assert main(["system", "prune", "--dry-run", "--volumes", "-a"]) == 0
    shown = capsys.readouterr().out
    assert shown == (
        "Would delete containers:\ncontainers-1  web\n\n"
        "Would delete networks:\nnetworks-1\n\n"
        "Would delete volumes:\nvolumes-1\n\n"
        "Would delete images:\nuntagged: a:1\n\n"
        "Total reclaimable space: 4kB\n"
    )
    for kind in KINDS[1:]:
        (sent,) = filled.sent("POST", f"/{kind}/prune")
        assert sent.query["dry-run"] == ["1"]
        assert sent.query["without"] == ["containers-1"]


@pytest.mark.parametrize("group", PRUNES)
def test_without_an_answer_nothing_is_removed(
    filled: FakeDaemon, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert main([group, "prune"]) == 0
    assert not [one for one in filled.requests if one.method == "POST"]


def test_filters_of_the_configuration(filled: FakeDaemon, tmp_path: Path) -> None:
    configured = {"pruneFilters": ["label!=keep", "label=a", "until=1h", "junk"]}
    (tmp_path / "config" / "config.json").write_text(json.dumps(configured))
    assert main(["network", "prune", "-f", "--filter", "label=keep"]) == 0
    (sent,) = filled.sent("POST", "/networks/prune")
    assert json.loads(sent.query["filters"][0]) == {
        "label": {"keep": True, "a": True},
        "until": {"1h": True},
    }


def test_until_with_volumes(filled: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Docker's daemon would refuse it half-way; ours takes it."""
    command = ["system", "prune", "-f", "--volumes", "--filter", "until=1h"]
    assert main(command) == 1
    assert 'The "until" filter is not supported' in capsys.readouterr().err
    assert not [one for one in filled.requests if one.method == "POST"]
    filled.ping_headers.update(ANNOUNCED)
    assert main(command) == 0
    assert filled.sent("POST", "/volumes/prune")
