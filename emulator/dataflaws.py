"""What is wrong with the octets of a list at the moment it is injected: where they begin, and their checksums.

Used where drivers are watched closely; nothing here is on a packet's ordinary way.
Source: NS-2, NR-2, NR-6, TS-2, TS-3, TR-2, FW-1, GE-16, GE-17.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from emulator.checksums import ipv4_header_checksum_ok, transport_checksum_is_partial, transport_checksum_ok
from emulator.errors import InvalidParameter
from emulator.headers import ip_header
from emulator.injection import (
    FORWARD,
    NETWORK_RECEIVE,
    NETWORK_SEND,
    STREAM,
    TRANSPORT_RECEIVE,
    TRANSPORT_SEND,
    SendParams,
)
from emulator.octets import ICMP, ICMPV6, TCP, UDP, IpView, Malformed, flaw

if TYPE_CHECKING:
    from emulator.netbuffer import ChecksumInfo, NetBufferList

LOOKED_AT = 16
"""Packets of one list that are looked at."""
_START_RULES = {
    NETWORK_SEND: "NS-2", NETWORK_RECEIVE: "NR-2", TRANSPORT_SEND: "TS-3", TRANSPORT_RECEIVE: "TR-2", FORWARD: "FW-1",
}  # fmt: skip
_RECEIVES = (NETWORK_RECEIVE, TRANSPORT_RECEIVE)
_PROTOCOLS = {TCP: "TCP", UDP: "UDP", ICMP: "ICMP", ICMPV6: "ICMPv6"}
_ETHERNET = 14
_ETHERTYPES = {b"\x08\x00": 4, b"\x86\xdd": 6}


class Flaw(NamedTuple):
    """One thing that is wrong: the rule that says so, and a sentence."""

    rule: str
    message: str


def flaws(function: int, item: NetBufferList, version: int, params: SendParams | None = None) -> list[Flaw]:
    """What is wrong with the data of a list that is about to be injected; octets the stack made are trusted.

    `version` is the IP version of the call, 0 when it names none; `params` those of a transport send.
    """
    if function == STREAM:
        return []
    found: list[Flaw] = []
    whole = function != TRANSPORT_SEND or params is None
    for octets in item.packets()[:LOOKED_AT]:
        found += _whole(function, item, octets, version) if whole else _bare(item, octets, version, params)
    return list(dict.fromkeys(found))


# -- packets that begin with their IP header --------------------------------------------------------------------


def _whole(function: int, item: NetBufferList, octets: bytes, version: int) -> Iterator[Flaw]:
    rule = _START_RULES[function]
    wrong = flaw(octets, version or None)
    if wrong is not None:
        if _as_it_came(item):
            return
        name = f"IPv{version}" if version else "IP"
        begins = begins_with(item, octets)
        if begins:
            yield Flaw(rule, f"the data begins with {begins}, and not with an {name} header")
        elif octets[0] >> 4 != version and function == NETWORK_SEND:
            yield Flaw("NS-3", f"the packet is one of another family: {wrong}")
        else:
            yield Flaw(rule, f"the {name} header at the data start is wrong: {wrong}")
        return
    if _untouched(item):
        return
    view = IpView(octets)
    if not ipv4_header_checksum_ok(view):
        where = "the stack drops it" if function in _RECEIVES else "the next hop drops it"
        rule = "NR-6" if function in _RECEIVES else "GE-16"
        yield Flaw(rule, f"the IPv4 header checksum does not fit the header: {where}")
    yield from _transport_checksum(view, item.info)


def _transport_checksum(view: IpView, info: ChecksumInfo | None) -> Iterator[Flaw]:
    name = _PROTOCOLS.get(view.protocol, "transport")
    left_to_card = info is not None and {
        TCP: info.transmit_tcp, UDP: info.transmit_udp
    }.get(view.protocol, False)  # fmt: skip
    fits = transport_checksum_ok(view)
    if fits is None:
        return
    partial = not fits and transport_checksum_is_partial(view)
    if left_to_card and not partial:
        yield Flaw(
            "GE-17",
            f"the {name} checksum is no sum of the pseudo-header, although the list says that the card finishes it",
        )
    elif partial and not left_to_card:
        yield Flaw("GE-17", f"a partial {name} checksum was injected as a full one: only the pseudo-header is summed")
    elif not fits and not left_to_card:
        yield Flaw("GE-16", f"the {name} checksum does not fit the octets: the receiver drops them")


# -- packets that begin with their transport header ---------------------------------------------------------------


def _bare(item: NetBufferList, octets: bytes, version: int, params: SendParams | None) -> Iterator[Flaw]:
    assert params is not None
    begins = _bare_start(item, octets)
    if begins:
        yield Flaw("TS-2", f"the data begins with {begins}, and not with the transport header")
        return
    view = getattr(item.origin, "view", None)
    same_end = view is not None and params.remote_address == view.destination
    if view is None or version != view.version or (_untouched(item) and same_end):
        return
    try:
        header = ip_header(version, view.source, bytes(params.remote_address), view.protocol, len(octets))
        made = IpView(header + octets)
    except (InvalidParameter, Malformed, ValueError):
        return
    if made.protocol == UDP and octets[6:8] == b"\0\0":  # the stack fills it in (TS-20)
        return
    if view.protocol == UDP and octets[6:8] == b"\0\0":
        return  # the stack fills it in (docs/decisions.md)
    yield from _transport_checksum(made, item.info)


def _bare_start(item: NetBufferList, octets: bytes) -> str:
    """What the data begins with, when that is surely no transport header."""
    if flaw(octets, None) is None and IpView(octets).total_length == len(octets):
        return f"an IPv{octets[0] >> 4} header"
    at = _place(item)
    if at is not None:
        view, start = at
        if start >= view.payload_offset > view.transport_offset:
            return f"the payload, {start - view.transport_offset} octets behind the {_name(view)} header's start"
    return ""


# -- what is there instead ------------------------------------------------------------------------------------


def begins_with(item: NetBufferList, octets: bytes) -> str:
    """In words what the data of a list begins with, when it does not begin with an IP header; empty if it does."""
    at = _place(item)
    if at is not None:
        view, start = at
        behind = start - view.start
        if start == view.transport_offset:
            return f"the {_name(view)} header, {behind} octets behind the IP header's start"
        if start == view.payload_offset:
            return f"the payload, {behind} octets behind the IP header's start"
        if start > view.start:
            return f"octet {behind} of the packet"
    if len(octets) >= _ETHERNET + 20:
        version = _ETHERTYPES.get(octets[12:14])
        if version is not None and octets[_ETHERNET] >> 4 == version:
            return f"an Ethernet header ({_ETHERNET} octets)"
    if not octets:
        return "nothing: the list is empty"
    if octets[0] >> 4 not in (4, 6):
        return f"the octet {octets[0]:#04x}"
    return ""


def _place(item: NetBufferList) -> tuple[IpView, int] | None:
    """The packet a list was cloned from, and where in its memory the list begins; None when not known."""
    view = getattr(item.origin, "view", None)
    if not isinstance(view, IpView):
        parent = item.parent
        if parent is None or parent.memory is not item.memory:
            return None
        try:
            view = IpView(item.memory)
        except Malformed:
            return None
    if not item.flat or item.memory is not view.buffer:
        return None
    return view, item.start


def _name(view: IpView) -> str:
    return _PROTOCOLS.get(view.protocol, f"protocol {view.protocol}")


def _as_it_came(item: NetBufferList) -> bool:
    """Whether this is a whole packet of the stack's, from its IP header on: a wrong length came with it."""
    at = _place(item)
    return at is not None and at[1] == at[0].start and _untouched(item)


def _untouched(item: NetBufferList) -> bool:
    """Whether these are the stack's own octets, as they came: their faults are not the driver's."""
    origin = item.origin
    return origin is not None and not origin.edited
