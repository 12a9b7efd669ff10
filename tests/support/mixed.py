"""Mixed work on a daemon that may be killed at any moment: who did what, and what must hold after.

Each worker has containers, networks and volumes of its own and chooses by its own random source,
so that a seed says what is asked for in which order. What was answered for is expected; what was
under way when the daemon died may have happened or not.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from bench.http import Client, EngineError
from tests.support.engine import Engine, eventually
from tests.support.images import BASE, tar_of

_STEADY, _SHORT, _FAILING = "sleep 100000", "sleep 0.05", "exit 3"


class Countdown:
    """Counts operations; ``reached`` is set when so many have begun."""

    def __init__(self, operations: int) -> None:
        self._left = operations
        self._lock = threading.Lock()
        self.reached = threading.Event()

    def one(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left <= 0:
                self.reached.set()


class Made:
    """A container of a worker: what it is, and what is known of it."""

    def __init__(self, identity: str, command: str, policy: str, *, plain: bool) -> None:
        self.identity = identity
        self.command = command
        self.policy = policy
        self.plain = plain
        """None of its networks can be removed: a start succeeds."""
        self.started = False
        self.stopped = False
        """The user's last word was to end it."""
        self.paused = False
        self.certain = True
        """False: an operation on it was never answered for, or left it in doubt."""

    @property
    def must_run(self) -> bool:
        """After the daemon has started again."""
        if not (self.certain and self.started and self.command == _STEADY):
            return False
        return not self.stopped or (self.policy == "always" and self.plain)

    @property
    def must_rest(self) -> bool:
        return self.certain and (not self.started or (self.stopped and self.policy == "no"))


