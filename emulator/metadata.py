"""What a callout is told about a packet beside its classifiable fields.

A member counts only when its bit is set in `current_metadata_values`; the others read as poison, so that a
callout that forgets to look at the bits goes wrong at once.  Source: MD-1..MD-13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.layers import Layer, layer_info
from emulator.wfptypes import DEFAULT_COMPARTMENT_ID, ConditionFlag
from emulator.wfptypes import MetadataField as M

if TYPE_CHECKING:
    from emulator.indication import Indication

_IP_HEADER_SIZE, _FLOW_HANDLE, _ENDPOINT = int(M.IP_HEADER_SIZE), int(M.FLOW_HANDLE), int(M.TRANSPORT_ENDPOINT_HANDLE)
_PATH_MTU, _FRAGMENT_DATA, _DISCARD_REASON = int(M.PATH_MTU), int(M.FRAGMENT_DATA), int(M.DISCARD_REASON)
_REMOTE_SCOPE_ID, _ICMP_ECHO = int(M.REMOTE_SCOPE_ID), int(M.ICMP_ID_AND_SEQUENCE)
_PACKET_DIRECTION, _REAUTHORIZE = int(M.PACKET_DIRECTION), int(ConditionFlag.IS_REAUTHORIZE)
_ALWAYS = int(M.COMPARTMENT_ID | M.TRANSPORT_HEADER_SIZE)
_MASKS = tuple(int(layer_info(layer).metadata) for layer in Layer)
"""What may be set at each layer (MD-2)."""
_INBOUND_ICMP_ERROR = frozenset(
    int(Layer[f"INBOUND_ICMP_ERROR_V{version}{kind}"]) for version in (4, 6) for kind in ("", "_DISCARD")
)
_ICMP_HEADER_SIZE = 8

POISON = 0xDDDDDDDD
"""What a member reads as while its bit is not set (MD-1)."""
_ICMP_PROTOCOLS = (1, 58)


class Metadata:
    """The metadata of one indication.  Sizes in octets.  Source: MD-1, MD-2."""

    __slots__ = ("_seen", "_valid")

    def __init__(self, seen: Indication) -> None:
        self._seen = seen
        self._valid = _bits(seen, _MASKS[seen.layer])

    @property
    def current_metadata_values(self) -> M:
        """Which members are valid.  Source: MD-1."""
        return M(self._valid)

    def has(self, field: M) -> bool:
        """True when every bit of `field` is set.  Source: MD-1."""
        wanted = field._value_  # plain numbers: the flags' own operators cost as much as all the rest
        return self._valid & wanted == wanted

    def _or_poison(self, field: M, value: Any) -> Any:
        if self._seen.ended:
            self._late()
            return POISON
        return value if self._valid & field._value_ else POISON

    def _late(self) -> None:
        self._seen.core.violate(
            "CO-12", "classifyFn", "metadata of an indication was used after its classify had returned: copy it"
        )

    @property
    def ip_header_size(self) -> int:
        """Octets of the IP header, with options and extension headers.  Source: MD-4."""
        return int(self._or_poison(M.IP_HEADER_SIZE, _ip_header_size(self._seen)))

    @property
    def transport_header_size(self) -> int:
        """Inbound: octets from data start back to the transport header, beside the IP header's.  Source: MD-5."""
        return int(self._or_poison(M.TRANSPORT_HEADER_SIZE, transport_header_size(self._seen)))

    @property
    def compartment_id(self) -> int:
        """Compartment of the packet.  Source: MD-6."""
        return int(self._or_poison(M.COMPARTMENT_ID, DEFAULT_COMPARTMENT_ID))

    @property
    def flow_handle(self) -> int:
        """Number of the packet's flow.  Source: FL-8."""
        return int(self._or_poison(M.FLOW_HANDLE, self._seen.flow_handle))

    @property
    def transport_endpoint_handle(self) -> Any:
        """The stack's endpoint, for transport sends.  Source: MD-7."""
        return self._or_poison(M.TRANSPORT_ENDPOINT_HANDLE, self._seen.endpoint)

    @property
    def path_mtu(self) -> int:
        """Largest packet that leaves unfragmented, octets.  Source: MD-12."""
        return int(self._or_poison(M.PATH_MTU, self._seen.path_mtu))

    @property
    def remote_scope_id(self) -> int:
        """Scope of an IPv6 link-local remote address: zone in the low 28 bits.  Source: MD-10, TS-9."""
        return int(self._or_poison(M.REMOTE_SCOPE_ID, _scope(self._seen)))

    @property
    def control_data(self) -> Any:
        """Socket control data of the send; valid only during classify.  Source: MD-10."""
        return self._or_poison(M.TRANSPORT_CONTROL_DATA, None)

    @property
    def header_include_header(self) -> Any:
        """The sender's own IP header of a raw send, octets; None otherwise.  Source: MD-9, TS-14."""
        if self._seen.ended:
            self._late()
            return POISON
        return _raw_header(self._seen)

    @property
    def header_include_header_length(self) -> int:
        """Octets of `header_include_header`; 0 when the stack built the header.  Source: MD-9."""
        if self._seen.ended:
            self._late()
            return POISON
        return len(_raw_header(self._seen) or b"")

    @property
    def fragment_data(self) -> Any:
        """(identification, offset in octets, 1 when more follow).  Source: LA-22."""
        return self._or_poison(M.FRAGMENT_DATA, self._seen.fragment)

    @property
    def packet_direction(self) -> int:
        """Direction of a packet that asks again for its flow, 0 outbound, 1 inbound.  Source: MD-8."""
        return int(self._or_poison(M.PACKET_DIRECTION, self._seen.inbound))

    @property
    def discard_metadata(self) -> Any:
        """(module, reason, filter id) of a discard.  Source: MD-13."""
        return self._or_poison(M.DISCARD_REASON, self._seen.discard)

    @property
    def icmp_id_and_sequence(self) -> int:
        """Identifier in the high, sequence in the low 16 bits of an ICMP echo."""
        view = self._seen.view
        start = view.transport_offset + 4
        return int(
            self._or_poison(
                M.ICMP_ID_AND_SEQUENCE, int.from_bytes(self._seen.memory[start : start + 4], "big")
            )
        )


