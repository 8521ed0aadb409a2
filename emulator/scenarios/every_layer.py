"""Block, clone and inject at one packet layer after the other, under the traffic of ordinary programs."""

from __future__ import annotations

from pathlib import Path

from emulator.ported.reinject import HOST_LAYERS, OutOfBand, reinject_at
from emulator.scenario import Checks, scenario
from emulator.scenarios.programs import PAGE_OCTETS, bracketed, dig, fetch, name_server, ping, random_file, web_server
from emulator.topology import Host, Pair, Routed
from emulator.wfptypes import AddressFamily
from netns import scratch

PROGRAMS = ("ping", "curl", "nginx", "dig", "dnsmasq")
CLOSED_PORT = 9


class Town:
    """A host with a web server and a name server, and a neighbour that uses them."""

    def __init__(self, server: Host, client: Host, family: AddressFamily, folder: Path) -> None:
        self.server, self.client, self.family = server, client, family
        self.folder = folder
        for host in (server, client):  # else the kernel keeps some of its ICMP errors to itself
            host.namespace.sysctl("net.ipv4.icmp_ratelimit", 0)
            host.namespace.sysctl("net.ipv6.icmp.ratelimit", 0)
        self.digest = random_file(folder / "page", PAGE_OCTETS)
        web_server(server, folder)
        name_server(server, family, "host-record=host.test,192.0.2.7")

    def live(self) -> dict[str, object]:
        """A little of everything that goes on between the two; what came of each."""
        address = self.server.address(self.family)
        url = f"http://{bracketed(address)}/page"
        return {
            "pings": tuple(ping(self.client, address, 3)),
            "large pings": tuple(ping(self.client, address, 2, size=3000)),
            "by UDP": dig(self.client, address, "host.test", "A"),
            "by TCP": dig(self.client, address, "host.test", "A", tcp=True),
            "page": fetch(self.client, url, self.folder / "got") == self.digest,
            "closed here": refused(self.client, self.server, self.family),
            "closed there": refused(self.server, self.client, self.family),
        }

    EXPECTED = {
        "pings": (3, 3, 0),
        "large pings": (2, 2, 0),
        "by UDP": "192.0.2.7",
        "by TCP": "192.0.2.7",
        "page": True,
        "closed here": True,
        "closed there": True,
    }


def refused(client: Host, server: Host, family: AddressFamily) -> bool:
    """Whether a datagram to a closed port is answered by the ICMP error that says so."""
    sender = client.socket(family)
    sender.connect((server.address(family), CLOSED_PORT))
    sender.send(b"anybody?")
    try:
        sender.recv(1)
    except ConnectionRefusedError:
        return True
    return False


@scenario(rules=("GE-12", "NB-2", "NR-2", "TR-2", "TS-2", "LA-1", "LA-2"), programs=PROGRAMS)
def clone_and_inject_at_every_layer(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """At each of a host's packet layers in turn everything is blocked, cloned and injected, and goes on working.

    peer (ping, dig, curl) === (one layer: block, clone, inject) host (nginx, dnsmasq)
    """
    with scratch.folder() as folder, OutOfBand() as worker:
        town = Town(pair.host, pair.peer, family, folder)
        check("control before", town.live(), town.EXPECTED)
        for layer in HOST_LAYERS:
            with pair.host.driver() as driver:
                callout = reinject_at(driver, family, [layer], worker=worker)[layer]
                check(layer, town.live(), town.EXPECTED)
                pair.host.stack.settle()
                taken = callout.states["NOT_INJECTED"]
                check.that(f"{layer}: took packets", taken > 0, dict(callout.states))
                check(f"{layer}: completions", driver.done.counted(), {"SUCCESS": taken})
        check("work out of band that failed", worker.failures, [])
        check("control after", town.live(), town.EXPECTED)


@scenario(rules=("FW-1", "FW-3", "FW-4", "GE-12"), programs=PROGRAMS)
def clone_and_inject_in_transit(routed: Routed, family: AddressFamily, check: Checks) -> None:
    """At IPFORWARD everything is blocked, cloned and forwarded, shown once each, and goes on working.

    left (ping, dig, curl) === mid (IPFORWARD: block, clone, forward) === right (nginx, dnsmasq)
    """
    with scratch.folder() as folder:
        town = Town(routed.right, routed.left, family, folder)
        check("control before", town.live(), town.EXPECTED)
        with routed.mid.driver() as driver:
            callout = reinject_at(driver, family, ["IPFORWARD"])["IPFORWARD"]
            check("IPFORWARD", town.live(), town.EXPECTED)
            routed.mid.stack.settle()
            states = dict(callout.states)
            check("never shown again", list(states), ["NOT_INJECTED"])
            check("completions", driver.done.counted(), {"SUCCESS": states.get("NOT_INJECTED", 0)})
        check("control after", town.live(), town.EXPECTED)
