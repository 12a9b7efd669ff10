"""Networks: the bridge, names, published ports. The engines have network namespaces of their own,
so that Docker's bridge and firewall rules reach nothing outside."""

from __future__ import annotations

import socket
import struct
import time
import uuid
from contextlib import contextmanager
from typing import Any

from bench.case import Case, Generated, simple
from bench.cases.life import MANY, many_at_once, run_to_end
from bench.engines import Engine
from bench.http import Client, EngineError
from bench.image import IMAGE
from wherry.linux import netns

QUERIES = 2000
PORTS = 1000
_WINDOW = 16
"""Queries on their way at the same time."""


def _run(engine: Engine) -> float:
    with engine.client() as client:
        begin = time.perf_counter()
        run_to_end(client, "bridge")
        return (time.perf_counter() - begin) * 1000


def _network(engine: Engine) -> float:
    with engine.client() as client:
        begin = time.perf_counter()
        body = {"Name": f"bench-{uuid.uuid4().hex[:8]}"}
        identity = client.json("POST", "/networks/create", body)["Id"]
        client.json("DELETE", f"/networks/{identity}")
        return (time.perf_counter() - begin) * 1000


def _ports(engine: Engine) -> float:
    """create + start + remove with published ports: Docker needs a minute or two."""
    keys = [f"{port}/tcp" for port in range(20000, 20000 + PORTS)]
    host = {
        "NetworkMode": "bridge",
        "PortBindings": {key: [{"HostPort": key.partition("/")[0]}] for key in keys},
    }
    body = {
        "Image": IMAGE,
        "Cmd": ["sleep", "100000"],
        "HostConfig": host,
        "ExposedPorts": {key: {} for key in keys},
    }
    with engine.client() as client:
        begin = time.perf_counter()
        name = client.json("POST", "/containers/create", body)["Id"]
        client.json("POST", f"/containers/{name}/start")
        client.json("DELETE", f"/containers/{name}?force=1")
        return (time.perf_counter() - begin) * 1000


def _query(number: int, name: str) -> bytes:
    labels = b"".join(struct.pack("B", len(part)) + part.encode() for part in name.split("."))
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def _ask(pid: int, name: str) -> float:
    """Milliseconds for ``QUERIES`` queries from the namespace of a process."""

    def work() -> float:
        with open(f"/proc/{pid}/ns/net") as namespace, netns.entered(namespace.fileno()):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.settimeout(10)
            sock.connect(("127.0.0.11", 53))
            begin = time.perf_counter()
            for number in range(QUERIES + _WINDOW):
                if number >= _WINDOW and sock.recv(512)[3] & 0x0F:
                    raise EngineError(f"{name} was not found")
                if number < QUERIES:
                    sock.send(_query(number, name))
            return (time.perf_counter() - begin) * 1000

    return netns.in_thread(work)


@contextmanager
def _names(engine: Engine) -> Generated:
    with engine.client() as client:
        network = f"bench-{uuid.uuid4().hex[:8]}"
        client.json("POST", "/networks/create", {"Name": network})
        name = f"bench-{uuid.uuid4().hex[:8]}"
        try:
            pid = _start(client, name, network)
            yield lambda: _ask(pid, name)
        finally:
            client.request("DELETE", f"/containers/{name}?force=1")
            client.request("DELETE", f"/networks/{network}")


def _start(client: Client, name: str, network: str) -> int:
    body: dict[str, Any] = {
        "Image": IMAGE,
        "Cmd": ["sleep", "100000"],
        "HostConfig": {"NetworkMode": network},
    }
    client.json("POST", f"/containers/create?name={name}", body)
    client.json("POST", f"/containers/{name}/start")
    return int(client.json("GET", f"/containers/{name}/json")["State"]["Pid"])


CASES = (
    Case(
        "run-bridge",
        "create+start+wait+remove, network bridge",
        simple(_run),
        rounds=20,
        budget=0.15,
        isolated=True,
    ),
    Case(
        "many-bridge",
        f"{MANY} created and started at once, network bridge",
        many_at_once("bridge"),
        rounds=3,
        warmup=0,
        budget=0.15,
        isolated=True,
    ),
    Case(
        "network",
        "network create+remove",
        simple(_network),
        rounds=20,
        budget=0.05,
        isolated=True,
    ),
    Case(
        "dns",
        f"{QUERIES} queries for a container's name",
        _names,
        rounds=5,
        budget=1.0,
        isolated=True,
    ),
    Case(
        "ports",
        f"create+start+remove with {PORTS} published ports",
        simple(_ports),
        rounds=1,
        warmup=0,
        budget=0.05,
        isolated=True,
    ),
)
