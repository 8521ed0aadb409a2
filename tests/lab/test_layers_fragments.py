"""How often fragments are shown, and as what, on real packets."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from emulator.callout import Callout
from emulator.filters import Condition, MatchType
from emulator.fragments import fragment
from emulator.indication import Indication
from emulator.layers import layer_of
from emulator.octets import IpView
from emulator.topology import Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import Action, AddressFamily, ConditionFlag
from emulator.wfptypes import MetadataField as M
from tests.lab.layer_log import (
    Log,
    Look,
    by_port,
    finish,
    send_raw,
)
from tests.lab.network_packets import udp


def four_fragments(pair: Pair, family: AddressFamily) -> list[bytes]:
    whole = udp(pair.peer.octets(family), pair.host.octets(family), bytes(range(256)) * 12, identification=0x1234)
    pieces = fragment(whole, 900)
    assert len(pieces) == 4
    return pieces


def kind(seen: Indication) -> tuple[str, Any]:
    flags = seen.flags
    if flags & ConditionFlag.IS_FRAGMENT:
        name = "fragment"
    elif flags & ConditionFlag.IS_REASSEMBLED:
        name = "reassembled"
    else:
        name = "plain"
    has = seen.metadata.has(M.FRAGMENT_DATA)
    return name, seen.metadata.fragment_data[1:] if has else None


@pytest.mark.rule("LA-20", "LA-21", "LA-22", "LA-37", "MD-2")
def test_a_datagram_in_four_fragments_is_shown_nine_times(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)

    def udp_only(seen: Indication) -> bool:
        return seen.view.protocol == 17 and not by_port(seen, 40999)

    log = Log(stack, family, "INBOUND_IPPACKET", look=kind, wanted=udp_only)
    pieces = four_fragments(pair, family)
    send_raw(pair.peer, family, pair.host.address(family), *pieces)
    assert [len(octets) for octets in traffic.arrived()] == [3072]
    data = [(IpView(piece).fragment_offset, int(IpView(piece).more_fragments)) for piece in pieces]
    expected = [(name, item) for item in data for name in ("plain", "fragment")]
    assert log.take() == [*expected, ("reassembled", None)]
    finish(stack)
    counted: list[int] = []
    stack.add_filter(
        layer_of("INBOUND_IPPACKET", family.version),
        stack.register(Look(lambda seen: counted.append(1) if udp_only(seen) else None)),
        action=Action.CALLOUT_INSPECTION,
        conditions=[Condition("FLAGS", MatchType.FLAGS_NONE_SET, int(ConditionFlag.IS_FRAGMENT))],
    )
    send_raw(pair.peer, family, pair.host.address(family), *pieces)
    assert [len(octets) for octets in traffic.arrived()] == [3072]
    assert len(counted) == 5
    finish(stack)


@pytest.mark.rule("LA-21")
def test_blocking_one_fragment_leaves_nothing_to_reassemble(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    log = Log(stack, family, "INBOUND_IPPACKET", look=kind,
              wanted=lambda seen: seen.view.protocol == 17 and not by_port(seen, 40999))  # fmt: skip
    pieces = four_fragments(pair, family)
    second = IpView(pieces[1]).fragment_offset

    class Second(Callout):
        def classify(self, seen: Indication) -> None:
            return seen.block() if seen.view.fragment_offset == second else seen.permit()

    stack.add_filter(layer_of("INBOUND_IPPACKET", family.version), stack.register(Second()))
    send_raw(pair.peer, family, pair.host.address(family), *pieces)
    assert traffic.arrived() == []
    names = Counter(name for name, _ in log.take())
    assert names == {"plain": 4, "fragment": 3}
    finish(stack)
