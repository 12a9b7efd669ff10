"""Regular expressions of clients: what they find, and the ones that would never end."""

from __future__ import annotations

import pytest

from wherry.errors import Invalid
from wherry.wire.patterns import found

LONG = "a" * 64
"""As long as an id, or the name of a volume without one."""


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("web", "my-web-1", True),
        ("^web$", "my-web-1", False),
        ("^/?(web|db)-[0-9]+$", "/db-12", True),
        ("^(?:web|db)_.*_1$", "db_x_1", True),
        ("(ab)+c", "ababc", True),
        (".*.*!", LONG, False),
        ("[", "[", False),
        ("(?<=a+)b", "ab", False),
    ],
)
def test_found(pattern: str, text: str, expected: bool) -> None:
    assert found(pattern, text) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        r"(\w+)+!",
        "(a|a)*!",
        "(a{1,9}){9}!",
        ".*.*.*.*!",
        "(a|a)" * 25 + "!",
        "a?" * 30 + "a" * 30,
        "a*" * 100_000,
    ],
)
def test_what_would_not_end_is_refused(pattern: str) -> None:
    with pytest.raises(Invalid, match="too many repetitions"):
        found(pattern, LONG)


def test_a_long_text_makes_a_loop_long() -> None:
    with pytest.raises(Invalid):
        found("a*!", "a" * 100_000)
