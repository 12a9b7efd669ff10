"""The transition table: complete, and an illegal event changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.containers import transitions
from wherry.containers.transitions import TABLE, Event, IllegalEvent, Status, advance, can

events = st.lists(st.sampled_from(list(Event)), max_size=60)


@given(events)
def test_any_walk_stays_in_the_table(walk: list[Event]) -> None:
    status = Status.CREATED
    for event in walk:
        if can(status, event):
            after = advance(status, event)
            assert after is TABLE[status][event]
            status = after
        else:
            with pytest.raises(IllegalEvent):
                advance(status, event)
    assert status in TABLE


def test_every_state_is_known_and_can_be_reached() -> None:
    assert set(TABLE) == set(Status)
    reached = {Status.CREATED}
    while True:
        more = {after for status in reached for after in TABLE[status].values()} | reached
        if more == reached:
            break
        reached = more
    assert reached == set(Status)


def test_only_something_that_rests_can_be_removed() -> None:
    assert {status for status in Status if transitions.can_remove(status)} == {
        Status.CREATED,
        Status.EXITED,
        Status.DEAD,
    }


def test_a_process_can_always_end() -> None:
    for status in Status:
        assert can(status, Event.EXIT) == transitions.has_process(status)


def test_from_every_state_a_container_can_be_got_rid_of() -> None:
    for start in Status:
        seen, todo = {start}, [start]
        while todo:
            for after in TABLE[todo.pop()].values():
                if after not in seen:
                    seen.add(after)
                    todo.append(after)
        assert Status.REMOVING in seen


def test_the_documentation_shows_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "design" / "life-cycle.md"
    assert f"```mermaid\n{transitions.diagram()}```" in page.read_text()
