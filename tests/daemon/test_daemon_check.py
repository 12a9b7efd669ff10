"""Values that an option cannot have: one line that names it, before anything is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wherry.daemon.config import parse
from wherry.daemon.root import address_pools, check
from wherry.errors import Invalid

ULIMIT = {"Name": "nofile", "Soft": 5, "Hard": 1}
LIMITED = {"host": "unix:///a", "scope": "read-only"}


def checked(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "daemon.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    check(parse(["--config", str(path)]))


GOOD: list[dict[str, Any]] = [
    {},
    {"mtu": 9000, "bip": "10.1.0.1/24", "fixed-cidr": "10.1.0.128/25"},
    {"fixed-cidr": "10.1.0.0/16", "fixed-cidr-v6": "fd00::/64", "ipv6": True},
    {"dns": ["1.1.1.1", "fe80::1%eth0"], "dns-search": [".", "a.example", "_tcp.b."]},
    {"bridge": "none", "labels": ["a=b", "c="], "bip": "10.0.0.0/31"},
    {"default-address-pools": [{"base": "10.0.0.0/8", "size": 24}]},
    {"hosts": ["fd://", "unix:///a", "tcp://127.0.0.1:2375"], "insecure-loopback": True},
    {"runtimes": {"mine": {"path": "/bin/sh"}}, "default-runtime": "mine", "group": "0"},
]


@pytest.mark.parametrize("data", GOOD)
def test_good(tmp_path: Path, data: dict[str, Any]) -> None:
    checked(tmp_path, data)


BAD: list[tuple[Any, str]] = [
    ({"mtu": -5}, "invalid mtu -5"),
    ({"mtu": 10}, "invalid mtu 10"),
    ({"mtu": 10**9}, "invalid mtu 1000000000"),
    ({"bip": "nonsense"}, "invalid bip 'nonsense'"),
    ({"bip": "10.0.0.1"}, "invalid bip '10.0.0.1'"),
    ({"bip": "::1/64"}, "invalid bip '::1/64'"),
    ({"bip": "10.0.0.0/24"}, "invalid bip '10.0.0.0/24'"),
    ({"bip": "10.0.0.255/24"}, "invalid bip '10.0.0.255/24'"),
    ({"fixed-cidr": "x"}, "invalid fixed-cidr 'x'"),
    ({"fixed-cidr": "10.0.0.0/99"}, "invalid fixed-cidr"),
    ({"fixed-cidr": "10.0.0.1/24"}, "invalid fixed-cidr"),
    ({"bip": "10.1.0.1/24", "fixed-cidr": "10.2.0.0/24"}, "not inside of bip"),
    ({"fixed-cidr-v6": "10.0.0.0/8"}, "invalid fixed-cidr-v6"),
    ({"fixed-cidr-v6": "fd00::"}, "invalid fixed-cidr-v6"),
    ({"ip": "nonsense"}, "invalid ip 'nonsense'"),
    ({"default-gateway": "x"}, "default-gateway"),
    ({"host-gateway-ip": "x"}, "host-gateway-ip"),
    ({"bridge": "a b"}, "invalid bridge 'a b'"),
    ({"bridge": "x" * 40}, "invalid bridge"),
    ({"bridge": "../x"}, "invalid bridge"),
    ({"firewall": "open"}, "firewall"),
    ({"dns": ["nonsense"]}, "invalid dns 'nonsense'"),
    ({"dns": [7]}, '"dns" is not a list of texts'),
    ({"dns-search": ["a b"]}, "invalid dns-search 'a b'"),
    ({"dns-opts": [7]}, '"dns-opts" is not a list of texts'),
    ({"default-address-pools": ["x"]}, "default address pool 'x'"),
    ({"default-address-pools": [{"base": "x", "size": 24}]}, "base x"),
    ({"default-address-pools": [{"base": "10.0.0.0/24", "size": 8}]}, "size 8"),
    ({"labels": ["=x"]}, "bad attribute format: =x"),
    ({"labels": [7]}, '"labels" is not a list of texts'),
    ({"labels": ["a=b", "a=c"]}, "conflict labels for a=b and a=c"),
    ({"hosts": [7]}, '"hosts" is not a list of texts'),
    ({"hosts": ["unix:///a", "unix:///a"]}, "the host unix:///a is there twice"),
    ({"runtimes": {"": {"path": "/bin/true"}}}, "a runtime has no name"),
    ({"runtimes": {"x": {"path": "/no/such"}}}, "runtime x: /no/such"),
    ({"default-runtime": "nope"}, "default-runtime nope"),
    ({"hosts": ["foo://x"]}, "invalid host foo://x"),
    ({"hosts": ["unix://a"]}, "the path is not absolute"),
    ({"hosts": ["unix:///" + "a" * 120]}, "at most 107 bytes"),
    ({"hosts": ["tcp://127.0.0.1:x"]}, "invalid host tcp://127.0.0.1:x"),
    ({"hosts": ["tcp://127.0.0.1:1/x"]}, "a TCP address has no path"),
    ({"hosts": ["tcp://127.0.0.1:2375"]}, "refusing to listen on tcp://127.0.0.1:2375"),
    ({"hosts": ["tcp://0.0.0.0:1"], "insecure-loopback": True}, "refusing to listen"),
    ({"hosts": ["tcp://127.0.0.1:1"], "tls": True}, "tls alone"),
    ({"hosts": ["tcp://127.0.0.1:1"], "tlsverify": True}, "tlsverify needs tlscacert"),
    ({"group": "nosuchgroup"}, "group nosuchgroup not found"),
    ({"sockets": [LIMITED | {"group": "nosuchgroup"}]}, "group nosuchgroup not found"),
    ({"log-driver": "paper"}, "log-driver paper"),
    ({"log-opts": {"x": "y"}}, "unknown log opt 'x'"),
    ({"log-opts": {"max-size": "lots"}}, "max-size: lots"),
    ({"default-shm-size": "x"}, "default-shm-size: x"),
    ({"default-ipc-mode": "host"}, "default-ipc-mode is host"),
    ({"default-cgroupns-mode": "x"}, "default-cgroupns-mode is x"),
    ({"default-ulimits": {"x": ULIMIT}}, "invalid ulimit type: x"),
    ({"default-ulimits": {"nofile": ULIMIT}}, "nofile: soft 5 is above hard 1"),
    ({"seccomp-profile": "/no/such"}, "seccomp-profile /no/such"),
    ({"cgroup-parent": "../x"}, "cgroup-parent"),
    ({"sockets": [7]}, "sockets[0]: it is not an object"),
    ("[" * 100_000, "not valid JSON"),
    ('{"debug": true} x', "not valid JSON"),
]


@pytest.mark.parametrize(("data", "says"), BAD)
def test_bad(tmp_path: Path, data: Any, says: str) -> None:
    with pytest.raises(Invalid) as failure:
        checked(tmp_path, data)
    assert says in failure.value.message


def test_address_pools_as_info_shows_them(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_text("{}")
    file = ["--config", str(tmp_path / "daemon.json")]
    pools = ["base=10.0.0.0/8,size=24", "base=fd00::/48,size=64"]
    words = [word for pool in pools for word in ("--default-address-pool", pool)]
    assert address_pools(parse([*file, *words])) == (
        {"Base": "10.0.0.0/8", "Size": 24},
        {"Base": "fd00::/48", "Size": 64},
    )
    assert address_pools(parse(file)) == ()


def wherryd(tmp_path: Path, data: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the daemon's command to its end; it makes neither data root nor run directory."""
    path = tmp_path / "daemon.json"
    path.write_text(data)
    start = "import sys; from wherry.daemon.main import main; sys.exit(main())"
    root = tmp_path / "root"
    command = [sys.executable, "-c", start, *flags, "--config", str(path)]
    command += ["--data-root", str(root), "--run-dir", str(root)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert not root.exists()
    return done


def test_validate_says_it_and_makes_nothing(tmp_path: Path) -> None:
    good = wherryd(tmp_path, '{"mtu": 1400}', "--validate")
    assert (good.returncode, good.stdout, good.stderr) == (0, "configuration OK\n", "")
    bad = wherryd(tmp_path, '{"mtu": 14}', "--validate")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr == "wherryd: invalid mtu 14: it is from 68 to 65535\n"


def test_a_start_refuses_what_validate_refuses(tmp_path: Path) -> None:
    said = wherryd(tmp_path, "", "--validate", "--host", "foo://x")
    started = wherryd(tmp_path, "", "--host", "foo://x")
    assert (said.returncode, started.returncode) == (1, 1)
    assert said.stdout == started.stdout == ""
    assert said.stderr == started.stderr
    assert said.stderr.startswith("wherryd: invalid host foo://x")
