"""Checksums of IP, TCP, UDP and ICMP: looking at them, computing them, putting them right in place.

Sums are taken over one big number: since 65536 leaves 1 when divided by 65535, the ones' complement sum
of 16-bit words is the number modulo 65535. That is several times faster here than adding words.
Source: RFC 1071, RFC 1624, RFC 8200 8.1.
"""

from __future__ import annotations

from emulator.octets import ICMP, ICMPV6, ROUTING, TCP, UDP, Buffer, IpView, extension_headers

_FIELD_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}
_LEAST_SIZE = {TCP: 20, UDP: 8, ICMP: 4, ICMPV6: 4}
_LAST_ADDRESS_ROUTING = (0, 2)
_SEGMENT_ROUTING = 4


def fold(total: int) -> int:
    """The ones' complement sum, 16 bits, of a number taken as 16-bit words; 0 only for 0."""
    return total % 0xFFFF or (0xFFFF if total else 0)


def octet_sum(data: Buffer, start: int = 0, end: int | None = None) -> int:
    """A number whose `fold` is the sum of these octets' words; an odd last octet is padded with zero."""
    octets = data[start:end]
    total = int.from_bytes(octets, "big")
    return total << 8 if len(octets) & 1 else total


def internet_checksum(data: Buffer, start: int = 0, end: int | None = None, *, initial: int = 0) -> int:
    """The checksum of these octets, and of `initial`, a sum such as `pseudo_header_sum` gives."""
    return ~fold(octet_sum(data, start, end) + initial) & 0xFFFF


def incremental_update(checksum: int, old: Buffer, new: Buffer) -> int:
    """The checksum after `old` was replaced by `new`, both of one even size at an even place.

    Raises ValueError when the sizes differ or are odd. Source: RFC 1624, equation 3.
    """
    if len(old) != len(new) or len(old) & 1:
        raise ValueError(f"cannot update a checksum from {len(old)} to {len(new)} octets")
    # 65535 - word is the complement of a word, so subtracting takes `old` out modulo 65535.
    complement = int.from_bytes(b"\xff" * len(old), "big") - int.from_bytes(old, "big")
    return ~fold((~checksum & 0xFFFF) + complement + int.from_bytes(new, "big")) & 0xFFFF


def ipv4_header_checksum(view: IpView) -> int:
    """What the header checksum of this IPv4 packet should be; 0 for IPv6, which has none."""
    if view.version == 6:
        return 0
    start = view.start
    given = view.buffer[start + 10] << 8 | view.buffer[start + 11]
    return ~fold(octet_sum(view.buffer, start, start + view.header_size) - given) & 0xFFFF


def ipv4_header_checksum_ok(view: IpView) -> bool:
    """Whether the IPv4 header checksum is right; True for IPv6, which has none."""
    if view.version == 6:
        return True
    return fold(octet_sum(view.buffer, view.start, view.start + view.header_size)) == 0xFFFF


def pseudo_header_sum(view: IpView, size: int) -> int:
    """Sum of the pseudo-header for `size` octets of transport header and payload, not folded.

    With an IPv6 routing header still to be followed, the destination is the last one.
    """
    buffer = view.buffer
    start = view.start
    if view.version == 4:
        return int.from_bytes(buffer[start + 12 : start + 20], "big") + view.protocol + size
    addresses = int.from_bytes(buffer[start + 8 : start + 40], "big")
    if buffer[start + 6] != view.protocol:
        last = _last_destination(view)
        if last is not None:
            addresses = int.from_bytes(view.source, "big") + int.from_bytes(last, "big")
    return addresses + view.protocol + size


def _last_destination(view: IpView) -> bytes | None:
    buffer = view.buffer
    for header, at in extension_headers(view):
        if header != ROUTING or not buffer[at + 3] or buffer[at + 1] < 2:
            continue
        kind = buffer[at + 2]
        if kind in _LAST_ADDRESS_ROUTING:
            last = at + 8 + (buffer[at + 1] // 2 - 1) * 16
            return bytes(buffer[last : last + 16])
        if kind == _SEGMENT_ROUTING:
            return bytes(buffer[at + 8 : at + 24])
    return None


def _covered(view: IpView) -> tuple[int, int] | None:
    """Offset of the checksum field and end of the octets it covers; None where there is nothing to check."""
    protocol = view.protocol
    field = _FIELD_AT.get(protocol)
    if field is None or view.is_fragment or protocol == (ICMPV6 if view.version == 4 else ICMP):
        return None
    at = view.transport_offset
    left = view.end - at
    if left < _LEAST_SIZE[protocol]:
        return None
    end = view.end
    if protocol == UDP:
        size = view.buffer[at + 4] << 8 | view.buffer[at + 5]
        if not 8 <= size <= left:
            return None
        end = at + size
    return at + field, end


def transport_checksum(view: IpView) -> int | None:
    """What the transport checksum should be (UDP: 0xFFFF in place of zero).

    None where it cannot be known: a fragment, another protocol, a header that is cut off, a UDP length
    that does not fit.
    """
    covered = _covered(view)
    if covered is None:
        return None
    field, end = covered
    buffer = view.buffer
    at = view.transport_offset
    # Two sums round the field rather than one less the field: those differ when all the rest is zero.
    total = octet_sum(buffer, at, field) + octet_sum(buffer, field + 2, end) + _pseudo(view, end - at)
    checksum = ~fold(total) & 0xFFFF
    return checksum or (0xFFFF if view.protocol == UDP else 0)


def _pseudo(view: IpView, size: int) -> int:
    return 0 if view.protocol == ICMP else pseudo_header_sum(view, size)


def transport_checksum_ok(view: IpView) -> bool | None:
    """Whether the transport checksum is right; None where it cannot be known (see `transport_checksum`).

    A UDP checksum of zero is right for IPv4 and wrong for IPv6; a UDP length that does not fit is wrong.
    Source: GE-16.
    """
    covered = _covered(view)
    if covered is None:
        return False if _udp_length_is_wrong(view) else None
    field, end = covered
    buffer = view.buffer
    if view.protocol == UDP and not buffer[field] and not buffer[field + 1]:
        return view.version == 4
    at = view.transport_offset
    return fold(octet_sum(buffer, at, end) + _pseudo(view, end - at)) == 0xFFFF


def _udp_length_is_wrong(view: IpView) -> bool:
    return view.protocol == UDP and not view.is_fragment and view.end - view.transport_offset >= 8


def transport_checksum_is_partial(view: IpView) -> bool:
    """Whether the field holds the sum of the pseudo-header alone, as for a card that finishes it (GE-17)."""
    covered = _covered(view)
    if covered is None or view.protocol == ICMP:
        return False
    field, end = covered
    given = view.buffer[field] << 8 | view.buffer[field + 1]
    return given == fold(pseudo_header_sum(view, end - view.transport_offset))


def fix_checksums(buffer: bytearray | memoryview, start: int = 0, end: int | None = None) -> IpView:
    """Write the right IPv4 header and transport checksums into a packet, and return the view used.

    A transport checksum that cannot be known is left alone; one of zero (UDP over IPv4) is filled in.
    Raises Malformed when there is no complete IP header.
    """
    view = IpView(buffer, start, end)
    if view.version == 4:
        buffer[start + 10 : start + 12] = ipv4_header_checksum(view).to_bytes(2, "big")
    checksum = transport_checksum(view)
    if checksum is not None:
        field = view.transport_offset + _FIELD_AT[view.protocol]
        buffer[field : field + 2] = checksum.to_bytes(2, "big")
    return view
