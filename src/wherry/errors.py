"""The closed set of error kinds.

Every failure that a user may see is one of these. They know no HTTP: one function in
``wherry.api`` maps a kind to a status, and the command line maps it to an exit code.

WherryError
├── NotFound            the named thing does not exist
├── Conflict            the thing exists, but its state or another user forbids this
├── NotModified         the thing is already as asked (start of a running container)
├── Invalid             the request itself is wrong; the message names the field or value
├── Forbidden           the caller may not do this
├── Unauthorized        credentials are missing or refused
├── Unavailable         something we need is not there now; trying again may help
├── Exhausted           no space, no memory, no addresses left
├── NotImplementedYet   Wherry (or this host's kernel) cannot do this
└── Internal            our own fault
"""

from __future__ import annotations


class WherryError(Exception):
    """Base of all kinds; ``message`` is what the user reads: it names the thing and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotFound(WherryError):
    """The named thing does not exist."""


class Conflict(WherryError):
    """The thing exists, but its state, its name or its users forbid the request."""


class NotModified(WherryError):
    """Nothing to do: the thing is already in the asked state."""


class Invalid(WherryError):
    """The request is wrong in itself; the message names the field or value."""


class Forbidden(WherryError):
    """The caller is not allowed to do this."""


class Unauthorized(WherryError):
    """Credentials are missing or were refused."""


class Unavailable(WherryError):
    """Something outside is not there now (a socket, a registry, a plugin)."""


class Exhausted(WherryError):
    """No space, memory, addresses or other resource left."""


class NotImplementedYet(WherryError):
    """This build, or this host, cannot do it; the message says which and what to do instead."""


class Internal(WherryError):
    """Our own fault, or a tool we rely upon failed in a way the user cannot mend."""
