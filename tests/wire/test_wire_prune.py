"""What a prune may take."""

from __future__ import annotations

import pytest

from wherry.errors import Invalid
from wherry.wire.durations import SECOND
from wherry.wire.prune import Choice


@pytest.mark.parametrize(
    ("filters", "taken"),
    [
        ({}, True),
        ({"label": ["a"]}, True),
        ({"label": ["a=1", "b"]}, False),
        ({"label!": ["a=2"]}, True),
        ({"label!": ["a"]}, False),
        ({"until": ["100"]}, True),
        ({"until": ["90"]}, False),
        ({"until": ["1970-01-01T00:02:00Z"]}, True),
    ],
)
def test_labels_and_age(filters: dict[str, list[str]], taken: bool) -> None:
    assert Choice(filters).takes({"a": "1"}, 95 * SECOND) is taken


@pytest.mark.parametrize(
    ("filters", "taken"),
    [
        ({}, True),
        ({"name": ["web-*"]}, True),
        ({"name": ["web"]}, False),
        ({"name": ["db", "web-?"]}, True),
        ({"name": ["*"], "name!": ["*-1"]}, False),
        ({"name!": ["db*"]}, True),
    ],
)
def test_names(filters: dict[str, list[str]], taken: bool) -> None:
    assert Choice(filters).names("web-1") is taken


def test_what_has_no_name_matches_no_pattern() -> None:
    assert Choice({}).names()
    assert Choice({"name!": ["x"]}).names()
    assert not Choice({"name": ["*"]}).names()


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"nope": ["1"]}, "invalid filter 'nope'"),
        ({"dangling": ["1"]}, "invalid filter 'dangling'"),
        ({"until": ["soon"]}, "invalid filter 'until=soon'"),
        ({"until": ["1h", "2h"]}, "more than one until filter specified"),
        ({"name": ["[a"]}, "invalid filter 'name=\\[a'"),
        ({"name!": ["a\\"]}, "invalid filter 'name!=a"),
    ],
)
def test_bad_filters_are_named(filters: dict[str, list[str]], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        Choice(filters)


def test_filters_of_one_kind() -> None:
    assert Choice({"dangling": ["false"]}, "dangling").filters.boolean("dangling", True) is False
