"""IP headers and reassembled groups as lists: where the data starts, whose octets they are, what is refused."""

from __future__ import annotations

from struct import pack
from typing import Any
from zlib import crc32

import pytest

from emulator.checksums import fix_checksums, ipv4_header_checksum_ok, transport_checksum_ok
from emulator.construct import construct_ip_header, reassemble_forward_group, socket_options
from emulator.core import Core
from emulator.errors import (
    FwpInvalidFlags,
    FwpInvalidParameter,
    FwpNullPointer,
    FwpReserved,
    InvalidParameter,
    TcpipNotReady,
    WfpError,
)
from emulator.fragments import fragment
from emulator.headers import build_ip_header
from emulator.ledger import Entry
from emulator.netbuffer import IN_FLIGHT, STACK, ChecksumInfo, Mdl, NetBuffer, NetBufferList
from emulator.octets import IpView
from emulator.wfptypes import AddressFamily, WindowsVersion

ENDS = {
    AddressFamily.INET: (bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])),
    AddressFamily.INET6: (bytes([0xFD, *bytes(14), 1]), bytes([0xFD, *bytes(14), 2])),
}
FOREIGN = {AddressFamily.INET: bytes([192, 0, 2, 7]), AddressFamily.INET6: bytes([0x20, 1, 0xD, 0xB8, *bytes(12)])}
SIZE = {AddressFamily.INET: 20, AddressFamily.INET6: 40}
SEGMENT = pack("!HHIIBBHHH", 1000, 80, 1, 2, 0x50, 0x18, 512, 0xBAD, 0) + b"payload"


def up(**options: Any) -> Core:
    core = Core(lambda injection: None, **options)
    core.readiness = lambda: None
    return core


def udp(payload: bytes) -> bytes:
    return pack("!HHHH", 1000, 53, 8 + len(payload), 0xBAD) + payload


def checksums_right(packet: bytes) -> bool:
    view = IpView(packet)
    return ipv4_header_checksum_ok(view) and transport_checksum_ok(view) is True


# -- building -------------------------------------------------------------------------------------------------


@pytest.mark.rule("NB-20", "NB-22", "NB-23")
@pytest.mark.parametrize(
    ("protocol", "payload"),
    [(6, SEGMENT), (17, udp(b"hello")), (1, b"\x08\x00\xba\xad\x00\x01\x00\x01ping")],
    ids=["tcp", "udp", "icmp"],
)
def test_a_header_is_built_in_front_of_the_data(family: AddressFamily, protocol: int, payload: bytes) -> None:
    if protocol == 1 and family is AddressFamily.INET6:
        protocol, payload = 58, b"\x80" + payload[1:]
    core = up()
    item = core.ownership.create_from(payload)
    item.info = ChecksumInfo(transmit_tcp=True, transmit_udp=True)
    source = FOREIGN[family]
    construct_ip_header(core, item, 0, family, source, ENDS[family][1], protocol)
    packet = item.octets
    view = IpView(packet)
    assert (view.version, view.protocol, view.source, view.destination) == (
        family.version, protocol, source, ENDS[family][1]
    )  # fmt: skip
    assert item.data_length == SIZE[family] + len(payload) == view.end
    assert checksums_right(packet)
    assert packet[SIZE[family] :][-4:] == payload[-4:]
    assert item.protocol == protocol
    assert not item.info.transmit_tcp
    assert not item.info.transmit_udp


@pytest.mark.rule("NB-20")
def test_every_packet_of_a_list_gets_its_own_header(family: AddressFamily) -> None:
    core = up()
    item = core.ownership.create_from(udp(b"one"))
    second = udp(b"the second")
    item.first_net_buffer.next = NetBuffer(Mdl(bytearray(second)), 0, len(second))
    construct_ip_header(core, item, 0, family, *ENDS[family], 17)
    packets = item.packets()
    assert [packet[SIZE[family] + 8 :] for packet in packets] == [b"one", b"the second"]
    assert all(checksums_right(packet) and IpView(packet).total_length == len(packet) for packet in packets)


@pytest.mark.rule("NB-20")
def test_an_ipv4_header_that_is_built_has_an_identification() -> None:
    core = up()
    numbers = set()
    unlucky = next(udp(b"%d" % n) for n in range(1 << 20) if crc32(udp(b"%d" % n)) & 0xFFFF == 0)
    for octets in (udp(b"one"), udp(b"two"), unlucky):
        item = core.ownership.create_from(octets)
        construct_ip_header(core, item, 0, 2, *ENDS[AddressFamily.INET], 17)
        numbers.add(IpView(item.octets).identification)
    assert len(numbers - {0}) == 3


