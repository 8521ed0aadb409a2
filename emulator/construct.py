"""IP headers and reassembled packets as lists: what the octet functions make, put into net buffer lists.

The octets are made by `emulator.headers` and `emulator.fragments`; here is who owns what, where the data
start goes, and what is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from emulator.checksums import fix_checksums
from emulator.errors import FwpInvalidFlags, FwpNullPointer, FwpReserved, InvalidParameter, TcpipNotReady
from emulator.fragments import reassemble
from emulator.headers import build_ip_header, rebuild_ip_header
from emulator.netbuffer import FREED, IN_FLIGHT, REASSEMBLED, RETIRED, STACK, ChecksumInfo, Mdl, NetBufferList
from emulator.octets import FRAGMENT_HEADER_SIZE, Buffer, IpView, fragment_header_offset
from emulator.wfptypes import AddressFamily, ConstructIpHeaderFlag, WindowsVersion

if TYPE_CHECKING:
    from emulator.core import Core

_CONSTRUCT = "FwpsConstructIpHeaderForTransportPacket0"
_REASSEMBLE = "FwpsReassembleForwardFragmentGroup0"
_KNOWN_FLAGS = int(ConstructIpHeaderFlag.FOR_SEND | ConstructIpHeaderFlag.FOR_RECEIVE)

# A control message of WSASendMsg on x64: length, level, type; data at the next multiple of 8.
_CONTROL_HEADER = Struct("<Qii")
_CONTROL_VALUE = Struct("<i")
_HOP_LIMIT = frozenset({(0, 4), (0, 21), (41, 21)})
_TRAFFIC_CLASS = frozenset({(0, 3), (41, 39)})


class SocketOptions(NamedTuple):
    """What a socket asks of the IP headers of its packets; None where it leaves the default."""

    hop_limit: int | None = None
    traffic_class: int | None = None


def socket_options(endpoint: Any, control_data: Buffer | None) -> SocketOptions:
    """The options of an endpoint, overridden by socket control data.

    An endpoint tells its options by attributes `hop_limit` and `traffic_class`; without them it has none.
    `control_data` are control messages in the layout of Windows on x64; of other kinds nothing is taken.
    Raises InvalidParameter for a message that does not fit.  Source: NB-23, TS-5, TS-10.
    """
    hop_limit = getattr(endpoint, "hop_limit", None) if endpoint else None
    traffic_class = getattr(endpoint, "traffic_class", None) if endpoint else None
    for kind, value in _control_messages(control_data or b""):
        if kind in _HOP_LIMIT:
            hop_limit = value
        elif kind in _TRAFFIC_CLASS:
            traffic_class = value
    for number in (hop_limit, traffic_class):
        if number is not None and not 0 <= number <= 255:
            raise InvalidParameter(f"{_CONSTRUCT}: a socket option of {number} fits no IP header", rule="NB-23")
    return SocketOptions(hop_limit, traffic_class)


def _control_messages(octets: Buffer) -> Iterator[tuple[tuple[int, int], int]]:
    at = 0
    while at < len(octets):
        left = len(octets) - at
        length, level, kind = _CONTROL_HEADER.unpack_from(octets, at) if left >= 16 else (0, 0, 0)
        if not 16 <= length <= left:
            raise InvalidParameter(f"{_CONSTRUCT}: controlData holds no control message at {at}", rule="NB-23")
        if length >= 20:
            yield (level, kind), _CONTROL_VALUE.unpack_from(octets, at + 16)[0]
        at += (length + 7) & ~7


# -- constructing an IP header --------------------------------------------------------------------------------


def construct_ip_header(
    core: Core,
    item: NetBufferList | None,
    header_length: int,
    family: int,
    source: Buffer | None,
    remote: Buffer | None,
    protocol: int,
    *,
    endpoint: Any = 0,
    control_data: Buffer | None = None,
    flags: int = 0,
    reserved: Any = None,
) -> None:
    """Give every packet of a list an IP header, or one packet with an IP header a new one.

    With `header_length` 0 the data starts at the transport header, otherwise at an IP header of that many
    octets; afterwards it starts at the new IP header.  Addresses are 4 or 16 octets in network order.  The
    list stays the caller's; octets it shares with others change for them too (checksums, addresses).
    Raises, before anything changed, FwpNullPointer, FwpReserved, FwpInvalidFlags, InvalidParameter.
    Source: NB-20..NB-23.
    """
    if item is None or source is None or remote is None:
        raise FwpNullPointer(f"{_CONSTRUCT}: the list or an address is missing", rule="GE-7")
    if reserved is not None:
        raise FwpReserved(f"{_CONSTRUCT}: reserved must be NULL", rule="NB-23")
    if flags & ~(_KNOWN_FLAGS if core.profile >= WindowsVersion.SERVER_2022_23H2 else 0):
        raise FwpInvalidFlags(f"{_CONSTRUCT}: flags {flags:#x} are not defined in this Windows", rule="NB-23")
    version = _version(_CONSTRUCT, family)
    _check_usable(core, _CONSTRUCT, item)
    options = socket_options(endpoint, control_data)
    ends = (bytes(source), bytes(remote))
    if header_length:
        _rebuild(item, header_length, version, ends, protocol, options)
    else:
        _build(item, version, ends, protocol, options)
    item.protocol = protocol
    if item.info is not None:
        item.info = ChecksumInfo()


def _build(
    item: NetBufferList, version: int, ends: tuple[bytes, bytes], protocol: int, options: SocketOptions
) -> None:
    made: list[bytearray] = []
    size = 0
    for payload in item.packets():
        # Unspecified: the IPv4 identification.  Never 0, which would be filled in on the way (NS-19).
        packet = build_ip_header(
            version, *ends, protocol, payload, identification=crc32(payload) & 0xFFFF or 1
        )
        size = len(packet) - len(payload)
        made.append(_with_options(packet, version, options))
    item.retreat(size)
    _write(item, made)


def _rebuild(
    item: NetBufferList,
    header_length: int,
    version: int,
    ends: tuple[bytes, bytes],
    protocol: int,
    options: SocketOptions,
) -> None:
    if not item.single:
        raise InvalidParameter(f"{_CONSTRUCT}: a header is rebuilt in a list of exactly one packet", rule="NB-20")
    packet = item.octets
    made = rebuild_ip_header(packet, *ends, protocol, header_size=header_length)
    if made[0] >> 4 != version:
        raise InvalidParameter(f"{_CONSTRUCT}: the packet is not of IP version {version}", rule="NB-23")
    item.advance(IpView(packet).end - len(made))
    _write(item, [_with_options(made, version, options)])


def _with_options(packet: bytes, version: int, options: SocketOptions) -> bytearray:
    result = bytearray(packet)
    if options.hop_limit is not None:
        result[8 if version == 4 else 7] = options.hop_limit
    if options.traffic_class is not None:
        if version == 4:
            result[1] = options.traffic_class
        else:
            result[0] = 6 << 4 | options.traffic_class >> 4
            result[1] = (options.traffic_class & 0x0F) << 4 | result[1] & 0x0F
    if version == 4 and any(option is not None for option in options):
        fix_checksums(result)
    return result


def _write(item: NetBufferList, packets: list[bytearray]) -> None:
    if item.flat:
        item.write(0, packets[0])
        return
    for buffer, octets in zip(item.net_buffers(), packets, strict=True):
        buffer.write(0, octets)


# -- reassembling a group of forwarded fragments --------------------------------------------------------------


def reassemble_forward_group(
    core: Core, family: int, chain: NetBufferList | None, *, backfill: int = 0, flags: int = 0
) -> NetBufferList:
    """One list with one packet made of the fragments of a chain that IPFORWARD indicated as a group.

    The payload is the inputs' own memory; only the IP header is new, with `backfill` unused octets in front.
    The caller owns the result and frees it with `free_list`; until then it keeps the inputs valid.
    Raises FwpNullPointer, FwpInvalidFlags, InvalidParameter, TcpipNotReady, InsufficientResources.
    Source: NB-24.
    """
    if chain is None:
        raise FwpNullPointer(f"{_REASSEMBLE}: the chain is missing", rule="GE-7")
    if flags:
        raise FwpInvalidFlags(f"{_REASSEMBLE}: flags are reserved and must be 0, not {flags:#x}", rule="GE-6")
    version = _version(_REASSEMBLE, family)
    if not core.ready():
        raise TcpipNotReady(f"{_REASSEMBLE}: {core.not_ready_because()}; try again later", rule="NB-24")
    parts = _group(core, chain, version, backfill)
    whole = reassemble([octets for _, octets, _ in parts])
    payload_size = sum(view.end - _data_start(view) for _, _, view in parts)
    header = whole[: len(whole) - payload_size]
    head = last = Mdl(bytearray(backfill) + header)
    for item, _, view in parts:
        for piece in _pieces(item, _data_start(view), view.end):
            last.next = piece
            last = piece
    made = core.ownership.create(head, backfill, len(whole), kind=REASSEMBLED)
    made.history = parts[0][0].history
    made.protocol = IpView(whole).protocol
    inputs = [item for item, _, _ in parts]
    for item in inputs:
        core.ownership.reference(item)

    def release() -> None:
        for item in inputs:
            core.ownership.dereference(item)

    made.made_of = release
    return made


def _group(
    core: Core, chain: NetBufferList, version: int, backfill: int
) -> list[tuple[NetBufferList, bytes, IpView]]:
    """The lists of the chain with their octets, in order of their place in the datagram."""
    if backfill < 0:
        raise InvalidParameter(f"{_REASSEMBLE}: a backfill of {backfill} octets", rule="NB-24")
    parts = []
    for item in chain.lists():
        _check_usable(core, _REASSEMBLE, item)
        if item.kind != STACK:
            what = f"{item!r} was not indicated as part of a fragment group"
            core.violate("NB-24", _REASSEMBLE, what)
            raise InvalidParameter(f"{_REASSEMBLE}: {what}", rule="NB-24")
        octets = item.octets
        try:
            view = IpView(octets)
        except ValueError as error:
            raise InvalidParameter(f"{_REASSEMBLE}: {error}", rule="NB-24") from error
        if view.version != version:
            raise InvalidParameter(f"{_REASSEMBLE}: a fragment is of IP version {view.version}", rule="NB-24")
        parts.append((item, octets, view))
    return sorted(parts, key=lambda part: part[2].fragment_offset)


def _data_start(view: IpView) -> int:
    """Where a fragment's share of the datagram begins: behind the headers that every fragment repeats."""
    if view.version == 4:
        return view.header_size
    at = fragment_header_offset(view)
    return view.transport_offset if at is None else at + FRAGMENT_HEADER_SIZE


