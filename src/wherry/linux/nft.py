"""nftables in process: libnftables through ctypes, the ``nft`` program where it is missing.

A script is one atomic transaction: all of it, or an error and nothing. In process a small change
takes 0.1 ms, by the program 3-5 ms.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from collections import deque
from contextlib import suppress
from typing import Any

from wherry.errors import Internal, Unavailable

_library: Any = None
_NETFILTER = 12
"""Netlink protocol; linux/netlink.h."""


def _load() -> Any:
    """The library with its signatures declared, or False where there is none."""
    global _library
    if _library is None:
        try:
            library = ctypes.CDLL("libnftables.so.1")
        except OSError:
            _library = False
            return False
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_ctx_free.argtypes = [ctypes.c_void_p]
        library.nft_ctx_free.restype = None
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        for stream in ("output", "error"):
            start = getattr(library, f"nft_ctx_buffer_{stream}")
            start.argtypes = [ctypes.c_void_p]
            get = getattr(library, f"nft_ctx_get_{stream}_buffer")
            get.argtypes = [ctypes.c_void_p]
            get.restype = ctypes.c_char_p
        _library = library
    return _library


class Nftables:
    """A context that stays open; its namespace is that of the thread that first uses it.

    Closing one makes the kernel wait 10-20 ms for what was deleted through it to be free, so
    whoever deletes on a path where time matters keeps his.
    """

    def __init__(self) -> None:
        self._context: Any = None
        self._lock = threading.Lock()
        self._ports: set[int] = set()
        self._programs: deque[int] = deque(maxlen=64)

    def made(self, port: int) -> bool:
        """Whether a change that the kernel tells of was made by this process (or by an ``nft``
        that it ran). ``port``: the netlink port id of the message's header."""
        if port in self._ports or port in self._programs:
            return True
        # Not seen before: the library opens its socket anew now and then.
        self._ports = _own_ports()
        return port in self._ports

    def run(self, script: str) -> str:
        """Apply ``script``; returns what it prints.

        Raises ``Internal`` with nft's own words, ``Unavailable`` where the host has no nftables.
        """
        library = _load()
        if not library:
            return _run_program(script, self._programs)
        with self._lock:
            if self._context is None:
                self._context = _open(library)
            return _run(library, self._context, script)

    def close(self) -> None:
        with self._lock:
            if self._context is not None:
                _library.nft_ctx_free(self._context)
                self._context = None
                self._ports = set()


def run(script: str) -> str:
    """Apply ``script`` in the calling thread's network namespace, as ``Nftables.run`` does."""
    once = Nftables()
    try:
        return once.run(script)
    finally:
        once.close()


def _open(library: Any) -> Any:
    context = library.nft_ctx_new(0)
    if not context:
        raise Unavailable("nftables: no context (is the kernel's nf_tables there?)")
    library.nft_ctx_buffer_output(context)
    library.nft_ctx_buffer_error(context)
    return context


def _run(library: Any, context: Any, script: str) -> str:
    failed = library.nft_run_cmd_from_buffer(context, script.encode())
    output = (library.nft_ctx_get_output_buffer(context) or b"").decode(errors="replace")
    error = (library.nft_ctx_get_error_buffer(context) or b"").decode(errors="replace")
    if failed:
        raise Internal(f"nftables refused a change: {error.strip()[:2000]}")
    return output


def _run_program(script: str, programs: deque[int]) -> str:
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            ["nft", "-f", "-"], stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace"
        )
    except FileNotFoundError as error:
        raise Unavailable("nftables is missing: install the package nftables") from error
    with process:
        # The kernel gives a process's first socket the number of the process.
        programs.append(process.pid)
        try:
            output, complaint = process.communicate(script, timeout=30)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise Internal("nft did not answer within 30 s") from error
    if process.returncode:
        raise Internal(f"nftables refused a change: {complaint.strip()[:2000]}")
    return output


def _own_ports() -> set[int]:
    """Port ids of all netfilter sockets of this process; libnftables does not tell its own."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError, ValueError):
            if not os.readlink(f"/proc/self/fd/{entry}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry))) as sock:
                if sock.family == socket.AF_NETLINK and sock.proto == _NETFILTER:
                    found.add(int(sock.getsockname()[0]))
    return found
