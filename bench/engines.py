"""Starting and ending the engines, each on a root and a socket of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from bench import leftovers, processes
from bench.http import Client, EngineError
from bench.image import IMAGE, small_image

START_SECONDS = 60.0
REMOVE_SECONDS = 60.0
"""For one container; then it is ended without the engine."""


class Engine:
    """One engine under test. ``name`` is ``wherry`` or ``docker``."""

    def __init__(self, name: str, root: Path, command: Sequence[str], cli: Path | None) -> None:
        self.name = name
        self.root = root
        self.socket = root / "s.sock"
        self.cli = cli
        """The engine's own command, for cases that measure it."""
        self._command = list(command)
        self.isolated: list[str] | None = None
        """Command for a network namespace of its own; None where it is the same."""
        self._alone = False
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """For clients started as processes."""
        keep = {key: os.environ[key] for key in ("PATH", "HOME", "PYTHONPATH") if key in os.environ}
        return keep | {
            "DOCKER_HOST": f"unix://{self.socket}",
            "WHERRY_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(self.root / "config"),
        }

    @property
    def pid(self) -> int:
        """The daemon's process, by which its network namespace is found."""
        if self._process is None:
            raise EngineError(f"{self.name} does not run")
        return self._process.pid

    def client(self) -> Client:
        return Client(self.socket)

    def start(self) -> None:
        """Start the daemon and wait until it answers; then give it the bench's small image.

        Raises ``EngineError`` with the end of its log when it does not come up.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        self._log = (self.root / "log").open("ab")
        self._process = subprocess.Popen(
            self._line(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            # As services have it; and ^C, which is for the bench, must not end the daemon first.
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = (self.root / "log").read_text(errors="replace")[-2000:]
                raise EngineError(f"{self.name} did not start: {tail}")
            time.sleep(0.02)
        with self.client() as client:
            if client.request("GET", f"/images/{IMAGE}/json")[0] != 200:
                tar = small_image()
                status, answer = client.upload("POST", "/images/load?quiet=1", [tar], len(tar))
                if status != 200 or b'"error"' in answer:
                    raise EngineError(f"{self.name} cannot load the bench's image: {answer!r}")

    def _answers(self) -> bool:
        try:
            with Client(self.socket, timeout=5) as client:
                return client.request("GET", "/_ping")[0] == 200
        except (OSError, EngineError):
            return False

    def stop(self) -> None:
        """End the daemon as a user would (SIGTERM)."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(30)
        self._process = None
        if self._log is not None:
            self._log.close()

    def _line(self) -> list[str]:
        if not self._alone:
            return self._command
        script = 'ip link set lo up && exec "$@"'
        return ["unshare", "--net", "sh", "-c", script, "sh", *(self.isolated or self._command)]

    def isolate(self) -> None:
        """Go on in a network namespace of its own."""
        self.stop()
        self._alone = True
        self.start()

    def restart(self) -> None:
        """A fresh process on the same root."""
        self.stop()
        self.start()

    def memory(self) -> processes.Memory:
        """All of the engine's processes, without those inside containers."""
        return processes.memory(processes.of_root(self.root))

    def remove_containers(self) -> None:
        with Client(self.socket, timeout=REMOVE_SECONDS) as client:
            for row in client.json("GET", "/containers/json?all=1"):
                client.request("DELETE", f"/containers/{row['Id']}?force=1&v=1")

    def recover(self) -> None:
        """After a case that failed: a daemon that answers, without containers."""
        if not self._answers():
            self.restart()
        self.remove_containers()

    def clean(self) -> None:
        """End everything and remove every trace, whatever state the engine is in."""
        if self._process is not None and self._process.poll() is None:
            with suppress(OSError, EngineError, ValueError):
                self.remove_containers()
        self.stop()
        leftovers.wipe(self.root)
        _remove_empty_groups(self.name)


def wherry(root: Path) -> Engine:
    """Wherry as installed beside the running Python."""
    binaries = Path(sys.executable).parent
    daemon = [str(binaries / "wherryd")]
    if not (binaries / "wherryd").exists():
        daemon = [sys.executable, "-c", "from wherry.daemon.main import main; main()"]
    options = ["--data-root", f"{root}/data", "--run-dir", f"{root}/run"]
    options += ["--host", f"unix://{root}/s.sock", "--pidfile", f"{root}/pid"]
    cli = binaries / "wherry"
    return Engine("wherry", root, daemon + options, cli if cli.exists() else None)


def find_dockerd(given: str | None) -> Path | None:
    """dockerd: a file or a folder as given, ``DOCKERD``, what setup unpacked, or PATH."""
    said = given or os.environ.get("DOCKERD")
    unpacked = Path(__file__).resolve().parents[1] / ".tools" / "docker"
    places = [Path(said)] if said else [unpacked]
    for place in places:
        for below in ("", "dockerd", "usr/sbin/dockerd", "usr/bin/dockerd", "sbin/dockerd"):
            if (place / below).is_file():
                return place / below
    if said:
        raise EngineError(f"no dockerd in {said}")
    found = shutil.which("dockerd")
    return Path(found) if found else None


def docker(root: Path, dockerd: Path) -> Engine:
    """Docker's engine; with its bridge and firewall only where it is isolated."""
    top = dockerd.parent.parent
    folders = [str(dockerd.parent), str(top / "bin"), str(top / "sbin")]
    path = ":".join([*folders, os.environ.get("PATH", "/usr/sbin:/usr/bin")])
    command = ["env", f"PATH={path}", str(dockerd), "--data-root", f"{root}/data"]
    command += ["--exec-root", f"{root}/exec", "--host", f"unix://{root}/s.sock"]
    command += ["--pidfile", f"{root}/pid"]
    engine = Engine(
        "docker", root, [*command, "--bridge", "none", "--iptables=false"], docker_cli(dockerd)
    )
    engine.isolated = command
    return engine


def docker_cli(dockerd: Path | None) -> Path | None:
    """The docker command: of the same package as ``dockerd``, else of PATH."""
    if dockerd is not None:
        for place in (dockerd.parent / "docker", dockerd.parent.parent / "bin" / "docker"):
            if place.is_file():
                return place
    found = shutil.which("docker")
    return Path(found) if found else None


def _remove_empty_groups(name: str) -> None:
    """cgroups named after the engine that hold nothing any more."""
    for pattern in (f"*/{name}", f"{name}"):
        for group in Path("/sys/fs/cgroup").glob(pattern):
            with suppress(OSError):
                group.rmdir()
