"""Published ports: what is asked becomes as few runs as possible, or a clear error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import Invalid
from wherry.networks import portspec
from wherry.networks.portspec import Wanted
from wherry.networks.values import PortMap
from wherry.wire.container import PortBinding


def binding(port: str = "", host: str = "") -> PortBinding:
    return PortBinding(host_ip=host, host_port=port)


def test_a_range_sent_port_by_port_is_one_run() -> None:
    bindings = {f"{port}/tcp": [binding(str(port + 1000))] for port in range(2000, 3000)}
    assert portspec.wanted_ports(bindings, (), False) == [Wanted("tcp", "", 3000, 2000, 1000)]


def test_a_range_as_one_key_is_one_run() -> None:
    bindings = {"2000-2999/udp": [binding("3000-3999", "127.0.0.1")]}
    found = portspec.wanted_ports(bindings, (), False)
    assert found == [Wanted("udp", "127.0.0.1", 3000, 2000, 1000)]


@given(st.dictionaries(st.integers(1, 200), st.integers(1, 65535), max_size=40))
def test_runs_mean_exactly_what_was_asked(wanted: dict[int, int]) -> None:
    bindings = {f"{target}/tcp": [binding(str(port))] for target, port in wanted.items()}
    runs = portspec.wanted_ports(bindings, (), False)
    meant = {(run.target + step): (run.first + step) for run in runs for step in range(run.count)}
    assert meant == wanted


def test_publish_all_takes_what_is_exposed_and_not_bound() -> None:
    found = portspec.wanted_ports(
        {"80/tcp": [binding("8080")]}, ["80/tcp", "81/tcp", "53/udp"], True
    )
    assert Wanted("tcp", "", 8080, 80) in found
    assert Wanted("tcp", "", 0, 81) in found
    assert Wanted("udp", "", 0, 53) in found
    assert len(found) == 3


def test_one_container_port_may_choose_from_a_range() -> None:
    found = portspec.wanted_ports({"80/tcp": [binding("8000-8009")]}, (), False)
    assert found == [Wanted("tcp", "", 8000, 80, 1, choice=10)]


@pytest.mark.parametrize(
    ("key", "port", "host", "words"),
    [
        ("http/tcp", "80", "", '"http"'),
        ("80/icmp", "80", "", "invalid proto: icmp"),
        ("0/tcp", "80", "", '"0/tcp"'),
        ("80/tcp", "99999", "", '"99999"'),
        ("80/tcp", "90-80", "", '"90-80"'),
        ("80-82/tcp", "80-81", "", "80-82/tcp and 80-81"),
        ("80/tcp", "80", "nowhere", "nowhere"),
    ],
)
def test_errors_name_the_value(key: str, port: str, host: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        portspec.wanted_ports({key: [binding(port, host)]}, (), False)


@given(st.text(max_size=12), st.text(max_size=12))
def test_garbage_is_understood_or_refused(key: str, port: str) -> None:
    try:
        runs = portspec.wanted_ports({key: [binding(port)]}, (), False)
    except Invalid:
        return
    assert all(0 <= run.first <= 65535 and 0 < run.target <= 65535 for run in runs)


def test_overlap_knows_wildcards_protocols_and_families() -> None:
    run = PortMap("tcp", "0.0.0.0", 8000, 80, 10)
    assert portspec.overlap(run, PortMap("tcp", "127.0.0.1", 8009, 1)) == 8009
    assert portspec.overlap(run, PortMap("tcp", "127.0.0.1", 8010, 1)) is None
    assert portspec.overlap(run, PortMap("udp", "0.0.0.0", 8000, 1)) is None
    assert portspec.overlap(run, PortMap("tcp", "::", 8000, 1)) is None
    one, two = PortMap("tcp", "10.0.0.1", 80, 80), PortMap("tcp", "10.0.0.2", 80, 80)
    assert portspec.overlap(one, two) is None


def test_opened_ports_are_disjoint() -> None:
    wanted = [
        Wanted("tcp", "", 8000, 80, 3),
        Wanted("tcp", "10.0.0.1", 9000, 81, 5),
        Wanted("tcp", "", 0, 90),
        Wanted("udp", "::", 90, 90),
        Wanted("tcp", "127.0.0.1", 99, 99),
        Wanted("tcp", "::1", 99, 99),
    ]
    assert portspec.opened(wanted, [4, 6]) == [
        PortMap("tcp", "0.0.0.0", 0, 80, 6),
        PortMap("tcp", "0.0.0.0", 0, 90),
        PortMap("tcp", "::", 0, 80, 3),
        PortMap("tcp", "::", 0, 90),
        PortMap("udp", "::", 0, 90),
    ]
    assert portspec.opened(wanted, []) == []


def test_ports_of_inspect() -> None:
    assert portspec.render([PortMap("tcp", "::", 0, 80, 2)], []) == {
        f"{port}/tcp": [{"HostIp": "::", "HostPort": ""}] for port in (80, 81)
    }
    shown = portspec.render([PortMap("tcp", "0.0.0.0", 8080, 80, 2)], ["80/tcp", "53/udp"])
    assert shown == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}],
        "81/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8081"}],
        "53/udp": None,
    }
