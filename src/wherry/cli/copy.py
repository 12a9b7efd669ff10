"""``wherry cp``: the two directions. What goes where is planned in ``copyplan.py``."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
import tarfile
import threading
from typing import cast

from wherry.cli.command import Command
from wherry.cli.copyplan import (
    Target,
    inside,
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
    from collections.abc import Iterator
    from typing import Any, BinaryIO

    from wherry.cli.command import Context
    from wherry.cli.flags import Options
    from wherry.client.http import Response

_CHUNK = 1 << 20
_GO_DIR = 1 << 31
_GO_LINK = 1 << 27


def cp(ctx: Context, options: Options, args: list[str]) -> None:
    source, source_path = split_argument(args[0])
    target, target_path = split_argument(args[1])
    if source and target:
        raise CliError("copying between containers is not supported")
    if not source and not target:
        raise CliError("must specify at least one container source")
    if source:
        size = from_container(ctx, options, source, source_path, target_path)
        where = target_path
    else:
        size = to_container(ctx, options, source_path, target, target_path)
        where = args[1]
    if target_path != "-" and not options.on("quiet") and sys.stdout.isatty():
        ctx.warn(f"Successfully copied {human_size(float(size), 3)} to {where}")


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


def from_container(ctx: Context, options: Options, container: str, path: str, target: str) -> int:
    """Copy out; bytes written. ``-`` as target streams the archive to standard output."""
    if options.on("follow-link"):
        found = stat_in_container(ctx, container, path)
        if found and int(found.get("mode", 0)) & _GO_LINK and found.get("linkTarget"):
            path = os.path.join(os.path.dirname(path), str(found["linkTarget"]))
    response = ctx.client.send("GET", f"/containers/{container}/archive", {"path": path})
    if target == "-":
        out = ctx.raw_out
        for piece in response.chunks():
            out.write(piece)
        out.flush()
        return 0
    is_directory = bool(int(path_stat(response).get("mode", 0)) & _GO_DIR)
    place = target_on_host(path, is_directory, target)
    reader = _Reader(response)
    try:
        with tarfile.open(fileobj=cast("BinaryIO", reader), mode="r|") as archive:
            extract(archive, place, is_directory, keep_owner=options.on("archive"))
    except tarfile.TarError as error:
        raise CliError(f"the archive of {container}:{path} is broken: {error}") from None
    return reader.count


class _Reader:
    """The body of a response as a file that can only be read on."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._rest = b""
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        parts = [self._rest]
        have = len(self._rest)
        while size < 0 or have < size:
            piece = self._response.chunk()
            if not piece:
                break
            parts.append(piece)
            have += len(piece)
        whole = b"".join(parts)
        wanted = have if size < 0 else size
        self._rest = whole[wanted:]
        self.count += min(have, wanted)
        return whole[:wanted]


def extract(archive: tarfile.TarFile, place: str, is_directory: bool, *, keep_owner: bool) -> None:
    """Unpack with the archive's first name replaced by ``place``; nothing is ever written
    outside of it, whatever names and links the archive holds."""
    for member in archive:
        relative = inside(member.name)
        destination = os.path.join(place, relative) if relative else place
        if not relative and is_directory and not member.isdir():
            raise CliError(f"refusing to unpack {member.name!r}: it is not the folder asked for")
        if relative:
            parent = os.path.realpath(os.path.dirname(destination))
            top = os.path.realpath(place)
            # A root that is no folder may be a link: nothing belongs below it.
            if not is_directory or os.path.commonpath([parent, top]) != top:
                raise CliError(f"refusing to unpack {member.name!r}: it leaves {place}")
        if member.islnk():
            member.linkname = os.path.abspath(os.path.join(place, inside(member.linkname)))
        if not keep_owner:
            member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
        if os.path.islink(destination) or (os.path.isfile(destination) and not member.isdir()):
            os.unlink(destination)
        member.name = os.path.abspath(destination)
        # The name is absolute by now and was checked above.
        archive.extract(member, path="/", numeric_owner=True)


def to_container(ctx: Context, options: Options, source: str, container: str, path: str) -> int:
    """Copy in; bytes sent."""
    found = stat_in_container(ctx, container, path)
    if found and int(found.get("mode", 0)) & _GO_LINK and found.get("linkTarget"):
        path = os.path.join(os.path.dirname(path), str(found["linkTarget"]))
        found = stat_in_container(ctx, container, path)
    exists = found is not None
    is_directory = bool(found and int(found.get("mode", 0)) & _GO_DIR)
    query: dict[str, Any] = {"noOverwriteDirNonDir": "true"}
    if options.on("archive"):
        query["copyUIDGID"] = "true"
    counter = [0]
    if source == "-":
        if not is_directory:
            raise CliError(f'destination "{container}:{path}" must be a directory')
        query["path"] = path
        body = _counted(_file_pieces(sys.stdin.buffer), counter)
    else:
        follow = options.on("follow-link")
        try:
            mode = (os.stat if follow else os.lstat)(source.rstrip("/") or "/").st_mode
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CliError(f"lstat {os.path.abspath(source)}: {reason}") from None
        target = target_in_container(source, stat.S_ISDIR(mode), path, exists, is_directory)
        query["path"] = target.folder
        body = _counted(archive_pieces(source, target, follow=follow), counter)
    headers = {"Content-Type": "application/x-tar"}
    response = ctx.client.send("PUT", f"/containers/{container}/archive", query, body, headers)
    response.read()
    return counter[0]


def _counted(pieces: Iterator[bytes], counter: list[int]) -> Iterator[bytes]:
    for piece in pieces:
        counter[0] += len(piece)
        yield piece


def _file_pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_CHUNK):
        yield piece


def archive_pieces(source: str, target: Target, *, follow: bool) -> Iterator[bytes]:
    """A tar of ``source`` under the name ``target.name``. A thread writes, we read: however big
    a file is, only a pipe's worth of it is in memory."""
    read_end, write_end = os.pipe()
    failure: list[BaseException] = []

    def write() -> None:
        try:
            with os.fdopen(write_end, "wb") as pipe, tarfile.open(fileobj=pipe, mode="w|") as tar:
                real = os.path.realpath(source) if follow else source.rstrip("/") or "/"
                tar.add(real, arcname=target.name, recursive=True)
        except BrokenPipeError:
            pass
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    with os.fdopen(read_end, "rb", buffering=0) as pipe:
        while piece := pipe.read(_CHUNK):
            yield piece
    thread.join()
    if failure:
        raise CliError(f"cannot read {source}: {failure[0]}")


CP = Command(
    cp,
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
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
    (2, 2),
    long="Copy files/folders between a container and the local filesystem\n\n"
    "Use '-' as the source to read a tar archive from stdin\n"
    "and extract it to a directory destination in a container.\n"
    "Use '-' as the destination to stream a tar archive of a\n"
    "container source to stdout.",
    complete="containers",
)
