from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import Invalid
from wherry.images.shellwords import expand, split

ENV = {"A": "1", "EMPTY": "", "PATH": "/bin"}


def test_words_keep_their_quotes() -> None:
    assert split('a \'b c\'  "d \\" e" f\\ g') == ["a", "'b c'", '"d \\" e"', "f\\ g"]


@pytest.mark.parametrize(
    ("word", "want"),
    [
        ("$A", "1"),
        ("${A}b", "1b"),
        ("$Ab", ""),
        ("$", "$"),
        ("\\$A", "$A"),
        ("'$A'", "$A"),
        ('"$A x"', "1 x"),
        ('"\\$A \\n"', "$A \\n"),
        ("${NO:-x$A}", "x1"),
        ("${NO-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${A:+y}", "y"),
        ("${EMPTY:+y}", ""),
        ("${EMPTY+y}", "y"),
        ("${A:?no}", "1"),
        ("${NO:-${A}}", "1"),
        ("a'b'\"c\"d", "abcd"),
    ],
)
def test_expansion(word: str, want: str) -> None:
    assert expand(word, ENV) == want


def test_substitutions_inside_of_each_other_have_a_limit() -> None:
    def nested(levels: int) -> str:
        return "${NO:-" * levels + "x" + "}" * levels

    assert expand(nested(50), ENV) == "x"
    with pytest.raises(Invalid, match="more than 50 substitutions inside of each other"):
        expand(nested(1000), ENV)


@given(st.text("a$\\{}'\":-+? ", max_size=12))
def test_any_word_is_a_value_or_the_one_error(word: str) -> None:
    with contextlib.suppress(Invalid):
        assert isinstance(expand(word, ENV), str)
    assert all(split(word))
