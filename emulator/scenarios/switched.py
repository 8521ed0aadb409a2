"""Guests on a bridge of the host: what the host's own layers see of their traffic."""

from __future__ import annotations

from emulator.indication import Indication
from emulator.scenario import Checks, scenario
from emulator.topology import Bridged
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily


@scenario
def guests_pass_the_host_by(bridged: Bridged, family: AddressFamily, check: Checks) -> None:
    """What guests say to each other crosses the bridge and no IP layer of the host; what they say to it does.

    vm1 === br0 in host === vm2
    """
    seen_ports: list[int | None] = []

    def look(seen: Indication) -> None:
        if seen.view.protocol == 17:
            seen_ports.append(seen.view.destination_port)
        seen.permit()

    between = Datagrams(bridged.vm1, bridged.vm2, family)
    inward = Datagrams(bridged.vm2, bridged.host, family, port=5001)
    with bridged.host.driver() as driver:
        driver.add(look, "INBOUND_IPPACKET", family)
        driver.add(look, "IPFORWARD", family)
        check("between guests", between.exchange([b"one", b"two"]), [b"one", b"two"])
        check("what the host was shown of it", seen_ports, [])
        check("to the host", inward.exchange([b"three"]), [b"three"])
        check("what the host was shown of that", seen_ports[0], 5001)
