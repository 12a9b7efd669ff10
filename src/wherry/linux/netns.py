"""Network namespaces by threads: made, entered and left without a helper process.

A namespace lives as long as a descriptor, a process or a socket refers to it. Nothing is mounted:
a mount of a namespace would be copied into every container's mount namespace that is made while
it stands, and each copy would keep it alive.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_SELF = "/proc/thread-self/ns/net"


def _check(result: int, doing: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{doing}: {os.strerror(number)}")


def current() -> int:
    """A descriptor of the calling thread's network namespace."""
    return os.open(_SELF, os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def entered(namespace: int) -> Iterator[None]:
    """The calling thread works inside ``namespace`` (a descriptor) for the ``with`` block."""
    home = current()
    try:
        _check(_libc.setns(namespace, _NEWNET), "enter network namespace")
        try:
            yield
        finally:
            _check(_libc.setns(home, _NEWNET), "leave network namespace")
    finally:
        os.close(home)


def create() -> int:
    """A new network namespace, as a descriptor; the calling thread stays where it was."""
    home = current()
    try:
        _check(_libc.unshare(_NEWNET), "create network namespace")
        try:
            return current()
        finally:
            _check(_libc.setns(home, _NEWNET), "leave network namespace")
    finally:
        os.close(home)


def write_sysctl(name: str, value: str) -> bool:
    """Set ``net/...`` of the calling thread's namespace; False where the kernel has none."""
    try:
        with open(f"/proc/sys/net/{name}", "w") as file:
            file.write(value)
    except OSError:
        return False
    return True


def read_sysctl(name: str) -> str:
    """The value, or "" where the kernel has none."""
    try:
        with open(f"/proc/sys/net/{name}") as file:
            return file.read().strip()
    except OSError:
        return ""


def identity(namespace: int | str) -> int:
    """The namespace's inode number: equal for every way to refer to it."""
    return os.stat(namespace).st_ino


def in_thread(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread of its own, which may change its namespaces and then ends."""
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]
