"""Captures, for real: both directions, every loss counted."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from netns.capture import Capture, Direction, Frame
from netns.errors import FramesLost, KernelRefused, NotSeen
from netns.lab import Lab
from netns.namespace import Namespace

A = {4: "192.0.2.1", 6: "2001:db8::1"}
B = {4: "192.0.2.2", 6: "2001:db8::2"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
ETHERTYPE = {4: 0x0800, 6: 0x86DD}


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        a, b = made.namespace("a"), made.namespace("b")
        made.link(a, b, addresses=(["192.0.2.1/24", "2001:db8::1/64"], ["192.0.2.2/24", "2001:db8::2/64"]))
        yield made


def arrived(text: bytes) -> Callable[[Frame], bool]:
    """Whether a frame came in with `text`; the answer that nobody listens there quotes it too, but goes out."""
    return lambda frame: text in frame.octets and not frame.is_outgoing


def send(host: Namespace, version: int, *payloads: bytes) -> None:
    with host.open_in(lambda: socket.socket(FAMILY[version], socket.SOCK_DGRAM)) as sender:
        for payload in payloads:
            sender.sendto(payload, (B[version], 9))


def test_a_frame_is_seen_leaving_one_end_and_coming_to_the_other(lab: Lab, version: int) -> None:
    a, b = lab["a"], lab["b"]
    start = time.time()
    with Capture(a, "eth0") as near, Capture(b, "eth0") as far:
        send(a, version, b"hello")
        left = near.until(lambda frame: b"hello" in frame.octets)[-1]
        came = far.until(lambda frame: b"hello" in frame.octets)[-1]
    assert left.octets == came.octets
    assert (left.direction, came.direction) == (Direction.OUTGOING, Direction.TO_US)
    assert left.is_outgoing
    assert not came.is_outgoing
    assert came.protocol == ETHERTYPE[version]
    assert came.payload == came.octets[14:]
    assert came.octets[:12].hex(":") == f"{b.mac_of('eth0')}:{a.mac_of('eth0')}"
    assert start - 1 < left.time <= came.time < time.time() + 1
    assert came.interface == "eth0"
    assert came.vlan is None


def test_waiting_takes_frames_up_to_the_one_wanted_and_leaves_the_rest(lab: Lab, version: int) -> None:
    with Capture(lab["b"], "eth0") as capture:
        send(lab["a"], version, b"one", b"two", b"three", b"four")
        first = capture.until(arrived(b"two"))
        assert [text for text in (b"one", b"two", b"three") if any(map(arrived(text), first))] == [b"one", b"two"]
        assert arrived(b"two")(first[-1])
        rest = capture.until(arrived(b"four"))
        assert [text for text in (b"one", b"two", b"three") if any(map(arrived(text), rest))] == [b"three"]


def test_draining_takes_what_is_there_and_does_not_wait(lab: Lab) -> None:
    with Capture(lab["b"], "eth0") as capture:
        send(lab["a"], 4, b"one", b"two")
        capture.until(arrived(b"one"))
        assert any(map(arrived(b"two"), capture.drain() or capture.until(arrived(b"two"))))
        capture.drain()
        assert capture.drain() == []
        assert capture.statistics()[1] == 0


def test_what_is_not_seen_is_an_error_that_holds_what_was(lab: Lab) -> None:
    with Capture(lab["b"], "eth0") as capture:
        send(lab["a"], 4, b"other")
        with pytest.raises(NotSeen, match="eth0") as caught:
            capture.until(lambda frame: b"never sent" in frame.octets, timeout=0.05)
    assert any(b"other" in octets for octets in caught.value.frames)


def test_a_lost_frame_is_never_silent(lab: Lab) -> None:
    sent = 200
    with Capture(lab["b"], "eth0", buffer_octets=16384) as capture:
        send(lab["a"], 4, *[bytes([number]) * 1000 for number in range(sent)])
        with pytest.raises(FramesLost) as caught:
            capture.drain()
        seen, lost = capture.statistics()
        assert caught.value.lost == lost > 0
        assert seen >= sent
        # With leave to lose, the rest can still be had.
        send(lab["a"], 4, b"after")
        assert capture.until(lambda frame: b"after" in frame.octets, lossy=True)


def test_the_default_buffer_holds_a_burst(lab: Lab) -> None:
    sent = 5000
    with Capture(lab["b"], "eth0") as capture:
        send(lab["a"], 4, *[b"burst"] * sent, b"the end")
        frames = capture.until(arrived(b"the end"))
        assert sum(map(arrived(b"burst"), frames)) == sent


def test_frames_larger_than_the_mtu_are_whole(lab: Lab) -> None:
    a, b = lab["a"], lab["b"]
    with (
        b.open_in(lambda: socket.create_server((B[4], 80))) as listener,
        Capture(b, "eth0") as capture,
        a.open_in(lambda: socket.create_connection((B[4], 80), 5)) as client,
    ):
        server, _ = listener.accept()
        with server:
            client.sendall(bytes(60000))
            received = 0
            while received < 60000:
                received += len(server.recv(65536))
        frames = [frame for frame in capture.drain() if frame.direction is Direction.TO_US]
    assert max(len(frame.octets) for frame in frames) > 1514
    assert all(len(frame.payload) >= int.from_bytes(frame.payload[2:4]) for frame in frames if frame.protocol == 0x0800)


def test_one_capture_can_see_all_devices(lab: Lab) -> None:
    a = lab["a"]
    with Capture(a) as capture, a.open_in(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.sendto(b"by loopback", ("127.0.0.1", 9))
        send(a, 4, b"by cable")
        frames = capture.until(lambda frame: b"by cable" in frame.octets)
    devices = {frame.interface for frame in frames if b"by " in frame.octets}
    assert devices == {"lo", "eth0"}


def test_frames_to_others_are_seen_and_told_apart(lab: Lab) -> None:
    a, b = lab["a"], lab["b"]
    a.interface("eth0").add_neighbour(B[4], "02:00:00:00:00:99")
    with Capture(b, "eth0", promiscuous=True) as capture:
        send(a, 4, b"astray")
        assert capture.until(lambda frame: b"astray" in frame.octets)[-1].direction is Direction.TO_OTHERS


def test_a_capture_can_be_waited_on_with_other_things_and_ends_once(lab: Lab) -> None:
    capture = Capture(lab["b"], "eth0")
    number = capture.fileno()
    assert not os.get_inheritable(number)
    capture.close()
    capture.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(number)
    with pytest.raises(ValueError, match="closed"):
        capture.drain()
    with pytest.raises(KernelRefused, match="nosuch0"):
        Capture(lab["b"], "nosuch0")
