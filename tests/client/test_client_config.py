from __future__ import annotations

import json
from pathlib import Path

import pytest

from wherry.client import config as rules
from wherry.client.config import DEFAULT_HOST, Choice, Config, load, normal_host
from wherry.client.contexts import context_id
from wherry.client.engine import Client, escape, lower_version
from wherry.client.errors import BadHost, CannotConnect
from wherry.client.transport import connect, split_address


def empty() -> Config:
    return Config("/nowhere", borrowed=False, values={})


def test_order_of_hosts() -> None:
    env = {"WHERRY_HOST": "unix:///w", "DOCKER_HOST": "unix:///d"}
    assert Choice(empty(), env, host="tcp://x:1").endpoint().host == "tcp://x:1"
    assert Choice(empty(), env).endpoint().host == "unix:///w"
    assert Choice(empty(), {"DOCKER_HOST": "unix:///d"}).endpoint().host == "unix:///d"
    default = Choice(empty(), {}).endpoint()
    assert default.host == DEFAULT_HOST
    assert not default.chosen
    with pytest.raises(BadHost, match="cannot specify both --host and --context"):
        Choice(empty(), env, host="x", context="y").endpoint()


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("/run/x.sock", "unix:///run/x.sock"),
        ("localhost:2375", "tcp://localhost:2375"),
        ("unix:///a", "unix:///a"),
        ("ssh://u@h", "ssh://u@h"),
    ],
)
def test_normal_host(given: str, host: str) -> None:
    assert normal_host(given) == host


def test_tls_from_the_environment() -> None:
    env = {"DOCKER_HOST": "tcp://h:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"}
    found = Choice(empty(), env).endpoint().tls
    assert found is not None
    assert (found.ca, found.cert, found.key) == (
        "/certs/ca.pem",
        "/certs/cert.pem",
        "/certs/key.pem",
    )
    assert found.verify


def write_context(folder: Path, name: str, host: str) -> None:
    place = folder / "contexts" / "meta" / context_id(name)
    place.mkdir(parents=True)
    meta = {"Name": name, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (place / "meta.json").write_text(json.dumps(meta))


def test_contexts(tmp_path: Path) -> None:
    write_context(tmp_path, "far", "tcp://far:2376")
    own = Config(str(tmp_path), borrowed=False, values={"currentContext": "far"})
    assert Choice(own, {}).endpoint().host == "tcp://far:2376"
    assert Choice(own, {"DOCKER_HOST": "unix:///d"}).endpoint().host == "unix:///d"
    assert Choice(own, {"DOCKER_HOST": "unix:///d"}, context="far").endpoint().context == "far"
    assert Choice(own, {}, context="default").endpoint().host == DEFAULT_HOST
    # A context of Docker's own folder names a Docker daemon: it is only followed when asked for.
    borrowed = Config(str(tmp_path), borrowed=True, values={"currentContext": "far"})
    assert Choice(borrowed, {}).endpoint().host == DEFAULT_HOST
    with pytest.raises(BadHost, match="context not found"):
        Choice(own, {}, context="nope").endpoint()
    for odd in ("\udcff", "\ud800"):  # not UTF-8, on a command line or in a file
        with pytest.raises(BadHost, match="context not found"):
            Choice(own, {}, context=odd).endpoint()


def test_config_folder(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path)}
    # What is stored in a fresh home is Docker's too, and still found when Docker's client comes.
    fresh = load("", env)
    assert (fresh.folder, fresh.borrowed) == (str(tmp_path / ".docker"), True)
    fresh.choose_context("far")
    assert load("", env).current_context() == "far"
    assert not (tmp_path / ".docker" / "config.json").exists()
    (tmp_path / ".docker" / "config.json").write_text('{"psFormat": "x"}')
    found = load("", env)
    assert found.borrowed
    assert found.text("psFormat") == "x"
    (tmp_path / ".wherry").mkdir()
    assert not load("", env).borrowed
    (tmp_path / ".wherry" / "config.json").write_text("{nope")
    with pytest.raises(BadHost, match="loading config file"):
        load("", env)
    (tmp_path / ".wherry" / "config.json").write_bytes(b'{"psFormat": "\xff"}')
    with pytest.raises(BadHost, match=r"loading config file: .*can't decode byte 0xff"):
        load("", env)


def test_proxies() -> None:
    values = {"proxies": {"default": {"httpProxy": "http://p", "noProxy": "x"}, "h": {}}}
    found = Config("", borrowed=False, values=values)
    assert found.proxy_env("other") == {
        "HTTP_PROXY": "http://p", "http_proxy": "http://p", "NO_PROXY": "x", "no_proxy": "x",
    }  # fmt: skip
    assert found.proxy_env("h") == {}


@pytest.mark.parametrize(
    ("one", "other", "lower"),
    [("1.55", "1.41", "1.41"), ("1.9", "1.10", "1.9"), ("1.55", "", "1.55")],
)
def test_lower_version(one: str, other: str, lower: str) -> None:
    assert lower_version(one, other) == lower


def test_targets() -> None:
    client = Client(rules.Endpoint("unix:///x", None, "", True), version="1.47")
    target = client.target(
        "/containers/a b/json",
        {
            "all": True,
            "size": False,
            "n": 0,
            "f": {"x": {"y": True}},
            "names": ["p", "q/r"],
            "z": "",
        },
    )
    assert target == (
        "/v1.47/containers/a%20b/json?all=1&n=0&f=%7B%22x%22:%20%7B%22y%22:%20true%7D%7D"
        "&names=p&names=q%2Fr"
    )
    assert escape("ü?#") == "%C3%BC%3F%23"


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("h", ("h", 9)),
        ("h:1", ("h", 1)),
        ("[::1]:2", ("::1", 2)),
        ("[::1]", ("::1", 9)),
        (":5", ("127.0.0.1", 5)),
    ],
)
def test_split_address(address: str, found: tuple[str, int]) -> None:
    assert split_address(address, 9) == found


def test_bad_hosts(tmp_path: Path) -> None:
    long = "tcp://" + "a" * 64
    ports = [f"tcp://h:{port}" for port in ("port", "\u00b2", "\u0663", "0", "65536", "1" * 5000)]
    for host in ("foo://x", "ssh://-oProxyCommand=x", long, f"{long}:1", *ports):
        with pytest.raises(BadHost):
            connect(rules.Endpoint(host, None, "", True))
    with pytest.raises(CannotConnect, match="Is the wherry daemon running"):
        connect(rules.Endpoint(f"unix://{tmp_path}/none", None, "", True))


def test_why_nobody_answers() -> None:
    host = f"unix:///{'a' * 200}"
    question = f"Cannot connect to the Wherry daemon at {host}. Is the wherry daemon running?"
    with pytest.raises(CannotConnect) as caught:
        connect(rules.Endpoint(host, None, "", True))
    assert caught.value.message == f"{question} (AF_UNIX path too long)"
    assert CannotConnect(host, "Connection refused").message == question
