"""The life of containers through the API: one at a time, and fifty at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from bench.case import Case, Generated, simple
from bench.engines import Engine
from bench.http import Client, EngineError
from bench.image import IMAGE

MANY = 50


def create(client: Client, command: list[str], network: str) -> str:
    """Create a container; its id."""
    body: dict[str, Any] = {"Image": IMAGE, "Cmd": command, "HostConfig": {"NetworkMode": network}}
    return str(client.json("POST", "/containers/create", body)["Id"])


def run_to_end(client: Client, network: str) -> None:
    """create + start + wait + remove of ``true``."""
    name = create(client, ["true"], network)
    client.json("POST", f"/containers/{name}/start")
    code = client.json("POST", f"/containers/{name}/wait")["StatusCode"]
    client.json("DELETE", f"/containers/{name}")
    if code != 0:
        raise EngineError(f"true ended with {code}")


def _run(network: str) -> Any:
    @contextmanager
    def prepare(engine: Engine) -> Generated:
        with engine.client() as client:

            def measure() -> float:
                begin = time.perf_counter()
                run_to_end(client, network)
                return (time.perf_counter() - begin) * 1000

            yield measure

    return prepare


@contextmanager
def running(engine: Engine, command: list[str]) -> Any:
    """One running container; removed at the end."""
    with engine.client() as client:
        name = create(client, command, "none")
        try:
            client.json("POST", f"/containers/{name}/start")
            yield client, name
        finally:
            client.request("DELETE", f"/containers/{name}?force=1")


@contextmanager
def _exec(engine: Engine) -> Generated:
    with running(engine, ["sleep", "100000"]) as (client, name):
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": ["true"]}

        def measure() -> float:
            begin = time.perf_counter()
            session = client.json("POST", f"/containers/{name}/exec", body)["Id"]
            client.hijack("POST", f"/exec/{session}/start", {"Detach": False, "Tty": False})
            code = client.json("GET", f"/exec/{session}/json")["ExitCode"]
            if code != 0:
                raise EngineError(f"exec of true ended with {code}")
            return (time.perf_counter() - begin) * 1000

        yield measure


def many_at_once(network: str) -> Any:
    def measure(engine: Engine) -> float:
        def one(_: int) -> str:
            with engine.client() as client:
                name = create(client, ["sleep", "100000"], network)
                client.json("POST", f"/containers/{name}/start")
                return name

        with ThreadPoolExecutor(MANY) as pool:
            begin = time.perf_counter()
            names = list(pool.map(one, range(MANY)))
            taken = time.perf_counter() - begin
        with engine.client() as client:
            for name in names:
                client.json("DELETE", f"/containers/{name}?force=1")
        return taken * 1000

    return simple(measure)


CASES = (
    Case(
        "run-none", "create+start+wait+remove, network none", _run("none"), rounds=20, budget=0.15
    ),
    Case(
        "run-host", "create+start+wait+remove, network host", _run("host"), rounds=20, budget=0.20
    ),
    Case("exec", "exec of true, attached", _exec, rounds=20, budget=0.25),
    Case(
        "many-none",
        f"{MANY} created and started at once, network none",
        many_at_once("none"),
        rounds=3,
        warmup=0,
        budget=0.15,
    ),
)
