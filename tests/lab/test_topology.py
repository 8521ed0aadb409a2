"""The beds: who reaches whom, what is emulated, and that nothing is left of them; traffic on them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emulator.expect import Like
from emulator.indication import Indication
from emulator.paths.netfilter_queue import NetfilterQueueQueue
from emulator.paths.queue import QueueBackend
from emulator.topology import BEDS, Bed, Bridged, Empty, Host, HostOptions, Pair, TwoDrivers
from emulator.traffic import CanaryLost, Datagrams, Responder
from emulator.wfptypes import Action, AddressFamily
from netns.lease import labelled, living

REACH = {
    "pair": [("host", "peer"), ("peer", "host")],
    "routed": [("left", "right"), ("right", "left"), ("left", "mid"), ("mid", "right")],
    "alone": [("host", "host")],
    "bridged": [("vm1", "vm2"), ("vm2", "vm1"), ("vm1", "host"), ("host", "vm2")],
    "two_drivers": [("host", "peer"), ("peer", "host")],
    "empty": [],
}
EMULATED = {
    "pair": ["host"], "routed": ["mid"], "alone": ["host"], "bridged": ["host"], "two_drivers": ["host"], "empty": [],
}  # fmt: skip


@pytest.mark.parametrize("name", BEDS)
def test_hosts_reach_each_other_and_one_is_emulated(name: str, family: AddressFamily) -> None:
    with BEDS[name]() as bed:
        assert [host.name for host in bed if host.emulated] == EMULATED[name]
        for number, (source, target) in enumerate(REACH[name]):
            traffic = Datagrams(bed.hosts[source], bed.hosts[target], family, port=5000 + number)
            assert traffic.exchange([b"hello"]) == [b"hello"], (source, target)
        assert bed.canaries.arrived == bed.canaries.sent == len(REACH[name])


def test_a_bed_is_found_by_its_label_and_leaves_nothing() -> None:
    with Pair(label="mine[ipv4]") as bed:
        assert [live.run for label, live in labelled() if label == "mine[ipv4]"] == [bed.lab.run]
        run = bed.lab.run
    assert run not in [live.run for live in living()]
    bed.close()


def test_a_bed_that_cannot_be_built_leaves_nothing() -> None:
    class Broken(Bed):
        def build(self) -> None:
            self.lab.namespace("one")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Broken(label="broken bed")
    assert "broken bed" not in [label for label, _ in labelled()]


def test_a_host_can_be_added_to_a_bed_that_runs(family: AddressFamily) -> None:
    with Empty() as bed:
        one, two = bed.lab.namespace("one"), bed.lab.namespace("two")
        bed.lab.link(one, two, addresses=(["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"]))
        first = bed.add_host("one", "10.9.0.1", "fd09::1", namespace=one, emulated=True)
        second = bed.add_host("two", "10.9.0.2", "fd09::2", namespace=two)
        assert Datagrams(first, second, family).exchange([b"hello"]) == [b"hello"]


@pytest.mark.case("G05")
def test_of_two_drivers_a_is_asked_before_b_and_both_go_with_the_bed(family: AddressFamily) -> None:
    asked: list[str] = []

    def asking(name: str) -> Callable[[Indication], None]:
        def look(seen: Indication) -> None:
            if seen.view.destination_port == 5000:
                asked.append(name)
            seen.continue_()

        return look

    with TwoDrivers() as bed:
        for driver in (bed.b, bed.a):
            driver.add(asking(driver.name), "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_UNKNOWN)
        assert Datagrams(bed.host, bed.peer, family).exchange([b"hello"]) == [b"hello"]
        assert asked == ["a", "b"]
        bed.unload_drivers()
        assert bed.host.stack.core.leaks() == []
        assert not bed.host.stack.core.engine.filters


def test_the_bridge_is_in_the_emulated_host_itself() -> None:
    with Bridged() as bed:
        names = {link.name for link in bed.host.namespace.links()}
        assert {"br0", "port1", "port2"} <= names


def test_options_reach_the_hosts() -> None:
    with Pair(HostOptions(backend=QueueBackend.NETFILTERQUEUE)) as bed:
        assert isinstance(bed.host.stack.packets.queue, NetfilterQueueQueue)


def test_several_kinds_of_traffic_go_to_one_host(pair: Pair, family: AddressFamily) -> None:
    several = [Datagrams(pair.host, pair.peer, family, port=5000 + number) for number in range(3)]
    for _ in range(2):
        for traffic in several:
            assert traffic.exchange([b"to %d" % traffic.port]) == [b"to %d" % traffic.port]


def test_a_plain_host_has_no_stack() -> None:
    with Pair() as bed, pytest.raises(AssertionError, match="peer is not an emulated host"):
        bed.peer.stack  # noqa: B018


def test_a_responder_answers_until_it_is_closed(pair: Pair, family: AddressFamily) -> None:
    server = Responder(pair.peer, family, 53, lambda asked: asked.upper() if asked != b"no" else None)
    client = ask(pair.host, pair.peer, family, b"no", b"hello")
    assert client == b"HELLO"
    assert server.asked == [b"no", b"hello"]
    server.close()
    server.close()


def test_what_an_answer_raises_is_kept(pair: Pair, family: AddressFamily) -> None:
    server = Responder(pair.peer, family, 53, lambda asked: bytes([1 // 0]))
    ask(pair.host, pair.peer, family, b"hello", wait=False)
    Datagrams(pair.host, pair.peer, family).canary()
    server.close()
    assert isinstance(server.failure, ZeroDivisionError)


def ask(source: Host, target: Host, family: AddressFamily, *questions: bytes, wait: bool = True) -> bytes:
    client = source.socket(family)
    for question in questions:
        client.sendto(question, (target.address(family), 53))
    return client.recv(512) if wait else b""


def test_the_wire_shows_packets_without_canaries(pair: Pair, family: AddressFamily) -> None:
    wire, traffic = pair.peer.wire(), Datagrams(pair.host, pair.peer, family)
    traffic.exchange([b"one", b"two"])
    seen = wire.packets(port=5000)
    like = [Like(destination_port=5000, payload=payload) for payload in (b"one", b"two")]
    assert [wanted.differences(packet) for wanted, packet in zip(like, seen, strict=True)] == [[], []]
    assert wire.packets(port=5000) == []


def test_a_lost_canary_says_why_nothing_is_known(pair: Pair, family: AddressFamily) -> None:
    traffic = Datagrams(pair.host, pair.peer, family)
    with pair.host.driver() as driver:
        driver.add(lambda seen: [][0], "OUTBOUND_IPPACKET", family)
        with pytest.raises(CanaryLost, match=r"from host to peer .* did not arrive: a callout raised"):
            traffic.canary()
    assert traffic.exchange([b"hello"]) == [b"hello"]
    assert (pair.canaries.sent, pair.canaries.arrived) == (2, 1)
    pair.host.stack.core.violations.entries.clear()
