from __future__ import annotations

from typing import Any

import pytest

from wherry.api.scope import Label, Scope
from wherry.daemon.sockets import LimitedSocket, parse
from wherry.errors import Invalid

LOOK = {"host": "unix:///a.sock", "scope": "read-only"}
WEB = {"host": "unix:///b.sock", "label": "team=web"}


def test_what_may_be_configured() -> None:
    more = {"group": "web", "networks": ["web"], "volumes": ["data"]}
    assert parse([LOOK, WEB | more, {**LOOK, "host": "tcp://0:1", "label": "a=b=c"}], ()) == (
        LimitedSocket("unix:///a.sock", Scope(read_only=True)),
        LimitedSocket(
            "unix:///b.sock",
            Scope(label=Label("team", "web", frozenset({"web"}), frozenset({"data"}))),
            "web",
        ),
        LimitedSocket("tcp://0:1", Scope(read_only=True, label=Label("a", "b=c"))),
    )


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (["unix:///a"], "sockets[0]: it is not an object"),
        ([LOOK, 7], "sockets[1]: it is not an object"),
        ([{"scope": "read-only"}], 'sockets[0]: the host ""'),
        ([LOOK | {"host": "/a.sock"}], 'the host "/a.sock"'),
        ([LOOK | {"host": "unix://a.sock"}], 'the host "unix://a.sock"'),
        ([LOOK | {"host": "fd://"}], 'the host "fd://"'),
        ([LOOK | {"host": 7}], 'the value of "host" is not a text'),
        ([LOOK | {"scope": "read-write"}], 'the scope "read-write" is not known'),
        ([{"host": "unix:///a.sock"}], "unix:///a.sock has neither"),
        ([WEB | {"label": "team"}], 'the label "team" is not key=value'),
        ([WEB | {"label": ["team=web"]}], 'the value of "label" is not a text'),
        ([WEB | {"label": "name=web"}], 'the label "name=web"'),
        ([WEB | {"lable": "team=web"}], 'the key "lable" is not known'),
        ([WEB | {"networks": "web"}], 'the value of "networks" is not a list'),
        ([WEB | {"volumes": [7]}], 'the value of "volumes" is not a list'),
        ([LOOK | {"volumes": ["a"]}], "networks and volumes are for sockets with a label"),
        ([LOOK, LOOK], "sockets[1]: unix:///a.sock is there twice"),
        ([LOOK | {"host": "unix:///main.sock"}], "unix:///main.sock is there twice"),
    ],
)
def test_refused(entries: list[Any], says: str) -> None:
    with pytest.raises(Invalid) as failure:
        parse(entries, ("unix:///main.sock",))
    assert says in failure.value.message
    assert failure.value.message.startswith("sockets[")
