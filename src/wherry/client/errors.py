"""What the client may raise.

ClientError
├── CannotConnect     nobody answers at the host
├── ConnectionLost    the connection broke, or what came is not HTTP
├── BadHost           the host, context or TLS setting makes no sense
└── ApiError          the daemon answered with an error: ``status`` and its message
"""

from __future__ import annotations

import errno
import os

_NOBODY = {os.strerror(errno.ENOENT), os.strerror(errno.ECONNREFUSED)}
"""What the question says already."""


class ClientError(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CannotConnect(ClientError):
    """``host`` is as the user gave it; ``reason`` is the system's word."""

    def __init__(self, host: str, reason: str, denied: bool = False) -> None:
        if denied:
            text = (
                "permission denied while trying to connect to the Wherry daemon socket "
                f"at {host}: {reason}"
            )
        else:
            text = f"Cannot connect to the Wherry daemon at {host}. Is the wherry daemon running?"
            if reason not in _NOBODY:
                text += f" ({reason})"
        super().__init__(text)
        self.host = host
        self.reason = reason
        self.denied = denied


class ConnectionLost(ClientError):
    pass


class BadHost(ClientError):
    pass


class ApiError(ClientError):
    """The daemon's own message, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"Error response from daemon: {message}")
        self.status = status
        self.daemon_message = message
