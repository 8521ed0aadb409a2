"""The splice namespace shows itself to nobody: insertion, removal, refusals, hop counts, other traffic."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from emulator.callouts_stream import InlineEdit, StreamMonitor
from emulator.driver import Driver
from emulator.filters import Filter
from emulator.topology import LINUX_FAMILY, Host, Pair, Routed
from emulator.wfptypes import Action, AddressFamily
from netns.capture import Capture
from netns.patience import patient
from tests.lab.conftest import Strict
from tests.lab.stream_ends import (
    DEADLINE,
    PORT,
    STREAM,
    connected,
    dial,
    exchange,
    listen,
    read_all,
    read_exactly,
    wait_for,
)  # fmt: skip

V4, V6 = AddressFamily.INET, AddressFamily.INET6


@pytest.fixture
def driver(pair: Pair) -> Iterator[Driver]:
    """A driver on the emulated host."""
    with pair.host.driver() as loaded:
        yield loaded


def watch(driver: Driver, family: AddressFamily, **where: Any) -> list[Filter]:
    """Inspect all connections, or those that meet conditions."""
    return driver.add(StreamMonitor(), "STREAM", family, action=Action.CALLOUT_INSPECTION, where=where)


def ping(source: Host, target: Host, family: AddressFamily, *options: str) -> str:
    run = source.namespace.run(["ping", "-c", "1", "-W", "5", *options, target.address(family)])
    return str(run.stdout)


def neighbours(host: Host) -> set[tuple[str, str]]:
    """Address and hardware address of each; not the link-local ones, whom the kernel meets when it wants to."""
    lines = [line for line in host.namespace.run(["ip", "neigh"]).stdout.splitlines() if "lladdr" in line]
    return {(line.split()[0], line.split("lladdr ")[1].split()[0]) for line in lines if not line.startswith("fe80:")}


def test_standing_connections_survive_insertion_and_removal(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    with connected(pair, family) as matching, connected(pair, family, outbound=False, port=PORT + 1) as other:
        items = watch(driver, family, IP_REMOTE_PORT=PORT)
        assert pair.host.stack.stream.paths
        for ends in (matching, other):
            ends.host.sendall(b"during")
            assert read_exactly(ends.peer, 6) == b"during"
        with connected(pair, family) as new:
            assert exchange(new, b"in", b"spected") == (b"in", b"spected")
        assert pair.host.stack.stream.counts()["established"] == 1
        driver.remove(*items)
        wait_for(lambda: not pair.host.stack.stream.paths)
        for ends in (matching, other):
            assert exchange(ends, b"after", b"too") == (b"after", b"too")


def test_an_inspected_connection_lives_on_when_its_filter_goes(
    pair: Pair, driver: Driver, family: AddressFamily
) -> None:
    items = watch(driver, family)
    with connected(pair, family) as ends:
        ends.host.sendall(b"seen")
        assert read_exactly(ends.peer, 4) == b"seen"
        driver.remove(*items)
        octets = os.urandom(1 << 20)
        ends.host.sendall(octets)
        assert read_exactly(ends.peer, len(octets)) == octets
        assert pair.host.stack.stream.paths, "the connection still needs its namespace"
        assert exchange(ends, b"", b"x") == (b"", b"x")
    wait_for(lambda: not pair.host.stack.stream.paths)


def test_nothing_of_it_is_left(pair: Pair, driver: Driver) -> None:
    def picture() -> tuple[list[str], str]:
        tables = pair.host.namespace.run(["nft", "list", "tables"]).stdout
        return [link.name for link in pair.host.namespace.links()], tables

    before, descriptors = picture(), len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    for _ in range(3):
        items = watch(driver, V4)
        with connected(pair, V4) as ends:
            assert exchange(ends, b"a", b"b") == (b"a", b"b")
        driver.remove(*items)
        wait_for(lambda: not pair.host.stack.stream.paths)
    wait_for(lambda: picture() == before)
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
    assert threading.active_count() <= threads + 1


def test_other_traffic_does_not_meet_it(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    before = ping(pair.peer, pair.host, family), neighbours(pair.peer), neighbours(pair.host)
    watch(driver, family)
    with connected(pair, family) as ends:
        assert exchange(ends, b"a", b"b") == (b"a", b"b")
        after = ping(pair.peer, pair.host, family), neighbours(pair.peer), neighbours(pair.host)
    assert ttl(before[0]) == ttl(after[0]) == 64
    assert before[1:] == after[1:]
    big = ["-s", "1452" if family == V6 else "1472", "-M", "do"]
    assert "1 received" in ping(pair.host, pair.peer, family, *big)


def ttl(text: str) -> int:
    found = re.search(r"ttl=(\d+)", text)
    assert found
    return int(found[1])


MANY = {V4: "239.1.2.3", V6: "ff02::123"}


@pytest.mark.parametrize("outward", [True, False])
def test_multicast_and_broadcast_pass_by(pair: Pair, driver: Driver, family: AddressFamily, outward: bool) -> None:
    watch(driver, family)
    source, target = (pair.host, pair.peer) if outward else (pair.peer, pair.host)
    index = target.namespace.index_of("eth0")
    with listening_to_many(target, family, index) as receiver, source.namespace.open_in(
        lambda: socket.socket(LINUX_FAMILY[family], socket.SOCK_DGRAM)
    ) as sender:
        to: list[tuple[Any, ...]] = [(MANY[family], PORT)]
        if family == V6:
            to = [(*to[0], 0, source.namespace.index_of("eth0"))]
        else:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source.address(V4)))
            network = source.namespace.interface("eth0").addresses()
            to.append((str(next(one.network.broadcast_address for one in network if one.version == 4)), PORT))
        for number, address in enumerate(to):
            sender.sendto(b"%d" % number, address)
            octets, who = receiver.recvfrom(100)
            assert octets == b"%d" % number
            assert who[1] == sender.getsockname()[1]


def listening_to_many(host: Host, family: AddressFamily, index: int) -> socket.socket:
    """A datagram socket in the multicast group; the caller closes it."""

    def open_receiver() -> socket.socket:
        made = socket.socket(LINUX_FAMILY[family], socket.SOCK_DGRAM)
        made.bind(("", PORT))
        group = socket.inet_pton(LINUX_FAMILY[family], MANY[family])
        if family == V4:
            joined = group + socket.inet_aton("0.0.0.0") + struct.pack("@i", index)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
        else:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("@i", index))
        return made

    receiver = host.namespace.open_in(open_receiver)
    receiver.settimeout(DEADLINE)
    return receiver


def test_frames_on_the_wire_are_the_hosts_own(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    watch(driver, family)
    macs = {pair.host.namespace.mac_of("eth0"), pair.peer.namespace.mac_of("eth0")}
    with Capture(pair.peer.namespace, "eth0") as capture:
        with connected(pair, family) as ends:
            assert exchange(ends, b"abc", b"def") == (b"abc", b"def")
        time.sleep(0.3)
        frames = [frame.octets for frame in capture.drain()]
    tcp = [frame for frame in frames if is_tcp(frame)]
    assert tcp
    assert {frame[6:12].hex(":") for frame in tcp} == macs
    hops = {frame[22] if frame[12:14] == b"\x08\x00" else frame[21] for frame in tcp}
    assert hops == {64}
    assert not [frame for frame in frames if frame[6:12].hex(":") not in macs]


def is_tcp(frame: bytes) -> bool:
    return (frame[12:14] == b"\x08\x00" and frame[23] == 6) or (frame[12:14] == b"\x86\xdd" and frame[20] == 6)


@pytest.mark.parametrize("outbound", [True, False])
def test_a_refused_connect_is_refused_at_once(
    pair: Pair, driver: Driver, family: AddressFamily, outbound: bool
) -> None:
    """At once: before the client's kernel, which waits for a second, would have sent its SYN again."""
    client, server = (pair.host, pair.peer) if outbound else (pair.peer, pair.host)
    with pytest.raises(ConnectionRefusedError):
        dial(client, server, family)
    watch(driver, family)
    again = retransmissions(client)
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            dial(client, server, family)
    assert retransmissions(client) == again
    counts = pair.host.stack.stream.counts()
    assert (counts["refused"], counts["established"]) == (3, 0)


