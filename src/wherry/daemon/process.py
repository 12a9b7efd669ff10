"""The daemon as a process: directories, lock, sockets, signals, readiness, an end in bounded time.

What it serves is built by ``root``; here is only the order of things. Ending (SIGTERM, SIGINT)
leaves containers running, unless the machine goes down.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import logging
import os
import signal
import socket
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from wherry import __version__
from wherry.api.policy import Directory, Guard
from wherry.api.routing import Router
from wherry.api.server import ApiServer
from wherry.daemon import precedence
from wherry.daemon.config import DEFAULT_CONFIG, Config, combine, read_file
from wherry.daemon.events import EventBus
from wherry.daemon.listeners import Listener, open_all
from wherry.daemon.lock import RootLock
from wherry.daemon.systemd import machine_ends, notify
from wherry.errors import Conflict, Forbidden, Invalid, WherryError
from wherry.linux.tasks import spawn
from wherry.store.database import Database
from wherry.store.events import EventTable
from wherry.store.paths import Paths

_log = logging.getLogger("wherryd")
_CLOSE_LIMIT = 30.0
"""Seconds after which the process ends whatever still hangs. Tools of the host that are asked for
the last time, such as firewalld's, take seconds on a busy machine; systemd waits for 90."""
_TIDY = 15.0
_M_ARENA_MAX, _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -8, -3, -1
_BIG = 1 << 20


class Live:
    """What SIGHUP can change."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def labels(self) -> list[str]:
        return self.config.listed("labels")

    @property
    def debug(self) -> bool:
        return self.config.level <= logging.DEBUG


class Engine(Protocol):
    """The built services, as the process sees them."""

    async def start(self) -> None:
        """Reconcile with the world; afterwards requests may come."""

    def register(self, router: Router) -> None: ...

    @property
    def directory(self) -> Directory:
        """The containers, as the policy of limited sockets asks for them."""

    async def rest(self) -> None:
        """The daemon is idle: drop what can be made again."""

    async def end_containers(self, extend: Callable[[float], None]) -> None:
        """The machine goes down: end every container in its own way; restart policies stand.
        ``extend`` is told how many seconds that may take."""

    async def stop(self) -> None:
        """Leave containers running; end our own tasks."""


Build = Callable[[Live, Database, EventBus, str], Awaitable[Engine]]
"""(live configuration, database, events, identity) -> engine."""


@contextlib.contextmanager
def prepared(paths: Paths) -> Iterator[None]:
    """The data root (0700), locked, and the run directory (0711, so that its sockets are
    reachable).

    A failure inside takes away what was not there before, as far as nothing is in it.
    """
    made: list[Path] = []
    try:
        _make_all(paths, made)
        lock = _lock(paths, made)
        try:
            yield
        finally:
            lock.release(forget=not paths.database.exists())
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _lock(paths: Paths, made: list[Path]) -> RootLock:
    try:
        return RootLock(paths.lock)
    except Conflict:
        # Of two that begin at once the other one has the lock, and uses the folders.
        made.clear()
        raise


def _make_all(paths: Paths, made: list[Path]) -> None:
    """``made`` gets every folder that was not there, an outer one before what is in it."""
    below_data = (paths.blobs, paths.layers, paths.containers, paths.volumes, paths.tmp)
    try:
        for folder in (paths.data, paths.run, *below_data, paths.mounts, paths.netns):
            made += [each for each in reversed((folder, *folder.parents)) if not each.exists()]
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths.data.chmod(0o700)
        paths.run.chmod(0o711)
    except OSError as error:
        raise Invalid(f"cannot use {error.filename}: {error.strerror}") from error


def identity(path: Path) -> str:
    """The daemon's id, made on first use."""
    with contextlib.suppress(OSError):
        found = path.read_text().strip()
        if found:
            return found
    made = str(uuid.uuid4())
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(made + "\n")
    temporary.rename(path)
    return made


async def run(config: Config, build: Build) -> None:
    """Serve until SIGTERM or SIGINT. Raises ``WherryError`` when the start fails."""
    if os.geteuid() != 0:
        raise Forbidden("wherryd needs to run as root")
    limit_heap()
    precedence.take()
    with prepared(config.paths):
        await _run(config, build)


async def _run(config: Config, build: Build) -> None:
    listeners: list[Listener] = []
    database: Database | None = None
    try:
        listeners = open_all(config)
        write_pidfile(config.pidfile)
        database = Database(config.paths.database, config.paths.reserve)
        await _serve(config, build, database, listeners)
    finally:
        for listener in listeners:
            listener.close()
        remove_pidfile(config.pidfile)
        if database is not None:
            database.close()
        precedence.leave()