def _pieces(item: NetBufferList, start: int, end: int) -> Iterator[Mdl]:
    """Descriptors of the octets from `start` to `end` after the list's data start, over the same memory."""
    if item.flat:
        yield Mdl(item.memory, item.start + start, end - start)
        return
    first = item.first_net_buffer.first_mdl
    skip, left = item.data_offset + start, end - start
    for mdl in first.chain() if first is not None else ():
        take = min(left, mdl.length - skip)
        if take > 0:
            yield Mdl(mdl.memory, mdl.offset + skip, take)
            left -= take
        skip = max(skip - mdl.length, 0)


# -- what both check ------------------------------------------------------------------------------------------


def _version(call: str, family: int) -> int:
    if family == AddressFamily.INET:
        return 4
    if family == AddressFamily.INET6:
        return 6
    raise InvalidParameter(f"{call}: addressFamily {family} is neither AF_INET nor AF_INET6", rule="NB-23")


def _check_usable(core: Core, call: str, item: NetBufferList) -> None:
    if item.state in (FREED, RETIRED):
        core.violate("NB-11", call, f"{item!r} is no longer valid")
        raise InvalidParameter(f"{call}: {item!r} is no longer valid", rule="NB-11")
    if item.state == IN_FLIGHT:
        core.violate("GE-3", call, f"{item!r} is the stack's until its completion")
        raise InvalidParameter(f"{call}: {item!r} is in flight", rule="GE-3")
