"""What dockerd's options for containers mean, and what is refused of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wherry.containers.defaults import fill
from wherry.containers.facts import HostFacts
from wherry.daemon.config import parse
from wherry.daemon.defaults import ContainerDefaults, container_defaults
from wherry.errors import Invalid
from wherry.wire.container import HostConfig, LogConfig, Ulimit


def of_file(folder: Path, data: dict[str, Any]) -> ContainerDefaults:
    path = folder / "daemon.json"
    path.write_text(json.dumps(data))
    return container_defaults(parse(["--config", str(path)]))


def test_flags_and_file_mean_the_same(tmp_path: Path) -> None:
    words = (
        "--default-ulimit nofile=10:20 --default-ulimit core=-1 --log-driver local --init "
        "--log-opt max-size=1m --default-shm-size 1M --cgroup-parent /box --no-new-privileges "
        "--default-ipc-mode shareable --default-cgroupns-mode host --seccomp-profile unconfined"
    )
    empty = tmp_path / "empty.json"
    empty.write_text("{}")
    by_flags = container_defaults(parse(["--config", str(empty), *words.split()]))
    by_file = of_file(
        tmp_path,
        {
            "default-ulimits": {
                "nofile": {"Name": "nofile", "Soft": 10, "Hard": 20},
                "core": {"Soft": -1, "Hard": -1},
            },
            "log-driver": "local",
            "log-opts": {"max-size": "1m"},
            "init": True,
            "default-shm-size": "1M",
            "cgroup-parent": "/box",
            "no-new-privileges": True,
            "default-ipc-mode": "shareable",
            "default-cgroupns-mode": "host",
            "seccomp-profile": "unconfined",
        },
    )
    assert by_flags == by_file
    assert by_file.ulimits == (
        Ulimit(name="core", soft=-1, hard=-1),
        Ulimit(name="nofile", soft=10, hard=20),
    )
    assert by_file.log == LogConfig(type="local", config={"max-size": "1m"})
    assert (by_file.shm_size, by_file.cgroup_parent) == (1 << 20, "/box")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"default-ulimits": {"nofiles": {"Soft": 1, "Hard": 1}}}, "ulimit type: nofiles"),
        ({"default-ulimits": {"nofile": {"Soft": 2, "Hard": 1}}}, "soft 2 is above hard 1"),
        ({"default-ulimits": {"nofile": {"Soft": 2}}}, "nofile needs whole numbers"),
        ({"default-ulimits": {"nofile": 3}}, "nofile needs whole numbers"),
        ({"log-driver": "gelf"}, "log-driver gelf: gelf-address is a required"),
        ({"log-opts": {"max-size": "much"}}, "max-size"),
        ({"log-opts": {"max-file": 3}}, '"max-file" is not a text'),
        ({"log-opts": {"colour": "red"}}, "colour"),
        ({"default-shm-size": "big"}, "default-shm-size: big"),
        ({"default-ipc-mode": "host"}, "default-ipc-mode is host"),
        ({"default-cgroupns-mode": "x"}, "default-cgroupns-mode is x"),
        ({"seccomp-profile": "/no/such.json"}, "seccomp-profile /no/such.json"),
    ],
)
def test_what_is_refused(tmp_path: Path, data: dict[str, Any], named: str) -> None:
    with pytest.raises(Invalid) as failure:
        of_file(tmp_path, data)
    assert named in failure.value.message


def test_a_containers_own_word_comes_first() -> None:
    facts = HostFacts(
        log_driver="local",
        log_options={"max-size": "1m", "max-file": "2"},
        shm_size=5,
        ipc_mode="shareable",
        cgroupns_mode="private",
        no_new_privileges=True,
    )
    plain = fill(HostConfig(), facts)
    assert plain.log_config == LogConfig(type="local", config=dict(facts.log_options))
    assert (plain.shm_size, plain.ipc_mode, plain.cgroupns_mode) == (5, "shareable", "private")
    assert plain.security_opt == ["no-new-privileges"]
    own = fill(
        HostConfig(
            log_config=LogConfig(type="local", config={"max-file": "7"}),
            shm_size=6,
            ipc_mode="none",
            cgroupns_mode="host",
            security_opt=["no-new-privileges=false"],
        ),
        facts,
    )
    assert own.log_config == LogConfig(type="local", config={"max-size": "1m", "max-file": "7"})
    assert (own.shm_size, own.ipc_mode, own.cgroupns_mode) == (6, "none", "host")
    assert own.security_opt == ["no-new-privileges=false"]
    other = fill(HostConfig(log_config=LogConfig(type="none")), facts)
    assert other.log_config == LogConfig(type="none", config={})
