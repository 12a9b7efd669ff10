"""Signal names and numbers as Docker takes them: ``SIGKILL``, ``kill``, ``9``, ``RTMIN+3``."""

from __future__ import annotations

from wherry.errors import Invalid

_NAMES = [
    "HUP",
    "INT",
    "QUIT",
    "ILL",
    "TRAP",
    "ABRT",
    "BUS",
    "FPE",
    "KILL",
    "USR1",
    "SEGV",
    "USR2",
    "PIPE",
    "ALRM",
    "TERM",
    "STKFLT",
    "CHLD",
    "CONT",
    "STOP",
    "TSTP",
    "TTIN",
    "TTOU",
    "URG",
    "XCPU",
    "XFSZ",
    "VTALRM",
    "PROF",
    "WINCH",
    "IO",
    "PWR",
    "SYS",
]
RTMIN, RTMAX = 34, 64
NUMBERS: dict[str, int] = {name: number for number, name in enumerate(_NAMES, 1)}
NUMBERS |= {"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31, "RTMIN": RTMIN, "RTMAX": RTMAX}
NUMBERS |= {f"RTMIN+{n}": RTMIN + n for n in range(1, 16)}
NUMBERS |= {f"RTMAX-{n}": RTMAX - n for n in range(1, 15)}

_BY_NUMBER = {number: name for name, number in reversed(NUMBERS.items())}


def parse(text: str) -> int:
    """The signal's number (1-64); ``Invalid``: "invalid signal: x"."""
    digits = text.removeprefix("+")
    if digits.isascii() and digits.isdigit():
        number = int(digits) if len(digits) < 5 else 0
        if not 1 <= number <= RTMAX:
            raise Invalid(f"invalid signal: {text}")
        return number
    number = NUMBERS.get(text.upper().removeprefix("SIG"), 0)
    if not number:
        raise Invalid(f"invalid signal: {text}")
    return number


def name(number: int) -> str:
    """``9`` -> ``SIGKILL``; a number without a name gives its digits."""
    known = _BY_NUMBER.get(number)
    return f"SIG{known}" if known else str(number)
