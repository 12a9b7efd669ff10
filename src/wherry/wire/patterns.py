"""Regular expressions that clients send.

They are Go's, and found as Go finds them, in time that grows with the text alone: the standard
library's may take until the end of time, and the daemon with it, and a caller of a read-only
socket needs nothing but a filter for that.
"""

from __future__ import annotations

import functools
import re
from typing import Any

_SPECIAL = re.compile(r"[^\w/-]", re.ASCII)
_MOST_MEMORY = 8 << 20
"""Bytes that one expression may take."""


def found(pattern: str, text: str) -> bool:
    """Whether the expression matches somewhere in the text; a malformed one never does."""
    if _SPECIAL.search(pattern) is None:
        return pattern in text
    compiled, _ = _compiled(pattern)
    return compiled is not None and compiled.search(_whole(text)) is not None


def fault(pattern: str) -> str:
    """What is wrong with an expression; empty: nothing."""
    return _compiled(pattern)[1]


@functools.lru_cache(maxsize=16)
def _compiled(pattern: str) -> tuple[Any, str]:
    """The expression, or None and what is wrong with it."""
    import re2  # some milliseconds, and memory, that most daemons never need

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_MEMORY
    try:
        return re2.compile(_whole(pattern), options), ""
    except re2.error as error:
        (words,) = error.args
        return None, words.decode(errors="replace")


def _whole(text: str) -> str:
    """Without halves of characters, which have no place in UTF-8."""
    return text.encode(errors="replace").decode()
