"""How a command ends other than well: each kind says what is printed and the exit code."""

from __future__ import annotations


class CliError(Exception):
    """A failure to show as it is; ``code`` becomes the exit code of the process."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class UsageError(CliError):
    """The command line itself is wrong: the usage line follows the message."""


class FlagError(UsageError):
    """An unknown flag or a value that does not fit (exit code 125, as Docker's client)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 125)


class Exit(Exception):
    """End now with this code; everything that had to be said was said."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code
