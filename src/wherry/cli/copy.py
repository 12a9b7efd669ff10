"""``wherry cp``: between containers and this machine. What goes where is ``copyplan.py``'s.

Beyond Docker: several sources, wildcards on either side, and from one container into another.
"""

from __future__ import annotations

import base64
import glob
import json
import os
import sys
import time

from wherry.cli.command import Command
from wherry.cli.copyplan import (
    has_wildcard,
    only_content,
    split_argument,
    target_in_container,
    target_on_host,
)
from wherry.cli.errors import CliError
from wherry.cli.flags import switch
from wherry.client.errors import ApiError
from wherry.wire.human import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO

    from wherry.cli.command import Context
    from wherry.cli.copyfiles import Counted
    from wherry.cli.flags import Options
    from wherry.client.http import Response
    from wherry.trees.flow import Outlet

_CHUNK = 1 << 20
_GO_DIR = 1 << 31
_GO_LINK = 1 << 27
_TICK = 0.2
_CLEAR = "\x1b[2K\r"


def cp(ctx: Context, options: Options, args: list[str]) -> None:
    *words, last = args
    # ``cp "$SOURCE" ...`` of a variable that is not set must not mean this machine's root.
    if not all(words):
        raise CliError("source can not be empty")
    if not last:
        raise CliError("destination can not be empty")
    target, target_path = split_argument(last)
    sources = [split_argument(word) for word in words]
    for container, path in (*sources, (target, target_path)):
        if container and not path:
            raise CliError(f'"{container}:" names no path inside the container')
    if len({bool(container) for container, _ in sources}) > 1:
        raise CliError("cannot copy from containers and from this machine at once")
    if not sources[0][0] and not target:
        raise CliError("must specify at least one container source")
    if len(sources) > 1 and "-" in (*words, last):
        raise CliError("'-' can only be the one source or the target of one source")
    copy = _Copy(ctx, options)
    if not sources[0][0]:
        where = last
        copy.inward([path for _, path in sources], target, target_path)
    elif target:
        where = last
        copy.across(sources, target, target_path)
    else:
        where = target_path
        copy.outward(sources, target_path)
    copy.finish(where)


