"""What a case is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from bench.engines import Engine

Measure = Callable[[], float | Mapping[str, float]]
"""Does the work once and returns the figure, in the case's unit; several with their names where
they come from the same work."""
Prepared = AbstractContextManager[Measure]


@dataclass(frozen=True)
class Case:
    """One line of the table.

    ``prepare`` gets the engine into the state that the case needs, yields what does the work
    once, and puts the engine back as it was. Engines take turns, one measure each a round.
    """

    name: str
    title: str
    prepare: Callable[[Engine], Prepared]
    unit: str = "ms"
    rounds: int = 10
    warmup: int = 1
    """Rounds done first and not counted."""
    budget: float | None = None
    """The ratio to Docker that is the aim (or, with ``absolute``, the figure itself)."""
    absolute: bool = False
    isolated: bool = False
    """The engines run in network namespaces of their own, Docker with its bridge and firewall."""


def simple(
    measure: Callable[[Engine], float | Mapping[str, float]],
) -> Callable[[Engine], Prepared]:
    """``prepare`` of a case that needs nothing prepared."""

    def prepare(engine: Engine) -> Prepared:
        return nullcontext(lambda: measure(engine))

    return prepare


Generated = Iterator[Measure]
