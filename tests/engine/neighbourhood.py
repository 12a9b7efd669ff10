"""Containers of a real daemon on the host itself, and all that must work for them whatever other
firewall the host has."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from tests.support.clients import Cli, programs
from tests.support.engine import Engine, eventually
from tests.support.images import BASE
from tests.support.networks import FAR4, HOST4, HOST6, Echo, ask, far_host, inside

PORT = 8090
SERVE = ("sh", "-c", "mkdir -p /w; hostname >/w/index.html; exec httpd -f -p 80 -h /w")
SLEEP = ("sleep", "100000")


SECONDS = 300.0


def sh(*command: str, fails: bool = False) -> str:
    """Run a program of the host; what it says. Fails unless it ends well."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        text=True,
    )
    assert fails or done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


@contextmanager
def outside() -> Iterator[int]:
    """Another host, linked to this one; the namespace that it is."""
    try:
        with far_host() as fd:
            yield fd
    finally:
        sh("ip", "link", "delete", "uplink", fails=True)


def fetch(address: str, port: int = PORT, seconds: float = 5.0) -> str:
    """The page of a container; "" where nobody answers."""
    host = f"[{address}]" if ":" in address else address
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/", timeout=seconds) as answer:
            return str(answer.read().decode().strip())
    except OSError:
        return ""


class Shop:
    """``web`` (published) and ``peer`` in the network ``shop``, ``lone`` in the default one."""

    def __init__(self, engine: Engine, far: int) -> None:
        self.far = far
        self.cli = Cli(programs()[0], engine)

    def open(self) -> None:
        """Start all of it."""
        self.cli("network", "create", "--ipv6", "shop").ok()
        both = ("--network", "shop")
        ports = ("-p", f"{PORT}:80")
        self.cli("run", "-d", *both, "--name", "web", "-h", "web", *ports, BASE, *SERVE).ok()
        self.cli("run", "-d", *both, "--name", "peer", BASE, *SLEEP).ok()
        self.cli("run", "-d", "--name", "lone", BASE, *SLEEP).ok()

    def shut(self) -> None:
        self.cli("rm", "-f", "web", "peer", "lone")
        self.cli("network", "rm", "shop").ok()

    def far_reads(self, address: str = HOST4, port: int = PORT, seconds: float = 5.0) -> str:
        return inside(self.far, partial(fetch, address, port, seconds))

    def address(self) -> str:
        seen = json.loads(self.cli("inspect", "web").ok())[0]
        return str(seen["NetworkSettings"]["Networks"]["shop"]["IPAddress"])

    def inner(self, name: str, *command: str) -> str:
        """What a command in a container says; "" if it fails."""
        done = self.cli("exec", name, *command)
        return done.out.strip() if done.code == 0 else ""

    def reads(self, name: str, host: str, port: int = PORT, seconds: int = 5) -> str:
        """The page of a server as a container gets it; "" where nobody answers."""
        ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w {seconds} {host} {port}"
        return self.inner(name, "sh", "-c", ask).rpartition("\n")[2].strip()

    def dials(self, name: str) -> str:
        """What the far host says to a container that calls it."""
        return self.inner(name, "nc", "-w", "5", FAR4, "9000")

    def check(self, *, published: bool = True) -> None:
        """Ports, names, the way out and isolation. What somebody has just changed may take the
        daemon a moment to see."""
        echo = Echo(self.far, 9000, "far")
        address = self.address()
        ways = {
            "the way out of a network": lambda: self.dials("peer") == f"far {HOST4}",
            "the way out of the default network": lambda: self.dials("lone") == f"far {HOST4}",
            "a name": lambda: self.reads("peer", "web", 80) == "web",
            "the host's loopback": lambda: fetch("127.0.0.1") == "web",
            "the host's address": lambda: fetch(HOST4) == "web",
        }
        if published:
            ways |= {
                "the far host": lambda: self.far_reads() == "web",
                "the far host by IPv6": lambda: self.far_reads(HOST6) == "web",
                "hairpin": lambda: self.reads("web", HOST4) == "web",
                "another network": lambda: self.reads("lone", HOST4) == "web",
            }
        try:
            for what, works in ways.items():
                eventually(works, seconds=60, what=what)
            assert self.reads("lone", address, 80, seconds=1) == ""
            assert inside(self.far, partial(ask, address, 80, timeout=0.5)) == ""
        finally:
            echo.close()


@contextmanager
def shop(far: int, options: Sequence[str] = ()) -> Iterator[Shop]:
    """A daemon with such containers; at the end nothing of it is left."""
    with Engine(options=options) as engine:
        engine.start()
        made = Shop(engine, far)
        made.open()
        yield made
        made.shut()
