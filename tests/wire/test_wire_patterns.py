"""Regular expressions of clients: what they find, and that they end."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.wire.patterns import fault, found

LONG = "a" * 64
"""As long as an id, or the name of a volume without one."""


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "web", True),
        ("web", "my-web-1", True),
        ("/web-1", "/web-1", True),
        ("^web$", "my-web-1", False),
        ("^/?(web|db)-[0-9]+$", "/db-12", True),
        ("^(web|db)+$", "webdb", True),
        ("^(?:web|db)_.*_1$", "db_x_1", True),
        ("(ab)+c", "ababc", True),
        ("(?i)WEB", "web", True),
        ("^.$", "é", True),
        (r"\pL\z", "1é", True),
        ("a.b", "a\udc80b", True),
        ("\udc80.", "a", False),
        ("[", "[", False),
        ("*", "*", False),
        ("(?<=a+)b", "ab", False),
        ("(a{1000}){1000}", LONG, False),
    ],
)
def test_found(pattern: str, text: str, expected: bool) -> None:
    assert found(pattern, text) is expected


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "pattern",
    [
        r"(\w+)+!",
        "(a|a)*!",
        "(a{1,9}){9}!",
        ".*.*.*.*!",
        "(a|a)" * 25 + "!",
        "a?" * 30 + "a" * 65,
        "a*" * 100_000 + "!",
    ],
)
def test_all_of_them_end(pattern: str) -> None:
    assert not found(pattern, LONG)
    assert not found(pattern, LONG[:-1] * 1000 if "!" in pattern else LONG)


def test_faults_are_told() -> None:
    assert fault("^web$") == fault("web") == ""
    assert fault("web(") == "missing ): web("
    assert fault("(a{1000}){1000}") == "invalid repetition size: {1000}"


@given(st.text(string.ascii_letters + "-_/", max_size=8), st.text("ab-_/", max_size=12))
def test_plain_words_are_found_as_they_are(pattern: str, text: str) -> None:
    assert found(pattern, text) is (pattern in text)


@given(st.text(max_size=20), st.text(max_size=20))
def test_garbage_is_no_failure(pattern: str, text: str) -> None:
    assert found(pattern, text) in (True, False)
