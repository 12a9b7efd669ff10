"""Go templates with the errors a command shows. Imported only when a template is used."""

from __future__ import annotations

from functools import lru_cache

from wherry.cli.errors import CliError
from wherry.errors import Invalid
from wherry.wire.template import HEADER_FUNCTIONS, Template

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


def render(text: str, value: Any, *, header: bool = False, struct: str | None = "Row") -> str:
    """``text`` over ``value``. ``struct=None``: a missing key prints ``<no value>``.

    ``header``: functions leave their argument alone, as for column titles. Raises
    :class:`CliError`.
    """
    try:
        return compiled(text).render(
            value, struct=struct, functions=HEADER_FUNCTIONS if header else None
        )
    except Invalid as error:
        raise CliError(error.message, 1) from None
