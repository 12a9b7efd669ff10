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
    from typing import Any

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


def switch(
    name: str, help: str, *, short: str = "", default: bool = False, hidden: bool = False
) -> Flag:
    """A flag that needs no value."""
    return Flag(
        name,
        help,
        short=short,
        kind="bool",
        default=default,
        parse=parse_bool,
        shown="",
        hidden=hidden,
    )


def text(
    name: str,
    help: str,
    *,
    short: str = "",
    default: str = "",
    shown: str = "string",
    hidden: bool = False,
    complete: str = "",
) -> Flag:
    """A flag with a free text."""
    return Flag(
        name,
        help,
        short=short,
        default=default,
        shown=shown,
        hidden=hidden,
        complete=complete,
    )


def number(name: str, help: str, *, short: str = "", default: int = 0, shown: str = "int") -> Flag:
    """A flag with a whole number; ``shown="uint..."`` refuses negative ones."""
    parse = parse_uint if shown.startswith("uint") else parse_int
    return Flag(name, help, short=short, default=default, parse=parse, shown=shown)


def value(
    name: str,
    help: str,
    parse: Callable[[str], Any],
    *,
    short: str = "",
    default: Any = None,
    shown: str = "string",
) -> Flag:
    """A flag whose word is parsed to some value."""
    return Flag(name, help, short=short, default=default, parse=parse, shown=shown)


def many(
    name: str,
    help: str,
    *,
    short: str = "",
    parse: Callable[[str], Any] = str,
    shown: str = "list",
    complete: str = "",
) -> Flag:
    """A flag that may be given several times; its value is the list of all."""
    return Flag(
        name,
        help,
        short=short,
        kind="list",
        default=(),
        parse=parse,
        shown=shown,
        complete=complete,
    )


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
    try:
        return int(word, 0) if not _leading_zero(word) else int(word, 8)
    except ValueError:
        raise ValueError(f'strconv.ParseInt: parsing "{word}": invalid syntax') from None


def parse_uint(word: str) -> int:
    try:
        found = int(word, 0) if not _leading_zero(word) else int(word, 8)
    except ValueError:
        found = -1
    if found < 0 or word[:1] in ("-", "+"):
        raise ValueError(f'strconv.ParseUint: parsing "{word}": invalid syntax')
    return found


def _leading_zero(word: str) -> bool:
    digits = word.lstrip("+-")
    return len(digits) > 1 and digits[0] == "0" and digits.isdigit()


class Options:
    """The values of one command's flags, read by name with the type the caller expects."""

    def __init__(self, flags: Iterable[Flag]) -> None:
        self._flags = {flag.name: flag for flag in flags}
        self._values: dict[str, Any] = {}

    def set(self, flag: Flag, word: str) -> None:
        """Take one occurrence of ``flag``. Raises :class:`FlagError` naming flag and word."""
        try:
            parsed = flag.parse(word)
        except ValueError as error:
            raise FlagError(f'invalid argument "{word}" for "{flag.label}" flag: {error}') from None
        if flag.kind == "list":
            self._values.setdefault(flag.name, []).append(parsed)
        else:
            self._values[flag.name] = parsed

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
