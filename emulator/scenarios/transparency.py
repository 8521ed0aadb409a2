"""Ordinary programs do not notice drivers that take every packet at every layer, and put it back.

With `--full`: 200 MB down, 20 MB up (through the router) and 2000 pings in a flood, instead of a short taste.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from emulator.ported.reinject import HOST_LAYERS, ROUTER_LAYERS, OutOfBand, Reinject, reinject_at
from emulator.scenario import Checks, scenario
from emulator.scenarios.bulk import bulk
from emulator.scenarios.programs import (
    PAGE_OCTETS,
    bracketed,
    counters,
    dig,
    fetch,
    name_server,
    ping,
    random_file,
    upload,
    upload_server,
    web_server,
)
from emulator.topology import Host, Pair, Routed
from emulator.wfptypes import AddressFamily
from netns import scratch
from netns.patience import patient

PROGRAMS = ("ping", "curl", "nginx", "dig", "dnsmasq", "openssl")
NAME, ANSWER = "host.test", "192.0.2.7"


class Serving:
    """A web server with one file and a name server on one host; and what a client makes of them."""

    def __init__(self, host: Host, family: AddressFamily, folder: Path, *, full: bool, uploads: bool) -> None:
        self.address = host.address(family)
        self.family = family
        self.folder = folder
        self.pings = 2000 if full else 30
        self.digest = random_file(folder / "file", bulk((200 if full else 1) << 20))
        self.small = random_file(folder / "small", PAGE_OCTETS)
        # iperf3 sends 128 KiB at a time; of very few of them its server may have read none when the client is done.
        self.upload_octets = bulk((20 if full else 1) << 20, least=1 << 20) if uploads else 0
        web_server(host, folder, secure=True)
        if uploads:
            upload_server(host, family)
        name_server(host, family, f"host-record={NAME},{ANSWER}")

    def use(self, client: Host, check: Checks, what: str) -> None:
        """Have a client ping, ask and download; everything has to come as it was sent."""
        check.step(f"{what}: ping")
        address, got = self.address, self.folder / "got"
        for count, size, flood in ((self.pings, 56, True), (5, 3000, False)):
            seen = ping(client, address, count, size=size, flood=flood)
            check(f"{what}: pings of {size} octets answered", tuple(seen), (count, count, 0))
        for tcp in (False, True):
            answer = dig(client, address, NAME, "A", tcp=tcp)
            check(f"{what}: the name by {'TCP' if tcp else 'UDP'}", answer, ANSWER)
        secure = ("--cacert", str(self.folder / "certificate"), "--resolve", f"lab:443:{bracketed(address)}")
        check(f"{what}: by TLS", fetch(client, "https://lab/small", got, *secure), self.small)
        if self.upload_octets:
            check(f"{what}: upload", upload(client, address, self.upload_octets), "sent")
        check.step(f"{what}: download")
        check(f"{what}: download", fetch(client, f"http://{bracketed(address)}/file", got), self.digest)


@contextmanager
def serving(host: Host, family: AddressFamily, check: Checks, *, uploads: bool = False) -> Iterator[Serving]:
    """The servers, with a folder that goes with them."""
    with scratch.folder() as folder:
        yield Serving(host, family, folder, full=check.full, uploads=uploads)


class Segments(NamedTuple):
    """What TCP sent more than once while something was done."""

    again: int
    """Segments sent again, for whatever reason."""
    in_vain: int
    """Of these, segments whose original had arrived, as the receivers told (by duplicate SACKs)."""
    handshakes: int
    """Of these, SYNs and SYN-ACKs: no receiver tells whether they came twice."""

    @property
    def lost(self) -> int:
        """Those of established connections that were needed; below 0 when segments came twice that were sent once."""
        return self.again - self.in_vain - self.handshakes


def counted(hosts: Iterable[Host], served: Serving, client: Host, check: Checks, what: str) -> Segments:
    """Use the servers, and tell what TCP had to send again meanwhile.

    Connections may still be closing when that is read, one host after the other.  So what was sent again is read first
    and last: whatever is told to have come twice lies in between.
    """
    sent_before, told_before = _sent_again(hosts), _told(hosts)
    served.use(client, check, what)
    told, sent = _told(hosts), _sent_again(hosts)
    return Segments(sent - sent_before, *(after - before for after, before in zip(told, told_before, strict=True)))


def _sent_again(hosts: Iterable[Host]) -> int:
    return sum(counters(host)["Tcp.RetransSegs"] for host in hosts)


def _told(hosts: Iterable[Host]) -> tuple[int, int]:
    found = sum((counters(host) for host in hosts), Counter[str]())
    return found["Tcp.TCPDSACKOldSent"] + found["Tcp.TCPDSACKOfoSent"], found["Tcp.TCPSynRetrans"]


def nothing_was_lost(check: Checks, between: Segments, alone: Segments) -> None:
    """Take the checks that TCP lost no more with us than without, and that nothing came twice.

    A timer that took a delay for a loss counts as neither: its segment had arrived.  Of handshakes, and of connections
    that are being closed, no receiver tells that, and TCP's timers are the same on every machine: on one that is known
    to be slow, nobody can say which segments were lost.
    """
    seen = {"with us": tuple(between), "without us": tuple(alone)}
    what = "(sent again, in vain, handshakes)"
    check.that(f"no segment came twice that was sent once {what}", between.lost >= 0, seen)
    if patient(1.0) > 1.0:
        check.step(f"segments {what}: {seen}; not compared, for this machine is slower than TCP's timers")
        return
    check.that(f"no more segments lost than without us {what}", between.lost <= max(alone.lost, 0), seen)
    check.that(f"no more handshakes repeated {what}", between.handshakes <= alone.handshakes, seen)


def all_went_back(check: Checks, callouts: dict[str, Reinject]) -> None:
    """Take the checks that every layer had its packets, and got each of them back."""
    for layer, callout in callouts.items():
        states: Counter[str] = callout.states
        check.that(f"{layer} took packets", states["NOT_INJECTED"] + states["INJECTED_BY_OTHER"] > 0, dict(states))


@scenario(rules=("GE-12", "CO-18", "CO-19", "OR-1"), programs=PROGRAMS)
def nothing_shows_through_a_host(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """Every packet of a server is blocked, cloned and reinjected at all its layers, and no client notices.

    peer (ping, dig, curl) === (seven layers: block, clone, inject) host (nginx, dnsmasq)
    """
    hosts = (pair.peer, pair.host)
    with serving(pair.host, family, check) as served, OutOfBand() as worker:
        alone = counted(hosts, served, pair.peer, check, "without us")
        with pair.host.driver() as driver:
            callouts = reinject_at(driver, family, HOST_LAYERS, worker=worker)
            between = counted(hosts, served, pair.peer, check, "with us")
            pair.host.stack.settle()
        check("work out of band that failed", worker.failures, [])
        all_went_back(check, {layer: callouts[layer] for layer in HOST_LAYERS if "ICMP" not in layer})
        check("completions", list(driver.done.counted()), ["SUCCESS"])
        nothing_was_lost(check, between, alone)


@scenario(rules=("FW-1", "FW-3", "FW-8", "OR-1"), programs=(*PROGRAMS, "iperf3"))
def nothing_shows_through_a_router(routed: Routed, family: AddressFamily, check: Checks) -> None:
    """Every packet in transit is blocked, cloned and reinjected, on arrival and on its way through.

    left (ping, dig, curl, iperf3) === mid (INBOUND_IPPACKET, IPFORWARD: block, clone, inject) === right (nginx, ...)
    """
    hosts = (routed.left, routed.right)
    # An upload ends in a reset; what a driver on the same host then has in hand belongs to no endpoint (TS-4).
    with serving(routed.right, family, check, uploads=True) as served:
        alone = counted(hosts, served, routed.left, check, "without us")
        with routed.mid.driver() as driver:
            callouts = reinject_at(driver, family, ROUTER_LAYERS)
            between = counted(hosts, served, routed.left, check, "with us")
            routed.mid.stack.settle()
        all_went_back(check, callouts)
        check("completions", list(driver.done.counted()), ["SUCCESS"])
        nothing_was_lost(check, between, alone)
