"""The firewall's text: one element for one thing, and changes that name only what changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wherry.networks import neighbours, ruleset
from wherry.networks.ruleset import BridgeRules, Published
from wherry.networks.values import PortMap

ONE = BridgeRules("br-one", ("10.0.1.0/24", "fd00:1::/64"))
TWO = BridgeRules("br-two", ("10.0.2.0/24",), internal=True, icc=False)


def test_a_thousand_ports_are_one_element() -> None:
    run = Published(PortMap("tcp", "0.0.0.0", 8000, 8000, 1000), "10.0.1.2")
    found = ruleset.elements([ONE], [run])
    assert found["same4"] == {"0.0.0.0/0 . tcp . 8000-8999": "10.0.1.2"}
    assert found["moved4"] == {}


def test_a_moved_port_keeps_its_offset() -> None:
    run = Published(PortMap("udp", "::", 8000, 53, 2), "fd00:1::2")
    found = ruleset.elements([ONE], [run])
    assert found["moved6"] == {
        "::/0 . udp . 8000": "fd00:1::2 . 53",
        "::/0 . udp . 8001": "fd00:1::2 . 54",
    }


def test_ports_that_the_forwarder_has_are_left_to_it_by_those_that_cannot_be_translated() -> None:
    run = Published(PortMap("tcp", "192.0.2.1", 8000, 80), "10.0.2.2", served=True)
    found = ruleset.elements([TWO], [run])
    assert found["served4"] == {"192.0.2.1 . tcp . 8000": ""}
    assert found["moved4"] == {"192.0.2.1 . tcp . 8000": "10.0.2.2 . 80"}
    text = ruleset.skeleton("wherry")
    assert text.index("@served4 return") < text.index("jump publish")


def test_internal_networks_are_never_masqueraded() -> None:
    found = ruleset.elements([ONE, TWO], [])
    assert found["masquerade4"] == {"10.0.1.0/24": ""}
    assert found["internal"] == {'"br-two"': ""}
    assert found["quiet"] == {'"br-two"': ""}


def test_a_change_names_only_the_difference() -> None:
    before = ruleset.elements([ONE], [])
    after = ruleset.elements([ONE, TWO], [])
    text = ruleset.change("wherry", before, after)
    assert 'add element inet wherry bridges { "br-two" }' in text
    assert "br-one" not in text
    assert "delete" not in text
    back = ruleset.change("wherry", after, before)
    assert back == text.replace("add element", "delete element")
    assert ruleset.change("wherry", after, after) == ""


def test_another_target_of_the_same_port_is_taken_away_first() -> None:
    port = PortMap("tcp", "0.0.0.0", 80, 80)
    before = ruleset.elements([], [Published(port, "10.0.1.2")])
    after = ruleset.elements([], [Published(port, "10.0.1.3")])
    lines = ruleset.change("wherry", before, after).splitlines()
    assert lines == [
        "delete element inet wherry same4 { 0.0.0.0/0 . tcp . 80 : 10.0.1.2 }",
        "add element inet wherry same4 { 0.0.0.0/0 . tcp . 80 : 10.0.1.3 }",
    ]


def test_the_users_chain_is_first_and_never_flushed() -> None:
    text = ruleset.rebuild("wherry", ruleset.elements([ONE], []))
    assert "flush chain inet wherry user" not in text
    assert "delete" not in text
    rules = text[text.rindex("chain forward {") :].splitlines()
    assert rules[1].strip() == "jump user"


def test_tables_of_daemons_differ() -> None:
    assert ruleset.table_name("/var/lib/wherry") == "wherry"
    assert ruleset.table_name("/a") != ruleset.table_name("/b")


ports = st.builds(
    PortMap,
    st.sampled_from(["tcp", "udp", "sctp"]),
    st.sampled_from(["0.0.0.0", "127.0.0.1", "192.0.2.1"]),
    st.integers(1, 60000),
    st.integers(1, 60000),
    st.integers(1, 20),
)


@given(st.lists(ports, max_size=6), st.lists(ports, max_size=6))
def test_changes_lead_from_any_state_to_any_other(one: list[PortMap], two: list[PortMap]) -> None:
    before = ruleset.elements([], [Published(each, "10.0.0.2") for each in one])
    after = ruleset.elements([], [Published(each, "10.0.0.3") for each in two])
    state = {name: dict(entries) for name, entries in before.items()}
    for line in ruleset.change("t", before, after).splitlines():
        verb, _, _, _, name, body = line.split(" ", 5)
        for entry in body.strip("{} ").split(", "):
            key, _, value = entry.partition(" : ")
            if verb == "delete":
                assert state[name].pop(key) == value
            else:
                state[name][key] = value
    assert state == after


def test_dropping_neighbours_are_seen() -> None:
    chains = """table ip filter {
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
	}
}
table inet firewalld {
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
	}
}
"""
    assert neighbours.dropping(chains) == ["ip filter"]
