"""Programs copied into sealed memory.

crun and runc protect the host's copy of themselves from the containers they start (CVE-2019-5736):
each call first makes a copy that cannot be written, and executes it in its own place. A program
that is sealed memory already (memfd_create(2), fcntl(2) F_ADD_SEALS) is taken as it is, which
halves what loading it costs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MFD_EXEC = 0x10
_MAGIC = b"\x7fELF"


class SealedPrograms:
    """A copy of each program asked for, made at its first use, renewed when the file changes.

    Thread-safe. The copy before a renewal stays until the next one: whoever was told of it may be
    about to execute it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: dict[str, tuple[tuple[int, int, int], int]] = {}
        self._replaced: dict[str, int] = {}

    def path(self, program: str) -> str:
        """Where to execute ``program`` from while this process lives.

        The program's own path when it is a script or cannot be copied.
        """
        try:
            found = os.stat(program)
            version = (found.st_dev, found.st_ino, found.st_mtime_ns)
            with self._lock:
                fd = self._copy(program, version)
        except OSError:
            return program
        return program if fd is None else f"/proc/{os.getpid()}/fd/{fd}"

    def _copy(self, program: str, version: tuple[int, int, int]) -> int | None:
        known = self._copies.get(program)
        if known is not None and known[0] == version:
            return known[1]
        fd = _sealed_copy(program)
        if fd is None:
            return None
        self._copies[program] = (version, fd)
        if known is not None:
            oldest = self._replaced.get(program)
            self._replaced[program] = known[1]
            if oldest is not None:
                os.close(oldest)
        return fd

    def close(self) -> None:
        for fd in (*self._replaced.values(), *(fd for _, fd in self._copies.values())):
            os.close(fd)
        self._replaced.clear()
        self._copies.clear()


def _executable_memory(name: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create(name, flags)  # before Linux 6.3, where all can be executed


def _sealed_copy(program: str) -> int | None:
    """A sealed memory file with the program's content; None when it is no ELF file."""
    with open(program, "rb") as source:
        if source.read(len(_MAGIC)) != _MAGIC:
            return None
        size = os.fstat(source.fileno()).st_size
        fd = _executable_memory(os.path.basename(program))
        try:
            at = 0
            while at < size:
                sent = os.sendfile(fd, source.fileno(), at, size - at)
                if not sent:
                    break
                at += sent
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            os.close(fd)
            raise
    return fd
