"""Links of the default bridge network: what they are called, and what they tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.containers import hostfiles
from wherry.containers.links import Link, environment, parse
from wherry.containers.record import ImageUse, Record
from wherry.errors import Invalid
from wherry.wire.container import Config, HostConfig


def child(*ports: str, env: list[str] | None = None) -> Record:
    return Record(
        id="c" * 64,
        name="db",
        created_ns=1,
        image=ImageUse("i", "i", "", ()),
        config=Config(hostname="dbhost", env=env, exposed_ports={each: {} for each in ports}),
        host_config=HostConfig(),
    )


def link(record: Record, alias: str = "my-db") -> Link:
    return Link("web", record.id, alias, record)


def test_words() -> None:
    assert parse("db") == ("db", "db")
    assert parse("db:alias") == ("db", "alias")
    assert parse("/db:/web/alias") == ("/db", "alias")
    for word in ("", ":a", "db:", "a:b:c"):
        with pytest.raises(Invalid, match="bad format for links"):
            parse(word)


def test_a_container_without_ports_tells_its_name_and_environment() -> None:
    record = child(env=["FOO=a=b", "HOME=/x", "PATH=/y", "BARE"])
    assert environment(link(record), "10.0.0.2") == ["MY_DB_NAME=/web/my-db", "MY_DB_ENV_FOO=a=b"]


def test_ports_one_by_one_and_in_runs() -> None:
    found = environment(link(child("80/tcp", "81/tcp", "53/udp", "5000-5002/tcp")), "10.0.0.2")
    values = dict(each.split("=", 1) for each in found)
    assert values["MY_DB_PORT"] == "udp://10.0.0.2:53"
    assert values["MY_DB_PORT_80_TCP"] == "tcp://10.0.0.2:80"
    assert values["MY_DB_PORT_80_TCP_ADDR"] == "10.0.0.2"
    assert values["MY_DB_PORT_80_TCP_PORT"] == "80"
    assert values["MY_DB_PORT_80_TCP_PROTO"] == "tcp"
    assert "MY_DB_PORT_80_TCP_START" not in values
    assert values["MY_DB_PORT_5000_TCP_START"] == "tcp://10.0.0.2:5000"
    assert values["MY_DB_PORT_5000_TCP_PORT_START"] == "5000"
    assert values["MY_DB_PORT_5000_TCP_END"] == "tcp://10.0.0.2:5002"
    assert values["MY_DB_PORT_5000_TCP_PORT_END"] == "5002"
    assert values["MY_DB_PORT_5001_TCP_PORT"] == "5001"


def test_the_hosts_file_follows_the_address_and_keeps_the_rest() -> None:
    names = link(child()).hosts
    assert names == ["my-db", "dbhost", "db"]
    before = "127.0.0.1\tlocalhost\n10.0.0.2\tmy-db dbhost db\n10.0.0.9\tmine\n"
    moved = hostfiles.readdressed(before, names, ["10.0.0.3", "fd00::3"])
    assert moved == (
        "127.0.0.1\tlocalhost\n10.0.0.3\tmy-db dbhost db\nfd00::3\tmy-db dbhost db\n"
        "10.0.0.9\tmine\n"
    )
    assert hostfiles.readdressed(moved, names, ()) == "127.0.0.1\tlocalhost\n10.0.0.9\tmine\n"


def test_a_resolv_conf_is_led_to_the_resolver_unless_somebody_changed_it(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    hostfiles.write_resolv(path, "nameserver 192.0.2.1\nsearch a.test\noptions timeout:1\n")
    inode = path.stat().st_ino
    for _ in range(2):
        hostfiles.redirect(path, "127.0.0.11")
        wanted = "nameserver 127.0.0.11\nsearch a.test\noptions timeout:1 ndots:0\n"
        assert path.read_text() == wanted
    assert path.stat().st_ino == inode
    path.write_text("nameserver 192.0.2.2\n")
    hostfiles.redirect(path, "127.0.0.11")
    assert path.read_text() == "nameserver 192.0.2.2\n"


def test_any_bytes_of_a_hosts_file_are_kept(tmp_path: Path) -> None:
    """The container may write what it likes into its own."""
    path = tmp_path / "hosts"
    path.write_bytes(b"127.0.0.1\tlocalhost\n\xff\xfe\n10.0.0.2\tdb web\n")
    text = hostfiles.read(path)
    hostfiles.write(path, hostfiles.readdressed(text, ["db", "web"], ["10.0.0.3"]))
    assert path.read_bytes() == b"127.0.0.1\tlocalhost\n\xff\xfe\n10.0.0.3\tdb web\n"
    hostfiles.write(path, "127.0.0.1\tlocalhost\n")
    assert path.read_bytes() == b"127.0.0.1\tlocalhost\n"