def _bits(seen: Indication, row: int) -> int:
    """Every bit of the layer's row whose member has a value for this packet (MD-2)."""
    bits = _ALWAYS
    if seen.inbound or seen.layer < 12 or seen.metadata_bits & _IP_HEADER_SIZE:
        bits |= _IP_HEADER_SIZE
    if row & _FLOW_HANDLE and seen.flow is not None:
        bits |= _FLOW_HANDLE
    if row & _ENDPOINT and seen.endpoint:
        bits |= _ENDPOINT
    if row & _PATH_MTU and seen.path_mtu:
        bits |= _PATH_MTU
    if row & _FRAGMENT_DATA and seen.fragment is not None:
        bits |= _FRAGMENT_DATA
    if row & _PACKET_DIRECTION and seen.condition_flags & _REAUTHORIZE:
        bits |= _PACKET_DIRECTION
    if row & _DISCARD_REASON and seen.discard is not None:
        bits |= _DISCARD_REASON
    if row & _REMOTE_SCOPE_ID and not seen.inbound and _scope(seen):
        bits |= _REMOTE_SCOPE_ID
    if row & _ICMP_ECHO and seen.view.protocol in _ICMP_PROTOCOLS and seen.view.icmp_type in (0, 8, 128, 129):
        bits |= _ICMP_ECHO
    return (bits | seen.metadata_bits) & row


def _ip_header_size(seen: Indication) -> int:
    """At INBOUND_ICMP_ERROR the whole way from the inner to the outer IP header: it alone is the retreat (DC-13)."""
    size = seen.view.header_size
    return size + _ICMP_HEADER_SIZE if seen.layer in _INBOUND_ICMP_ERROR else size


def transport_header_size(seen: Indication) -> int:
    """Octets of the transport header as metadata gives them; for ICMP inbound 0, the data starts at it (MD-5)."""
    view = seen.view
    if seen.inbound and view.protocol in _ICMP_PROTOCOLS:
        return 0
    return view.transport_header_size


def _scope(seen: Indication) -> int:
    destination = seen.view.destination
    if len(destination) == 16 and destination[0] == 0xFE and destination[1] & 0xC0 == 0x80:
        return seen.interface
    return 0


def _raw_header(seen: Indication) -> bytes | None:
    if seen.metadata_bits & M.TRANSPORT_HEADER_INCLUDE_HEADER:
        return bytes(seen.memory[seen.ip_start : seen.ip_start + seen.view.header_size])
    return None
