"""What a router's callouts do with packets in transit."""

from __future__ import annotations

from emulator.headers import build_ip_header
from emulator.indication import Indication
from emulator.scenario import Checks, scenario
from emulator.topology import Routed
from emulator.traffic import Datagrams, drain
from emulator.wfptypes import AddressFamily, InjectionType

PORT = 5000


@scenario(cases=("A02", "E01"), rules=("HC-8", "FW-1", "FW-3"))
def one_handle_sends_and_forwards(routed: Routed, family: AddressFamily, check: Checks) -> None:
    """A handle with two types forwards clones of packets in transit and sends packets of its own.

    left --> mid (IPFORWARD: block, clone, forward; network send) --> right
    """
    traffic = Datagrams(routed.left, routed.right, family, port=PORT)
    made = b"\x13\x87" + PORT.to_bytes(2, "big") + b"\x00\x0c\x00\x00made"
    packet = build_ip_header(family.version or 4, routed.mid.octets(family), routed.right.octets(family), 17, made)
    check("control before", traffic.exchange([b"plain"]), [b"plain"])
    with routed.mid.driver() as driver:
        handle = driver.create_handle(family, InjectionType.NETWORK | InjectionType.FORWARD)
        shown = []

        def forward(seen: Indication) -> None:
            if seen.view.destination_port != PORT:
                return seen.permit()
            shown.append(seen.info.group)
            way = seen.value("DESTINATION_INTERFACE_INDEX")
            handle.forward(seen.clone(), driver.done, family=family, interface=way)
            return seen.block(absorb=True)

        driver.add(forward, "IPFORWARD", family)
        payloads = [b"%d" % number for number in range(20)]
        check("forwarded", traffic.exchange(payloads), payloads)
        check("shown once each", len(shown), 20)
        handle.network_send(driver.create(packet), driver.done)
        routed.mid.stack.settle()
        traffic.canary()
        check("sent", drain(traffic.receiver), [b"made"])
    check("control after", traffic.exchange([b"plain"]), [b"plain"])
