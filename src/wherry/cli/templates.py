"""Go templates with the errors a command shows. Imported only when a template is used."""

from __future__ import annotations

from functools import lru_cache

from wherry.cli.errors import CliError
from wherry.errors import Invalid
from wherry.wire.template import HEADER_FUNCTIONS, Missing, Template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PARSE_FAILED = 64
"""Docker's exit code for a template that cannot be parsed."""


@lru_cache(maxsize=8)
def compiled(text: str) -> Template:
    """Raises :class:`CliError` with exit code 64 for a malformed template."""
    try:
        return Template(text)
    except Invalid as error:
        raise CliError(error.message, PARSE_FAILED) from None


def check(text: str) -> None:
    """A list's template, looked at before any row: exit code 1 for a malformed one, as Docker."""
    try:
        compiled(text)
    except CliError as error:
        raise CliError(error.message, 1) from None


def render(text: str, value: Any, *, header: bool = False, strict: bool = False) -> str:
    """``text`` over ``value``, whose root is a struct: an unknown field is an error.

    ``strict``: ``value`` is plain data and an unknown key is an error at any depth. ``header``:
    functions leave their argument alone, as for column titles. Raises :class:`CliError`.
    """
    try:
        return compiled(text).render(
            value,
            struct=None if strict else "Row",
            missing=Missing.ERROR if strict else Missing.NO_VALUE,
            functions=HEADER_FUNCTIONS if header else None,
        )
    except Invalid as error:
        raise CliError(error.message, 1) from None
