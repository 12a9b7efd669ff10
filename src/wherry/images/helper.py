"""Running a job of the helper process, and the folder it works in.

The stream goes through a pipe that is written from the event loop without a thread; progress and
the result come back as JSON lines. Whatever happens, the folder is gone afterwards: what the
daemon wanted of it was renamed into the stores before.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import wherry
from wherry import errors
from wherry.errors import Internal, WherryError
from wherry.linux.tasks import spawn
from wherry.store.paths import Paths

_PIPE_SIZE = 1 << 20
_LINE_LIMIT = 64 << 20
_F_SETPIPE_SZ = 1031

Note = Callable[[Mapping[str, Any]], None]


def erase(*folders: Path | None) -> None:
    """Delete folders in the background, outside the interpreter; names are gone at once."""
    existing = [str(folder) for folder in folders if folder is not None]
    if existing:
        spawn(_erase(existing), name="erase")


async def _erase(folders: list[str]) -> None:
    # In a thread: asyncio's own subprocesses hang when the loop ends while they start.
    await asyncio.to_thread(subprocess.run, ["rm", "-rf", "--", *folders], check=False)


@contextlib.asynccontextmanager
async def job_folder(paths: Paths) -> AsyncIterator[Path]:
    """A folder in ``tmp/`` for one job."""
    folder = paths.tmp / f"job-{secrets.token_hex(8)}"
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        # Waited for, so that a failed operation has left nothing when its error is seen.
        await asyncio.shield(spawn(_erase([str(folder)]), name="erase"))


async def run_job(
    verb: str,
    folder: Path,
    parameters: Mapping[str, Any],
    *,
    stream: AsyncIterator[bytes] | None = None,
    note: Note = lambda value: None,
) -> dict[str, Any]:
    """Run ``verb`` on ``stream``; returns its result.

    Raises the error kind that the job reports. Cancelled: the process is killed first.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.fcntl(writer, _F_SETPIPE_SZ, _PIPE_SIZE)
        # In a file: one argument of a process may not be longer than 128 KiB.
        (folder / "parameters").write_text(json.dumps({**parameters, "folder": str(folder)}))
        process = await _start(verb, folder / "parameters", reader)
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    feeder = spawn(_feed(stream, writer), name=f"feed {verb}", awaited=True)
    try:
        result = await _answers(process, note)
        # It ends by itself now; what it was fed beyond the end of its archive is dropped.
        feeder.cancel()
        await process.wait()
        return result
    except WherryError:
        # What broke off is the better answer than what the helper thought of its beginning.
        if feeder.done() and not feeder.cancelled():
            feeder.result()
        raise
    finally:
        feeder.cancel()
        if process.returncode is None:
            _end(process)
            await asyncio.shield(process.wait())
        await asyncio.wait({feeder})


async def _start(verb: str, parameters: Path, stdin: int) -> asyncio.subprocess.Process:
    """The process; killed, and waited for, when the caller is cancelled meanwhile."""
    root = str(Path(wherry.__file__).parent.parent)
    known = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": f"{root}:{known}" if known else root}
    starting = spawn(
        asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "wherry.images.worker",
            verb,
            str(parameters),
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            limit=_LINE_LIMIT,
        ),
        name=f"start of {verb}",
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # What the caller does next (removing the folder) must not meet a helper at work.
        with contextlib.suppress(OSError):
            process = await asyncio.shield(starting)
            _end(process)
            await asyncio.shield(process.wait())
        raise
    except OSError as error:
        raise Internal(f"cannot start the image helper: {error}") from error


def _end(process: asyncio.subprocess.Process) -> None:
    """SIGKILL. ``Process.kill`` would reap the child behind the back of asyncio's watcher."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


async def _feed(stream: AsyncIterator[bytes] | None, writer: int) -> None:
    """Copy the stream into the pipe. A reader that has gone ends the copy quietly."""
    loop = asyncio.get_running_loop()
    os.set_blocking(writer, False)
    try:
        if stream is None:
            return
        async for chunk in stream:
            view = memoryview(chunk)
            while view:
                try:
                    view = view[os.write(writer, view) :]
                except BlockingIOError:
                    room = loop.create_future()
                    loop.add_writer(writer, _wake, room)
                    try:
                        await room
                    finally:
                        loop.remove_writer(writer)
                except BrokenPipeError:
                    return
    finally:
        os.close(writer)


def _wake(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)


async def _answers(process: asyncio.subprocess.Process, note: Note) -> dict[str, Any]:
    assert process.stdout is not None
    async for line in process.stdout:
        answer = json.loads(line)
        if "progress" in answer:
            note(answer["progress"])
        elif "result" in answer:
            result: dict[str, Any] = answer["result"]
            return result
        else:
            kind = getattr(errors, str(answer.get("error")), Internal)
            if not (isinstance(kind, type) and issubclass(kind, WherryError)):
                kind = Internal
            raise kind(str(answer.get("message")))
    status = await process.wait()
    raise Internal(f"the image helper ended without an answer (status {status})")
