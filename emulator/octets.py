"""A view of an IP packet over octets somebody else owns: nothing is copied, and any octets may come.

    view = IpView(buffer)
    if view.protocol == UDP and view.destination_port == 53: ...

A view is read when it is made (version, sizes, protocol) and when asked (everything else), so it shows
the octets of that moment: make another one after changing what the first one read.
All offsets count from the beginning of the buffer, all sizes are octets.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from emulator import spans
from emulator.spans import Buffer as Buffer

HOP_BY_HOP = 0
ICMP = 1
TCP = 6
UDP = 17
ROUTING = 43
FRAGMENT = 44
ESP = 50
AH = 51
ICMPV6 = 58
NO_NEXT_HEADER = 59
DESTINATION_OPTIONS = 60
_MOBILITY = 135
_HIP = 139
_SHIM6 = 140

IPV6_HEADER_SIZE = 40
FRAGMENT_HEADER_SIZE = 8

_IPV4_START = Struct("!BBHHHBB").unpack_from
_IPV6_START = Struct("!IHBB").unpack_from
_WORD = Struct("!H").unpack_from

_EXTENSIONS = frozenset((HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION_OPTIONS, _MOBILITY, _HIP, _SHIM6))
_PLAIN_V4 = 0x45  # the first octet of an IPv4 header without options
_MOST_EXTENSIONS = 32
"""A chain longer than this is not followed: no real packet has one, and a walk must end soon."""

_PORT_PROTOCOLS = frozenset((TCP, UDP, 33, 132, 136))
"""Those that begin with two 16-bit ports: TCP, UDP, DCCP, SCTP, UDP-Lite."""


class Malformed(ValueError):
    """The octets cannot be read as an IP packet; the message says which field is wrong."""


class IpView:
    """One IP packet lying in `buffer` from `start` up to `end` (its length when None).

    Octets behind the packet's own total length are left out; a total length beyond the octets, or
    below the header, is not an error here (`flaw` tells). An IPv6 chain that is cut off, too long or
    encrypted ends the walk: `protocol` is then the number it stopped at.
    Borrows the buffer. Raises Malformed when there is no complete IP header.
    """

    __slots__ = (
        "buffer", "end", "fragment_offset", "fragment_word", "header_size", "protocol", "start", "total_length",
        "transport_offset", "version",
    )  # fmt: skip

    buffer: Buffer
    start: int
    end: int
    """End of the packet: of its total length, or of the octets where that is smaller."""
    version: int
    header_size: int
    """IPv4: with options. IPv6: with the extension headers in front of the transport header."""
    protocol: int
    """Of the transport header, behind any IPv6 extension headers."""
    total_length: int
    """As the header gives it; IPv6: payload length and fixed header."""
    transport_offset: int
    fragment_offset: int
    """Of this fragment's data in its datagram, in octets; 0 when whole."""
    fragment_word: int
    """IPv4: the flags and offset field. IPv6: the same field of the fragment header, or 0."""

    def __init__(self, buffer: Buffer, start: int = 0, end: int | None = None) -> None:
        if end is None:
            end = len(buffer)
        elif end > len(buffer):
            raise Malformed(f"end {end} lies behind the {len(buffer)} octets there are")
        if start < 0 or end - start < 20:
            raise Malformed(f"{max(end - start, 0)} octets hold no IP header")
        first, _, total, _, fragment, _, protocol = _IPV4_START(buffer, start)
        self.buffer = buffer
        self.start = start
        if first >> 4 == 4:
            size = (first & 0x0F) << 2
            if size < 20 or start + size > end:
                raise Malformed(f"IPv4 header length {size} in {end - start} octets")
            self.version = 4
            self.header_size = size
            self.protocol = protocol
            self.total_length = total
            self.transport_offset = start + size
            self.fragment_word = fragment
            self.fragment_offset = (fragment & 0x1FFF) << 3
            self.end = start + total if size <= total < end - start else end
        elif first >> 4 == 6:
            self._read_ipv6(buffer, start, end)
        else:
            raise Malformed(f"version nibble {first >> 4} is neither 4 nor 6")

    def _read_ipv6(self, buffer: Buffer, start: int, end: int) -> None:
        if end - start < IPV6_HEADER_SIZE:
            raise Malformed(f"{end - start} octets hold no IPv6 header")
        _, length, following, _ = _IPV6_START(buffer, start)
        total = length + IPV6_HEADER_SIZE
        self.version = 6
        self.total_length = total
        self.fragment_word = self.fragment_offset = 0
        if total < end - start:
            end = start + total
        self.end = end
        at = start + IPV6_HEADER_SIZE
        if following in _EXTENSIONS:
            following, at = self._walk(buffer, following, at, end)
        self.protocol = following
        self.transport_offset = at
        self.header_size = at - start

    def _walk(self, buffer: Buffer, following: int, at: int, end: int) -> tuple[int, int]:
        """The protocol behind the extension headers, and where it begins."""
        for _ in range(_MOST_EXTENSIONS):
            if following not in _EXTENSIONS or end - at < 8:
                break
            size = extension_size(following, buffer[at + 1])
            if at + size > end:
                break
            if following == FRAGMENT:
                (word,) = _WORD(buffer, at + 2)
                self.fragment_word = word
                self.fragment_offset = word & 0xFFF8
                if word & 0xFFF8:
                    return buffer[at], at + size
            following = buffer[at]
            at += size
        return following, at

    @property
    def fixed_header_size(self) -> int:
        """The IP header alone: IPv4 with options, IPv6 always 40."""
        return self.header_size if self.version == 4 else IPV6_HEADER_SIZE

    @property
    def source(self) -> bytes:
        """The source address in network order, 4 or 16 octets."""
        start = self.start
        if self.version == 4:
            return spans.span(self.buffer, start + 12, start + 16)
        return spans.span(self.buffer, start + 8, start + 24)

    @property
    def destination(self) -> bytes:
        """The destination address of the IP header in network order, 4 or 16 octets."""
        start = self.start
        if self.version == 4:
            return spans.span(self.buffer, start + 16, start + 20)
        return spans.span(self.buffer, start + 24, start + 40)

    @property
    def hop_limit(self) -> int:
        """TTL or hop limit."""
        return self.buffer[self.start + (8 if self.version == 4 else 7)]

    @property
    def ttl(self) -> int:
        """TTL or hop limit."""
        return self.hop_limit

    @property
    def traffic_class(self) -> int:
        """TOS octet or traffic class."""
        if self.version == 4:
            return self.buffer[self.start + 1]
        (word,) = _WORD(self.buffer, self.start)
        return int(word >> 4 & 0xFF)

    @property
    def identification(self) -> int:
        """IPv4: the ID field. IPv6: the fragment header's, or 0 without one."""
        if self.version == 4:
            return int(_WORD(self.buffer, self.start + 4)[0])
        at = fragment_header_offset(self)
        return 0 if at is None else int.from_bytes(self.buffer[at + 4 : at + 8], "big")

    @property
    def dont_fragment(self) -> bool:
        """The DF flag; routers never fragment IPv6, so True there."""
        return self.version == 6 or bool(self.fragment_word & 0x4000)

    @property
    def more_fragments(self) -> bool:
        """Whether later fragments of the datagram follow."""
        return bool(self.fragment_word & (0x2000 if self.version == 4 else 1))

    @property
    def is_fragment(self) -> bool:
        """Whether this is a part of a datagram, the first one included."""
        return bool(self.fragment_word & (0x3FFF if self.version == 4 else 0xFFF9))

    @property
    def transport_header_size(self) -> int:
        """TCP with options, UDP 8, ICMP 8; 0 where the header is not here, cut off or of another protocol."""
        if self.fragment_offset:
            return 0
        at = self.transport_offset
        left = self.end - at
        protocol = self.protocol
        if protocol == TCP:
            if left < 20:
                return 0
            size = self.buffer[at + 12] >> 4 << 2
            return size if 20 <= size <= left else 0
        if protocol == UDP or protocol == (ICMP if self.version == 4 else ICMPV6):
            return 8 if left >= 8 else 0
        return 0

    @property
    def payload_offset(self) -> int:
        """Where the octets behind the transport header begin."""
        return self.transport_offset + self.transport_header_size

    @property
    def indicated_offset(self) -> int:
        """Where an inbound transport-like indication starts: the payload, but for ICMP its header (TR-2)."""
        return self.transport_offset if self.is_icmp else self.payload_offset

    @property
    def is_icmp(self) -> bool:
        """Whether the protocol is the ICMP of this IP version."""
        return self.protocol == (ICMP if self.version == 4 else ICMPV6)

    @property
    def source_port(self) -> int | None:
        """Of TCP, UDP and the like; None where there is none to read."""
        return spans.word(self.buffer, self.transport_offset) if self._has_ports() else None

    @property
    def destination_port(self) -> int | None:
        """Of TCP, UDP and the like; None where there is none to read."""
        return spans.word(self.buffer, self.transport_offset + 2) if self._has_ports() else None

    @property
    def ports(self) -> tuple[int, int] | None:
        """Source and destination port in one reading; None where there are none to read."""
        at = self.transport_offset
        return (spans.word(self.buffer, at), spans.word(self.buffer, at + 2)) if self._has_ports() else None

    def _has_ports(self) -> bool:
        known = self.protocol in _PORT_PROTOCOLS
        return known and not self.fragment_offset and self.transport_offset + 4 <= self.end

    @property
    def icmp_type(self) -> int | None:
        """Type of an ICMP or ICMPv6 message; None where there is none to read."""
        return self._icmp_octet(0)

    @property
    def icmp_code(self) -> int | None:
        """Code of an ICMP or ICMPv6 message; None where there is none to read."""
        return self._icmp_octet(1)

    def _icmp_octet(self, index: int) -> int | None:
        at = self.transport_offset
        if not self.is_icmp or self.fragment_offset or at + 2 > self.end:
            return None
        return self.buffer[at + index]

    @property
    def tcp_flags(self) -> int | None:
        """The eight flag bits, FIN lowest; None where there is no TCP header to read."""
        at = self.transport_offset
        if self.protocol != TCP or self.fragment_offset or at + 14 > self.end:
            return None
        return self.buffer[at + 13]

    def __repr__(self) -> str:
        return f"<IpView {describe(self.buffer, self.start, self.end)}>"


