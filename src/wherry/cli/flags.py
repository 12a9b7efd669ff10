"""Flags as Docker's client reads them: pure, no I/O.

The rules are those of the ``pflag`` library, which scripts written for Docker rely upon:
``--name value``, ``--name=value``, ``-n value``, ``-nvalue``, ``-n=value``, ``-it`` for two
switches, ``--rm=false`` for a switch, ``--`` ends the flags, a repeated flag adds to a list or
replaces a value. With ``interspersed=False`` the first word that is no flag ends them, so that
``run IMAGE ls -l`` gives ``-l`` to the container.
"""

from __future__ import annotations

from wherry.cli.errors import FlagError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypedDict, Unpack

    class Look(TypedDict, total=False):
        """What every kind of flag may have."""

        short: str
        hidden: bool
        complete: str


_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}


class Flag:
    """One flag. ``kind`` is bool, value or list; ``parse`` turns a word into a value and raises
    ``ValueError`` with a message for the user. ``shown`` is the type's name in the help."""

    __slots__ = ("complete", "default", "help", "hidden", "kind", "name", "parse", "short", "shown")

    def __init__(
        self,
        name: str,
        help: str,
        *,
        short: str = "",
        kind: str = "value",
        default: Any = "",
        parse: Callable[[str], Any] = str,
        shown: str = "string",
        hidden: bool = False,
        complete: str = "",
    ) -> None:
        self.name = name
        self.help = help
        self.short = short
        self.kind = kind
        self.default = default
        self.parse = parse
        self.shown = shown
        self.hidden = hidden
        self.complete = complete

    @property
    def label(self) -> str:
        """The flag as errors name it: ``-m, --memory``."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


def switch(name: str, help: str, *, default: bool = False, **look: Unpack[Look]) -> Flag:
    """A flag that needs no value."""
    return Flag(name, help, kind="bool", default=default, parse=parse_bool, shown="", **look)


def text(
    name: str, help: str, *, default: str = "", shown: str = "string", **look: Unpack[Look]
) -> Flag:
    """A flag with a free text."""
    return Flag(name, help, default=default, shown=shown, **look)


def number(
    name: str, help: str, *, default: int = 0, shown: str = "int", **look: Unpack[Look]
) -> Flag:
    """A flag with a whole number; ``shown`` tells its type: ``int``, ``uint`` or ``uint16``."""
    parse = {"int": parse_int, "uint": parse_uint, "uint16": parse_uint16}[shown]
    return Flag(name, help, default=default, parse=parse, shown=shown, **look)


def value(
    name: str,
    help: str,
    parse: Callable[[str], Any],
    *,
    default: Any = None,
    shown: str = "string",
    **look: Unpack[Look],
) -> Flag:
    """A flag whose word is parsed to some value."""
    return Flag(name, help, default=default, parse=parse, shown=shown, **look)


def many(
    name: str,
    help: str,
    *,
    parse: Callable[[str], Any] = str,
    shown: str = "list",
    **look: Unpack[Look],
) -> Flag:
    """A flag that may be given several times; its value is the list of all. Those that are
    ``shown`` as ``strings`` take several in one word, with commas."""
    return Flag(name, help, kind="list", default=(), parse=parse, shown=shown, **look)


def filter_flag(help: str, *, short: str = "") -> Flag:
    """``--filter key=value``, as many as wanted."""
    return many("filter", help, short=short, parse=parse_filter, shown="filter")


def parse_filter(word: str) -> str:
    if word and "=" not in word:
        raise ValueError("bad format of filter (expected name=value)")
    return word


def parse_bool(word: str) -> bool:
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{word}": invalid syntax')


def parse_int(word: str) -> int:
    """A whole number in Go's base-0 notation (``12``, ``0x1f``, ``-1``)."""
    return _integer(word, "Int", -1 << 63, (1 << 63) - 1)


def parse_uint(word: str) -> int:
    return _integer(word, "Uint", 0, (1 << 64) - 1)


def parse_uint16(word: str) -> int:
    return _integer(word, "Uint", 0, (1 << 16) - 1)


