"""firewalld, ufw and Docker running on the same host, for real: ``scripts/vm`` has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.engine.neighbourhood import PORT, SERVE, Shop, fetch, outside, sh, shop
from tests.support.engine import eventually
from tests.support.host import needs_machine
from tests.support.images import BASE, busybox_root, docker_archive
from tests.support.networks import HOST4

pytestmark = [pytest.mark.root, pytest.mark.timeout(3000)]
HOSTS = ("--firewall", "host")


@pytest.fixture
def far() -> Iterator[int]:
    with outside() as fd:
        yield fd


@contextmanager
def service(name: str) -> Iterator[None]:
    """A service of the host, running."""
    sh("systemctl", "start", name)
    try:
        yield
    finally:
        sh("systemctl", "stop", name)


def bridges_in_zones() -> set[str]:
    """What firewalld's zones know of interfaces, but for the host's own."""
    found = re.findall(r"interfaces: (.*)", sh("firewall-cmd", "--get-active-zones"))
    return {name for row in found for name in row.split()} - {"lo", "eth0", "uplink"}


# firewalld


@needs_machine("firewall-cmd", "systemctl")
def test_firewalld_before_us(far: int) -> None:
    with service("firewalld"):
        with shop(far) as containers:
            containers.check()
            assert len(bridges_in_zones()) == 2
            sh("firewall-cmd", "--reload")
            containers.check()
            containers.cli("network", "create", "more").ok()
            eventually(lambda: len(bridges_in_zones()) == 3)
            containers.cli("network", "rm", "more").ok()
            assert len(bridges_in_zones()) == 2
            sh("systemctl", "restart", "firewalld")
            containers.check()
        assert bridges_in_zones() == set()


@needs_machine("firewall-cmd", "systemctl")
def test_firewalld_after_us(far: int) -> None:
    with shop(far) as containers:
        containers.check()
        with service("firewalld"):
            containers.check()
            containers.cli.engine.crash_and_start()
            containers.check()
        containers.check()


@needs_machine("firewall-cmd", "systemctl")
def test_firewalld_with_iptables(far: int) -> None:
    """Its other backend, the only one of old hosts."""
    file = Path("/etc/firewalld/firewalld.conf")
    before = file.read_text()
    file.write_text(re.sub(r"FirewallBackend=\w+", "FirewallBackend=iptables", before))
    try:
        with service("firewalld"), shop(far) as containers:
            containers.check()
            sh("firewall-cmd", "--reload")
            containers.check()
    finally:
        file.write_text(before)


@needs_machine("firewall-cmd", "systemctl")
def test_firewalld_may_refuse_a_published_port(far: int) -> None:
    with service("firewalld"), shop(far, HOSTS) as containers:
        containers.check(published=False)
        assert containers.far_reads(seconds=2) == ""
        sh("firewall-cmd", f"--add-port={PORT}/tcp")
        containers.check()
        sh("firewall-cmd", f"--remove-port={PORT}/tcp")
        assert containers.far_reads(seconds=2) == ""


@needs_machine("firewall-cmd", "systemctl")
def test_firewalld_is_left_alone_where_that_is_asked(far: int) -> None:
    with service("firewalld"), shop(far, ("--iptables=false",)) as containers:
        assert bridges_in_zones() == set()
        warned = containers.cli("info").ok() + containers.cli("info").err
        assert "has no zone for the bridge" in warned
        assert containers.dials("peer") == ""
        for bridge in containers.cli.engine.interfaces():
            sh("firewall-cmd", "--zone=trusted", f"--add-interface={bridge}")
        containers.check()


# ufw


@contextmanager
def ufw() -> Iterator[None]:
    sh("ufw", "--force", "enable")
    try:
        yield
    finally:
        sh("ufw", "--force", "reset")
        sh("ufw", "disable")


@needs_machine("ufw", "iptables")
def test_ufw_before_us(far: int) -> None:
    with ufw(), shop(far) as containers:
        containers.check()
        sh("ufw", "reload")
        containers.check()
        sh("ufw", "deny", f"{PORT}/tcp")
        containers.check()  # as with Docker: it never meets such a rule
        sh(
            "ufw",
            "route",
            "deny",
            "proto",
            "tcp",
            "from",
            "192.0.2.0/24",
            "to",
            "any",
            "port",
            "80",
        )
        eventually(lambda: containers.far_reads(seconds=1) == "")


@needs_machine("ufw", "iptables")
def test_ufw_after_us(far: int) -> None:
    with shop(far) as containers:
        containers.check()
        with ufw():
            containers.check()
            containers.cli.engine.crash_and_start()
            containers.check()
        containers.check()
        eventually(lambda: "wherry" not in sh("iptables", "-S", "FORWARD"))


@needs_machine("ufw", "iptables")
def test_ufw_may_refuse_a_published_port(far: int) -> None:
    with ufw(), shop(far, HOSTS) as containers:
        assert containers.far_reads(seconds=2) == ""
        sh("ufw", "allow", f"{PORT}/tcp")
        eventually(lambda: containers.far_reads() == "web")
        sh("ufw", "reload")
        containers.check()
        sh("ufw", "delete", "allow", f"{PORT}/tcp")
        sh("ufw", "deny", f"{PORT}/tcp")
        assert containers.far_reads(seconds=2) == ""


# Docker

THEIRS = 8091


class Docker:
    """Docker's own engine with a container that publishes a port."""

    def __init__(self, folder: Path) -> None:
        archive = folder / "busybox.tar"
        archive.write_bytes(docker_archive(f"{BASE}:latest", busybox_root()))
        sh("docker", "load", "-i", str(archive))

    def run(self) -> None:
        publish = ("-p", f"{THEIRS}:80", "--restart", "always")
        sh("docker", "run", "-d", "--name", "theirs", "-h", "theirs", *publish, BASE, *SERVE)

    def end(self) -> None:
        sh("docker", "rm", "-f", "theirs", fails=True)