def view_of(buffer: Buffer) -> IpView:
    """The same as calling the class, for all of a buffer."""
    view = IpView.__new__(IpView)
    size = len(buffer)
    if size >= 20 and spans.word(buffer, 0) >> 8 == _PLAIN_V4:
        total = spans.word(buffer, 2)
        fragment = spans.word(buffer, 6)
        view.buffer = buffer
        view.start = 0
        view.version = 4
        view.header_size = view.transport_offset = 20
        view.protocol = spans.word(buffer, 8) & 0xFF
        view.total_length = total
        view.fragment_word = fragment
        view.fragment_offset = (fragment & 0x1FFF) << 3
        view.end = total if 20 <= total < size else size
    else:
        view.__init__(buffer)  # type: ignore[misc]
    return view


def extension_size(header: int, length_octet: int) -> int:
    """Size of an IPv6 extension header of this number whose second octet this is."""
    if header == FRAGMENT:
        return FRAGMENT_HEADER_SIZE
    if header == AH:
        return (length_octet + 2) << 2
    return (length_octet + 1) << 3


def fragment_header_offset(view: IpView) -> int | None:
    """Where an IPv6 packet's fragment header begins; None without one that the view has walked over."""
    for header, at in extension_headers(view):
        if header == FRAGMENT:
            return at
    return None