class Worker:
    """One client. ``work`` ends when told to, or when the daemon is gone."""

    def __init__(self, engine: Engine, number: int, source: random.Random) -> None:
        self._engine = engine
        self._name = f"w{number}"
        self._source = source
        self._count = 0
        self.containers: list[Made] = []
        self.networks: list[str] = []
        self.volumes: list[str] = []
        self.images: list[str] = []
        self.statuses: dict[int, int] = {}
        """HTTP status -> how often; for judging what the work was."""

    def work(self, countdown: Countdown, stop: threading.Event) -> None:
        choices = self._choices()
        verbs = [verb for verb, (weight, _) in choices.items() for _ in range(weight)]
        with suppress(OSError, EngineError, ValueError), self._engine.client() as client:
            while not stop.is_set():
                verb = self._source.choice(verbs)
                countdown.one()
                choices[verb][1](client)

    def _choices(self) -> Mapping[str, tuple[int, Callable[[Client], None]]]:
        return {
            "stop": (2, partial(self._simple, "stop")),
            "kill": (2, partial(self._simple, "kill")),
            "pause": (2, partial(self._simple, "pause")),
            "unpause": (2, partial(self._simple, "unpause")),
            "create": (6, self._create),
            "start": (8, self._start),
            "restart": (2, self._restart),
            "delete": (4, self._delete),
            "exec": (2, self._exec),
            "rename": (1, self._rename),
            "update": (1, self._update),
            "copy": (2, self._copy),
            "network": (2, self._network),
            "connect": (4, self._connect),
            "disconnect": (3, self._disconnect),
            "network removal": (1, self._remove_network),
            "volume": (1, self._volume),
            "volume removal": (1, self._remove_volume),
            "commit": (1, self._commit),
            "import": (1, self._import),
            "image removal": (1, self._remove_image),
        }

    # Words with the daemon

    def _ask(
        self, client: Client, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, bytes]:
        data = b"" if body is None else json.dumps(body).encode()
        status, answer = client.request(method, path, data)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        return status, answer

    def _about(
        self,
        client: Client,
        made: Made,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
    ) -> tuple[int, bytes]:
        """A request that changes a container: until it is answered nothing about it is sure."""
        before, made.certain = made.certain, False
        status, answer = self._ask(client, method, path, body)
        made.certain = before and status < 500
        return status, answer

    def _fresh(self, kind: str) -> str:
        self._count += 1
        return f"{self._name}-{kind}{self._count}-{self._source.randrange(1 << 32):08x}"

    def _any(self) -> Made | None:
        return self._source.choice(self.containers) if self.containers else None

    # Containers

    def _create(self, client: Client) -> None:
        source = self._source
        mode = source.choice(["none", "bridge", "bridge", *self.networks[-2:]])
        host: dict[str, Any] = {"NetworkMode": mode}
        policy = source.choice(["no", "no", "no", "always"])
        command = source.choice([_STEADY, _STEADY, _STEADY, _SHORT, _FAILING])
        if policy == "no":
            host["AutoRemove"] = command != _STEADY and source.random() < 0.4
        else:
            command = _STEADY
            host["RestartPolicy"] = {"Name": policy}
        if mode != "none" and source.random() < 0.5:
            host["PortBindings"] = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
        if self.volumes and source.random() < 0.4:
            host["Binds"] = [f"{source.choice(self.volumes)}:/data"]
        body: dict[str, Any] = {
            "Image": BASE,
            "Cmd": ["sh", "-c", f"exec {command}" if command == _STEADY else command],
            "StopSignal": "SIGKILL",
            "HostConfig": host,
        }
        if source.random() < 0.3:
            body["Volumes"] = {"/anonymous": {}}
        name = self._fresh("c")
        status, answer = self._ask(client, "POST", f"/containers/create?name={name}", body)
        if status == 201:
            plain = mode in ("none", "bridge")
            made = Made(json.loads(answer)["Id"], command, policy, plain=plain)
            self.containers.append(made)

    def _start(self, client: Client) -> None:
        made = self._any()
        if made is not None:
            status, _ = self._about(client, made, "POST", f"/containers/{made.identity}/start")
            if status == 204:
                made.started, made.stopped = True, False

    def _restart(self, client: Client) -> None:
        made = self._any()
        if made is not None:
            path = f"/containers/{made.identity}/restart?t=0"
            status, _ = self._about(client, made, "POST", path)
            made.certain = made.certain and status == 204
            made.started, made.stopped, made.paused = True, False, False

    def _simple(self, verb: str, client: Client) -> None:
        made = self._any()
        if made is not None:
            path = f"/containers/{made.identity}/{verb}?t=0"
            status, _ = self._about(client, made, "POST", path)
            if status == 204:
                made.stopped = made.stopped or verb in ("stop", "kill")
                made.paused = verb == "pause"

    def _delete(self, client: Client) -> None:
        made = self._any()
        if made is not None:
            made.certain = False
            query = "?force=1&v=1" if self._source.random() < 0.7 else "?v=1"
            status, _ = self._ask(client, "DELETE", f"/containers/{made.identity}{query}")
            if status in (204, 404):
                self.containers.remove(made)
            elif status < 500:
                made.certain = True

    def _exec(self, client: Client) -> None:
        made = self._any()
        if made is not None:
            path = f"/containers/{made.identity}/exec"
            status, answer = self._ask(client, "POST", path, {"Cmd": ["true"]})
            if status == 201:
                session = json.loads(answer)["Id"]
                self._ask(client, "POST", f"/exec/{session}/start", {"Detach": True})

    def _rename(self, client: Client) -> None:
        made = self._any()
        if made is not None:
            path = f"/containers/{made.identity}/rename?name={self._fresh('r')}"
            self._ask(client, "POST", path)

    def _update(self, client: Client) -> None:
        made = self._any()
        if made is not None:
            path = f"/containers/{made.identity}/update"
            self._ask(client, "POST", path, {"PidsLimit": self._source.randrange(50, 500)})

    def _copy(self, client: Client) -> None:
        made = self._any()
        if made is not None:
            tar = tar_of({"copied": self._source.randbytes(2000)})
            path = f"/containers/{made.identity}/archive?path=/tmp"
            client.upload("PUT", path, [tar], len(tar))

    # Networks

    def _network(self, client: Client) -> None:
        name = self._fresh("n")
        if self._ask(client, "POST", "/networks/create", {"Name": name})[0] == 201:
            self.networks.append(name)

    def _connect(self, client: Client) -> None:
        made = self._any()
        if made is not None and self.networks:
            path = f"/networks/{self._source.choice(self.networks)}/connect"
            made.plain = False
            self._ask(client, "POST", path, {"Container": made.identity})

    def _disconnect(self, client: Client) -> None:
        made = self._any()
        if made is not None and self.networks:
            path = f"/networks/{self._source.choice(self.networks)}/disconnect"
            self._ask(client, "POST", path, {"Container": made.identity})

    def _remove_network(self, client: Client) -> None:
        if self.networks:
            name = self._source.choice(self.networks)
            if self._ask(client, "DELETE", f"/networks/{name}")[0] in (204, 404):
                self.networks.remove(name)

    # Volumes and images

    def _volume(self, client: Client) -> None:
        name = self._fresh("v")
        if self._ask(client, "POST", "/volumes/create", {"Name": name})[0] == 201:
            self.volumes.append(name)

    def _remove_volume(self, client: Client) -> None:
        if self.volumes:
            name = self._source.choice(self.volumes)
            if self._ask(client, "DELETE", f"/volumes/{name}")[0] in (204, 404):
                self.volumes.remove(name)

    def _commit(self, client: Client) -> None:
        made = self._any()
        if made is not None:
            name = self._fresh("i")
            path = f"/commit?container={made.identity}&repo={name}&tag=1"
            if self._ask(client, "POST", path)[0] == 201:
                self.images.append(f"{name}:1")

    def _import(self, client: Client) -> None:
        name = self._fresh("i")
        tar = tar_of({f"f{number}": self._source.randbytes(500) for number in range(20)})
        path = f"/images/create?fromSrc=-&repo={name}&tag=1"
        if client.upload("POST", path, [tar], len(tar))[0] == 200:
            self.images.append(f"{name}:1")

    def _remove_image(self, client: Client) -> None:
        if self.images:
            name = self._source.choice(self.images)
            if self._ask(client, "DELETE", f"/images/{name}")[0] in (200, 404):
                self.images.remove(name)


