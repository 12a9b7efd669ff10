"""No route without rows of bad input: the router's own list is what counts."""

from __future__ import annotations

from tests.support.badinput import GROUPS, TABLE
from tests.support.routes import router


def test_every_route_of_the_groups_has_rows() -> None:
    served = {f"{method} {pattern}" for method, pattern in router().routes()}
    wanted = {each for each in served if each.partition(" /")[2].partition("/")[0] in GROUPS}
    without = sorted(each for each in wanted if not TABLE.get(each))
    assert not without, f"add rows to the tables of tests/support/badinput.py for {without}"


def test_every_row_belongs_to_a_route() -> None:
    made = router()
    known = {f"{method} {pattern}" for method, pattern in made.routes() + made.absent()}
    assert sorted(set(TABLE) - known) == []
