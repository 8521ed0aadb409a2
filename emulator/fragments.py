"""Cutting a datagram into fragments, and putting fragments together again.

Source: NB-24, NS-13, TS-19; RFC 791, RFC 8200 4.5, RFC 5722.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from emulator.checksums import ipv4_header_checksum
from emulator.errors import InvalidParameter
from emulator.octets import (
    DESTINATION_OPTIONS,
    FRAGMENT,
    FRAGMENT_HEADER_SIZE,
    HOP_BY_HOP,
    IPV6_HEADER_SIZE,
    ROUTING,
    Buffer,
    IpView,
    Malformed,
    extension_headers,
    extension_size,
    fragment_header_offset,
)

_LARGEST_DATAGRAM = 0xFFFF
_COPIED_OPTION = 0x80
_END_OF_OPTIONS = 0
_NO_OPERATION = 1


class CannotFragment(ValueError):
    """The packet does not fit and must not, or cannot, be cut; the message says why."""


def fragment(packet: Buffer, mtu: int, *, identification: int | None = None) -> list[bytes]:
    """The packet as fragments of at most `mtu` octets, in order; the packet alone if it fits.

    `identification` is for the IPv6 fragment header; without one it follows from the octets, so that the
    same packet gives the same fragments. IPv4 keeps its ID, and options go where RFC 791 wants them.
    Raises CannotFragment: DF is set, the packet is no IP packet or an IPv6 fragment, the MTU has no room
    for headers and eight octets.
    """
    try:
        view = IpView(packet)
    except Malformed as error:
        raise CannotFragment(str(error)) from error
    if view.end <= mtu:
        return [bytes(packet[: view.end])]
    if view.version == 4:
        return _fragment_ipv4(view, mtu)
    if identification is None:
        identification = crc32(packet)
    return _fragment_ipv6(view, mtu, identification)


def _fragment_ipv4(view: IpView, mtu: int) -> list[bytes]:
    if view.dont_fragment:
        raise CannotFragment(f"DF is set and {view.end} octets exceed the MTU of {mtu}")
    packet = bytes(view.buffer[: view.end])
    first = packet[: view.header_size]
    later = first[:20] + _copied_options(first[20:])
    whole_ends_here = not view.more_fragments
    fragments: list[bytes] = []
    at = view.header_size
    while at < view.end:
        header = later if fragments else first
        piece = packet[at : at + _piece_size(mtu, len(header), view.end - at)]
        last = at + len(piece) == view.end
        offset = view.fragment_offset + at - view.header_size
        more = not (last and whole_ends_here)
        fragments.append(_ipv4_fragment(header, piece, offset, more=more))
        at += len(piece)
    return fragments


def _piece_size(mtu: int, header_size: int, left: int) -> int:
    """How much of what is left goes into the next fragment: all, or a multiple of eight octets."""
    room = mtu - header_size
    if left <= room:
        return left
    if room < 8:
        raise CannotFragment(f"an MTU of {mtu} leaves no room behind {header_size} octets of headers")
    return room & ~7


def _ipv4_fragment(header: bytes, piece: bytes, offset: int, *, more: bool) -> bytes:
    result = bytearray(header + piece)
    result[0] = 4 << 4 | len(header) >> 2
    result[2:4] = len(result).to_bytes(2, "big")
    reserved = result[6] & 0x80
    result[6:8] = ((0x2000 if more else 0) | offset >> 3).to_bytes(2, "big")
    result[6] |= reserved
    result[10:12] = ipv4_header_checksum(IpView(result)).to_bytes(2, "big")
    return bytes(result)


def _copied_options(options: bytes) -> bytes:
    """The options whose copied flag is set, padded to whole words: what later fragments carry."""
    kept = bytearray()
    at = 0
    while at < len(options) and options[at] != _END_OF_OPTIONS:
        if options[at] == _NO_OPERATION:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        if size < 2 or at + size > len(options):
            break
        if options[at] & _COPIED_OPTION:
            kept += options[at : at + size]
        at += size
    return bytes(kept) + bytes(-len(kept) % 4)


def _fragment_ipv6(view: IpView, mtu: int, identification: int) -> list[bytes]:
    if fragment_header_offset(view) is not None:
        raise CannotFragment("an IPv6 fragment is not fragmented again")
    packet = bytes(view.buffer[: view.end])
    cut, field = _unfragmentable_end(view)
    head = bytearray(packet[:cut])
    following = head[field]
    head[field] = FRAGMENT
    fragments: list[bytes] = []
    at = cut
    while at < view.end:
        piece = packet[at : at + _piece_size(mtu, cut + FRAGMENT_HEADER_SIZE, view.end - at)]
        more = at + len(piece) < view.end
        extra = bytes((following, 0)) + (at - cut | more).to_bytes(2, "big") + identification.to_bytes(4, "big")
        result = head + extra + piece
        result[4:6] = (len(result) - IPV6_HEADER_SIZE).to_bytes(2, "big")
        fragments.append(bytes(result))
        at += len(piece)
    return fragments


def _unfragmentable_end(view: IpView) -> tuple[int, int]:
    """End of the part every fragment repeats, and where that part names what follows it."""
    headers = extension_headers(view)
    routed = any(header == ROUTING for header, _ in headers)
    cut, field = IPV6_HEADER_SIZE, 6
    for header, at in headers:
        if header == HOP_BY_HOP or (routed and header in (DESTINATION_OPTIONS, ROUTING)):
            cut, field = at + extension_size(header, view.buffer[at + 1]), at
            routed = routed and header != ROUTING
        else:
            break
    return cut, field


def reassemble(fragments: Sequence[Buffer]) -> bytes:
    """The datagram that all these fragments, in any order, are.

    The header is the first fragment's. Strict: every octet exactly once, so neither gaps nor overlaps,
    not even by a copy of a fragment.
    Raises InvalidParameter: none given, one that is no IP packet or no fragment, parts of different
    datagrams, a missing first, middle or last part, an overlap, a datagram above 65535 octets.
    """
    parts = sorted((_view(octets) for octets in fragments), key=lambda view: view.fragment_offset)
    if not parts:
        raise InvalidParameter("there are no fragments", rule="NB-24")
    first = parts[0]
    identity = _identity(first)
    payload = bytearray()
    for view in parts:
        if _identity(view) != identity:
            raise InvalidParameter("the fragments are not of one datagram", rule="NB-24")
        if view.fragment_offset != len(payload):
            what = "overlap" if view.fragment_offset < len(payload) else "are missing"
            raise InvalidParameter(f"octets before {view.fragment_offset} {what}", rule="NB-24")
        if view.more_fragments == (view is parts[-1]):
            raise InvalidParameter("the last fragment is missing, or others follow it", rule="NB-24")
        data = view.buffer[view.start + _data_offset(view) : view.end]
        if view.more_fragments and len(data) & 7:
            raise InvalidParameter(f"a middle fragment of {len(data)} octets", rule="NB-24")
        payload += data
    return _whole_ipv4(first, payload) if first.version == 4 else _whole_ipv6(first, payload)


def _view(octets: Buffer) -> IpView:
    try:
        view = IpView(octets)
    except Malformed as error:
        raise InvalidParameter(f"a fragment cannot be read: {error}", rule="NB-24") from error
    if not view.is_fragment:
        raise InvalidParameter("one of them is no fragment", rule="NB-24")
    if view.total_length > view.end or view.total_length < view.fixed_header_size:
        raise InvalidParameter(f"a fragment's total length is {view.total_length}", rule="NB-24")
    return view


def _identity(view: IpView) -> tuple[int, bytes, bytes, int, int]:
    # An IPv6 fragment's next header need not agree: the first fragment's counts (RFC 8200 4.5).
    protocol = view.protocol if view.version == 4 else 0
    return view.version, view.source, view.destination, protocol, view.identification


def _data_offset(view: IpView) -> int:
    """Where the fragment's own octets begin, counted from its IP header."""
    if view.version == 4:
        return view.header_size
    at = fragment_header_offset(view)
    assert at is not None, "an IPv6 fragment has a fragment header"
    return at - view.start + FRAGMENT_HEADER_SIZE


def _whole_ipv4(first: IpView, payload: bytearray) -> bytes:
    result = bytearray(first.buffer[: first.header_size]) + payload
    if len(result) > _LARGEST_DATAGRAM:
        raise InvalidParameter(f"the datagram would have {len(result)} octets", rule="NB-24")
    result[2:4] = len(result).to_bytes(2, "big")
    result[6] &= 0xC0
    result[7] = 0
    result[10:12] = ipv4_header_checksum(IpView(result)).to_bytes(2, "big")
    return bytes(result)


def _whole_ipv6(first: IpView, payload: bytearray) -> bytes:
    headers = extension_headers(first)
    field = 6
    for header, at in headers:
        if header == FRAGMENT:
            break
        field = at
    result = bytearray(first.buffer[:at])
    result[field] = first.buffer[at]
    result += payload
    if len(result) - IPV6_HEADER_SIZE > _LARGEST_DATAGRAM:
        raise InvalidParameter(f"the datagram would have {len(result)} octets", rule="NB-24")
    result[4:6] = (len(result) - IPV6_HEADER_SIZE).to_bytes(2, "big")
    return bytes(result)
