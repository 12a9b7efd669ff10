from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wherry.linux.idmap import swapped

_IDS = st.integers(0, 0xFFFFFFFE)


def _shown(ranges: list[tuple[int, int, int]], stored: int) -> int | None:
    found = [
        shown + stored - disk for disk, shown, count in ranges if disk <= stored < disk + count
    ]
    return found[0] if len(found) == 1 else None


@given(_IDS, _IDS, _IDS)
def test_two_change_places_and_the_rest_stays(one: int, other: int, third: int) -> None:
    ranges = swapped(one, other)
    assert _shown(ranges, one) == other
    assert _shown(ranges, other) == one
    if third not in (one, other):
        assert _shown(ranges, third) == third
    assert sum(count for _, _, count in ranges) == 0xFFFFFFFF