def retransmissions(host: Host) -> int:
    """Segments that a host's TCP has sent again so far."""
    names, values = (
        line.split() for line in host.namespace.run(["cat", "/proc/net/snmp"]).stdout.splitlines() if "Tcp:" in line
    )
    return int(values[names.index("RetransSegs")])


@pytest.mark.parametrize("outbound", [True, False])
def test_a_filtered_connect_times_out(pair: Pair, driver: Driver, family: AddressFamily, outbound: bool) -> None:
    watch(driver, family)
    client, server = (pair.host, pair.peer) if outbound else (pair.peer, pair.host)
    program = "ip6tables" if family == V6 else "iptables"
    server.namespace.run([program, "-A", "INPUT", "-p", "tcp", "--dport", str(PORT), "-j", "DROP"])
    with pytest.raises(TimeoutError):
        dial(client, server, family, timeout=1.5)
    server.namespace.run([program, "-F", "INPUT"])
    with connected(pair, family, outbound=outbound) as ends:
        assert exchange(ends, b"a", b"b") == (b"a", b"b")


@pytest.mark.parametrize("outbound", [True, False])
def test_a_connect_that_is_prohibited_fails_the_same_way(
    pair: Pair, driver: Driver, family: AddressFamily, outbound: bool
) -> None:
    client, server = (pair.host, pair.peer) if outbound else (pair.peer, pair.host)
    program, reason = ("ip6tables", "icmp6-adm-prohibited") if family == V6 else ("iptables", "icmp-host-prohibited")
    server.namespace.run([program, "-A", "INPUT", "-p", "tcp", "-j", "REJECT", "--reject-with", reason])
    without = failure(client, server, family)
    watch(driver, family)
    assert failure(client, server, family) == without
    assert pair.host.stack.stream.counts()["refused"] == 1