@pytest.mark.rule("NB-3", "NB-20")
def test_a_clone_with_a_built_header_may_be_freed_as_it_is(family: AddressFamily) -> None:
    core = up()
    memory = bytearray(udp(b"hello"))
    original = NetBufferList(memory, 0, len(memory), STACK)
    clone = core.ownership.clone(original)
    construct_ip_header(core, clone, 0, family, *ENDS[family], 17)
    assert clone.data_length == original.data_length + SIZE[family]
    core.ownership.free_clone(clone)
    assert list(core.violations) == []


# -- rebuilding -----------------------------------------------------------------------------------------------


def with_authentication(family: AddressFamily, payload: bytes) -> bytes:
    """A packet with an AH header of 24 octets in front of its UDP header."""
    header = bytes([17, 4, 0, 0]) + bytes(20)
    return build_ip_header(family.version or 0, *ENDS[family], 51, header + payload)


@pytest.mark.rule("NB-20", "NB-21", "NB-22", "TR-4")
def test_a_rebuilt_header_takes_the_place_of_all_that_goes(family: AddressFamily) -> None:
    core = up()
    packet = with_authentication(family, udp(b"hello"))
    item = core.ownership.create_from(b"front" + packet + b"behind")
    item.advance(5)
    construct_ip_header(core, item, SIZE[family] + 24, family, FOREIGN[family], ENDS[family][1], 17)
    result = item.octets.removesuffix(b"behind")
    assert len(result) == len(packet) - 24
    assert item.data_offset == 5 + 24
    assert (IpView(result).protocol, IpView(result).source) == (17, FOREIGN[family])
    assert checksums_right(result)
    assert result.endswith(b"hello")


@pytest.mark.rule("NB-21")
def test_rebuilding_keeps_ipv4_options() -> None:
    core = up()
    packet = bytearray(build_ip_header(4, *ENDS[AddressFamily.INET], 17, udp(b"hello")))
    packet[20:20] = b"\x94\x04\x00\x00"
    packet[0], packet[3] = 0x46, len(packet)
    fix_checksums(packet)
    item = core.ownership.create_from(packet)
    construct_ip_header(core, item, 24, 2, FOREIGN[AddressFamily.INET], ENDS[AddressFamily.INET][1], 17)
    assert item.octets[20:24] == b"\x94\x04\x00\x00"
    assert checksums_right(item.octets)


@pytest.mark.rule("NB-20", "NB-22", "GE-16")
def test_rebuilding_makes_changed_octets_whole_in_place(family: AddressFamily) -> None:
    core = up()
    packet = bytearray(build_ip_header(family.version or 0, *ENDS[family], 17, udp(b"hello")))
    original = NetBufferList(packet, 0, len(packet), STACK)
    clone = core.ownership.clone(original)
    clone.write(len(packet) - 5, b"HELLO")
    assert not checksums_right(clone.octets)
    construct_ip_header(core, clone, SIZE[family], family, *ENDS[family], 17)
    assert checksums_right(clone.octets)
    assert original.octets == clone.octets, "a clone shares its octets"
    core.ownership.free_clone(clone)
    assert list(core.violations) == []


# -- options of the socket ------------------------------------------------------------------------------------


class Endpoint:
    hop_limit = 9
    traffic_class = 0x2C


def control(level: int, kind: int, value: int) -> bytes:
    return pack("<Qiii4x", 20, level, kind, value)


@pytest.mark.rule("NB-23", "TS-5")
@pytest.mark.parametrize("header", [0, 1], ids=["built", "rebuilt"])
def test_the_endpoint_s_options_go_into_the_header(family: AddressFamily, header: int) -> None:
    core = up()
    packet = build_ip_header(family.version or 0, *ENDS[family], 17, udp(b"hello"))
    item = core.ownership.create_from(packet[0 if header else SIZE[family] :])
    construct_ip_header(core, item, SIZE[family] * header, family, *ENDS[family], 17, endpoint=Endpoint())
    view = IpView(item.octets)
    assert (view.hop_limit, view.traffic_class) == (9, 0x2C)
    assert checksums_right(item.octets)


