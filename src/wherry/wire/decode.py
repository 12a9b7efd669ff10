"""JSON bodies as Go's decoder reads them, into the typed structs of ``wire`` (pure).

Go, and so every client that was written against Docker, knows a key in any case; ``null`` leaves
what it stands for as it was; numbers have 64 bits. msgspec alone is stricter about keys, and laxer
about numbers, so a body is first brought into shape by its type and then converted. A key that
comes twice, in whatever case: the last one counts.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import msgspec

from wherry.errors import Invalid

T = TypeVar("T")
_Shape = Callable[[Any, str], Any]
"""(value, its path such as ``$.HostConfig``) -> the value for ``msgspec.convert``."""
_LIMIT = 1 << 63
_ZEROS: dict[object, object] = {str: "", int: 0, bool: False, float: 0.0}


def decode(data: bytes, kind: type[T]) -> T | None:
    """The body as ``kind``; None for ``null``. ``Invalid``: "invalid JSON: ..." with the field."""
    try:
        raw = msgspec.json.decode(data)
        if raw is None:
            return None
        return msgspec.convert(_shape(typing.cast(Any, kind))(raw, "$"), kind)
    except RecursionError:
        raise Invalid("invalid JSON: it is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"invalid JSON: {error}") from None


@cache
def _shape(kind: Any) -> _Shape:
    """How values of a type are brought into shape; made once a type."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(kind)
    inner = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is dict:
        return _mapping(inner[1])
    if origin is list:
        return _listed(inner[0])
    if origin in (types.UnionType, typing.Union):
        return _either(inner)
    return _leaf


def _leaf(value: Any, path: str) -> Any:
    if isinstance(value, str):
        if "\0" in value:
            raise Invalid(f"invalid JSON: the text holds a null byte - at `{path}`")
    elif isinstance(value, int) and not -_LIMIT <= value < _LIMIT:
        raise Invalid(f"invalid JSON: the number is out of range - at `{path}`")
    return value


def _struct(kind: type[msgspec.Struct]) -> _Shape:
    names: dict[str, tuple[str, _Shape]] = {}

    def shape(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return value
        if not names:
            for each in msgspec.structs.fields(kind):
                names[each.encode_name.lower()] = (each.encode_name, _shape(each.type))
        held: dict[str, Any] = {}
        for key, inner in value.items():
            known = names.get(key.lower())
            if known is not None and inner is not None:
                held[known[0]] = known[1](inner, f"{path}.{known[0]}")
        return held

    return shape


def _mapping(inner: Any) -> _Shape:
    each, zero = _shape(inner), _zero(inner)

    def shape(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return value
        place = f"{path}[...]"
        return {
            _leaf(key, place): zero() if held is None else each(held, place)
            for key, held in value.items()
        }

    return shape


def _listed(inner: Any) -> _Shape:
    each, zero = _shape(inner), _zero(inner)

    def shape(value: Any, path: str) -> Any:
        if not isinstance(value, list):
            return value
        place = f"{path}[...]"
        return [zero() if held is None else each(held, place) for held in value]

    return shape


def _either(kinds: tuple[Any, ...]) -> _Shape:
    """Of a union, the shape that the value's own type calls for."""
    shapes: dict[type, _Shape] = {}
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            shapes[dict] = _shape(kind)
        elif (origin := typing.get_origin(kind)) in (dict, list):
            shapes[origin] = _shape(kind)
    return lambda value, path: shapes.get(type(value), _leaf)(value, path)


def _zero(kind: Any) -> Callable[[], Any]:
    """What ``null`` means as an element of a list or mapping: Go's zero value."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return dict
    if typing.get_origin(kind) in (dict, list):
        return typing.cast(Callable[[], Any], typing.get_origin(kind))
    return lambda: _ZEROS.get(kind)
