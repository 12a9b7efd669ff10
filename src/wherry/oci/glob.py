"""Go's ``path.Match`` patterns, which Docker uses for references and names.

``*`` and ``?`` never match ``/``; ``[a-z]`` and ``[^a-z]`` are classes; a backslash quotes.
"""

from __future__ import annotations

import re
from functools import lru_cache

from wherry.errors import Invalid


def match(pattern: str, name: str) -> bool:
    """Whether the whole of ``name`` matches; ``Invalid`` when the pattern is malformed."""
    return _compiled(pattern).fullmatch(name) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Between two stars the first place that fits is as good as any other, so no other is tried:
    with many stars that would take for ever."""
    parts = [""]
    """What stands before, between and behind the stars."""
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            parts.append("")
            continue
        text = re.escape(char)
        if char == "?":
            text = "[^/]"
        elif char == "[":
            text, at = _char_class(pattern, at)
        elif char == "\\":
            if at >= len(pattern):
                raise Invalid(_bad(pattern))
            text = re.escape(pattern[at])
            at += 1
        parts[-1] += text
    first, *between = parts
    last = f"[^/]*{between.pop()}" if between else ""
    inner = "".join(f"(?>[^/]*?{part})" for part in between)
    return re.compile(first + inner + last, re.DOTALL)


def _bad(pattern: str) -> str:
    return f"syntax error in pattern: {pattern!r}"


def _char_class(pattern: str, at: int) -> tuple[str, int]:
    negated = pattern[at : at + 1] == "^"
    at += negated
    parts: list[str] = []
    count = 0
    while True:
        if pattern[at : at + 1] == "]" and count:
            break
        low, at = _class_char(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _class_char(pattern, at + 1)
        if low <= high:
            parts.append(f"{re.escape(low)}-{re.escape(high)}")
        count += 1
    if not parts:
        return ("[^/]" if negated else "(?!)"), at + 1
    body = "".join(parts)
    return (f"[^{body}/]" if negated else f"(?!/)[{body}]"), at + 1


def _class_char(pattern: str, at: int) -> tuple[str, int]:
    """One member of a class, escapes resolved; Go refuses a bare ``-`` or ``]`` here."""
    if at >= len(pattern) or pattern[at] in "-]":
        raise Invalid(_bad(pattern))
    if pattern[at] == "\\":
        at += 1
        if at >= len(pattern):
            raise Invalid(_bad(pattern))
    if at + 1 >= len(pattern):
        raise Invalid(_bad(pattern))
    return pattern[at], at + 1
