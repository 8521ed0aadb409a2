"""Blocked traffic that is answered at once, so that nobody waits for a time-out."""

from __future__ import annotations

import socket
import time

from emulator.indication import Indication
from emulator.octets import IpView
from emulator.ported.answering import AnsweringBlock
from emulator.scenario import Checks, scenario
from emulator.scenarios.programs import counters
from emulator.topology import Host, Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import Action, AddressFamily, InjectionType

PORT, CLOSED_PORT = 5000, 5001
TRIED_AGAIN_SECONDS = 1.0
"""When TCP repeats a segment that opens a connection, on every machine."""


@scenario(cases=("B18",), rules=("QS-3", "NR-1", "NR-3", "HC-16"))
def a_block_that_is_answered(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A blocked connection and a blocked datagram are refused as by a closed port, before anything is sent again.

    host --(OUTBOUND_IPPACKET: block)--x  peer
    host <--made RST or ICMP error (INBOUND_IPPACKET)
    """
    host, peer = pair.host, pair.peer
    listener = peer.socket(family, socket.SOCK_STREAM, port=PORT)
    listener.listen()
    datagrams = Datagrams(host, peer, family, port=PORT)
    check("control before: connects", attempt(host, peer, family, socket.SOCK_STREAM, PORT)[0], "connected")
    check("control before: arrives", datagrams.exchange([b"plain"]), [b"plain"])
    closed = [attempt(host, peer, family, kind, CLOSED_PORT) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
    check("a closed port", [what for what, _ in closed], ["refused", "refused"])
    wire, states = peer.wire(), []
    with host.driver() as driver:
        answers, packets = (driver.create_handle(family, InjectionType.NETWORK) for _ in range(2))
        block = AnsweringBlock(driver, answers, host.interface(), PORT)

        def look(seen: Indication) -> None:
            item = seen.net_buffer_list
            if item is not None and answers.is_mine(item):
                states.append((answers.state(item)[0].name, packets.state(item)[0].name))

        driver.add(block, "OUTBOUND_IPPACKET", family)
        driver.add(look, "INBOUND_IPPACKET", family, action=Action.CALLOUT_INSPECTION)
        tries = 0
        for number, (kind, name) in enumerate(((socket.SOCK_STREAM, "connection"), (socket.SOCK_DGRAM, "datagram"))):
            before = sent_again(host)
            what, seconds = attempt(host, peer, family, kind, PORT)
            check(f"the blocked {name}", what, "refused")
            host.stack.settle()
            again = sent_again(host) - before
            if seconds < TRIED_AGAIN_SECONDS:
                check(f"the {name} was tried once", again, 0)
            tries += 1 + again
            check(f"every try of the {name} was blocked", block.blocked, tries)
            here, there = seconds * 1000, closed[number][1] * 1000
            check.step(f"the {name} was refused after {here:.1f} ms; by a closed port after {there:.1f} ms")
        expected = ("INJECTED_BY_SELF", "INJECTED_BY_OTHER")
        check("the answers, to their own handle and to another", states, [expected] * tries)
        check("completions", driver.done.counted(), {"SUCCESS": tries})
        sent = [packet for packet in wire.packets() if IpView(packet).destination_port == PORT]
        check("on the wire", sent, [])
    check("control after: connects", attempt(host, peer, family, socket.SOCK_STREAM, PORT)[0], "connected")


def sent_again(host: Host) -> int:
    """How often the host has repeated the first segment of a connection so far."""
    return counters(host)["Tcp.TCPSynRetrans"]


def attempt(host: Host, peer: Host, family: AddressFamily, kind: int, port: int) -> tuple[str, float]:
    """What becomes of a connection, or of a datagram that waits for an answer; and after how many seconds."""
    client = host.socket(family, kind)
    began = time.monotonic()
    what = "connected"
    try:
        client.connect((peer.address(family), port))
        if kind == socket.SOCK_DGRAM:
            client.send(b"anybody?")
            client.recv(1)
    except ConnectionRefusedError:
        what = "refused"
    except TimeoutError:
        what = "timed out"
    client.close()
    return what, time.monotonic() - began
