"""Cables, switches, addresses and routes, for real."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from netns import offloads
from netns.capture import Capture
from netns.errors import BadName, KernelRefused
from netns.lab import Lab
from netns.namespace import Namespace
from netns.patience import patient
from netns.routelookup import RTN_LOCAL, RouteLookup
from netns.veth import Bridge, VethPair

A = {4: "192.0.2.1", 6: "2001:db8::1"}
B = {4: "192.0.2.2", 6: "2001:db8::2"}
LENGTH = {4: 24, 6: 64}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def joined(lab: Lab) -> tuple[Namespace, Namespace, VethPair]:
    a, b = lab.namespace("a"), lab.namespace("b")
    return a, b, lab.link(a, b, addresses=(with_lengths(A), with_lengths(B)))


def with_lengths(addresses: dict[int, str]) -> list[str]:
    return [f"{addresses[version]}/{LENGTH[version]}" for version in (4, 6)]


def datagram(sender: Namespace, receiver: Namespace, to: str, bind: str | None = None) -> str:
    """Send one datagram to `to` and return the address it came from; raises TimeoutError after 5 s."""
    family = FAMILY[ipaddress.ip_address(to).version]
    with (
        receiver.open_in(lambda: socket.socket(family, socket.SOCK_DGRAM)) as inbox,
        sender.open_in(lambda: socket.socket(family, socket.SOCK_DGRAM)) as outbox,
    ):
        inbox.settimeout(patient(5))
        inbox.bind((bind or to, 4000))
        outbox.sendto(b"hello", (to, 4000))
        octets, source = inbox.recvfrom(100)
    assert octets == b"hello"
    return str(source[0])


def test_datagrams_cross_a_fresh_cable_at_once_both_ways(lab: Lab, version: int) -> None:
    a, b, _ = joined(lab)
    assert datagram(a, b, B[version]) == A[version]
    assert datagram(b, a, A[version]) == B[version]


def test_ends_are_what_was_asked_for(lab: Lab) -> None:
    a, b = lab.namespace("a"), lab.namespace("b")
    macs = ("02:00:00:00:00:0a", "02:00:00:00:00:0b")
    pair = lab.link(a, b, names=("left", "right"), mtu=1400, macs=macs)
    assert [(end.link().name, end.mac, end.link().mtu) for end in pair.ends] == [
        ("left", macs[0], 1400),
        ("right", macs[1], 1400),
    ]
    assert [link.kind for link in a.links()] == ["", "veth"]
    assert a.index_of("left") == pair.a.index
    assert b.mac_of("right") == macs[1]


def test_no_address_waits_for_duplicates_to_be_looked_for(lab: Lab) -> None:
    a, _, _ = joined(lab)
    for device in ("all", "eth0"):  # the larger of the two counts
        assert a.sysctl(f"net.ipv6.conf.{device}.accept_dad") == "0"


def test_no_device_of_ours_is_ever_outside(lab: Lab) -> None:
    before = set(os.listdir("/sys/class/net"))
    joined(lab)
    assert set(os.listdir("/sys/class/net")) == before


def test_devices_are_numbered_unless_named(lab: Lab) -> None:
    a, b = lab.namespace("a"), lab.namespace("b")
    first, second = lab.link(a, b), lab.link(a, b, names=(None, "uplink"))
    assert [end.name for end in (*first.ends, *second.ends)] == ["eth0", "eth0", "eth1", "uplink"]


def test_addresses_can_be_read_and_removed(lab: Lab) -> None:
    _, _, pair = joined(lab)
    wanted = {ipaddress.ip_interface(text) for text in with_lengths(A)}
    assert wanted <= set(pair.a.addresses())
    pair.a.remove_address(f"{A[4]}/24")
    assert wanted - set(pair.a.addresses()) == {ipaddress.ip_interface(f"{A[4]}/24")}


def test_a_pulled_cable_carries_nothing_until_it_is_back(lab: Lab) -> None:
    a, b, pair = joined(lab)
    pair.down()
    assert not any(end.link().up for end in pair.ends)
    with pytest.raises(OSError, match="unreachable"):
        datagram(a, b, B[4])
    pair.up()
    assert datagram(a, b, B[4]) == A[4]


def test_routes_cross_a_router(lab: Lab, version: int) -> None:
    far = {4: "198.51.100.9", 6: "2001:db8:9::9"}
    near_gateway, far_gateway = {4: "192.0.2.254", 6: "2001:db8::fe"}, {4: "198.51.100.254", 6: "2001:db8:9::fe"}
    a, router, c = lab.namespace("a"), lab.namespace("r", forwarding=True), lab.namespace("c")
    lab.link(a, router, addresses=(with_lengths(A), with_lengths(near_gateway)))
    lab.link(c, router, addresses=(with_lengths(far), with_lengths(far_gateway)))
    everywhere = {4: "0.0.0.0/0", 6: "::/0"}[version]
    a.add_route(everywhere, via=near_gateway[version])
    c.add_route(f"{A[version]}/{32 if version == 4 else 128}", via=far_gateway[version], interface="eth0")
    assert datagram(a, c, far[version]) == A[version]


def test_a_fixed_neighbour_is_believed_without_asking(lab: Lab, version: int) -> None:
    a, b, pair = joined(lab)
    pair.a.add_neighbour(B[version], pair.b.mac)
    with Capture(a, "eth0") as capture:
        datagram(a, b, B[version])
        sent = [frame for frame in capture.drain() if frame.is_outgoing]
    arp, neighbour_solicitation = 0x0806, 135
    assert not [f for f in sent if f.protocol == arp or (version == 6 and f.payload[40] == neighbour_solicitation)]
    pair.a.add_neighbour(B[version], "02:00:00:00:00:99")  # replaced: now nobody takes it
    with Capture(b, "eth0") as capture, a.open_in(lambda: socket.socket(FAMILY[version], socket.SOCK_DGRAM)) as s:
        s.sendto(b"astray", (B[version], 4000))
        seen = capture.until(lambda frame: b"astray" in frame.octets)
    assert seen[-1].octets[:6] == bytes.fromhex("020000000099")


def test_offloads_decide_whether_checksums_are_filled_in(lab: Lab, version: int) -> None:
    a, b, pair = joined(lab)
    assert offloads.transmit_checksum(a, "eth0")
    ready = []
    for on in (True, False, True):
        pair.set_offloads(on)
        assert offloads.transmit_checksum(a, "eth0") is on
        with Capture(b, "eth0") as capture:
            datagram(a, b, B[version])
            ready.append(capture.until(lambda frame: b"hello" in frame.octets)[-1].checksum_ready)
    assert ready == [False, True, False]


def test_a_switch_joins_more_than_two(lab: Lab, version: int) -> None:
    hosts = [lab.namespace(name) for name in "abc"]
    _, cables = lab.bridge("lan", hosts)
    for number, cable in enumerate(cables, 1):
        cable.a.add_addresses(f"192.0.2.{number}/24", f"2001:db8::{number}/64")
    third = {4: "192.0.2.3", 6: "2001:db8::3"}
    assert datagram(hosts[0], hosts[2], third[version]) == A[version]
    assert datagram(hosts[1], hosts[2], third[version]) == B[version]


def test_addresses_are_usable_at_once(lab: Lab, version: int) -> None:
    a, _, pair = joined(lab)
    many = [{4: f"192.0.2.{number}", 6: f"2001:db8::{number:x}"}[version] for number in range(16, 144)]
    pair.a.add_addresses(*(f"{address}/{LENGTH[version]}" for address in many))
    with closing(RouteLookup(a)) as routes:
        last_first = [ipaddress.ip_address(address).packed for address in reversed(many)]
        found = [routes.find(address, interface=pair.a.index) for address in last_first]
    assert [route.kind if route else None for route in found] == [RTN_LOCAL] * len(many)


def test_addresses_of_a_device_that_is_down_are_not_waited_for(lab: Lab) -> None:
    _, _, pair = joined(lab)
    pair.a.down()
    pair.a.add_addresses("2001:db8::77/64")
    assert "2001:db8::77/64" in map(str, pair.a.addresses())


def test_marked_packets_can_be_kept_here(lab: Lab, version: int) -> None:
    host = lab.namespace("host")
    elsewhere = {4: "198.51.100.9", 6: "2001:db8:9::9"}[version]
    any_address = {4: "0.0.0.0", 6: "::"}[version]
    host.divert_marked(0x10, mask=0xF0)
    with (
        host.open_in(lambda: socket.socket(FAMILY[version], socket.SOCK_DGRAM)) as inbox,
        host.open_in(lambda: socket.socket(FAMILY[version], socket.SOCK_DGRAM)) as outbox,
    ):
        inbox.settimeout(patient(5))
        inbox.bind((any_address, 4000))
        with pytest.raises(OSError, match="unreachable"):
            outbox.sendto(b"unmarked", (elsewhere, 4000))
        outbox.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x15)
        outbox.sendto(b"marked", (elsewhere, 4000))
        assert inbox.recv(100) == b"marked"


def test_bad_ends_are_refused_and_leave_nothing(lab: Lab) -> None:
    a, b = lab.namespace("a"), lab.namespace("b")
    with pytest.raises(BadName, match="two names"):
        VethPair(a, a)
    with pytest.raises(BadName):
        VethPair(a, b, names=("x" * 16, "eth0"))
    with VethPair(a, b), pytest.raises(KernelRefused, match="EEXIST"):
        VethPair(a, b, names=("other", "eth0"))
    with pytest.raises(ValueError, match="gateway"):
        a.add_route("0.0.0.0/0")
    assert [[link.name for link in host.links()] for host in (a, b)] == [["lo"], ["lo"]]


@pytest.mark.parametrize("kind", [VethPair, Bridge])
def test_closing_a_device_twice_or_after_its_namespace_is_allowed(lab: Lab, kind: type[VethPair | Bridge]) -> None:
    def make(a: Namespace, b: Namespace) -> VethPair | Bridge:
        return VethPair(a, b) if kind is VethPair else Bridge(a)

    a, b = lab.namespace("a"), lab.namespace("b")
    device = make(a, b)
    device.close()
    device.close()
    assert [link.name for link in a.links()] == ["lo"]
    device = make(a, b)
    a.close()
    device.close()
