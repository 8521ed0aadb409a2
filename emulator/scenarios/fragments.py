"""Fragments: each is shown, and once more what they make together."""

from __future__ import annotations

from collections import Counter

from emulator.indication import Indication
from emulator.ported.reinject import ALL_TYPES, Reinject
from emulator.scenario import Checks, scenario
from emulator.scenarios.programs import ping
from emulator.topology import Pair
from emulator.wfptypes import AddressFamily, ConditionFlag

PINGS, SIZE, PIECES = 3, 3000, 3


@scenario(cases=("B12",), rules=("LA-20", "LA-21", "NR-1", "NR-16", "QS-8"), programs=("ping",))
def fragments_put_back_one_by_one(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """The fragments of large pings are blocked, cloned and received again; the whole packets are let pass.

    peer --ping -s 3000, three fragments each--> (INBOUND_IPPACKET: fragments only) host
    """
    address = pair.host.address(family)
    check("control before", tuple(ping(pair.peer, address, PINGS, size=SIZE)), (PINGS, PINGS, 0))
    shown: Counter[tuple[str, str]] = Counter()
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, ALL_TYPES)

        def fragments_only(seen: Indication) -> bool:
            if not (seen.view.is_icmp and seen.view.is_fragment or seen.flags & ConditionFlag.IS_REASSEMBLED):
                return False
            kind = "plain"
            if seen.flags & ConditionFlag.IS_FRAGMENT:
                kind = "fragment"
            elif seen.flags & ConditionFlag.IS_REASSEMBLED:
                kind = "whole"
            shown[kind, handle.state(seen.net_buffer_list)[0].name] += 1
            return kind == "fragment"

        driver.add(Reinject(handle, driver.done, only=fragments_only), "INBOUND_IPPACKET", family)
        check("during", tuple(ping(pair.peer, address, PINGS, size=SIZE)), (PINGS, PINGS, 0))
        pair.host.stack.settle()
        pieces = PINGS * PIECES
        check("fragments shown", shown["fragment", "NOT_INJECTED"], pieces)
        check("and again, as our own", shown["fragment", "INJECTED_BY_SELF"], pieces)
        whole = {state: count for (kind, state), count in shown.items() if kind == "whole"}
        check("put together, once each, as our own", whole, {"INJECTED_BY_SELF": PINGS})
        check("completions", driver.done.counted(), {"SUCCESS": pieces})
    check("control after", tuple(ping(pair.peer, address, PINGS, size=SIZE)), (PINGS, PINGS, 0))
