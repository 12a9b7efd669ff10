"""Zones of firewalld: what is asked of it, with a ``firewall-cmd`` that remembers."""

from __future__ import annotations

import pytest

from wherry.networks import zones
from wherry.networks.zones import Zones

RUNNING = "table inet firewalld {\n\tchain filter_FORWARD {\n\t}\n}\n"


class Cmd:
    """What firewalld knows; a list of what changed it."""

    def __init__(self, zones: str = "public trusted", **placed: str) -> None:
        self.zones = zones
        self.placed = {name.replace("_", "-"): zone for name, zone in placed.items()}
        self.changes: list[str] = []
        self.answers = True

    def ask(self, *words: str) -> str | None:
        if not self.answers:
            return None
        if words == ("--get-zones",):
            return self.zones + "\n"
        if words == ("--get-active-zones",):
            names = sorted(set(self.placed.values()))
            return "".join(f"{each}\n  interfaces: {self._names(each)}\n" for each in names)
        zone = words[0].removeprefix("--zone=")
        self.changes.append(" ".join(words))
        for word in words[1:]:
            verb, _, name = word.partition("=")
            if verb == "--add-interface":
                self.placed[name] = zone
            else:
                self.placed.pop(name, None)
        return "success\n"

    def _names(self, zone: str) -> str:
        return " ".join(name for name, where in self.placed.items() if where == zone)


@pytest.fixture
def cmd(monkeypatch: pytest.MonkeyPatch) -> Cmd:
    found = Cmd(eth0="public")
    monkeypatch.setattr(zones, "_ask", lambda *words: found.ask(*words))
    return found


def test_nothing_is_asked_where_firewalld_does_not_run(cmd: Cmd) -> None:
    cmd.answers = False
    ours = ["wherry0"]
    made = Zones(lambda: ours)
    assert made.look("table ip filter {\n}\n") == []
    assert not made.active
    made.settle()
    made.part()
    assert cmd.changes == []


def test_bridges_come_and_go(cmd: Cmd) -> None:
    ours = ["wherry0"]
    made = Zones(lambda: ours)
    ours.append("br-1")
    assert made.look(RUNNING) == []
    assert cmd.placed == {"eth0": "public", "wherry0": "trusted", "br-1": "trusted"}
    assert len(cmd.changes) == 1
    made.settle()
    assert len(cmd.changes) == 1
    ours[1] = "br-2"
    made.settle()
    assert cmd.placed == {"eth0": "public", "wherry0": "trusted", "br-2": "trusted"}
    made.part()
    assert cmd.placed == {"eth0": "public"}
    assert made.look(RUNNING) != []


def test_firewalld_that_starts_again_is_told_again(cmd: Cmd) -> None:
    ours = ["wherry0"]
    made = Zones(lambda: ours)
    made.look(RUNNING)
    cmd.placed.clear()
    made.look("")
    assert not made.active
    made.look(RUNNING)
    assert cmd.placed == {"wherry0": "trusted"}


def test_a_zone_of_the_hosts_owner_is_taken(cmd: Cmd) -> None:
    cmd.zones += " wherry"
    cmd.placed["br-1"] = "internal"
    Zones(lambda: ["wherry0", "br-1"]).look(RUNNING)
    assert cmd.placed == {"eth0": "public", "br-1": "internal", "wherry0": "wherry"}


def test_what_is_forbidden_is_only_told(cmd: Cmd) -> None:
    cmd.placed["br-1"] = "internal"
    ours = ["wherry0", "br-1"]
    made = Zones(lambda: ours, allowed=False)
    warnings = made.look(RUNNING)
    assert [each.split(":")[1].strip() for each in warnings] == [
        "firewalld of this host has no zone for the bridge wherry0"
    ]
    made.settle()
    assert cmd.changes == []


def test_a_firewalld_that_does_not_answer_is_told_of(cmd: Cmd) -> None:
    cmd.answers = False
    assert "wherry0" in Zones(lambda: ["wherry0"]).look(RUNNING)[0]


def test_both_backends_are_seen() -> None:
    assert zones.seen(RUNNING)
    assert zones.seen("table ip filter {\n\tchain FORWARD_POLICIES_pre {\n\t}\n}\n")
    assert not zones.seen("table ip filter {\n\tchain DOCKER {\n\t}\n}\n")