async def _serve(
    config: Config, build: Build, database: Database, listeners: list[Listener]
) -> None:
    live = Live(config)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    events = EventBus(EventTable(database))
    own_id = identity(config.paths.identity)
    loop.add_signal_handler(signal.SIGHUP, reload, live, events, own_id)
    engine = await build(live, database, events, own_id)
    router = Router()
    engine.register(router)
    server = ApiServer(router)
    try:
        await engine.start()
        for listener in listeners:
            await server.listen(listener.sock, listener.tls, _guard(listener, engine))
            _log.info("listening on %s%s", listener.host, " (limited)" if listener.scope else "")
        await engine.rest()
        settle_memory()
        notify("READY=1")
        _log.info("wherryd %s is ready, data root %s", __version__, config.paths.data)
        tidy = spawn(_tidy(server, engine), name="memory")
        await ended.wait()
        tidy.cancel()
    finally:
        notify("STOPPING=1")
        down = ended.is_set() and await machine_ends()
        _log.info("ending; containers %s", "too, with the machine" if down else "go on")
        watchdog = loop.call_later(_CLOSE_LIMIT, _give_up)
        await server.close()
        if down:
            watchdog.cancel()
            await engine.end_containers(_extend)
            watchdog = loop.call_later(_CLOSE_LIMIT, _give_up)
        await engine.stop()
        watchdog.cancel()


def _guard(listener: Listener, engine: Engine) -> Guard | None:
    if listener.scope is None:
        return None
    return Guard(listener.host, listener.scope, engine.directory)


def _extend(seconds: float) -> None:
    """systemd would end us after its own time."""
    notify(f"EXTEND_TIMEOUT_USEC={int((seconds + _CLOSE_LIMIT) * 1e6)}")


def _give_up() -> None:
    """Something hangs; all that must be kept is in the database and with the monitors."""
    _log.error("the end took more than %.0f s: leaving at once", _CLOSE_LIMIT)
    os._exit(1)


def reload(live: Live, events: EventBus, own_id: str) -> None:
    """SIGHUP: take labels and the log level from the configuration file anew."""
    before = live.config
    name = before.text("config")
    path = Path(name) if name else DEFAULT_CONFIG
    try:
        held = read_file(path, must_exist=bool(name))
        combine({}, held)
    except WherryError as error:
        _log.error("configuration not reloaded: %s", error)
        return
    settings = dict(before.settings)
    for key in ("labels", "debug", "log_level"):
        if key in held:
            settings[key] = held[key]
        elif key not in before.flags:
            settings.pop(key, None)
    live.config = replace(before, settings=settings)
    logging.getLogger().setLevel(live.config.level)
    _log.info("configuration reloaded: labels %s, debug %s", live.labels, live.debug)
    events.publish("daemon", "reload", own_id, _settings(live))


def _settings(live: Live) -> dict[str, str]:
    """What holds after a reload, as attributes of its event: texts, and JSON for the rest."""
    known: dict[str, object] = {"debug": live.debug, "labels": live.labels, "live-restore": True}
    # An address of a proxy may hold a password.
    known |= {
        key.replace("_", "-"): value
        for key, value in live.config.settings.items()
        if "proxy" not in key
    }
    shown = {
        key: value if isinstance(value, str) else json.dumps(value, default=str)
        for key, value in known.items()
    }
    return shown | {"name": socket.gethostname()}


def settle_memory() -> None:
    """What was made at the start stays: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    trim()


def trim() -> None:
    """Give freed heap pages back to the kernel."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def limit_heap() -> None:
    """One heap for all threads (glibc keeps one a thread, each with its own waste), and big
    blocks always mapped on their own: by default one freed big block makes later ones part of the
    heap, which then cannot shrink."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, 1)
        library.mallopt(_M_MMAP_THRESHOLD, _BIG)
        library.mallopt(_M_TRIM_THRESHOLD, _BIG)


async def _tidy(server: ApiServer, engine: Engine) -> None:
    """When work has come to rest, collect and trim once."""
    seen = tidied = server.requests
    while True:
        await asyncio.sleep(_TIDY)
        if server.requests == seen and seen != tidied:
            tidied = seen
            await engine.rest()
            gc.collect()
            trim()
        seen = server.requests


def write_pidfile(path: Path) -> None:
    """The lock is the truth; the file is for people and scripts."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{os.getpid()}\n")
    except OSError as error:
        raise Invalid(f"cannot write the pid file {path}: {error.strerror}") from error


def remove_pidfile(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.read_text().strip() == str(os.getpid()):
            path.unlink()
