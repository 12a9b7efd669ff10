"""Entry of the helper process: ``python -m wherry.images.worker VERB FILE``.

Parameters are in the JSON file ``argv[2]``. Answers are JSON lines on standard output: any number
of ``{"progress": ...}``, then one ``{"result": ...}`` or ``{"error": KIND, "message": TEXT}``.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wherry.errors import WherryError
from wherry.images.worker import jobs
from wherry.images.worker.sink import CHUNK, no_space

_PR_SET_PDEATHSIG = 1


def _read(size: int) -> bytes:
    return os.read(0, max(size, CHUNK))


def _answer(stream: int, value: dict[str, Any]) -> None:
    data = json.dumps(value).encode() + b"\n"
    while data:
        data = data[os.write(stream, data) :]


def main() -> int:
    """Do one job. The exit status only says whether the last line is a result."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.umask(0o077)
    stream = os.dup(1)
    os.dup2(2, 1)
    verb, parameters = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    job: Callable[..., dict[str, Any]] = jobs.JOBS[verb]
    try:
        result = job(
            read=_read,
            say=lambda value: _answer(stream, {"progress": value}),
            **{**parameters, "folder": Path(parameters["folder"])},
        )
    except BaseException as error:
        _answer(stream, _failure(error))
        return 1
    _answer(stream, {"result": result})
    return 0


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        error = no_space(error.filename or "the data root")
    if isinstance(error, WherryError):
        return {"error": type(error).__name__, "message": error.message}
    traceback.print_exception(error)
    return {"error": "Internal", "message": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    # The interpreter's orderly end would wait for reading threads after an error.
    status = main()
    sys.stderr.flush()
    os._exit(status)
