"""Error kinds to HTTP statuses: the one place that knows both."""

from __future__ import annotations

import asyncio
import errno
import logging

from wherry.errors import (
    Conflict,
    Exhausted,
    Forbidden,
    Internal,
    Invalid,
    NotFound,
    NotImplementedYet,
    NotModified,
    Unauthorized,
    Unavailable,
    WherryError,
)

_log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[WherryError], int], ...] = (
    (NotModified, 304),
    (Invalid, 400),
    (Unauthorized, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (NotImplementedYet, 501),
    (Unavailable, 503),
    (Exhausted, 500),
    (Internal, 500),
)


class MethodNotAllowed(WherryError):
    """The path exists, the method does not (405)."""


def status_of(error: BaseException) -> tuple[int, str]:
    """Status and message of a failure. What is not one of our kinds is our fault (500).

    A command that is missing or not executable in the image is the caller's mistake (400), as in
    Docker, whose client reads the exit code 126 or 127 out of the message.
    """
    if isinstance(error, MethodNotAllowed):
        return 405, error.message
    if isinstance(error, WherryError):
        if getattr(error, "exit_code", None) in (126, 127):
            return 400, error.message
        for kind, status in _STATUS:
            if isinstance(error, kind):
                return status, error.message
        return 500, error.message
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return 500, f"timed out: {error}" if str(error) else "the operation timed out"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return 500, f"no space left on device: {error}"
    _log.error("unexpected failure: %s", error, exc_info=error)
    return 500, f"internal error: {type(error).__name__}: {error}"
