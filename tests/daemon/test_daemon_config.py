"""Flags and daemon.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wherry.daemon import config as configuration
from wherry.daemon.config import Config, parse
from wherry.daemon.options import OPTIONS
from wherry.errors import Invalid


@pytest.fixture(autouse=True)
def no_default_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(configuration, "DEFAULT_CONFIG", tmp_path / "none.json")


def with_file(tmp_path: Path, data: Any, *flags: str) -> Config:
    path = tmp_path / "daemon.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return parse(["--config", str(path), *flags])


def test_defaults() -> None:
    config = parse([])
    assert str(config.paths.data) == "/var/lib/wherry"
    assert config.hosts == ("unix:///run/wherry/wherry.sock",)
    assert config.pidfile == Path("/run/wherry/wherryd.pid")
    assert config.level == 20
    assert config.notes == ()


def test_flags_as_dockerd_has_them() -> None:
    words = (
        "-D -H unix:///a.sock --host=tcp://127.0.0.1:1 --data-root /d --exec-root /r -G 7 "
        "--label a=b --label c=d --icc=false --add-runtime fast=/bin/fast --tlsverify "
        "--bip 10.0.0.1/24 --mtu 9000"
    )
    config = parse(words.split())
    assert config.hosts == ("unix:///a.sock", "tcp://127.0.0.1:1")
    assert (str(config.paths.data), str(config.paths.run)) == ("/d", "/r")
    assert config.listed("labels") == ["a=b", "c=d"]
    assert config.runtimes == {"fast": "/bin/fast"}
    assert config.level == 10
    assert config.flag("tlsverify")
    assert config.settings["icc"] is False
    assert config.settings["mtu"] == 9000


def test_a_bool_flag_does_not_take_the_next_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Invalid, match="unrecognized arguments: stray"):
        parse(["--debug", "stray"])


def test_file(tmp_path: Path) -> None:
    data = {
        "data-root": "/d",
        "labels": ["x=y"],
        "log-level": "error",
        "runtimes": {"fast": {"path": "/bin/fast"}},
        "live-restore": True,
    }
    config = with_file(tmp_path, data, "--run-dir", "/r", "--add-runtime", "slow=/bin/slow")
    assert (str(config.paths.data), str(config.paths.run)) == ("/d", "/r")
    assert config.level == 40
    assert config.runtimes == {"fast": "/bin/fast", "slow": "/bin/slow"}
    assert config.notes == ("option live-restore is accepted but has no effect",)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ("{", "not valid JSON"),
        ("[]", "JSON object"),
        ({"no-such-key": 1, "debug": True}, "no-such-key"),
        ({"debug": "yes"}, '"debug" is not true or false'),
        ({"hosts": "unix:///x"}, '"hosts" is not a list'),
        ({"mtu": True}, '"mtu" is not a whole number'),
        ({"log-level": "loud"}, "invalid log level: loud"),
        ({"labels": ["nolabel"]}, "nolabel"),
        ({"runtimes": {"x": {}}}, "runtime x needs a path"),
        ({"userns-remap": "default"}, "userns-remap is not supported"),
    ],
)
def test_bad_files(tmp_path: Path, data: Any, named: str) -> None:
    with pytest.raises(Invalid) as failure:
        with_file(tmp_path, data)
    assert named in failure.value.message


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--no-such"], "--no-such"),
        (["--mtu", "x"], "--mtu"),
        (["--add-runtime", "x"], "NAME=VALUE"),
        (["--config", "/no/such/file"], "/no/such/file does not exist"),
        (["--selinux-enabled"], "selinux-enabled is not supported"),
        (["--debug=maybe"], "maybe"),
        (["--data"], "--data"),
    ],
)
def test_bad_flags(flags: list[str], named: str) -> None:
    with pytest.raises(Invalid) as failure:
        parse(flags)
    assert named in failure.value.message


def test_flag_and_file_may_not_both_say_it(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as failure:
        with_file(tmp_path, {"bip": "10.0.0.1/24"}, "--bip", "10.1.0.1/24")
    assert "specified both as a flag and in the configuration file: bip" in failure.value.message


def test_what_happens_anyway_may_be_asked_for(tmp_path: Path) -> None:
    config = with_file(tmp_path, {"iptables": True, "log-driver": "json-file"})
    assert config.notes == ()


def test_every_option_has_a_name_of_its_own() -> None:
    names = [option.dest for option in OPTIONS]
    flags = [flag for option in OPTIONS for flag in option.flags]
    assert len(names) == len(set(names))
    assert len(flags) == len(set(flags))
