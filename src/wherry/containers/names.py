"""Container names: the rule, and random ones in the shape adjective_surname."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Container

from wherry.errors import Invalid

ALLOWED = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_NAME = re.compile(r"\A[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")

_TEXT_ADJECTIVES = (
    "able amber apt bold brave bright brisk calm candid clear clever cosy crisp daring "
    "deft eager early easy elegant exact fair faithful fine firm fleet fluent fond frank "
    "free fresh gentle glad golden good graceful grand happy hardy hearty honest humble "
    "jolly keen kind lively loyal lucid lucky mellow merry mild modest neat nimble noble "
    "open patient plain pleasant plucky polite proud quick quiet rapid ready robust "
    "serene sharp silent smart snug sober solid sound steady stoic sturdy subtle sunny "
    "swift tender tidy trusty upbeat vigilant vivid warm wise witty zealous"
)
_ADJECTIVES = _TEXT_ADJECTIVES.split()
_TEXT_SURNAMES = (
    "abel ampere archimedes babbage banach bell bernoulli bohr boole borg bose braille "
    "cantor cauchy cerf chandrasekhar clarke curie darwin davinci dijkstra dirac edison "
    "einstein elion erdos euclid euler faraday fermat fermi feynman fourier franklin "
    "galileo galois gauss germain goedel goldberg goodall hamilton hawking heisenberg "
    "hertz hilbert hodgkin hoover hopper hugle huygens hypatia jackson jacobi johnson "
    "joule kalam keldysh kepler khorana knuth kovalevskaya lagrange lamarr laplace "
    "leavitt leibniz liskov lovelace lumiere maxwell mayer mclean meitner mendel "
    "mendeleev mirzakhani morse napier nash neumann newton nightingale nobel noether "
    "noyce pascal pasteur pauling perlman poincare ptolemy raman ramanujan ride riemann "
    "ritchie rosalind rubin rutherford sammet shannon shaw sinoussi swanson tesla "
    "thompson torvalds turing villani volta wiles wilson wing wozniak wright yalow"
)
_SURNAMES = _TEXT_SURNAMES.split()


def validate(name: str) -> str:
    """The name without its leading slash. Raises ``Invalid`` in Docker's words."""
    bare = name.removeprefix("/")
    if not _NAME.match(bare):
        raise Invalid(f"Invalid container name ({name}), only {ALLOWED} are allowed")
    return bare


def generate(taken: Container[str], choice: Callable[[list[str]], str] = random.choice) -> str:
    """A free name such as ``calm_hopper``; after some tries with a number at its end."""
    name = ""
    for attempt in range(12):
        name = f"{choice(_ADJECTIVES)}_{choice(_SURNAMES)}"
        if attempt >= 6:
            name += str(random.randrange(10 ** (attempt - 4)))
        if name not in taken:
            return name
    return f"{name}_{random.randrange(1 << 48):x}"