def run_until_killed(engine: Engine, workers: list[Worker], operations: int, delay: float) -> None:
    """All work at once; when so many operations have begun, and ``delay`` seconds after, the
    daemon is killed."""
    countdown, stop = Countdown(operations), threading.Event()
    threads = [threading.Thread(target=each.work, args=(countdown, stop)) for each in workers]
    for thread in threads:
        thread.start()
    try:
        assert countdown.reached.wait(90), "the work does not get on"
        stop.wait(delay)
        engine.kill()
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def check_promises(engine: Engine, workers: list[Worker]) -> None:
    """What was answered for holds: who should run runs, who was ended rests."""
    for worker in workers:
        for made in worker.containers:
            if made.must_run:
                eventually(
                    partial(_runs, engine, made.identity),
                    seconds=60,
                    what=f"that {made.identity} ({made.policy}) runs",
                )
                if not made.stopped:
                    paused = engine.inspect(made.identity)["State"]["Paused"]
                    assert paused is made.paused, f"{made.identity}: paused is {paused}"
            elif made.must_rest:
                answer = engine.get(f"/containers/{made.identity}/json")
                # One that removes itself may do so now.
                assert answer.status == 200 or made.command != _STEADY, answer.body
                if answer.status == 200:
                    state = answer.json["State"]
                    assert not state["Running"], f"{made.identity} was ended, and runs: {state}"


def _runs(engine: Engine, identity: str) -> bool:
    return bool(engine.inspect(identity)["State"]["Running"])