def _integer(word: str, kind: str, least: int, most: int) -> int:
    problem = "invalid syntax"
    # What Python takes beyond Go: spaces around a number, the digits of other scripts.
    if word.isascii() and word == word.strip() and (kind == "Int" or word[:1] not in ("-", "+")):
        digits = word.lstrip("+-")
        octal = digits[:1] == "0" and digits.isdigit()
        try:
            found = int(word, 8 if octal else 0)
        except ValueError:
            pass
        else:
            if least <= found <= most:
                return found
            problem = "value out of range"
    raise ValueError(f'strconv.Parse{kind}: parsing "{word}": {problem}')


class Options:
    """The values of one command's flags, read by name with the type the caller expects."""

    def __init__(self, flags: Iterable[Flag]) -> None:
        self._flags = {flag.name: flag for flag in flags}
        self._values: dict[str, Any] = {}

    def set(self, flag: Flag, word: str) -> None:
        """Take one occurrence of ``flag``. Raises :class:`FlagError` naming flag and word."""
        try:
            parsed = [flag.parse(one) for one in _words(flag, word)]
        except ValueError as error:
            raise FlagError(f'invalid argument "{word}" for "{flag.label}" flag: {error}') from None
        if flag.kind == "list":
            self._values.setdefault(flag.name, []).extend(parsed)
        else:
            (self._values[flag.name],) = parsed

    def changed(self, name: str) -> bool:
        """Was the flag given?"""
        return name in self._values

    def value(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        default = self._flags[name].default
        return list(default) if self._flags[name].kind == "list" else default

    def on(self, name: str) -> bool:
        return bool(self.value(name))

    def text(self, name: str) -> str:
        found = self.value(name)
        return "" if found is None else str(found)

    def number(self, name: str) -> int:
        return int(self.value(name) or 0)

    def many(self, name: str) -> list[str]:
        return list(self.value(name))


def _words(flag: Flag, word: str) -> list[str]:
    if flag.shown != "strings":
        return [word]
    from wherry.cli.values import csv_fields

    return csv_fields(word)


def parse(
    flags: Sequence[Flag], argv: Sequence[str], *, interspersed: bool = True
) -> tuple[Options, list[str]]:
    """Split ``argv`` into options and the words that are none.

    Raises :class:`FlagError`; a wish for help is the option ``help``, which is always known.
    """
    known = list(flags)
    if all(flag.name != "help" for flag in known):
        taken = {flag.short for flag in known}
        known.append(switch("help", "Print usage", short="" if "h" in taken else "h"))
    by_name = {flag.name: flag for flag in known}
    by_short = {flag.short: flag for flag in known if flag.short}
    options = Options(known)
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if word == "-" or not word.startswith("-"):
            words.append(word)
            if not interspersed:
                words += rest
                break
        elif word.startswith("--"):
            _long(word, rest, by_name, options)
        else:
            _short(word, rest, by_short, options)
    return options, words


def _long(word: str, rest: list[str], by_name: dict[str, Flag], options: Options) -> None:
    name, equals, given = word[2:].partition("=")
    if not name or name.startswith("-"):
        raise FlagError(f"bad flag syntax: {word}")
    flag = by_name.get(name)
    if flag is None:
        raise FlagError(f"unknown flag: --{name}")
    if equals:
        options.set(flag, given)
    elif flag.kind == "bool":
        options.set(flag, "true")
    elif rest:
        options.set(flag, rest.pop(0))
    else:
        raise FlagError(f"flag needs an argument: --{name}")


def _short(word: str, rest: list[str], by_short: dict[str, Flag], options: Options) -> None:
    letters = word[1:]
    while letters:
        letter, after = letters[0], letters[1:]
        flag = by_short.get(letter)
        if flag is None:
            raise FlagError(f"unknown shorthand flag: {letter!r} in -{letters}")
        if len(after) > 1 and after[0] == "=":
            options.set(flag, after[1:])
            return
        if flag.kind == "bool":
            options.set(flag, "true")
            letters = after
            continue
        if after:
            options.set(flag, after)
        elif rest:
            options.set(flag, rest.pop(0))
        else:
            raise FlagError(f"flag needs an argument: {letter!r} in -{letters}")
        return
