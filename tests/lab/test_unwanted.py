"""Packets that no filter may want never leave the kernel; those that one wants all come, injected ones too."""

from __future__ import annotations

import pytest

from emulator.filters import Condition, MatchType
from emulator.layers import layer_of
from emulator.paths.plans import FORWARD, INPUT, OUTPUT
from emulator.stack import Stack
from emulator.topology import Pair, Routed
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily
from netns.rules import Backend, choose_backend
from tests.lab.network_packets import PORT, Watch, at
from tests.lab.putting_back import ALL_TYPES, PutBack
from tests.lab.sending import by_port, finish

OTHER = PORT + 1
MANY = [b"%d" % number for number in range(40)]
FEW = 8
"""More than the packets that have no port and come all the same (neighbour discovery)."""


def told(stack: Stack) -> None:
    """Skip where the kernel cannot be told what filters want."""
    if choose_backend(stack.namespace) is Backend.IPTABLES:
        pytest.skip("nft with queue or with the xtables target: by iptables all packets come")


def watch_port(stack: Stack, group: str, field: str, family: AddressFamily) -> Watch:
    """A callout whose filter names a port."""
    watch = Watch()
    condition = Condition(field, MatchType.EQUAL, PORT)
    stack.add_filter(layer_of(group, family.version), stack.register(watch), conditions=[condition])
    return watch


@pytest.mark.rule("FI-6", "FI-7")
def test_what_no_filter_wants_stays_in_the_kernel_until_one_does(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    told(stack)
    mine, other = (Datagrams(pair.host, pair.peer, family, port=port) for port in (PORT, OTHER))
    assert other.exchange([b"before"]) == [b"before"]
    narrow = watch_port(stack, "OUTBOUND_TRANSPORT", "IP_REMOTE_PORT", family)
    book = stack.books.hooks[OUTPUT]
    assert mine.exchange(MANY) == MANY
    assert len(narrow.layers) == len(MANY)
    taken = book.offered
    assert other.exchange(MANY) == MANY
    assert book.offered - taken < FEW
    wide = Watch(port=OTHER)
    at(stack, wide, "OUTBOUND_TRANSPORT", family=family)
    assert other.exchange(MANY) == MANY
    assert len(wide.layers) == len(MANY)
    finish(pair)
    taken = book.offered
    assert mine.exchange(MANY) + other.exchange(MANY) == MANY + MANY
    assert book.offered == taken


@pytest.mark.rule("FI-6", "LA-20")
def test_fragments_come_to_a_filter_of_ports_when_they_are_whole(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    told(stack)
    mine, other = (Datagrams(pair.peer, pair.host, family, port=port) for port in (PORT, OTHER))
    narrow = watch_port(stack, "INBOUND_TRANSPORT", "IP_LOCAL_PORT", family)
    large = [b"x" * 4000, b"y" * 4000]
    assert mine.exchange(large) == large
    assert len(narrow.layers) == len(large)
    taken = stack.books.hooks[INPUT].offered
    assert other.exchange(MANY) == MANY
    assert stack.books.hooks[INPUT].offered - taken < FEW


@pytest.mark.rule("FI-6", "FW-5")
def test_a_router_is_shown_only_what_goes_where_a_filter_says(routed: Routed, family: AddressFamily) -> None:
    stack, traffic = routed.mid.stack, Datagrams(routed.left, routed.right, family)
    told(stack)
    there = Condition("IP_DESTINATION_ADDRESS", MatchType.EQUAL, routed.right.octets(family))
    back = Condition("IP_DESTINATION_ADDRESS", MatchType.EQUAL, routed.left.octets(family))
    net = Condition(
        "IP_DESTINATION_ADDRESS", MatchType.EQUAL, "10.99.0.0/16" if family == AddressFamily.INET else "fd99::/32"
    )
    watch, book = Watch(), stack.books.hooks[FORWARD]
    registered = stack.register(watch)
    layer = layer_of("IPFORWARD", family.version)
    stack.add_filter(layer, registered, conditions=[net])
    item = stack.add_filter(layer, registered, conditions=[back])
    assert traffic.exchange(MANY) == MANY
    assert (watch.layers, book.offered) == ([], 0)
    stack.add_filter(layer, registered, conditions=[there])
    stack.delete_filter(item)
    large = [b"z" * 4000]
    assert traffic.exchange(MANY + large) == MANY + large
    assert len(watch.layers) > len(MANY)


@pytest.mark.rule("GE-10", "CF-1")
def test_an_injected_packet_passes_and_completes_where_no_filter_wants_it(
    pair: Pair, family: AddressFamily, way: str
) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    handle = stack.create_handle(family, ALL_TYPES)
    callout = PutBack(stack, handle, only=by_port)
    at(stack, callout, "OUTBOUND_TRANSPORT", family=family)
    nobody = Condition("IP_REMOTE_ADDRESS", MatchType.EQUAL, "10.99.0.1" if family == AddressFamily.INET else "fd99::1")
    unmet = Watch()
    stack.add_filter(layer_of("OUTBOUND_IPPACKET", family.version), stack.register(unmet), conditions=[nobody])
    assert traffic.exchange(MANY) == MANY
    assert callout.done.names == ["SUCCESS"] * len(MANY)
    assert unmet.layers == []
    finish(pair, handle)
