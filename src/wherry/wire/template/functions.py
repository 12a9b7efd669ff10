"""Functions of templates: Go's built-in ones and Docker's helpers.

``and`` and ``or`` are evaluated by the walker, because they look at their arguments lazily.
"""

from __future__ import annotations

import html as html_escapes
import json as json_text
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from wherry.wire.template.gofmt import go_type, sprint, sprintf, sprintln, text_of


class CallError(Exception):
    """A function refused its arguments; Go shows it as "error calling NAME: ..."."""


class WrongType(CallError):
    """An argument has a type that the function does not take; shown at that argument."""

    def __init__(self, value: Any, expected: str) -> None:
        if value is NO_VALUE:
            super().__init__(f"invalid value; expected {expected}")
        else:
            super().__init__(f"wrong type for value; expected {expected}; got {go_type(value)}")
        self.value = value
        self.expected = expected


class _NoValue:
    """What a missing map key gives."""

    def __repr__(self) -> str:
        return "<no value>"

    def __bool__(self) -> bool:
        return False


NO_VALUE = _NoValue()


@dataclass(frozen=True)
class Function:
    """``most`` None: any number of arguments."""

    call: Callable[..., Any]
    least: int
    most: int | None


def truth(value: Any) -> bool:
    """Go's: false, zero, nil and what is empty are false."""
    return value is not None and value is not NO_VALUE and bool(value)


