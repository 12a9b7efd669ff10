"""The resolver's answers, without sockets."""

from __future__ import annotations

from pathlib import Path

from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from wherry.networks.resolver.upstream import Cache, HostServers, Order, lifetime, parse_servers
from wherry.networks.resolver.zone import Client, Zone, failure, reverse_address


def zone() -> Zone:
    made = Zone()
    made.put("a", {"networks": {"n1": [["web", "www", "aaaa"], "10.0.1.2", "fd00::2", "front"]}})
    made.put(
        "b",
        {
            "networks": {
                "n1": [["db"], "10.0.1.3", "", "front"],
                "n2": [["db"], "10.0.2.3", "", "back"],
            },
            "links": {"Site": "web"},
        },
    )
    made.put("c", {"networks": {"n2": [["lone"], "10.0.2.4", "", "back"]}})
    return made


def answers(made: Zone, who: str, name: str, kind: str = "A") -> list[str] | None:
    reply = made.answer(made.clients[who], DNSRecord.question(name, kind))
    return None if reply is None else [str(each.rdata) for each in reply.rr]


def test_names_aliases_and_names_with_the_network() -> None:
    made = zone()
    for name in ("web", "WWW", "aaaa", "web.front", "Web.FRONT."):
        assert answers(made, "b", name) == ["10.0.1.2"]
    assert answers(made, "b", "web", "AAAA") == ["fd00::2"]


def test_only_shared_networks_are_seen() -> None:
    made = zone()
    assert answers(made, "c", "web") is None
    assert answers(made, "a", "db") == ["10.0.1.3"]
    assert answers(made, "b", "db") == ["10.0.1.3", "10.0.2.3"]


def test_links_are_for_the_linking_container_alone() -> None:
    made = zone()
    assert answers(made, "b", "site") == ["10.0.1.2"]
    assert answers(made, "a", "site") is None


def test_a_known_name_of_another_kind_is_an_empty_answer() -> None:
    made = zone()
    assert answers(made, "a", "db", "AAAA") == []
    assert answers(made, "a", "db", "MX") == []


def test_reverse() -> None:
    made = zone()
    assert answers(made, "b", "2.1.0.10.in-addr.arpa", "PTR") == ["web.front."]
    assert answers(made, "c", "2.1.0.10.in-addr.arpa", "PTR") is None
    assert answers(made, "b", ".".join("2" + "0" * 27 + "00df") + ".ip6.arpa", "PTR") == [
        "web.front."
    ]
    assert reverse_address("in-addr.arpa") is None


def test_what_has_ended_is_unknown() -> None:
    made = zone()
    version = made.version
    made.drop("a")
    assert made.version > version
    assert answers(made, "b", "web") is None
    made.put("b", {"networks": {"n1": [["other"], "10.0.1.3", "", "front"]}})
    assert answers(made, "b", "db") is None
    assert answers(made, "b", "other") == ["10.0.1.3"]


@given(st.binary(max_size=300))
def test_no_query_breaks_the_zone(data: bytes) -> None:
    try:
        query = DNSRecord.parse(data)
    except Exception:
        return
    if query.questions:
        made = zone()
        reply = made.answer(Client("b", ["n1", "n2"]), query)
        assert reply is None or reply.header.id == query.header.id


def test_failures_repeat_the_question() -> None:
    query = DNSRecord.question("nobody.example")
    reply = DNSRecord.parse(failure(query).pack())
    assert reply.header.rcode == RCODE.SERVFAIL
    assert reply.header.id == query.header.id
    assert str(reply.q.qname) == "nobody.example."


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def reply(ttl: int, query: DNSRecord) -> bytes:
    made = query.reply()
    made.add_answer(RR(query.q.qname, QTYPE.A, rdata=A("192.0.2.1"), ttl=ttl))
    return bytes(made.pack())


def test_cache_keeps_answers_for_their_time_and_gives_each_his_id() -> None:
    clock = Clock()
    cache = Cache(clock)
    query = DNSRecord.question("x.example")
    data = bytes(query.pack())
    cache.put(("s",), data, reply(5, query))
    other = b"\x12\x34" + data[2:]
    found = cache.get(("s",), other)
    assert found is not None
    assert found[:2] == b"\x12\x34"
    assert cache.get(("t",), other) is None
    clock.now += 6
    assert cache.get(("s",), other) is None


def test_failures_and_cut_answers_are_not_kept() -> None:
    query = DNSRecord.question("x.example")
    assert lifetime(bytes(failure(query).pack())) == 0
    cut = query.reply()
    cut.header.tc = 1
    assert lifetime(bytes(cut.pack())) == 0
    assert lifetime(b"garbage") == 0
    assert lifetime(reply(100000, query)) == 30


def test_a_server_that_failed_is_asked_last_for_a_while() -> None:
    clock = Clock()
    order = Order(clock)
    order.failed("a")
    assert order.sort(["a", "b"]) == ["b", "a"]
    clock.now += 11
    assert order.sort(["a", "b"]) == ["a", "b"]


def test_host_servers_follow_the_file(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "resolv.conf"
    host = HostServers(str(path), clock)
    assert host.servers() == []
    path.write_text("# x\nnameserver 127.0.0.53\noptions edns0\nnameserver 10.0.0.1\n")
    clock.now += 2
    assert host.servers() == ["127.0.0.53", "10.0.0.1"]
    assert parse_servers("nameserver a\n" * 5) == ["a"] * 3
