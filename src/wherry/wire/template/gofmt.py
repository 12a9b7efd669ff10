"""Go's ``fmt``: how values print with ``%v`` and what ``printf`` does with the other verbs.

Values are JSON-like Python: None, bool, int, float, str, bytes, list, tuple, dict.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

_VERB = re.compile(r"%([-+# 0]*)(\*|[0-9]+)?(?:\.(\*|[0-9]*))?(.?)", re.DOTALL)
_WIDTH_LIMIT = 1_000_000
_SIMPLE = {7: "a", 8: "b", 12: "f", 10: "n", 13: "r", 9: "t", 11: "v", 92: "\\"}
NIL = "<nil>"


def go_type(value: Any) -> str:
    """The Go type that a JSON decoder would have made."""
    if value is None:
        return NIL
    if isinstance(value, bool):
        return "bool"
    for kind, name in ((int, "int"), (float, "float64"), (str, "string"), (bytes, "[]uint8")):
        if isinstance(value, kind):
            return name
    if isinstance(value, dict):
        return "map[string]interface {}"
    return "[]interface {}" if isinstance(value, list | tuple) else type(value).__name__


def text_of(value: Any) -> str:
    """``%v``: maps print sorted as ``map[k:v]``, lists as ``[a b]``."""
    if isinstance(value, str):
        return value
    if value is None:
        return NIL
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, dict):
        pairs = (f"{text_of(key)}:{text_of(value[key])}" for key in sorted_keys(value))
        return f"map[{' '.join(pairs)}]"
    if isinstance(value, list | tuple | bytes):
        return f"[{' '.join(text_of(each) for each in value)}]"
    return str(value)


def sorted_keys(value: dict[Any, Any]) -> list[Any]:
    """Keys in Go's printing order; callables (methods) are not data."""
    keys = [key for key, each in value.items() if not callable(each)]
    try:
        return sorted(keys)
    except TypeError:
        return sorted(keys, key=str)


def float_text(value: float) -> str:
    """Shortest form; with an exponent (two digits at least) from 1e6 and below 1e-4."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    sign, digits, places = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(places, int)
    exponent = len(digits) - 1 + places
    shown = "".join(map(str, digits))
    minus = "-" if sign else ""
    if exponent < -4 or exponent >= 6:
        tail = f".{shown[1:]}" if len(shown) > 1 else ""
        return f"{minus}{shown[0]}{tail}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    return f"{Decimal(repr(value)).normalize():f}"


def quote(text: str) -> str:
    """Go's ``strconv.Quote``."""
    out = ['"']
    for char in text:
        code = ord(char)
        if char == '"':
            out.append('\\"')
        elif code in _SIMPLE:
            out.append("\\" + _SIMPLE[code])
        elif code < 32 or code == 127:
            out.append(f"\\x{code:02x}")
        elif char.isprintable():
            out.append(char)
        else:
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return "".join(out) + '"'


def sprint(values: Sequence[Any]) -> str:
    """A space between two operands only when neither is a string."""
    out: list[str] = []
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            out.append(" ")
        out.append(text_of(value))
    return "".join(out)


def sprintln(values: Sequence[Any]) -> str:
    return " ".join(text_of(value) for value in values) + "\n"


def sprintf(pattern: str, values: Sequence[Any]) -> str:
    """Go's ``Sprintf``; wrong verbs show as ``%!d(string=x)``, never as an error."""
    used = 0

    def take() -> tuple[bool, Any]:
        nonlocal used
        used += 1
        return (True, values[used - 1]) if used <= len(values) else (False, None)

    def replaced(found: re.Match[str]) -> str:
        flags, width, precision, verb = found[1], found[2], found[3], found[4]
        if verb == "":
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        wide, flags = _star(width, flags, take)
        exact = None if precision is None else _star(precision or "0", "", take)[0]
        present, value = take()
        if not present:
            return f"%!{verb}(MISSING)"
        return _pad(_verb(verb, value, flags, exact), wide, flags, value)

    out = _VERB.sub(replaced, pattern)
    if used < len(values):
        extra = ", ".join(_extra(each) for each in values[used:])
        out += f"%!(EXTRA {extra})"
    return out