def _want(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise WrongType(value, name)
    return value


def _string(value: Any) -> str:
    return str(_want(value, str, "string"))


def _int(value: Any) -> int:
    return int(_want(value, int, "int"))


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = _index_one(value, key)
    return value


def _index_one(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        if key in value:
            return value[key]
        textual = all(isinstance(each, str) for each in value.values())
        return "" if textual else NO_VALUE
    if isinstance(value, list | tuple | str):
        if isinstance(key, bool) or not isinstance(key, int):
            raise CallError(f"cannot index slice/array with type {go_type(key)}")
        if not 0 <= key < len(value):
            raise CallError(f"index out of range: {key}")
        return ord(value[key]) if isinstance(value, str) else value[key]
    if value is None and isinstance(key, str):
        return ""
    if value is None or value is NO_VALUE:
        raise CallError("index of untyped nil")
    raise CallError(f"can't index item of type {go_type(value)}")


def _slice(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, str | list | tuple):
        raise CallError(f"can't slice item of type {go_type(value)}")
    if isinstance(value, str) and len(bounds) == 3:
        raise CallError("cannot 3-index slice a string")
    data = value.encode() if isinstance(value, str) else value
    numbers = [_int(each) for each in bounds]
    for number in numbers:
        if not 0 <= number <= len(data):
            raise CallError(f"index out of range: {number}")
    low = numbers[0] if numbers else 0
    high = numbers[1] if len(numbers) > 1 else len(data)
    if low > high:
        raise CallError(f"invalid slice index: {low} > {high}")
    cut = data[low:high]
    return cut.decode("utf-8", "replace") if isinstance(cut, bytes) else cut


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, list | tuple | dict):
        return len(value)
    if value is None:
        return 0
    raise CallError(
        f"len of type {go_type(value)}" if value is not NO_VALUE else "len of nil pointer"
    )


def _kind(value: Any) -> str:
    for kinds, name in ((bool, "bool"), (int, "int"), (float, "float"), (str, "string")):
        if isinstance(value, kinds):
            return name
    return "nil" if value is None or value is NO_VALUE else "other"


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise CallError("missing argument for comparison")
    kind = _kind(first)
    for other in others:
        if kind == "other" or _kind(other) == "other":
            raise CallError("non-comparable type " + go_type(other if kind != "other" else first))
        if kind != _kind(other) and "nil" not in (kind, _kind(other)):
            raise CallError("incompatible types for comparison")
        if kind == _kind(other) and (kind == "nil" or first == other):
            return True
    return False


def _lt(first: Any, second: Any) -> bool:
    kind = _kind(first)
    if kind in ("other", "bool", "nil") or _kind(second) in ("other", "bool", "nil"):
        raise CallError("invalid type for comparison")
    if kind != _kind(second):
        raise CallError("incompatible types for comparison")
    return bool(first < second)


def _ne(first: Any, second: Any) -> bool:
    return not _eq(first, second)


def _plain(value: Any) -> Any:
    """Data only: methods of a row are left out, a missing value is null."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items() if not callable(each)}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if value is NO_VALUE else value


def _json(value: Any) -> str:
    try:
        text = json_text.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise CallError(f"json: {error}") from error
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _join(values: Any, separator: Any) -> str:
    if values is None:
        return ""
    if not isinstance(values, list | tuple):
        raise WrongType(values, "[]string")
    return _string(separator).join(_string(each) for each in values)


def _split(text: Any, separator: Any) -> list[str]:
    mark = _string(separator)
    return _string(text).split(mark) if mark else list(_string(text))


def _title(text: Any) -> str:
    """Go's ``strings.Title``: the first letter of each word, the rest untouched."""
    out: list[str] = []
    before = " "
    for char in _string(text):
        starts = not (before.isalnum() or before in "_'")
        out.append(char.title() if starts else char)
        before = char
    return "".join(out)


def _pad(text: Any, prefix: Any, suffix: Any) -> str:
    if text == "":
        return ""
    before, after = _int(prefix), _int(suffix)
    if not (0 <= before <= 1 << 20 and 0 <= after <= 1 << 20):
        raise CallError("strings: negative Repeat count")
    return " " * before + _string(text) + " " * after


def _truncate(text: Any, length: Any) -> str:
    if _int(length) < 0:
        raise CallError("slice bounds out of range")
    return _string(text)[: _int(length)]


def _html(*values: Any) -> str:
    return (
        html_escapes.escape(_joined(values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    )


_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026"}
_JS["="] = "\\u003D"


def _js(*values: Any) -> str:
    text = _joined(values)
    return "".join(
        _JS.get(char, char if char.isprintable() else f"\\u{ord(char):04X}") for char in text
    )


def _urlquery(*values: Any) -> str:
    return quote_plus(_joined(values), errors="replace")


def _joined(values: tuple[Any, ...]) -> str:
    return values[0] if len(values) == 1 and isinstance(values[0], str) else sprint(values)


def _not(value: Any) -> bool:
    return not truth(value)


def _clean(values: tuple[Any, ...]) -> list[Any]:
    return ["<no value>" if each is NO_VALUE else each for each in values]


FUNCTIONS: Mapping[str, Function] = {
    "index": Function(_index, 1, None),
    "slice": Function(_slice, 1, 4),
    "len": Function(_len, 1, 1),
    "not": Function(_not, 1, 1),
    "print": Function(lambda *values: sprint(_clean(values)), 0, None),
    "println": Function(lambda *values: sprintln(_clean(values)), 0, None),
    "printf": Function(lambda form, *values: sprintf(_string(form), _clean(values)), 1, None),
    "eq": Function(_eq, 1, None),
    "ne": Function(_ne, 2, 2),
    "lt": Function(_lt, 2, 2),
    "le": Function(lambda a, b: _lt(a, b) or _eq(a, b), 2, 2),
    "gt": Function(lambda a, b: not _lt(a, b) and not _eq(a, b), 2, 2),
    "ge": Function(lambda a, b: not _lt(a, b), 2, 2),
    "html": Function(_html, 1, None),
    "js": Function(_js, 1, None),
    "urlquery": Function(_urlquery, 1, None),
    "json": Function(_json, 1, 1),
    "split": Function(_split, 2, 2),
    "join": Function(_join, 2, 2),
    "title": Function(_title, 1, 1),
    "lower": Function(lambda text: _string(text).lower(), 1, 1),
    "upper": Function(lambda text: _string(text).upper(), 1, 1),
    "pad": Function(_pad, 3, 3),
    "truncate": Function(_truncate, 2, 2),
}

_keep = Function(lambda text, *_: text, 1, None)
_HEADER_NAMES = ("json", "split", "join", "title", "lower", "upper", "truncate")
HEADER_FUNCTIONS: Mapping[str, Function] = dict.fromkeys(_HEADER_NAMES, _keep)
"""For the heading of a ``table`` format, which is the template run over the column titles."""

LAZY = frozenset({"and", "or"})
NAMES = frozenset(FUNCTIONS) | LAZY

__all__ = ["FUNCTIONS", "HEADER_FUNCTIONS", "NO_VALUE", "CallError", "Function", "text_of"]
