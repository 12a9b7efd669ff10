"""Regular expressions that clients send.

Go finds in linear time what Python may look for until the end of time, and the daemon with it: a
caller of a read-only socket needs nothing but a filter for that. So an expression with more ways
through a text than can be tried is refused.
"""

from __future__ import annotations

import re

from wherry.errors import Invalid

_LOOP_OF_GROUP = re.compile(r"\)[*+{]")
_MOST_WAYS = 10**8
_MOST_SIGNS = 24


def found(pattern: str, text: str) -> bool:
    """Whether the expression matches somewhere in the text; a malformed one never does.

    ``Invalid``: it takes too long.
    """
    loops = sum(map(pattern.count, "*+{"))
    choices = sum(map(pattern.count, "?|"))
    signs = loops + choices
    if (
        signs > _MOST_SIGNS
        or (signs > 1 and _LOOP_OF_GROUP.search(pattern))
        or len(text) ** (loops + 1) << choices > _MOST_WAYS
    ):
        raise Invalid(f"invalid regular expression '{pattern}': it has too many repetitions")
    try:
        return re.search(pattern, text) is not None
    except (re.error, RecursionError, OverflowError):
        return False
