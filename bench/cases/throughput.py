"""How fast 2 GiB go from container to container, to the host, and in through a published port.

iperf3 of the host runs in the namespaces of two sleeping containers, of the engine, and of a far
host: a namespace linked to the engine's by a wire of its own. The figure is the sender's time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from bench.case import Case, Generated
from bench.engines import Engine
from bench.http import Client, EngineError
from bench.image import IMAGE

AMOUNT = "2G"
PORT = 5201
_HERE, _FAR = "10.213.77.1", "10.213.77.2"
_PATIENCE = 20.0


def _inside(pid: int, *command: str) -> list[str]:
    return ["nsenter", "-t", str(pid), "-n", *command]


@contextmanager
def _process(command: list[str]) -> Iterator[int]:
    """A process that runs until the end of the block, or of the bench; its pid."""
    started = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield started.pid
    finally:
        started.terminate()
        with suppress(subprocess.TimeoutExpired):
            started.wait(10)
        started.kill()
        started.wait()


@contextmanager
def _container(client: Client, network: str, **host: Any) -> Iterator[tuple[int, str]]:
    """A sleeping container; its pid and its address."""
    body = {
        "Image": IMAGE,
        "Cmd": ["sleep", "100000"],
        "ExposedPorts": {key: {} for key in host.get("PortBindings", {})},
        "HostConfig": {"NetworkMode": network, **host},
    }
    name = client.json("POST", "/containers/create", body)["Id"]
    try:
        client.json("POST", f"/containers/{name}/start")
        seen = client.json("GET", f"/containers/{name}/json")
        yield seen["State"]["Pid"], seen["NetworkSettings"]["Networks"][network]["IPAddress"]
    finally:
        client.request("DELETE", f"/containers/{name}?force=1")


def _send(pid: int, address: str) -> Callable[[], float]:
    """Milliseconds that the sender in the namespace of ``pid`` needs."""

    def measure() -> float:
        deadline = time.monotonic() + _PATIENCE
        while True:
            command = _inside(pid, "iperf3", "-J", "-c", address, "-p", str(PORT), "-n", AMOUNT)
            done = subprocess.run(command, capture_output=True, check=False, timeout=120)
            answer = json.loads(done.stdout or b"{}")
            if done.returncode == 0 and "error" not in answer:
                return float(answer["end"]["sum_sent"]["seconds"]) * 1000
            if time.monotonic() > deadline:
                raise EngineError(f"iperf3 to {address}: {answer.get('error') or done.stderr!r}")
            time.sleep(0.1)  # the server is not there yet

    return measure


@contextmanager
def _network(client: Client) -> Iterator[str]:
    name = f"bench-{uuid.uuid4().hex[:8]}"
    client.json("POST", "/networks/create", {"Name": name})
    try:
        yield name
    finally:
        client.request("DELETE", f"/networks/{name}")


def _needs_iperf() -> None:
    if shutil.which("iperf3") is None:
        raise EngineError("iperf3 is not installed: scripts/setup --bench installs it")


@contextmanager
def _between(engine: Engine) -> Generated:
    _needs_iperf()
    with ExitStack() as stack:
        client = stack.enter_context(engine.client())
        network = stack.enter_context(_network(client))
        server, address = stack.enter_context(_container(client, network))
        sender, _ = stack.enter_context(_container(client, network))
        stack.enter_context(_process(_inside(server, "iperf3", "-s", "-p", str(PORT))))
        yield _send(sender, address)


@contextmanager
def _to_host(engine: Engine) -> Generated:
    _needs_iperf()
    with ExitStack() as stack:
        client = stack.enter_context(engine.client())
        network = stack.enter_context(_network(client))
        sender, _ = stack.enter_context(_container(client, network))
        gateway = _gateway(sender)
        stack.enter_context(_process(_inside(engine.pid, "iperf3", "-s", "-p", str(PORT))))
        yield _send(sender, gateway)


def _gateway(pid: int) -> str:
    command = _inside(pid, "ip", "-j", "route", "show", "default")
    done = subprocess.run(command, capture_output=True, check=True)
    return str(json.loads(done.stdout)[0]["gateway"])


@contextmanager
def _wire(engine: Engine) -> Iterator[int]:
    """A far host, one wire away from the engine's; the pid that holds its namespace."""
    with _process(["unshare", "--net", "sleep", "100000"]) as far:
        _await_namespace(far)
        link = ["ip", "link", "add", "far0", "type", "veth", "peer", "name", "far1"]
        steps = [_inside(engine.pid, *link, "netns", str(far))]
        for pid, name, address in ((engine.pid, "far0", _HERE), (far, "far1", _FAR)):
            steps.append(_inside(pid, "ip", "address", "add", f"{address}/24", "dev", name))
            steps.append(_inside(pid, "ip", "link", "set", name, "up"))
        for step in steps:
            subprocess.run(step, check=True, capture_output=True)
        yield far


def _await_namespace(pid: int) -> None:
    """Until the process has left our network namespace for one of its own."""
    deadline = time.monotonic() + _PATIENCE
    while os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net"):
        if time.monotonic() > deadline:
            raise EngineError("unshare makes no network namespace")
        time.sleep(0.01)


@contextmanager
def _from_far(engine: Engine) -> Generated:
    _needs_iperf()
    bindings = {f"{PORT}/tcp": [{"HostPort": str(PORT)}]}
    with ExitStack() as stack:
        far = stack.enter_context(_wire(engine))
        client = stack.enter_context(engine.client())
        network = stack.enter_context(_network(client))
        server, _ = stack.enter_context(_container(client, network, PortBindings=bindings))
        stack.enter_context(_process(_inside(server, "iperf3", "-s", "-p", str(PORT))))
        yield _send(far, _HERE)


def _case(name: str, title: str, prepare: Any) -> Case:
    return Case(name, f"{AMOUNT}iB {title}", prepare, rounds=5, budget=1 / 0.95, isolated=True)


CASES = (
    _case("between", "from container to container", _between),
    _case("to-host", "from a container to the host", _to_host),
    _case("from-far", "from a far host to a published port", _from_far),
)
