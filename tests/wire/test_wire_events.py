"""Event objects by API version, and Docker's filter rules."""

from __future__ import annotations

import pytest

from wherry.wire.events import Event, matches, render
from wherry.wire.filters import Filters

START = Event(
    1,
    1_700_000_000_000_000_005,
    "container",
    "start",
    "abcdef",
    {"name": "web", "image": "nginx:1", "tier": "front"},
)


def test_render() -> None:
    assert render(START) == {
        "status": "start",
        "id": "abcdef",
        "from": "nginx:1",
        "Type": "container",
        "Action": "start",
        "Actor": {
            "ID": "abcdef",
            "Attributes": {"name": "web", "image": "nginx:1", "tier": "front"},
        },
        "scope": "local",
        "time": 1_700_000_000,
        "timeNano": 1_700_000_000_000_000_005,
    }


def test_render_of_other_kinds_has_no_old_fields() -> None:
    shown = render(Event(1, 0, "network", "create", "n", {"name": "web"}))
    assert {"status", "id", "from"} & set(shown) == set()


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, True),
        ({"type": ["container"]}, True),
        ({"type": ["image"]}, False),
        ({"type": ["image", "container"], "event": ["start"]}, True),
        ({"event": ["die"]}, False),
        ({"container": ["web"]}, True),
        ({"container": ["abc"]}, True),
        ({"container": ["other"]}, False),
        ({"image": ["nginx"]}, True),
        ({"image": ["nginx:1"]}, True),
        ({"image": ["nginx:2"]}, False),
        ({"label": ["tier"]}, True),
        ({"label": ["tier=front", "name=web"]}, True),
        ({"label": ["tier=back"]}, False),
        ({"scope": ["swarm"]}, False),
        ({"volume": ["data"]}, False),
    ],
)
def test_filters(filters: dict[str, list[str]], wanted: bool) -> None:
    assert matches(START, Filters(filters)) is wanted


@pytest.mark.parametrize(
    ("action", "asked", "wanted"),
    [
        ("health_status: healthy", "health_status", True),
        ("exec_start: sh", "exec_start", True),
        ("exec_start: sh", "exec_create", False),
        ("started", "start", False),
    ],
)
def test_actions_with_a_detail(action: str, asked: str, wanted: bool) -> None:
    event = Event(1, 0, "container", action, "x", {})
    assert matches(event, Filters({"event": [asked]})) is wanted