class _Copy:
    def __init__(self, ctx: Context, options: Options) -> None:
        self._ctx = ctx
        self._follow = options.on("follow-link")
        self._archive = options.on("archive")
        self._shown = not options.on("quiet") and sys.stdout.isatty()
        self._what = ""
        self._before = 0
        self._due = time.monotonic() + _TICK
        self._silent = False

    # ---- progress

    def _counted(self, what: str) -> Counted:
        from wherry.cli.copyfiles import Counted

        self._what = what
        start = self._before

        def note(count: int) -> None:
            self._before = start + count
            if self._shown and time.monotonic() >= self._due:
                self._due = time.monotonic() + _TICK
                size = human_size(float(self._before), 3)
                self._ctx.err.write(f"{_CLEAR}{self._what} - {size}")
                self._ctx.err.flush()

        return Counted(note)

    def finish(self, where: str) -> None:
        """The last line, on a terminal."""
        if self._shown and not self._silent:
            size = human_size(float(self._before), 3)
            self._ctx.err.write(f"{_CLEAR}Successfully copied {size} to {where}\n")

    # ---- containers

    def _head(self, container: str, path: str) -> dict[str, Any] | None:
        return stat_in_container(self._ctx, container, path)

    def _no_folder(self, role: str, container: str, path: str, why: str) -> CliError:
        """Unless there is no such container, which the answer to a HEAD cannot say."""
        self._ctx.client.get(f"/containers/{container}/json")
        return CliError(f'{role} "{container}:{path}" {why}')

    def _followed(self, container: str, path: str) -> str:
        """``-L``: the place that a link leads to."""
        if not self._follow:
            return path
        return _through(path, self._head(container, path))

    def _get(self, container: str, path: str, **query: Any) -> Response:
        where = f"/containers/{container}/archive"
        return self._ctx.client.send("GET", where, {"path": path, **query})

    def _put(self, container: str, folder: str, write: Callable[[Outlet], None]) -> None:
        query: dict[str, Any] = {"path": folder, "noOverwriteDirNonDir": "true"}
        if self._archive:
            query["copyUIDGID"] = "true"
        counted = self._counted("Copying to container")

        def body(outlet: Outlet) -> None:
            counted.outlet = outlet
            write(counted)

        headers = {"Content-Type": "application/x-tar"}
        where = f"/containers/{container}/archive"
        self._ctx.client.send("PUT", where, query, body, headers).read()

    def _expands(self, container: str, path: str) -> bool:
        """Are the wildcards of a path meant as such? Not if something is called like that."""
        return has_wildcard(path) and self._head(container, path) is None

    # ---- out

    def outward(self, sources: list[tuple[str, str]], target: str) -> None:
        if target == "-":
            self._silent = True
            self._to_stdout(*sources[0])
            return
        if len(sources) > 1 and not os.path.isdir(target):
            raise CliError(f"target {target!r} is not a directory")
        for container, path in sources:
            self._out(container, path, target)

    def _to_stdout(self, container: str, path: str) -> None:
        response = self._get(container, self._followed(container, path))
        room = memoryview(bytearray(_CHUNK))
        while count := response.read_into(room):
            self._ctx.raw_out.write(room[:count])
        self._ctx.raw_out.flush()

    def _out(self, container: str, path: str, target: str) -> None:
        from wherry.cli.copyfiles import unpack, unpack_all

        counted = self._counted("Copying from container")
        if self._expands(container, path):
            if not os.path.isdir(target):
                raise CliError(f"target {target!r} is not a directory")
            counted.inlet = self._get(container, path, glob=True)
            unpack_all(counted, target, keep_owner=self._archive)
            return
        path = self._followed(container, path)
        response = self._get(container, path)
        is_folder = bool(int(path_stat(response).get("mode", 0)) & _GO_DIR)
        place = target_on_host(path, is_folder, target)
        counted.inlet = response
        within = is_folder and place == target and os.path.isdir(place)
        unpack(counted, place, keep_owner=self._archive, within=within)

    # ---- in

    def inward(self, paths: list[str], container: str, path: str) -> None:
        from wherry.cli.copyfiles import is_folder, pack

        if paths == ["-"]:
            self._from_stdin(container, path)
            return
        found = self._head(container, path)
        if found is not None and int(found.get("mode", 0)) & _GO_LINK:
            path = _through(path, found)
            found = self._head(container, path)
        into = bool(found and int(found.get("mode", 0)) & _GO_DIR)
        expanded = [each for given in paths for each in _local(given)]
        if (len(expanded) > 1 or len(paths) > 1) and not into:
            raise self._no_folder("target", container, path, "is not a directory")
        members = []
        folder = path
        for source in expanded:
            folder_too = is_folder(source.rstrip("/") or "/", follow=self._follow)
            target = target_in_container(source, folder_too, path, found is not None, into)
            folder = target.folder
            members.append((source if only_content(source) else source.rstrip("/") or "/", target))
        named = [(source, target.name) for source, target in members]
        self._put(container, folder, lambda outlet: pack(outlet, named, follow=self._follow))

    def _from_stdin(self, container: str, path: str) -> None:
        found = self._head(container, path)
        if found is not None and int(found.get("mode", 0)) & _GO_LINK:
            path = _through(path, found)
            found = self._head(container, path)
        if found is None or not int(found.get("mode", 0)) & _GO_DIR:
            raise self._no_folder("destination", container, path, "must be a directory")
        source: BinaryIO = sys.stdin.buffer

        def write(outlet: Outlet) -> None:
            while piece := source.read(_CHUNK):
                outlet.write(piece)

        self._put(container, path, write)

    # ---- across

    def across(self, sources: list[tuple[str, str]], target: str, path: str) -> None:
        """From containers into a container: the archive goes through us as it is."""
        if "wherry" not in self._ctx.client.announced("server").lower():
            raise CliError("copying between containers is not supported")
        found = self._head(target, path)
        if found is not None and int(found.get("mode", 0)) & _GO_LINK:
            path = _through(path, found)
            found = self._head(target, path)
        into = bool(found and int(found.get("mode", 0)) & _GO_DIR)
        if len(sources) > 1 and not into:
            raise self._no_folder("target", target, path, "is not a directory")
        for container, source in sources:
            if self._expands(container, source):
                if not into:
                    raise self._no_folder("target", target, path, "is not a directory")
                self._pass_on(self._get(container, source, glob=True), target, path)
                continue
            source = self._followed(container, source)
            there = self._head(container, source)
            if there is None:
                # The daemon's own words for what is missing, the container or the path.
                there = path_stat(self._get(container, source))
            is_folder = bool(int(there.get("mode", 0)) & _GO_DIR)
            place = target_in_container(source, is_folder, path, found is not None, into)
            self._pass_on(self._get(container, source, name=place.name), target, place.folder)

    def _pass_on(self, response: Response, target: str, folder: str) -> None:
        room = memoryview(bytearray(_CHUNK))

        def write(outlet: Outlet) -> None:
            while count := response.read_into(room):
                outlet.write(room[:count])

        self._put(target, folder, write)


def _through(path: str, found: dict[str, Any] | None) -> str:
    """Where a path leads, if it is a link (its target is told from the container's root)."""
    if found and int(found.get("mode", 0)) & _GO_LINK and found.get("linkTarget"):
        return os.path.join(os.path.dirname(path), str(found["linkTarget"]))
    return path


def _local(path: str) -> list[str]:
    """The paths here that a source means: itself, or what its wildcards match."""
    if not has_wildcard(path) or os.path.lexists(path):
        return [path]
    return sorted(glob.glob(path)) or [path]


def path_stat(response: Response) -> dict[str, Any]:
    """The ``X-Docker-Container-Path-Stat`` header: name, size, mode (Go's bits), linkTarget."""
    raw = response.headers.get("x-docker-container-path-stat", "")
    found: dict[str, Any] = json.loads(base64.b64decode(raw) or b"{}")
    return found


def stat_in_container(ctx: Context, container: str, path: str) -> dict[str, Any] | None:
    """None when there is no such path. Raises :class:`ApiError` for the rest."""
    try:
        response = ctx.client.send("HEAD", f"/containers/{container}/archive", {"path": path})
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    return path_stat(response)


CP = Command(
    cp,
    "[OPTIONS] CONTAINER:SRC_PATH... DEST_PATH|-\n[OPTIONS] SRC_PATH...|- CONTAINER:DEST_PATH",
    [
        switch("archive", "Archive mode (copy all uid/gid information)", short="a"),
        switch("follow-link", "Always follow symbol link in SRC_PATH", short="L"),
        switch(
            "quiet",
            "Suppress progress output during copy. Progress output is automatically suppressed "
            "if no terminal is attached",
            short="q",
        ),
    ],
    (2, None),
    complete="copy",
)
