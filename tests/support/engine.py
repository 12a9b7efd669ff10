"""A real daemon on roots of its own: Wherry, or Docker as the reference that proves the tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import leftovers
from bench.engines import find_dockerd
from bench.http import API, Client, EngineError
from bench.leftovers import cgroups_of, mounts_below
from bench.processes import end_all, of_root
from tests.support.images import BASE, busybox_root, docker_archive
from tests.support.machine import command_line, temporary_root

START_SECONDS = 300.0
STOP_SECONDS = 120.0


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; ``json`` is None where the body is none."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body.strip() else None

    @property
    def message(self) -> str:
        """The text of an error answer."""
        return str(self.json["message"])


class Engine:
    """``with Engine() as engine: engine.start()``; the end checks that nothing is left."""

    def __init__(self, kind: str | None = None, options: Sequence[str] = ()) -> None:
        self.kind = kind or os.environ.get("WHERRY_TEST_ENGINE", "wherry")
        self.root = temporary_root()
        self.data = self.root / "data"
        self.socket = self.root / "s.sock"
        self.options = list(options)
        self.process: subprocess.Popen[bytes] | None = None
        self.seen: set[str] = set()
        """Ids of all containers that were ever there, for the leak check."""

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    @property
    def is_wherry(self) -> bool:
        return self.kind == "wherry"

    @property
    def environment(self) -> dict[str, str]:
        """For client processes."""
        keep = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
        home = self.root / "home"
        home.mkdir(exist_ok=True)
        return keep | {
            "HOME": str(home),
            "TERM": "xterm",
            "DOCKER_HOST": self.host,
            "WHERRY_HOST": self.host,
            "DOCKER_CONFIG": str(home),
        }

    def command(self) -> list[str]:
        """What starts the daemon."""
        common = ["--data-root", str(self.data), "--host", self.host]
        common += ["--pidfile", f"{self.root}/pid"]
        if self.kind == "docker":
            dockerd = find_dockerd(None)
            if dockerd is None:
                raise EngineError("no dockerd for the reference run; set DOCKERD")
            path = f"{dockerd.parent}:{dockerd.parent.parent / 'bin'}:{os.environ['PATH']}"
            options = ["--exec-root", f"{self.root}/exec", "--bridge", "none", "--iptables=false"]
            return ["env", f"PATH={path}", str(dockerd), *common, *options, *self.options]
        start = "import sys; from wherry.daemon.main import main; sys.exit(main())"
        run = ["--run-dir", f"{self.root}/run"]
        return [sys.executable, "-c", start, *common, *run, *self.options]

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start a daemon process without waiting for it."""
        environment = dict(os.environ)
        source = str(Path(__file__).resolve().parents[2] / "src")
        environment["PYTHONPATH"] = source
        with (self.root / "log").open("ab") as log:
            return subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )

    def start(self) -> None:
        """Start the daemon and wait until it answers. Raises ``EngineError`` with its log."""
        self.process = self.spawn()
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"{self.kind} did not start: {self.log()[-3000:]}")
            time.sleep(0.01)
        if not self.is_wherry and self.get(f"/images/{BASE}/json").status == 404:
            tar = docker_archive(f"{BASE}:latest", busybox_root())
            with self.client() as client:
                client.upload("POST", "/images/load?quiet=1", [tar], len(tar))

    def answers(self) -> bool:
        with suppress(OSError, EngineError), Client(self.socket, timeout=300) as client:
            return client.request("GET", "/_ping")[0] == 200
        return False

    def log(self) -> str:
        """All that the daemon has written."""
        return (self.root / "log").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """SIGTERM, as a user; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def crash_and_start(self) -> None:
        self.kill()
        self.start()

    def reboot(self) -> None:
        """As the machine going down: no process, mount or run directory is left; not started."""
        rows = self.containers()
        states = [self.inspect(row["Id"])["State"] for row in rows]
        self.kill()
        end_all(self.root)
        for state in states:
            if state["Pid"]:
                with suppress(ProcessLookupError):
                    os.kill(state["Pid"], signal.SIGKILL)
        for point in mounts_below(self.root):
            subprocess.run(["umount", "-l", point], check=False)
        for folder in cgroups_of(self.seen):
            with suppress(OSError):
                eventually(partial(_removed, folder), seconds=30)
        shutil.rmtree(self.root / "run")

    def client(self, timeout: float = 300.0, api: str = API) -> Client:
        return Client(self.socket, timeout=timeout, api=api)

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | bytes | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body)
        with self.client() as client:
            raw = data.encode() if isinstance(data, str) else data
            return Answer(*client.request(method, path, raw))

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def post(self, path: str, body: Mapping[str, Any] | bytes | None = None) -> Answer:
        return self.request("POST", path, body)

    def delete(self, path: str) -> Answer:
        return self.request("DELETE", path)

    def upload(self, path: str, tar: bytes) -> Answer:
        with self.client() as client:
            return Answer(*client.upload("POST", path, [tar], len(tar)))

    def create(
        self, *command: str, name: str = "", image: str = BASE, tty: bool = False, **host: Any
    ) -> str:
        """Create a container without network; its id."""
        body = {
            "Image": image,
            "Cmd": list(command),
            "Tty": tty,
            "HostConfig": {"NetworkMode": "none", **host},
        }
        answer = self.post(f"/containers/create?name={name}", body)
        assert answer.status == 201, answer.body
        self.seen.add(answer.json["Id"])
        return str(answer.json["Id"])

    def run(self, *command: str, name: str = "", image: str = BASE, **host: Any) -> str:
        """Create and start; the id."""
        created = self.create(*command, name=name, image=image, **host)
        answer = self.post(f"/containers/{created}/start")
        assert answer.status == 204, answer.body
        return created

    def wait(self, ref: str) -> int:
        answer = self.post(f"/containers/{ref}/wait")
        assert answer.status == 200, answer.body
        return int(answer.json["StatusCode"])

    def inspect(self, ref: str) -> Any:
        answer = self.get(f"/containers/{ref}/json")
        assert answer.status == 200, answer.body
        return answer.json

    def containers(self) -> list[Any]:
        rows: list[Any] = self.get("/containers/json?all=1").json
        self.seen.update(row["Id"] for row in rows)
        return rows

    def logs(self, ref: str, *, tty: bool = False) -> bytes:
        """Standard output and error of a container so far, unframed."""
        answer = self.get(f"/containers/{ref}/logs?stdout=1&stderr=1")
        assert answer.status == 200, answer.body
        return answer.body if tty else unframe(answer.body)

    def remove_containers(self) -> None:
        for row in self.containers():
            answer = self.delete(f"/containers/{row['Id']}?force=1&v=1")
            assert answer.status in (204, 404, 409), answer.body

    def leftovers(self) -> list[str]:
        """What is left on the machine of an engine that has no containers and has ended."""
        left = [f"process {pid}: {command_line(pid)}" for pid in of_root(self.root)]
        left += [f"mount {point}" for point in mounts_below(self.root)]
        left += [f"cgroup {path}" for path in cgroups_of(self.seen)]
        left += [f"network interface {name}" for name in self.interfaces()]
        left += [f"nftables table {self.network_tag}"] if self.has_table() else []
        return left

    @property
    def network_tag(self) -> str:
        """What Wherry calls its nftables table, and marks its interfaces with."""
        return leftovers.network_tag(self.root)

    def interfaces(self) -> list[str]:
        """Interfaces of the host that carry the daemon's mark."""
        return leftovers.interfaces(self.network_tag)

    def has_table(self) -> bool:
        return self.network_tag in leftovers.tables()

    def close(self) -> list[str]:
        """End everything, remove the root; what the engine failed to clean up itself."""
        left: list[str] = []
        try:
            if self.process is not None and self.process.poll() is None and self.answers():
                self.remove_containers()
            if self.process is not None and self.process.poll() is None:
                self.stop()
            with suppress(TimeoutError):
                eventually(lambda: not self.leftovers(), seconds=60)
            left = self.leftovers()
        except (AssertionError, OSError, EngineError, subprocess.TimeoutExpired) as error:
            left.append(f"the daemon does not end well: {error!r}")
        leftovers.wipe(self.root, self.seen)
        if self.process is not None:
            self.process.wait(STOP_SECONDS)
        return left

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        log = self.log() if (self.root / "log").exists() else ""
        left = self.close()
        if kind is None and self.is_wherry:
            assert not left, "left behind:\n" + "\n".join(left) + f"\nlog:\n{log[-3000:]}"
        elif log:
            print(f"log of {self.kind}:\n{log[-6000:]}", file=sys.stderr)


def eventually(
    check: Callable[[], object], *, seconds: float = 300.0, what: str = "the condition"
) -> Any:
    """Ask again and again until the answer is true; returns it. ``TimeoutError`` after that."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come true within {seconds} s")
        time.sleep(0.01)
    return value


def unframe(data: bytes) -> bytes:
    """The text of Docker's multiplexed stream, both outputs together."""
    out = []
    while len(data) >= 8:
        size = int.from_bytes(data[4:8], "big")
        out.append(data[8 : 8 + size])
        data = data[8 + size :]
    assert not data, f"a broken frame at the end: {data!r}"
    return b"".join(out)


def _removed(cgroup: Path) -> bool:
    """Remove an empty cgroup; False while it still has a process."""
    try:
        cgroup.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