@pytest.mark.rule("NB-23")
def test_control_data_goes_before_the_endpoint() -> None:
    both = control(0, 4, 33) + control(41, 39, 0x10) + control(0, 19, 5)
    assert socket_options(Endpoint(), both) == (33, 0x10)
    assert socket_options(Endpoint(), control(41, 21, 1)) == (1, 0x2C)
    assert socket_options(0, None) == (None, None)
    assert socket_options(77, b"") == (None, None)


@pytest.mark.rule("NB-23")
@pytest.mark.parametrize("octets", [b"short", control(0, 4, 5)[:-6], pack("<Qii", 15, 0, 4), control(0, 4, 256)])
def test_control_data_that_does_not_fit_is_refused(octets: bytes) -> None:
    with pytest.raises(InvalidParameter):
        socket_options(0, octets)


# -- what is refused ------------------------------------------------------------------------------------------


def refused(core: Core, item: NetBufferList | None, error: type[WfpError], **changed: Any) -> None:
    good: dict[str, Any] = {"header_length": 0, "family": 2, "source": bytes(4), "remote": bytes(4), "protocol": 17}
    before = None if item is None else (item.packets(), item.data_offset, item.structure())
    with pytest.raises(error):
        construct_ip_header(core, item, **good | changed)
    assert before is None or item is None or before == (item.packets(), item.data_offset, item.structure())


@pytest.mark.rule("NB-23", "GE-6", "GE-7", "GE-8")
@pytest.mark.parametrize(
    ("error", "changed"),
    [
        (FwpNullPointer, {"source": None}),
        (FwpNullPointer, {"remote": None, "reserved": 1, "flags": 1}),
        (FwpReserved, {"reserved": 0, "family": 10}),
        (FwpInvalidFlags, {"flags": 1, "family": 10}),
        (FwpInvalidFlags, {"flags": 4}),
        (InvalidParameter, {"family": 0}),
        (InvalidParameter, {"family": 10}),
        (InvalidParameter, {"source": bytes(16)}),
        (InvalidParameter, {"remote": bytes(5)}),
        (InvalidParameter, {"family": 23, "source": bytes(16)}),
        (InvalidParameter, {"control_data": b"short"}),
        (InvalidParameter, {"header_length": 20}),
    ],
)
def test_a_wrong_argument_is_refused_and_nothing_changed(error: type[WfpError], changed: dict[str, Any]) -> None:
    core = up()
    refused(core, core.ownership.create_from(udp(b"hello")), error, **changed)


@pytest.mark.rule("NB-23", "VE-1")
def test_flags_came_with_server_2022() -> None:
    core = up(profile=WindowsVersion.SERVER_2022_23H2)
    item = core.ownership.create_from(udp(b"hello"))
    refused(core, item, FwpInvalidFlags, flags=4)
    construct_ip_header(core, item, 0, 2, bytes(4), bytes(4), 17, flags=3)
    assert item.data_length == 20 + 13


@pytest.mark.rule("NB-20")
def test_a_header_is_rebuilt_in_a_list_of_one_packet_only() -> None:
    core = up()
    packet = build_ip_header(4, *ENDS[AddressFamily.INET], 17, udp(b"hello"))
    item = core.ownership.create_from(packet)
    item.first_net_buffer.next = NetBuffer(Mdl(bytearray(packet)), 0, len(packet))
    refused(core, item, InvalidParameter, header_length=20)


@pytest.mark.rule("NB-23")
def test_a_header_is_not_rebuilt_for_the_other_family() -> None:
    core = up()
    item = core.ownership.create_from(build_ip_header(4, *ENDS[AddressFamily.INET], 17, udp(b"hello")))
    refused(core, item, InvalidParameter, header_length=20, family=23)


@pytest.mark.rule("GE-3", "NB-11")
def test_a_list_that_is_not_the_driver_s_now_is_refused() -> None:
    core = up()
    refused(core, None, FwpNullPointer)
    item = core.ownership.create_from(udp(b"hello"))
    item.state = IN_FLIGHT
    refused(core, item, InvalidParameter)
    item.state = 0
    core.ownership.free_list(item)
    refused(core, item, InvalidParameter)
    assert core.violations.rules() == ["GE-3", "NB-11"]


# -- a group of fragments -------------------------------------------------------------------------------------