def _star(text: str | None, flags: str, take: Any) -> tuple[int, str]:
    if text != "*":
        return min(int((text or "0")[:9]), _WIDTH_LIMIT), flags
    present, value = take()
    if not present or isinstance(value, bool) or not isinstance(value, int):
        return 0, flags
    if value < 0:
        flags, value = flags + "-", -value
    return min(value, _WIDTH_LIMIT), flags


def _extra(value: Any) -> str:
    return NIL if value is None else f"{go_type(value)}={text_of(value)}"


def _pad(text: str, width: int, flags: str, value: Any) -> str:
    if len(text) >= width:
        return text
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and isinstance(value, int | float) and not isinstance(value, bool):
        sign = text[:1] if text[:1] in "+-" else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width, "0" if "0" in flags else " ")


def _verb(verb: str, value: Any, flags: str, precision: int | None) -> str:
    if verb == "T":
        return go_type(value)
    if verb == "v":
        if "#" in flags:
            return _literal(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _signed(text_of(value), value, flags)
        return text_of(value)
    if value is None:
        return f"%!{verb}({NIL})"
    if isinstance(value, dict):
        pairs = (
            f"{_verb(verb, key, flags, precision)}:{_verb(verb, value[key], flags, precision)}"
            for key in sorted_keys(value)
        )
        return f"map[{' '.join(pairs)}]"
    if isinstance(value, list | tuple):
        return f"[{' '.join(_verb(verb, each, flags, precision) for each in value)}]"
    out: str | None = None
    if isinstance(value, bool):
        out = text_of(value) if verb == "t" else None
    elif isinstance(value, str):
        out = _string(verb, value, flags, precision)
    elif isinstance(value, int):
        out = _integer(verb, value, flags, precision)
    elif isinstance(value, float):
        out = _float(verb, value, flags, precision)
    return f"%!{verb}({go_type(value)}={text_of(value)})" if out is None else out


def _signed(text: str, value: float, flags: str) -> str:
    if value >= 0 and "+" in flags:
        return "+" + text
    return " " + text if value >= 0 and " " in flags else text


def _string(verb: str, value: str, flags: str, precision: int | None) -> str | None:
    cut = value if precision is None else value[:precision]
    if verb == "s":
        return cut
    if verb == "q":
        return f"`{cut}`" if "#" in flags and "`" not in cut else quote(cut)
    if verb in "xX":
        raw = value.encode() if precision is None else value.encode()[:precision]
        text = raw.hex(" " if " " in flags else "") if " " in flags else raw.hex()
        return text.upper() if verb == "X" else text
    return None


def _integer(verb: str, value: int, flags: str, precision: int | None) -> str | None:
    digits = abs(value)
    prefix = ""
    if verb == "d":
        text = str(digits)
    elif verb in "xX":
        text, prefix = f"{digits:{verb}}", f"0{verb}"
    elif verb in "oO":
        text, prefix = f"{digits:o}", "0o" if verb == "O" else "0"
    elif verb == "b":
        text, prefix = f"{digits:b}", "0b"
    elif verb in "cqU":
        if not 0 <= value < 0x110000:
            value = 0xFFFD
        if verb == "U":
            return f"U+{value:04X}"
        return chr(value) if verb == "c" else f"'{quote(chr(value))[1:-1]}'"
    else:
        return None
    if precision is not None:
        text = text.rjust(min(precision, _WIDTH_LIMIT), "0")
    text = (prefix if "#" in flags or verb == "O" else "") + text
    return "-" + text if value < 0 else _signed(text, value, flags)


def _float(verb: str, value: float, flags: str, precision: int | None) -> str | None:
    if verb not in "feEgGF":
        return None
    if math.isnan(value) or math.isinf(value):
        return float_text(value)
    if verb in "gG" and precision is None:
        text = float_text(value)
    else:
        places = 6 if precision is None else min(precision, 400)
        text = f"{value:.{places}{verb}}"
    return _signed(text, value, flags)


def _literal(value: Any) -> str:
    """``%#v``."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, dict):
        pairs = (f"{_literal(key)}:{_literal(value[key])}" for key in sorted_keys(value))
        return f"{go_type(value)}{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"{go_type(value)}{{{', '.join(_literal(each) for each in value)}}}"
    return "interface {}(nil)" if value is None else text_of(value)