def extension_headers(view: IpView) -> list[tuple[int, int]]:
    """Number and offset of every IPv6 extension header the view has walked over; empty for IPv4."""
    found: list[tuple[int, int]] = []
    if view.version == 4:
        return found
    buffer = view.buffer
    at = view.start + IPV6_HEADER_SIZE
    following = buffer[view.start + 6]
    while at + 8 <= view.transport_offset:
        found.append((following, at))
        size = extension_size(following, buffer[at + 1])
        following = buffer[at]
        at += size
    return found


def address_value(address: bytes) -> int | bytes:
    """An address as a classify shows it: IPv4 a host-order number, IPv6 its 16 octets (LA-34)."""
    return int.from_bytes(address, "big") if len(address) == 4 else address


def flaw(buffer: Buffer, version: int | None = None, start: int = 0, end: int | None = None) -> str | None:
    """Why these octets are no IP packet that could be sent; None when they are one.

    `version` is the one that is wanted, 4 or 6, or None for either. Checksums are not looked at.
    Source: NS-2.
    """
    last = len(buffer) if end is None else min(end, len(buffer))
    if last <= start:
        return "there are no octets"
    nibble = buffer[start] >> 4
    if version is not None and nibble in (4, 6) and nibble != version:
        return f"IPv{nibble} where IPv{version} is wanted"
    try:
        view = IpView(buffer, start, last)
    except Malformed as error:
        return str(error)
    if view.total_length > last - start:
        return f"total length {view.total_length} in {last - start} octets"
    if view.total_length < view.fixed_header_size:
        return f"total length {view.total_length} does not hold the header of {view.fixed_header_size}"
    return None


_NAMES = {ICMP: "ICMP", TCP: "TCP", UDP: "UDP", ESP: "ESP", AH: "AH", ICMPV6: "ICMPv6", 132: "SCTP"}
_TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")


def describe(buffer: Buffer, start: int = 0, end: int | None = None) -> str:
    """One line for people: `IPv4 UDP 10.0.0.1:1000 -> 10.0.0.2:53, 42 octets`. Never raises."""
    last = len(buffer) if end is None else min(end, len(buffer))
    size = f"{max(last - start, 0)} octets"
    try:
        view = IpView(buffer, start, last)
    except Malformed as error:
        return f"{size}, not IP: {error}"
    name = _NAMES.get(view.protocol, f"protocol {view.protocol}")
    source = _end_text(view.source, view.source_port)
    parts = [f"IPv{view.version} {name} {source} -> {_end_text(view.destination, view.destination_port)}"]
    if view.icmp_type is not None:
        parts.append(f"type {view.icmp_type} code {view.icmp_code}")
    if view.tcp_flags:
        parts.append("+".join(flag for bit, flag in enumerate(_TCP_FLAGS) if view.tcp_flags >> bit & 1))
    if view.is_fragment:
        parts.append(f"fragment at {view.fragment_offset}{'' if view.more_fragments else ' (last)'}")
    return " ".join(parts) + f", {size}"


def _end_text(address: bytes, port: int | None) -> str:
    text = str(IPv4Address(address) if len(address) == 4 else IPv6Address(address))
    if port is None:
        return text
    return f"{text}:{port}" if len(address) == 4 else f"[{text}]:{port}"