def group(family: AddressFamily, size: int = 4000) -> tuple[bytes, list[NetBufferList]]:
    """A datagram, and its fragments as the chain that IPFORWARD shows; the second in two pieces of memory."""
    whole = build_ip_header(family.version or 0, *ENDS[family], 17, udp(bytes(range(256)) * (size // 256)))
    parts = []
    for octets in fragment(whole, 1500):
        memory = bytearray(octets)
        parts.append(NetBufferList(memory, 0, len(memory), STACK))
    octets = parts[1].octets
    rest = Mdl(bytearray(octets[30:]))
    parts[1].first_net_buffer = NetBuffer(Mdl(bytearray(b"xx" + octets[:30]), next=rest), 2, len(octets))
    for before, after in zip(parts, parts[1:], strict=False):
        before.next = after
    return whole, parts


@pytest.mark.rule("NB-24", "FW-4")
def test_a_group_becomes_one_list_over_the_fragments_own_octets(family: AddressFamily) -> None:
    core = up()
    whole, parts = group(family)
    made = reassemble_forward_group(core, family, parts[0], backfill=16)
    assert made.octets == whole
    assert (made.data_offset, made.single, made.next) == (16, True, None)
    assert made.protocol == 17
    assert [part.references for part in parts] == [1] * len(parts)
    parts[0].write(parts[0].data_length - 1, b"\xee")
    assert made.octets != whole

    for part in parts:
        core.ownership.retire(part)
        assert part.state == 0, "still valid although classify has returned"
    core.ownership.free_list(made)
    assert [part.references for part in parts] == [0] * len(parts)
    assert core.ownership.counters().clean
    assert list(core.violations) == []


@pytest.mark.rule("NB-24")
def test_a_group_may_come_in_any_order() -> None:
    core = up()
    whole, parts = group(AddressFamily.INET)
    parts[0].next, parts[1].next, parts[2].next = None, parts[0], parts[1]
    assert reassemble_forward_group(core, 2, parts[2]).octets == whole


@pytest.mark.rule("NB-24", "FW-4")
def test_a_reassembled_list_can_be_forwarded_and_is_freed_with_its_own_function(family: AddressFamily) -> None:
    core = up()
    _, parts = group(family)
    made = reassemble_forward_group(core, family, parts[0])
    handle = core.create_handle(family, 8)
    with pytest.raises(FwpInvalidParameter):
        handle.forward(parts[0], print, family=family, interface=3)
    handle.forward(made, lambda context, item, level: core.ownership.free_list(item), family=family, interface=3)
    [injection] = handle.in_flight
    handle.complete(injection, made.status)
    assert core.ownership.counters().clean
    other = reassemble_forward_group(core, family, parts[0])
    core.ownership.free_clone(other)
    assert core.violations.rules()[-1] == "NB-8"


@pytest.mark.rule("NB-24")
def test_a_group_with_a_missing_fragment_is_refused_and_nothing_is_held(family: AddressFamily) -> None:
    core = up()
    _, parts = group(family)
    parts[0].next = parts[2]
    with pytest.raises(InvalidParameter):
        reassemble_forward_group(core, family, parts[0])
    assert [part.references for part in parts] == [0] * len(parts)
    assert core.ownership.counters().clean


@pytest.mark.rule("NB-24", "GE-6", "GE-8")
def test_wrong_arguments_of_a_group_are_refused() -> None:
    core = up()
    _, parts = group(AddressFamily.INET)
    with pytest.raises(FwpNullPointer):
        reassemble_forward_group(core, 2, None, flags=1)
    with pytest.raises(FwpInvalidFlags):
        reassemble_forward_group(core, 10, parts[0], flags=1)
    for family, backfill in ((10, 0), (23, 0), (2, -1)):
        with pytest.raises(InvalidParameter):
            reassemble_forward_group(core, family, parts[0], backfill=backfill)
    down = Core(lambda injection: None)
    with pytest.raises(TcpipNotReady):
        reassemble_forward_group(down, 2, parts[0])
    assert list(core.violations) == []


@pytest.mark.rule("NB-24")
def test_only_what_the_stack_indicated_is_a_group() -> None:
    core = up()
    _, parts = group(AddressFamily.INET)
    mine = core.ownership.create_from(parts[0].octets)
    mine.next = parts[1]
    with pytest.raises(InvalidParameter):
        reassemble_forward_group(core, 2, mine)
    assert core.violations.rules() == ["NB-24"]


@pytest.mark.rule("QS-8")
def test_a_reassembled_list_has_the_first_fragment_s_history() -> None:
    core = up()
    _, parts = group(AddressFamily.INET)
    parts[0].history = (Entry(core.create_handle(2, 8), None, 1),)
    made = reassemble_forward_group(core, 2, parts[0])
    assert made.history == parts[0].history