def failure(client: Host, server: Host, family: AddressFamily) -> int | None:
    try:
        dial(client, server, family, timeout=patient(5))
    except OSError as error:
        return error.errno
    raise AssertionError("it was not refused")


def test_a_server_that_answers_late_is_waited_for(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    watch(driver, family)
    program = "ip6tables" if family == V6 else "iptables"
    with listen(pair.peer, family) as listener:
        pair.peer.namespace.run([program, "-A", "INPUT", "-p", "tcp", "-j", "DROP"])
        result: list[socket.socket] = []
        dialling = threading.Thread(target=lambda: result.append(dial(pair.host, pair.peer, family)))
        dialling.start()
        time.sleep(0.3)
        assert not result
        pair.peer.namespace.run([program, "-F", "INPUT"])
        dialling.join()
        accepted, _ = listener.accept()
        accepted.close()
        with result.pop() as client:
            assert client.recv(1) == b""


@pytest.fixture
def through(routed: Routed) -> Iterator[Routed]:
    """left === mid (emulated, a router) === right; mid inspects all connections."""
    with routed.mid.driver() as loaded:
        for family in (V4, V6):
            watch(loaded, family)
        yield routed


def test_what_a_router_forwards_is_not_lifted(through: Routed, family: AddressFamily) -> None:
    with listen(through.right, family) as listener, dial(through.left, through.right, family) as client:
        accepted, _ = listener.accept()
        with accepted:
            client.sendall(b"forwarded")
            assert read_exactly(accepted, 9) == b"forwarded"
    assert through.mid.stack.stream.counts()["established"] == 0


def test_more_than_one_uplink(through: Routed, family: AddressFamily) -> None:
    for side, name in ((through.left, "eth0"), (through.right, "eth1")):
        address = through.mid.namespace.interface(name).addresses()
        mine = next(str(one.ip) for one in address if one.version == family.version and not one.is_link_local)
        listener = through.mid.namespace.open_in(
            lambda mine=mine: socket.create_server((mine, PORT), family=LINUX_FAMILY[family])  # type: ignore[misc]
        )
        with listener, side.namespace.open_in(lambda: socket.socket(LINUX_FAMILY[family])) as client:
            client.settimeout(DEADLINE)
            listener.settimeout(DEADLINE)
            client.connect((mine, PORT))
            accepted, who = listener.accept()
            with accepted:
                assert who == client.getsockname()
                client.sendall(b"up")
                assert accepted.recv(2) == b"up"
    assert through.mid.stack.stream.counts()["established"] == 2
    assert len(through.mid.stack.stream.paths) == 2


def test_hop_counts_and_errors_from_a_router(beds: Strict, family: AddressFamily) -> None:
    """left, emulated behind a router: what it sees of right is as far away as without us."""
    bed = beds.make(Routed)
    stack = bed.add_host("left2", namespace=bed.left.namespace, emulated=True).stack
    with Driver(stack.core, "far") as loaded:
        edit = InlineEdit(loaded.create_handle(0, STREAM), b"cloudy", b"sunny")
        loaded.add(edit, "STREAM", family)
        with listen(bed.right, family) as listener, Capture(bed.left.namespace, "eth0") as capture:
            with dial(bed.left, bed.right, family) as client:
                accepted, _ = listener.accept()
                with accepted:
                    accepted.sendall(b"cloudy")
                    assert read_exactly(client, 5) == b"sunny"
            time.sleep(0.3)
            frames = [frame.octets for frame in capture.drain()]
        own = bed.left.namespace.mac_of("eth0")
        incoming = [frame for frame in frames if is_tcp(frame) and frame[6:12].hex(":") != own]
        assert {frame[22] if family == V4 else frame[21] for frame in incoming} == {63}
        assert traceroute(bed, family) == [bed_router(family), bed.right.address(family)]
        assert stack.stream.counts()["established"] == 1


def bed_router(family: AddressFamily) -> str:
    return "10.1.0.1" if family == V4 else "fd01::1"


def traceroute(bed: Routed, family: AddressFamily) -> list[str]:
    """The routers that TCP probes meet, and the target."""
    command = ["traceroute", "-T", "-n", "-q", "1", "-N", "1", "-w", "2", "-p", str(PORT), bed.right.address(family)]
    lines = bed.left.namespace.run(command).stdout.splitlines()[1:]
    return [line.split()[1] for line in lines]


def test_a_port_is_used_again_at_once(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    watch(driver, family)
    with listen(pair.peer, family) as listener:
        for number in range(20):
            client = pair.host.namespace.open_in(lambda: socket.socket(LINUX_FAMILY[family]))
            with client:
                client.settimeout(DEADLINE)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                client.bind((pair.host.address(family), 40000))
                client.connect((pair.peer.address(family), PORT))
                accepted, _ = listener.accept()
                accepted.sendall(b"%d" % number)
                accepted.close()  # the server ends first: the client's port is free at once
                assert read_all(client) == b"%d" % number


def test_closing_the_host_resets_its_connections_and_leaves_nothing(beds: Strict, family: AddressFamily) -> None:
    bed = beds.make(Pair)
    with bed.host.driver() as loaded:
        watch(loaded, family)
        with connected(bed, family) as ends:
            ends.host.sendall(b"x")
            assert read_exactly(ends.peer, 1) == b"x"
            bed.host.stack.stream.close()
            for sock in (ends.host, ends.peer):
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)
        assert [link.name for link in bed.host.namespace.links()] == ["lo", "eth0"]
        assert "splice" not in bed.host.namespace.run(["nft", "list", "tables"]).stdout
        with connected(bed, family) as ends:
            assert exchange(ends, b"not", b"inspected") == (b"not", b"inspected")


def test_link_local_addresses(pair: Pair, driver: Driver) -> None:
    watch(driver, V6)
    device = pair.peer.namespace.interface("eth0")
    address = wait_for(lambda: [str(one.ip) for one in device.addresses() if one.is_link_local])[0]
    scopes = [host.namespace.index_of("eth0") for host in (pair.host, pair.peer)]

    def open_listener() -> socket.socket:
        made = socket.socket(socket.AF_INET6)
        made.bind((address, PORT, 0, scopes[1]))
        made.listen()
        return made

    with pair.peer.namespace.open_in(open_listener) as listener:
        listener.settimeout(DEADLINE)
        with pair.host.namespace.open_in(lambda: socket.socket(socket.AF_INET6)) as client:
            client.settimeout(DEADLINE)
            client.connect((address, PORT, 0, scopes[0]))
            accepted, who = listener.accept()
            with accepted:
                assert who[0].partition("%")[0] == client.getsockname()[0].partition("%")[0]
                client.sendall(b"link")
                assert accepted.recv(4) == b"link"
    assert pair.host.stack.stream.counts()["established"] == 1
