"""A router that hides who is behind it: network address translation at the IP layers."""

from __future__ import annotations

from emulator.octets import IpView
from emulator.ported.translation import SourceTranslation
from emulator.scenario import Checks, scenario
from emulator.scenarios.programs import PAGE_OCTETS, bracketed, dig, fetch, name_server, ping, random_file, web_server
from emulator.topology import Routed
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily
from netns import scratch


@scenario(rules=("FW-1", "FW-3", "NR-1", "NR-11", "GE-15"), programs=("ping", "curl", "nginx", "dig", "dnsmasq"))
def a_router_translates_addresses(routed: Routed, family: AddressFamily, check: Checks) -> None:
    """The host on the right knows the router alone, and ping, dig and curl on the left work all the same.

    left --> mid (IPFORWARD: source becomes the router's; forward) --> right (nginx, dnsmasq)
    left <-- mid (INBOUND_IPPACKET: destination becomes left's; network receive) <-- right
    """
    left, mid, right = routed.left, routed.mid, routed.right
    address, outside = right.address(family), mid.address(family)
    with scratch.folder() as folder, mid.driver() as driver:
        digest = random_file(folder / "page", PAGE_OCTETS)
        web_server(right, folder)
        name_server(right, family, "host-record=host.test,192.0.2.7")
        traffic = Datagrams(left, right, family)
        check("control before: whom right sees", whom(traffic), left.address(family))
        SourceTranslation(driver, family, mid.interface("eth1"), outside)
        wire = right.wire()
        check("pings", tuple(ping(left, address, 3)), (3, 3, 0))
        for tcp in (False, True):
            answer = dig(left, address, "host.test", "A", tcp=tcp)
            check(f"the name by {'TCP' if tcp else 'UDP'}", answer, "192.0.2.7")
        url = f"http://{bracketed(address)}/page"
        check("the page", fetch(left, url, folder / "got"), digest)
        check("whom right sees", whom(traffic), outside)
        mid.stack.settle()
        check("completions", list(driver.done.counted()), ["SUCCESS"])
        inner = left.octets(family)
        views = [IpView(packet) for packet in wire.packets()]
        told = [view for view in views if inner in (view.source, view.destination)]
        check.that("packets on the right", len(views) > 20, len(views))
        check("of them, with an address of the left", len(told), 0)


def whom(traffic: Datagrams) -> object:
    """The address that a datagram seems to come from, where it arrives."""
    traffic.send(b"who am I?")
    _, source = traffic.receiver.recvfrom(20)
    return source[0]
