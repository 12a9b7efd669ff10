"""The conversation with a container's streams: attach, run, exec, start -a.

One loop over ``poll``: the daemon's stream to our outputs, our input to the daemon, signals to
the container, the answer of ``wait``. The socket never blocks, so that a container that writes
while it is being written to cannot lock both sides up.
"""

from __future__ import annotations

import os
import select
import signal

from wherry.cli.errors import Exit
from wherry.cli.terminal import RawTerminal
from wherry.wire import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import BinaryIO

    from wherry.client.engine import Hijacked

_CHUNK = 64 * 1024
_PROXIED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGCONT,
)
_DEADLY = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)
_FORCED = 3


class Detached(Exception):
    """The user typed the detach keys."""


class Signals:
    """Signals as bytes on a pipe. The third SIGINT or SIGTERM ends the process at once.

    ``on_signal`` gets the signal's number in the session's loop, not in a handler.
    """

    def __init__(self, caught: tuple[signal.Signals, ...], on_signal: Callable[[int], None]):
        self._caught = caught
        self._on_signal = on_signal
        self._old: dict[int, object] = {}
        self._deadly = 0
        self.terminal: RawTerminal | None = None
        self.descriptor = -1
        self._write = -1

    def __enter__(self) -> Signals:
        self.descriptor, self._write = os.pipe()
        for end in (self.descriptor, self._write):
            os.set_blocking(end, False)
        for number in self._caught:
            self._old[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: object) -> None:
        if number in (signal.SIGINT, signal.SIGTERM):
            self._deadly += 1
            if self._deadly >= _FORCED:
                if self.terminal is not None:
                    self.terminal.restore()
                os.write(2, b"\ngot 3 SIGTERM/SIGINTs, forcefully exiting\n")
                os._exit(1)
        try:
            os.write(self._write, bytes([number]))
        except BlockingIOError:
            pass

    def deliver(self) -> None:
        """Act on what arrived."""
        try:
            numbers = os.read(self.descriptor, 512)
        except BlockingIOError:
            return
        for number in numbers:
            self._on_signal(number)

    def __exit__(self, *_: object) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)  # type: ignore[arg-type]
        os.close(self.descriptor)
        os.close(self._write)


def caught(*, proxy: bool, tty: bool) -> tuple[signal.Signals, ...]:
    """Which signals a session takes: those to pass on, else those that would end the process and
    leave the terminal raw; and the terminal's change of size."""
    taken = _PROXIED if proxy else _DEADLY if tty else ()
    return (*taken, *((signal.SIGWINCH,) if tty else ()))


class Session:
    """One attached stream.

    ``stdin`` is a descriptor or None. ``raw``: the stream has no frames (a terminal).
    ``until``: a socket that becomes readable when the container has ended (``wait``).
    """

    def __init__(
        self,
        stream: Hijacked | None,
        *,
        raw: bool,
        stdin: int | None,
        out: BinaryIO | None,
        err: BinaryIO | None,
        detach_keys: bytes = b"",
        signals: Signals | None = None,
        until: socket.socket | None = None,
    ) -> None:
        self._stream = stream
        self._raw = raw
        self._stdin = stdin if stream is not None else None
        self._out = out
        self._err = err
        self._signals = signals
        self._until = until
        self._pending = b""
        self._ended = stream is None
        self._input_over = False
        self._frames = frames.Decoder()
        self._scanner = None
        if detach_keys and self._stdin is not None:
            from wherry.wire.detach import Scanner

            self._scanner = Scanner(detach_keys)

    def run(self) -> None:
        """Until the stream has ended and, with ``until``, that is readable.

        Raises :class:`Detached`, or ``Exit`` when an output is gone.
        """
        if self._stream is not None:
            self._stream.sock.setblocking(False)
            self._show(self._stream.first)
            self._receive()
        poller = select.poll()
        while not self._ended or self._until is not None:
            for descriptor, events in self._watched().items():
                poller.register(descriptor, events)
            ready = poller.poll()
            for descriptor in self._watched():
                poller.unregister(descriptor)
            for descriptor, event in ready:
                self._act(descriptor, event)

    def _watched(self) -> dict[int, int]:
        watched: dict[int, int] = {}
        if self._stream is not None and not self._ended:
            watched[self._stream.sock.fileno()] = select.POLLIN | (
                select.POLLOUT if self._pending else 0
            )
            if self._stdin is not None and not self._pending:
                watched[self._stdin] = select.POLLIN
        if self._signals is not None:
            watched[self._signals.descriptor] = select.POLLIN
        if self._until is not None:
            watched[self._until.fileno()] = select.POLLIN
        return watched

    def _act(self, descriptor: int, event: int) -> None:
        if self._signals is not None and descriptor == self._signals.descriptor:
            self._signals.deliver()
        elif self._until is not None and descriptor == self._until.fileno():
            self._until = None
        elif descriptor == self._stdin:
            self._read_input()
        else:
            if event & select.POLLOUT:
                self._send()
            if event & ~select.POLLOUT:
                self._receive()

    def _receive(self) -> None:
        """Everything the daemon has sent by now."""
        assert self._stream is not None
        while not self._ended:
            try:
                data = self._stream.sock.recv(_CHUNK)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError"):
                    return
                data = b""
            if not data:
                self._ended = True
                return
            self._show(data)

    def _show(self, data: bytes) -> None:
        if not data:
            return
        if self._raw:
            _write(self._out, data)
            return
        for number, payload in self._frames.feed(data):
            _write(self._err if number in (2, 3) else self._out, payload)

    def _read_input(self) -> None:
        assert self._stdin is not None
        try:
            data = os.read(self._stdin, _CHUNK)
        except OSError:
            data = b""
        if not data:
            if self._scanner is not None:
                self._pending += self._scanner.flush()
            self._stdin = None
            self._input_over = True
            self._send()
            return
        if self._scanner is not None:
            data, detached = self._scanner.feed(data)
            if detached:
                raise Detached
        self._pending += data
        self._send()

    def _send(self) -> None:
        """As much of the pending input as goes without waiting; after all of it the half-close."""
        assert self._stream is not None
        sock = self._stream.sock
        try:
            while self._pending:
                self._pending = self._pending[sock.send(self._pending) :]
            if self._input_over:
                self._input_over = False
                half_close(sock)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            if type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError"):
                return
            # The container no longer reads; what it still writes is to be shown.
            self._pending, self._stdin, self._input_over = b"", None, False


def half_close(sock: socket.socket) -> None:
    """Tell the other side that nothing more comes, and go on receiving."""
    import socket

    if hasattr(sock, "unwrap"):
        from wherry.client.tls import close_notify

        close_notify(sock)
        return
    sock.shutdown(socket.SHUT_WR)


def _write(target: BinaryIO | None, data: bytes) -> None:
    if target is None or not data:
        return
    try:
        target.write(data)
        target.flush()
    except BrokenPipeError:
        raise Exit(1) from None