@contextmanager
def docker(folder: Path) -> Iterator[Docker]:
    with service("docker"):
        made = Docker(folder)
        made.run()
        try:
            yield made
        finally:
            made.end()
    sh("systemctl", "stop", "docker.socket", "containerd", fails=True)
    sh("iptables", "-P", "FORWARD", "ACCEPT")


def their_rules() -> list[str]:
    """Docker's rules as they stand, without what is ours and without counters."""
    rows = sh("iptables-save").splitlines()
    return [row for row in rows if "wherry" not in row and not row.startswith((":", "#"))]


def both_work(containers: Shop) -> None:
    containers.check()
    eventually(lambda: fetch("127.0.0.1", THEIRS) == "theirs", seconds=120)
    eventually(lambda: containers.far_reads(HOST4, THEIRS) == "theirs", seconds=120)
    eventually(lambda: containers.reads("lone", HOST4, THEIRS) == "theirs")
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {HOST4} {PORT}"
    assert sh("docker", "exec", "theirs", "sh", "-c", ask).endswith("\nweb")


@needs_machine("dockerd", "systemctl")
def test_docker_before_us(far: int, tmp_path: Path) -> None:
    with docker(tmp_path):
        before = their_rules()
        with shop(far) as containers:
            both_work(containers)
            assert their_rules() == before
            containers.cli.engine.crash_and_start()
            both_work(containers)
            sh("systemctl", "restart", "docker")
            both_work(containers)
        assert "wherry" not in sh("iptables-save")
        eventually(lambda: fetch("127.0.0.1", THEIRS) == "theirs", seconds=120)
        assert sorted(their_rules()) == sorted(before)


@needs_machine("dockerd", "systemctl")
def test_docker_after_us(far: int, tmp_path: Path) -> None:
    with shop(far) as containers:
        containers.check()
        with docker(tmp_path):
            both_work(containers)
            containers.cli.engine.crash_and_start()
            both_work(containers)
        containers.check()
