"""The kernel's own IPv6 messages meet the outbound layers, although they have an arrival device at the last hook."""

from __future__ import annotations

import pytest

from emulator.driver import Driver
from emulator.indication import Indication
from emulator.octets import ICMPV6
from emulator.topology import Pair
from emulator.torture.drivers import WAYS, PutBack
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily

ADVERTISEMENT = 136
V6 = AddressFamily.INET6


class Advertisements(PutBack):
    """Puts the host's neighbour advertisements back, and nothing else."""

    def __init__(self, driver: Driver, way: str, met: list[str]) -> None:
        super().__init__(driver, V6, next(item for item in WAYS if item.name == way))
        self.met = met

    def classify(self, seen: Indication) -> None:
        view = seen.view
        if view.protocol != ICMPV6 or view.icmp_type != ADVERTISEMENT:
            return seen.permit()
        self.met.append(f"{self.way.layer}{' again' if seen.injected_by(self.handle) else ''}")
        if seen.injected_by(self.handle):
            return seen.permit()
        self.way.inject(self, seen, self.way.take(self, seen))
        return seen.block(absorb=True)


@pytest.mark.rule("LA-1", "GE-10")
def test_a_neighbour_advertisement_meets_both_outbound_layers_and_is_put_back_at_each(pair: Pair) -> None:
    traffic = Datagrams(pair.peer, pair.host, V6)
    met: list[str] = []
    with pair.host.driver() as driver:
        for way in ("clone, transport send", "clone, network send"):
            callout = Advertisements(driver, way, met)
            driver.add(callout, callout.way.layer, V6)
        pair.peer.run("ip", "neighbour", "flush", "dev", "eth0", user="root")
        assert traffic.exchange([b"asks first"]) == [b"asks first"]
        first = met[: met.index("OUTBOUND_IPPACKET again") + 1]
        transport, network = "OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET"
        assert first == [transport, f"{transport} again", network, f"{transport} again", f"{network} again"]
        pair.host.stack.settle()
        assert driver.done.counted() == {"SUCCESS": met.count(transport) + met.count(network)}
    assert pair.host.stack.books.injections.vanished == 0
