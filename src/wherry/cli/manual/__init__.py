"""What ``--help`` says beyond flags: what a command does, examples, exit codes.

Read only when somebody asks for help. A page is found by the command's first name, such as
``container run`` or ``version``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Page:
    """``about``: paragraphs. ``examples``: pairs of what it does and the command line.
    ``codes``: exit codes beside the usual ones, or instead of them."""

    __slots__ = ("about", "codes", "examples")

    def __init__(
        self,
        about: str,
        examples: Sequence[tuple[str, str]] = (),
        codes: Mapping[str, str] | None = None,
    ) -> None:
        self.about = about.strip()
        self.examples = examples
        self.codes = dict(codes or {})


USUAL = {
    "0": "everything was done",
    "1": "it was refused or failed, in whole or in part; the message says why",
    "125": "a flag is unknown or its value wrong; nothing was done",
}


def page(name: str) -> Page | None:
    """The page of ``container run``, ``version`` ...; None when there is none."""
    import importlib

    group, _, rest = name.partition(" ")
    module = {"network": "networks", "volume": "volumes"}.get(group, group if rest else "general")
    if module in ("checkpoint", "context", "system"):
        module = "general"
    try:
        found = importlib.import_module(f"wherry.cli.manual.{module}")
    except ModuleNotFoundError:
        return None
    pages: dict[str, Page] = found.PAGES
    return pages.get(name)
