"""Errors of the file system, as a user should read them."""

from __future__ import annotations

import errno

from wherry.errors import Exhausted, Internal, WherryError


def storage_error(what: str, error: OSError) -> WherryError:
    """``Exhausted`` for a full disk or quota, else ``Internal``; both say what was tried."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Exhausted(f"{what}: no space left on device")
    return Internal(f"{what}: {error}")
