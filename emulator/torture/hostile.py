"""What is given hostile octets: each target takes any octets, and may end in nothing but the errors it documents.

A target checks more than that it does not fail: what it says of the octets has to hold together.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from emulator.checksums import (
    fix_checksums,
    ipv4_header_checksum_ok,
    transport_checksum,
    transport_checksum_is_partial,
    transport_checksum_ok,
)
from emulator.construct import construct_ip_header
from emulator.core import Core
from emulator.dataflaws import flaws
from emulator.errors import WfpError
from emulator.fragments import CannotFragment, fragment, reassemble
from emulator.headers import build_ip_header, rebuild_ip_header
from emulator.octets import IpView, Malformed, describe, extension_headers, flaw
from emulator.offload import finished
from emulator.paths.netlink_packets import PacketReader
from emulator.splice import Side
from emulator.stream_bench import StreamBench

Target = Callable[[bytes], None]
LONGEST = 2048
"""Octets of one case."""
_ROOM = 70000


def view(data: bytes) -> None:
    """Every property of a view over any octets; what can be sent is read the same way again."""
    describe(data)
    wrong = flaw(data)
    try:
        seen = IpView(data)
    except Malformed:
        assert wrong is not None
        return
    assert 0 <= seen.start <= seen.transport_offset <= len(data)
    assert seen.start < seen.end <= len(data)
    assert seen.payload_offset <= max(seen.end, seen.transport_offset)
    _ = (seen.source, seen.destination, seen.ports, seen.icmp_type, seen.icmp_code, seen.tcp_flags, seen.hop_limit)
    _ = (seen.identification, seen.dont_fragment, seen.more_fragments, seen.traffic_class, seen.indicated_offset)
    extension_headers(seen)
    ipv4_header_checksum_ok(seen)
    transport_checksum_is_partial(seen)
    fixed = bytearray(data)
    view_of_fixed = fix_checksums(fixed)
    assert ipv4_header_checksum_ok(view_of_fixed)
    if transport_checksum(view_of_fixed) is not None:
        assert transport_checksum_ok(IpView(fixed)) is True
    finished(data)


def header(data: bytes) -> None:
    """Headers built, rebuilt, cut into fragments and put together again, as the octets say."""
    if len(data) < 6:
        return
    protocol, what, mtu, body = data[0], data[1], 28 + data[2] * 8, data[6:]
    version = 4 if what & 1 else 6
    ends = (bytes(4 if version == 4 else 16), bytes([data[3]]) * (4 if what & 2 or version == 4 else 16))
    try:
        made = build_ip_header(version, *ends, protocol, body, traffic_class=data[4], identification=data[5])
        assert flaw(made, version) is None
        pieces = fragment(made, mtu)
        if len(pieces) > 1:
            whole = IpView(made)
            assert reassemble(pieces)[whole.header_size :] == made[whole.header_size :]
    except (WfpError, CannotFragment, ValueError):
        pass
    try:
        rebuilt = rebuild_ip_header(body, *ends, protocol, header_size=data[3] if what & 4 else None)
        assert flaw(rebuilt) is None
    except (WfpError, ValueError):
        pass
    _construct(body, version, ends, protocol, data[2] if what & 8 else 0)


def _construct(body: bytes, version: int, ends: tuple[bytes, bytes], protocol: int, size: int) -> None:
    core = Core(_performed)
    item = core.ownership.create_from(body, backfill=size & 15)
    before = item.octets
    try:
        construct_ip_header(core, item, size, 2 if version == 4 else 23, *ends, protocol)
    except WfpError:
        assert item.octets == before
    flaws(0, item, version)
    core.ownership.free_list(item)


def _performed(injection: object) -> None:
    raise AssertionError("nothing is injected here")


def netlink(data: bytes) -> None:
    """Datagrams of a netlink socket: any octets, cut as the first of them say."""
    tally: Counter[str] = Counter()
    reader = PacketReader((0, 1, 7), tally)
    buffer = bytearray(data) + bytes(_ROOM - len(data))
    cut = 1 + data[0] if data else 1
    offsets = list(range(0, max(len(data), 1), cut))
    lengths = [min(cut, len(data) - at) for at in offsets]
    packets = reader.read(buffer, offsets, lengths)
    packets += reader.read(buffer, [0], [len(data)])
    for packet in packets:
        assert len(packet.payload) <= max(len(data), cut)
        assert 0 <= packet.mark < 1 << 32
        describe(packet.payload)


def splice(data: bytes) -> None:
    """A connection through a callout that decides as the octets say; one that permits changes nothing."""
    permits = not data or data[0] & 1
    choices = iter(data[1:])

    def classify(seen: Any) -> None:
        choice = 0 if permits else next(choices, 0)
        stream = seen.stream
        if choice & 7 == 1:
            stream.need_more(choice >> 3)
        elif choice & 7 == 2:
            seen.block()
            stream.count_bytes_enforced = choice >> 3
        elif choice & 7 == 3:
            stream.defer()
        elif choice & 7 == 4:
            stream.drop_connection()
        elif choice & 7 == 5:
            stream.stream_action = choice
        else:
            seen.permit()
            stream.count_bytes_enforced = choice >> 3

    bench = StreamBench(core=Core(_performed))
    bench.add(classify)
    sent = {Side.HOST: b"", Side.REMOTE: b""}
    finished_sides = set()
    for at in range(0, min(len(data), 64), 4):
        side = Side.HOST if data[at] & 2 else Side.REMOTE
        if side in finished_sides or bench.reset:
            continue
        if data[at] & 4:
            bench.window[side.other] = data[at] >> 3
        if data[at] >= 250:
            finished_sides.add(side)
            bench.finish(side)
        else:
            octets = data[at : at + 1 + data[at] % 9]
            sent[side] += octets
            bench.send(side, octets)
    _drained(bench, sent, exact=bool(permits) and not bench.reset)


def _drained(bench: StreamBench, sent: dict[Side, bytes], *, exact: bool) -> None:
    for side in Side:
        got = b""
        bench.window[side.other] = None
        if bench.splice:  # it begins when it is first asked for
            bench.turn()
        while octets := bench.read(side.other):
            got += octets
        if exact:
            assert got == sent[side], (got, sent[side])
        else:
            assert len(got) <= len(sent[side])


def trace(data: bytes) -> None:
    """A trace file of any octets: read, told in words, summed up."""
    from emulator.evidence.traceevents import BadTrace, read_file
    from emulator.evidence.tracetext import line, number, what

    try:
        for event in read_file(io.BytesIO(data)):
            line(event)
            number(event)
            what(event)
    except BadTrace:
        pass


def report(data: bytes) -> None:
    """A report and a JUnit document of what a trace of any octets and scenarios with any words say."""
    from xml.etree import ElementTree

    from emulator.checks import Check
    from emulator.evidence.htmlreport import write_report
    from emulator.evidence.junit import write_junit
    from emulator.evidence.traceevents import BadTrace, read
    from emulator.run.results import Result

    words = data.decode("utf-8", "surrogateescape")
    result = Result(words[:40], words, ["ipv4"], [Check(words, False, words, words, words)])
    result.violations = [{"family": "ipv4", "rule": words[:8], "text": words}]
    result.steps, result.sections, result.unmeasured = [words], [(words, words)], [words]
    counts: Counter[str] = Counter(passed=0, failed=1, unmeasured=0, scenarios=1)
    xml = io.BytesIO()
    write_junit(xml, [result], counts)
    ElementTree.fromstring(xml.getvalue())
    page = io.BytesIO()
    try:
        write_report(page, [result], read(io.BytesIO(data)), counts)
    except BadTrace:
        write_report(page, [result], iter(()), counts)
    text = page.getvalue().decode()
    assert "<script>alert" not in text.lower()


def journal(data: bytes) -> None:
    """The journal of a lease, which a crash may have cut off, or somebody may have written into."""
    import os
    import tempfile

    from netns.lease import Estate, _read

    with tempfile.TemporaryFile() as file:
        os.write(file.fileno(), data)
        estate = _read(file.fileno())
    assert isinstance(estate, Estate)
    assert isinstance(estate.pid, int)
    assert all(isinstance(name, str) for name in estate.names)


TARGETS: Mapping[str, Target] = {
    "view": view,
    "header": header,
    "netlink": netlink,
    "splice": splice,
    "trace": trace,
    "report": report,
    "journal": journal,
}

WEIGHTS: Mapping[str, float] = {
    "view": 0.46, "header": 0.2, "netlink": 0.2, "splice": 0.03, "trace": 0.1, "report": 0.002, "journal": 0.008,
}  # fmt: skip
"""What share of the cases each target gets: those that read what comes from outside get the most."""
