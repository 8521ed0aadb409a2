"""IP headers made for a transport packet, or made anew for one that has a header already.

This is what FwpsConstructIpHeaderForTransportPacket0 does to the octets; the bookkeeping of lists and
data offsets is not here. Addresses are in network order, 4 or 16 octets.
Source: NB-20 to NB-23; RFC 791, RFC 8200.
"""

from __future__ import annotations

from struct import Struct

from emulator.checksums import fix_checksums, internet_checksum
from emulator.errors import InvalidParameter
from emulator.octets import (
    AH,
    ESP,
    Buffer,
    IpView,
    Malformed,
    extension_size,
)

DEFAULT_HOP_LIMIT = 128
"""What Windows puts into packets of its own."""

_IPV4_HEADER = Struct("!BBHHHBBH4s4s").pack
_IPV6_HEADER = Struct("!IHBB16s16s").pack
_LARGEST_IPV4 = 0xFFFF
_ADDRESS_SIZE = {4: 4, 6: 16}
_ESP_HEADER_SIZE = 8
_SECURITY = (AH, ESP)


def ip_header(
    version: int,
    source: bytes,
    remote: bytes,
    protocol: int,
    payload_size: int,
    *,
    hop_limit: int = DEFAULT_HOP_LIMIT,
    traffic_class: int = 0,
    identification: int = 0,
    dont_fragment: bool = False,
    flow_label: int = 0,
    options: bytes = b"",
) -> bytes:
    """An IP header for a payload of this size, its own checksum filled in.

    `identification`, `dont_fragment` and `options` (up to 40 octets, in whole words) go into IPv4 headers
    only, `flow_label` into IPv6 headers only.
    Raises InvalidParameter: another version, addresses not of its size, a payload that does not fit.
    """
    _check_addresses(version, source, remote)
    if version == 6:
        if payload_size > 0xFFFF:
            raise InvalidParameter(f"a payload of {payload_size} octets fits no IPv6 packet", rule="NB-20")
        first = 6 << 28 | traffic_class << 20 | flow_label
        return _IPV6_HEADER(first, payload_size, protocol, hop_limit, source, remote)
    size = 20 + len(options)
    if len(options) & 3 or size > 60:
        raise InvalidParameter(f"{len(options)} octets of options fit no IPv4 header", rule="NB-20")
    if size + payload_size > _LARGEST_IPV4:
        raise InvalidParameter(f"a payload of {payload_size} octets fits no IPv4 packet", rule="NB-20")
    header = bytearray(
        _IPV4_HEADER(
            4 << 4 | size >> 2,
            traffic_class,
            size + payload_size,
            identification,
            0x4000 if dont_fragment else 0,
            hop_limit,
            protocol,
            0,
            source,
            remote,
        )
    )
    header += options
    header[10:12] = internet_checksum(header).to_bytes(2, "big")
    return bytes(header)


def build_ip_header(
    version: int,
    source: bytes,
    remote: bytes,
    protocol: int,
    payload: Buffer,
    *,
    hop_limit: int = DEFAULT_HOP_LIMIT,
    traffic_class: int = 0,
    identification: int = 0,
    dont_fragment: bool = False,
    flow_label: int = 0,
) -> bytes:
    """The packet for `payload`, which begins with the transport header: IP header in front, checksums full.

    Raises InvalidParameter as `ip_header`. Source: NB-20, NB-22.
    """
    packet = bytearray(
        ip_header(
            version,
            source,
            remote,
            protocol,
            len(payload),
            hop_limit=hop_limit,
            traffic_class=traffic_class,
            identification=identification,
            dont_fragment=dont_fragment,
            flow_label=flow_label,
        )
    )
    packet += payload
    fix_checksums(packet)
    return bytes(packet)


def rebuild_ip_header(
    packet: Buffer,
    source: bytes,
    remote: bytes,
    protocol: int,
    *,
    header_size: int | None = None,
) -> bytes:
    """The packet with a new IP header: new addresses and protocol, all checksums full.

    Kept: IPv4 options, hop limit, traffic class, identification, DF, flow label. Removed: AH and ESP
    headers and every IPv6 extension header. `header_size` is what the caller takes for the whole header,
    those to be removed included; None means what the octets show.
    Raises InvalidParameter: octets that are no IP packet, a fragment, a header size that lies outside the
    packet, addresses of the wrong size. Source: NB-21, NB-22.
    """
    try:
        view = IpView(packet)
    except Malformed as error:
        raise InvalidParameter(f"cannot rebuild the header: {error}", rule="NB-20") from error
    _check_addresses(view.version, source, remote)
    if view.is_fragment:
        raise InvalidParameter("cannot rebuild the header of a fragment", rule="NB-20")
    base = view.fixed_header_size
    size = _size_to_replace(view) if header_size is None else header_size
    if not base <= size <= view.end:
        raise InvalidParameter(f"a header of {size} octets in a packet of {view.end}", rule="NB-20")
    return _rebuilt(view, source, remote, protocol, bytes(packet[size : view.end]))


def _rebuilt(view: IpView, source: bytes, remote: bytes, protocol: int, payload: bytes) -> bytes:
    ipv4 = view.version == 4
    flow_label = 0 if ipv4 else int.from_bytes(view.buffer[view.start + 1 : view.start + 4], "big") & 0xFFFFF
    result = bytearray(
        ip_header(
            view.version,
            source,
            remote,
            protocol,
            len(payload),
            hop_limit=view.hop_limit,
            traffic_class=view.traffic_class,
            identification=view.identification if ipv4 else 0,
            dont_fragment=ipv4 and view.dont_fragment,
            flow_label=flow_label,
            options=bytes(view.buffer[view.start + 20 : view.start + view.header_size]) if ipv4 else b"",
        )
    )
    result += payload
    fix_checksums(result)
    return bytes(result)


def _size_to_replace(view: IpView) -> int:
    """Size of the header with all that must go: the extension headers the view has walked over, AH and ESP.

    Unspecified: which octets ESP adds. At the layers where a header is rebuilt the data is already clear,
    so the eight octets of the ESP header are taken off and nothing from the end.
    """
    at = view.transport_offset
    following = view.protocol
    buffer = view.buffer
    while following in _SECURITY and at + 8 <= view.end:
        if following == ESP:
            # What follows is named in the trailer, at the far end: the walk stops here.
            return at + _ESP_HEADER_SIZE
        size = extension_size(following, buffer[at + 1])
        if at + size > view.end:
            break
        following = buffer[at]
        at += size
    return at


def _check_addresses(version: int, source: bytes, remote: bytes) -> None:
    wanted = _ADDRESS_SIZE.get(version)
    if wanted is None:
        raise InvalidParameter(f"IP version {version} is neither 4 nor 6", rule="NB-23")
    for name, address in (("source", source), ("remote", remote)):
        if len(address) != wanted:
            raise InvalidParameter(
                f"the {name} address has {len(address)} octets, IPv{version} addresses have {wanted}",
                rule="NB-23",
            )
