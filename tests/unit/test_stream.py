"""Stream data: the window over its chain, copying it, cloning it, discarding clones."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.errors import FwpInvalidFlags, FwpNullPointer, InvalidParameter
from emulator.indication import Indication
from emulator.netbuffer import NetBufferList
from emulator.splice import Side
from emulator.stream import IoPacket, StreamData, clone_stream_data, copy_stream_data, discard_cloned
from emulator.stream_bench import GARBAGE, StreamBench
from emulator.wfptypes import StreamAction, StreamFlag

Shown = list[Any]


def need(octets: int) -> Any:
    """A callout that wants that many octets in one window before it permits, and tells what it then saw."""
    shown: Shown = []

    def classify(seen: Indication) -> None:
        packet: IoPacket = seen.stream
        if packet.stream_data.data_length < octets and not packet.stream_data.disconnect:
            packet.need_more(octets - packet.stream_data.data_length)
            return
        look(seen, shown)
        seen.permit()

    return classify, shown


def look(seen: Indication, shown: Shown) -> None:
    shown.append(seen.stream.stream_data)


@pytest.mark.rule("ST-20")
def test_an_indication_has_every_field_of_the_io_packet() -> None:
    bench = StreamBench()
    found: list[Any] = []

    def classify(seen: Indication) -> None:
        packet = seen.stream
        data = packet.stream_data
        found.append((
            data.flags, data.data_length, data.octets, packet.missed_bytes, packet.count_bytes_required,
            packet.count_bytes_enforced, packet.stream_action,
        ))  # fmt: skip
        assert seen.net_buffer_list is None
        seen.permit()

    bench.add(classify)
    bench.send(Side.HOST, b"hello")
    assert found == [(StreamFlag.SEND, 5, b"hello", 0, 0, 0, StreamAction.NONE)]


@pytest.mark.rule("ST-22")
def test_the_offset_locates_the_first_octet_behind_what_lies_before_the_window() -> None:
    bench = StreamBench()
    found: list[bytes] = []

    def classify(seen: Indication) -> None:
        offset = seen.stream.stream_data.data_offset
        assert offset.net_buffer_list is seen.stream.stream_data.net_buffer_list_chain
        assert offset.net_buffer is offset.net_buffer_list.first_net_buffer
        whole = bytes(offset.mdl.view())
        assert whole.startswith(GARBAGE)
        found.append(whole[offset.mdl_offset :])
        seen.permit()
        seen.stream.count_bytes_enforced = 2

    bench.add(classify)
    bench.send(Side.REMOTE, b"abcdef")
    assert found == [b"abcdef", b"cdef", b"ef"]


@pytest.mark.rule("ST-23")
def test_the_window_holds_payload_alone() -> None:
    bench = StreamBench(version=6)
    seen_octets: list[bytes] = []

    def classify(seen: Indication) -> None:
        seen_octets.append(seen.stream.stream_data.octets)
        seen.permit()

    bench.add(classify)
    bench.send(Side.HOST, b"GET / HTTP/1.1\r\n")
    assert seen_octets == [b"GET / HTTP/1.1\r\n"]
    assert bench.read(Side.REMOTE) == b"GET / HTTP/1.1\r\n"


@pytest.mark.rule("SD-1", "ST-22")
@pytest.mark.parametrize("size", [0, 1, 4, 9, 12, 13, 40])
def test_copying_takes_the_window_alone_out_of_an_odd_chain(size: int) -> None:
    bench = StreamBench()
    pieces = (b"a", b"bcd", b"", b"efghi", b"jklm")
    copied: list[tuple[int, bytes]] = []

    def classify(seen: Indication) -> None:
        data = seen.stream.stream_data
        if data.data_length < 13:
            seen.stream.need_more(13 - data.data_length)
            return
        buffer = bytearray(b"." * 40)
        count = copy_stream_data(data, buffer, size)
        copied.append((count, bytes(buffer)))
        seen.permit()

    bench.add(classify)
    bench.send(Side.HOST, *(piece for piece in pieces if piece))
    octets = b"".join(pieces)[:size]
    assert copied == [(len(octets), octets.ljust(40, b"."))]


@pytest.mark.rule("SD-1")
def test_copying_needs_a_buffer_that_holds_what_is_asked_for() -> None:
    data = StreamData(int(StreamFlag.SEND), 3, [(bytearray(b"abc"), 0, 0, 3)])
    with pytest.raises(InvalidParameter):
        copy_stream_data(data, bytearray(2), 3)
    with pytest.raises(FwpNullPointer):
        copy_stream_data(None, bytearray(2), 1)


@pytest.mark.rule("SD-2", "NB-1")
def test_clones_are_trimmed_to_the_window_and_share_its_octets() -> None:
    bench = StreamBench()
    classify, shown = need(7)
    clones: list[NetBufferList] = []

    def cloning(seen: Indication) -> None:
        classify(seen)
        if shown and not clones:
            clones.append(clone_stream_data(bench.core.ownership, shown[0]))

    bench.add(cloning)
    bench.send(Side.REMOTE, b"abc", b"defg")
    chain = list(clones[0].lists())
    assert [item.octets for item in chain] == [b"abc", b"defg"]
    assert sum(item.data_length for item in chain) == 7
    assert all(item.parent is not None and item.parent.child_count == 1 for item in chain)
    chain[0].write(0, b"X")
    parent = chain[0].parent
    assert parent is not None
    assert parent.octets.endswith(b"Xbc")
    discard_cloned(bench.core.ownership, clones[0])
    assert bench.core.ownership.counters().clean
    assert not list(bench.core.violations)


@pytest.mark.rule("SD-6")
def test_a_clone_after_a_part_was_permitted_covers_the_rest_alone() -> None:
    bench = StreamBench()
    cloned: list[bytes] = []

    def classify(seen: Indication) -> None:
        packet = seen.stream
        if packet.stream_data.data_length == 10:
            seen.permit()
            packet.count_bytes_enforced = 3
            return
        chain = clone_stream_data(bench.core.ownership, packet.stream_data)
        cloned.append(b"".join(item.octets for item in chain.lists()))
        discard_cloned(bench.core.ownership, chain)
        seen.permit()

    bench.add(classify)
    bench.send(Side.HOST, b"0123456789")
    assert cloned == [b"3456789"]


@pytest.mark.rule("SD-5", "ST-35")
def test_a_bare_fin_clones_to_one_empty_list() -> None:
    bench = StreamBench()
    lengths: list[list[int]] = []

    def classify(seen: Indication) -> None:
        chain = clone_stream_data(bench.core.ownership, seen.stream.stream_data)
        lengths.append([item.data_length for item in chain.lists()])
        discard_cloned(bench.core.ownership, chain)
        seen.permit()

    bench.add(classify)
    bench.finish(Side.HOST)
    assert lengths == [[0]]
    assert bench.ended[Side.REMOTE]


@pytest.mark.rule("SD-4")
def test_discarding_frees_the_whole_chain_once() -> None:
    bench = StreamBench()
    held: list[NetBufferList] = []

    def classify(seen: Indication) -> None:
        if seen.stream.stream_data.data_length < 6:
            seen.stream.need_more(1)
            return
        held.append(clone_stream_data(bench.core.ownership, seen.stream.stream_data))
        seen.permit()

    bench.add(classify)
    bench.send(Side.HOST, b"ab", b"cd", b"ef")
    assert bench.core.ownership.counters().clones == 3
    discard_cloned(bench.core.ownership, held[0])
    assert bench.core.ownership.counters().clean
    discard_cloned(bench.core.ownership, held[0])
    assert bench.core.violations.rules() == ["NB-9"]


@pytest.mark.rule("CO-12", "SD-2")
def test_stream_data_is_dead_once_classify_has_returned() -> None:
    bench = StreamBench()
    shown: Shown = []

    def classify(seen: Indication) -> None:
        look(seen, shown)
        seen.permit()

    bench.add(classify)
    bench.send(Side.HOST, b"ab")
    with pytest.raises(InvalidParameter):
        clone_stream_data(bench.core.ownership, shown[0])
    assert bench.core.violations.rules() == ["CO-12"]


@pytest.mark.rule("GE-6")
def test_cloning_takes_no_flags() -> None:
    bench = StreamBench()
    refused: list[type[BaseException]] = []

    def classify(seen: Indication) -> None:
        for data, flags in ((seen.stream.stream_data, 1), (None, 0)):
            try:
                clone_stream_data(bench.core.ownership, data, flags)
            except (FwpInvalidFlags, FwpNullPointer) as error:
                refused.append(type(error))
        seen.permit()

    bench.add(classify)
    bench.send(Side.HOST, b"ab")
    assert refused == [FwpInvalidFlags, FwpNullPointer]
    assert bench.core.ownership.counters().clean


@pytest.mark.parametrize("cuts", [(), (4,), (3, 9)], ids=["one piece", "two", "three"])
def test_finding_in_the_window_finds_what_a_search_of_its_octets_finds(cuts: tuple[int, ...]) -> None:
    text = b"cococococococococloudy, cloudy"
    pieces = [text[start:end] for start, end in zip((0, *cuts), (*cuts, len(text)), strict=True)]
    spans = [(bytearray(b"cloudy" + piece + b"cloudy"), 0, 6, 6 + len(piece)) for piece in pieces]
    data = StreamData(2, len(text), spans)
    for sought in (b"cloudy", b"c", b"", b"co", b"udyc", b"cloudyc", b"x", b", cloudy", b"cloudy, cloudyc"):
        for at in range(len(text) + 1):
            assert data.find(sought, at) == text.find(sought, at)


@pytest.mark.parametrize("cut", [1, 5, 6])
def test_the_last_octets_of_the_window(cut: int) -> None:
    spans = [(bytearray(b"##abcdef##"), 0, 2, 2 + cut), (bytearray(b"abcdef"), 0, cut, 6)]
    for data in (StreamData(2, 6, spans), StreamData(2, 6, [(bytearray(b"##abcdef##"), 0, 2, 8)])):
        assert [data.last(most) for most in (0, 1, 3, 6, 9)] == [b"", b"f", b"def", b"abcdef", b"abcdef"]
