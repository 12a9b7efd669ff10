"""The daemon's side of a helper process: started when needed, found again, watched.

A helper (``wherry.networks.resolver``, ``wherry.networks.forwarder``) outlives the daemon. It
listens on a unix socket; one message is one JSON object in one packet, with descriptors beside it,
and each is answered by one. ``wherry.networks.sidecar`` is the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wherry import __version__
from wherry.errors import Internal, Unavailable
from wherry.linux import cgroups
from wherry.linux.tasks import spawn

_log = logging.getLogger(__name__)
_START = 30.0
_ANSWER = 15.0
_MOST_FDS = 250
_PAUSE = 10.0
"""Seconds, at most, between two tries to restore."""

VERSION = __version__
"""What a helper says it is; one of another version is replaced at the daemon's start."""


class Helper:
    """One process per daemon. ``title`` is how messages call it, ``module`` has its ``main``."""

    def __init__(
        self,
        title: str,
        module: str,
        control: Path,
        arguments: Sequence[str] = (),
        packages: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.title = title
        self._module = module
        self._control = control
        self._arguments = list(arguments)
        self._packages = packages
        self._socket: socket.socket | None = None
        self._pidfd: int | None = None
        self._talking = asyncio.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        """The helper, if this daemon has started it."""
        self.generation = 0
        """Grows with every process that is started."""
        self.version = VERSION
        self.on_start: Callable[[str], None] = lambda about: None
        """A new process was started, which knows nothing yet but the message that started it."""
        self.on_end: Callable[[], None] = lambda: None
        """The process has ended, and not because it was told to."""

    @property
    def exists(self) -> bool:
        """Whether there is, or was, one that goes on from an earlier daemon."""
        return self._socket is not None or self._control.exists()

    async def send(
        self, message: Mapping[str, Any], fds: Sequence[int] = (), *, start: bool = True
    ) -> dict[str, Any]:
        """One message and its answer; the process is started for it if there is none.

        Raises ``Unavailable`` when it does not answer, ``Internal`` with its words when it
        refuses.
        """
        answer, received = await self.exchange(message, fds, start=start)
        for each in received:
            os.close(each)
        return answer

    async def exchange(
        self, message: Mapping[str, Any], fds: Sequence[int] = (), *, start: bool = True
    ) -> tuple[dict[str, Any], list[int]]:
        """``send``, with the descriptors that came with the answer; they are the caller's."""
        async with self._talking:
            for attempt in (1, 2):
                try:
                    sock = await self._connected(start=start, about=message.get("id", ""))
                    return await self._exchange(sock, message, fds)
                except (OSError, EOFError, TimeoutError) as error:
                    self._forget()
                    if attempt == 2 or not start:
                        raise Unavailable(f"the {self.title} does not answer: {error}") from error
        raise Unavailable(f"the {self.title} does not answer")

    async def _exchange(
        self, sock: socket.socket, message: Mapping[str, Any], fds: Sequence[int]
    ) -> tuple[dict[str, Any], list[int]]:
        socket.send_fds(sock, [json.dumps(message).encode()], list(fds))
        try:
            async with asyncio.timeout(_ANSWER):
                await _readable(sock)
        except asyncio.CancelledError:
            # Its answer comes all the same, and is not for the next message.
            self._forget()
            raise
        data, received, _, _ = socket.recv_fds(sock, 1 << 20, _MOST_FDS, socket.MSG_CMSG_CLOEXEC)
        if not data:
            raise EOFError("it has ended")
        found: dict[str, Any] = json.loads(data)
        if found.get("error"):
            raise Internal(f"the {self.title} refused: {found['error']}")
        return found, received

    async def stop(self) -> None:
        """End the process."""
        if self.exists:
            with contextlib.suppress(OSError, Unavailable, Internal):
                await self.send({"do": "stop"}, start=False)
        self.close()

    def close(self) -> None:
        """Let go; the process goes on."""
        self._unwatch()
        self._forget()

    async def _connected(self, *, start: bool, about: str) -> socket.socket:
        if self._socket is not None:
            return self._socket
        sock = self._dial()
        if sock is None:
            if not start:
                raise OSError("it does not run")
            await self._launch()
            sock = self._dial()
            self.on_start(about)
            if sock is None:
                raise OSError("it did not start")
        self._socket = sock
        self._watch(sock)
        return sock

    def _dial(self) -> socket.socket | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            sock.connect(str(self._control))
        except OSError:
            sock.close()
            return None
        return sock

    async def _launch(self) -> None:
        """Start the process; it says one line when its socket is there."""
        read, write = os.pipe()
        try:
            process = await asyncio.to_thread(self._start_process, write)
        except OSError as error:
            os.close(read)
            raise Unavailable(f"the {self.title} cannot be started: {error}") from error
        finally:
            os.close(write)
        try:
            async with asyncio.timeout(_START):
                await _readable(read)
            if os.read(read, 64) != b"ready\n":
                raise Unavailable(f"the {self.title} did not start")
        except BaseException:
            process.kill()
            await asyncio.to_thread(process.wait)
            raise
        finally:
            os.close(read)
        self.process = process
        self.generation += 1

    def _start_process(self, ready: int) -> subprocess.Popen[bytes]:
        package = str(Path(__file__).resolve().parents[2])
        boot = (
            "import sys; at = sys.argv.index('--'); sys.path[:0] = sys.argv[1:at]; "
            f"sys.argv = ['wherry-helper'] + sys.argv[at + 1:]; "
            f"from {self._module} import main; main()"
        )
        command = [sys.executable, "-S", "-E", "-c", boot, package, *self._packages(), "--"]
        process = subprocess.Popen(
            [*command, str(self._control), str(ready), self.version, *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(ready,),
            start_new_session=True,
            cwd="/",
        )
        cgroups.leave_engine(process.pid)
        return process

    def _watch(self, sock: socket.socket) -> None:
        """Notice the process's end, whoever started it."""
        self._unwatch()
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        try:
            self._pidfd = os.pidfd_open(int.from_bytes(data[:4], sys.byteorder))
        except OSError:
            return
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)

    def _unwatch(self) -> None:
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _ended(self) -> None:
        self._unwatch()
        self._forget()
        if self.process is not None:
            self.process.poll()
        self.on_end()

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


async def _readable(file: socket.socket | int) -> None:
    """Until something can be received."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(file, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(file)


class Restoring:
    """What a new process is told, and once more where it ends in the midst of it."""

    def __init__(self, title: str, work: Callable[[], Awaitable[None]]) -> None:
        """``work`` tells the process of everything that it does not know yet."""
        self._title = title
        self._work = work
        self._stale = False
        self._at_work = False
        self.closed = False
        """The daemon ends: nothing is restored any more."""

    def later(self) -> None:
        """A process has ended or was started: it knows nothing."""
        self._stale = True
        if not self.closed and not self._at_work:
            self._at_work = True
            spawn(self._run(), name=self._title)

    async def _run(self) -> None:
        pause = 0.0
        try:
            while self._stale and not self.closed:
                # One that ends at once, again and again, does not keep the host busy.
                await asyncio.sleep(pause)
                pause = min(_PAUSE, 2 * pause + 0.1)
                self._stale = False
                await self._work()
        finally:
            self._at_work = False
