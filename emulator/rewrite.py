"""Changed copies of packets: octets in, octets out, with lengths and checksums made right.

What a driver does between looking at a packet and injecting its own version of it.  Nothing here knows lists,
handles or layers; the packet given stays as it is.
"""

from __future__ import annotations

from ipaddress import ip_address

from emulator.checksums import fix_checksums
from emulator.errors import InvalidParameter
from emulator.headers import build_ip_header
from emulator.octets import UDP, Buffer, IpView, Malformed

_PORTS = (6, 17)
_UDP_HEADER_SIZE = 8


def udp_packet(source: str, destination: str, payload: bytes, *, ports: tuple[int, int]) -> bytes:
    """A whole UDP packet with right checksums; addresses as text, `ports` source first.

    Raises InvalidParameter: addresses of two families, a payload that does not fit.  ValueError: no address.
    """
    from_address, to_address = ip_address(source), ip_address(destination)
    size = _UDP_HEADER_SIZE + len(payload)
    if size > 0xFFFF:
        raise InvalidParameter(f"a payload of {len(payload)} octets fits no UDP datagram", rule="NB-20")
    header = b"".join(number.to_bytes(2, "big") for number in (*ports, size, 0))
    return build_ip_header(from_address.version, from_address.packed, to_address.packed, UDP, header + payload)


def with_payload(packet: Buffer, payload: bytes) -> bytes:
    """A copy of an IP packet with other octets behind its UDP, TCP or ICMP header.

    The IP and UDP lengths and all checksums are made to fit.  A TCP payload of another length shifts the
    sequence numbers of all that follows: that is for the stream layer.
    Raises InvalidParameter: octets that are no IP packet, a fragment, no transport header, a TCP payload of
    another length, a packet that would be too large.  Source: GE-16.
    """
    view = _parsed(packet)
    if view.is_fragment or not view.transport_header_size:
        raise InvalidParameter("only a whole UDP, TCP or ICMP packet can be given another payload", rule="GE-16")
    start, end = view.payload_offset, view.end
    if view.protocol == 6 and len(payload) != end - start:
        raise InvalidParameter(
            f"a TCP payload of {end - start} octets cannot become one of {len(payload)}: edit at the stream layer",
            rule="GE-16",
        )
    made = bytearray(packet[view.start : start]) + payload
    length = len(made) if view.version == 4 else len(made) - view.fixed_header_size
    if length > 0xFFFF:
        raise InvalidParameter(f"a payload of {len(payload)} octets does not fit", rule="NB-20")
    at = 2 if view.version == 4 else 4
    made[at : at + 2] = length.to_bytes(2, "big")
    if view.protocol == UDP:
        transport = view.transport_offset - view.start
        made[transport + 4 : transport + 6] = (len(made) - transport).to_bytes(2, "big")
    fix_checksums(made)
    return bytes(made)


def with_ends(
    packet: Buffer,
    *,
    source: str | None = None,
    destination: str | None = None,
    source_port: int | None = None,
    destination_port: int | None = None,
) -> bytes:
    """A copy of an IP packet with other addresses or ports; None leaves one as it is.

    All checksums are made to fit.  Raises InvalidParameter: octets that are no IP packet, a fragment, an
    address of the other version, ports where there are none.  ValueError: no address.  Source: GE-16.
    """
    view = _parsed(packet)
    if view.is_fragment:
        raise InvalidParameter("only a whole packet can be given other ends", rule="GE-16")
    made = bytearray(packet[view.start : view.end])
    size = 4 if view.version == 4 else 16
    first = 12 if view.version == 4 else 8
    for text, at in ((source, first), (destination, first + size)):
        if text is not None:
            address = ip_address(text)
            if address.version != view.version:
                raise InvalidParameter(f"{text} in a packet of IP version {view.version}", rule="NB-23")
            made[at : at + size] = address.packed
    transport = view.transport_offset - view.start
    for port, at in ((source_port, transport), (destination_port, transport + 2)):
        if port is not None:
            if view.protocol not in _PORTS or not view.transport_header_size:
                raise InvalidParameter(f"a packet of protocol {view.protocol} has no ports", rule="GE-16")
            made[at : at + 2] = port.to_bytes(2, "big")
    fix_checksums(made)
    return bytes(made)


def _parsed(packet: Buffer) -> IpView:
    try:
        return IpView(packet)
    except Malformed as error:
        raise InvalidParameter(f"no IP packet: {error}", rule="GE-16") from error
