"""Playing a network card that finishes checksums: drivers are shown what a Windows stack would leave to it.

Outgoing packets then hold the sum of the pseudo-header alone, and their lists say so.  The kernel's own copies stay
whole; what leaves with other octets than the kernel's is finished here, if its list still says that it is left.
Source: GE-17.
"""

from __future__ import annotations

from emulator.checksums import fold, pseudo_header_sum, transport_checksum, transport_checksum_is_partial
from emulator.netbuffer import ChecksumInfo
from emulator.octets import TCP, UDP, IpView, Malformed

_FIELD_AT = {TCP: 16, UDP: 6}


def leave_to_card(payload: bytearray, view: IpView) -> ChecksumInfo | None:
    """Replace the checksum of an outgoing TCP or UDP packet by its partial form; what its lists then say.

    None, and nothing is changed, where there is no checksum to finish.
    """
    field = _FIELD_AT.get(view.protocol)
    if field is None or transport_checksum(view) is None:
        return None
    at = view.transport_offset + field
    if view.protocol == UDP and not any(payload[at : at + 2]):
        return None
    size = view.end - view.transport_offset
    payload[at : at + 2] = fold(pseudo_header_sum(view, size)).to_bytes(2, "big")
    return ChecksumInfo(transmit_tcp=view.protocol == TCP, transmit_udp=view.protocol == UDP)


def finished(octets: bytes | bytearray) -> bytes | bytearray:
    """A packet as the card sends it: a partial checksum is completed, anything else left as it is."""
    try:
        view = IpView(octets)
    except Malformed:
        return octets
    field = _FIELD_AT.get(view.protocol)
    checksum = transport_checksum(view)
    if field is None or checksum is None or not transport_checksum_is_partial(view):
        return octets
    made = bytearray(octets)
    at = view.transport_offset + field
    made[at : at + 2] = checksum.to_bytes(2, "big")
    return made
