"""Network injection: whole IP packets sent, received, cloned and injected again at the IP-packet layers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from emulator.callout import Callout
from emulator.driver import Driver
from emulator.headers import build_ip_header
from emulator.indication import Indication
from emulator.interfaces import SUB_INTERFACE
from emulator.rewrite import udp_packet
from emulator.scenario import Checks, scenario
from emulator.scenarios.handles import made_packet
from emulator.scenarios.programs import counters
from emulator.topology import Alone, Pair
from emulator.traffic import Datagrams, drain
from emulator.wfptypes import AddressFamily, InjectionType

NETWORK = InjectionType.NETWORK


class CloneAndInject(Callout):
    """Blocks every packet of one port, injects its clone, and lets what it injected pass.

    `receive` chooses the direction of the injection; states are counted by name.
    """

    def __init__(self, driver: Driver, family: AddressFamily, *, receive: bool = False, retreat: bool = True) -> None:
        self.driver = driver
        self.handle = driver.create_handle(family, NETWORK)
        self.receive = receive
        self.retreat = retreat
        self.states: Counter[str] = Counter()
        self.interfaces: Counter[tuple[str, int]] = Counter()

    def classify(self, seen: Indication) -> None:
        if 5000 not in (seen.view.destination_port, seen.view.source_port):
            return seen.permit()
        state = self.handle.state(seen.net_buffer_list)[0].name
        self.states[state] += 1
        self.interfaces[state, seen.interface] += 1
        if seen.injected_by(self.handle):
            return seen.permit()
        clone = seen.clone(seen.metadata.ip_header_size if self.receive and self.retreat else 0)
        if self.receive:
            self.handle.network_receive(
                clone,
                self.driver.done,
                interface=seen.value("INTERFACE_INDEX"),
                sub_interface=seen.value("SUB_INTERFACE_INDEX"),
            )
        else:
            self.handle.network_send(clone, self.driver.done)
        return seen.block(absorb=True)


@scenario(rules=("NS-1", "CF-5"))
def network_send(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A packet made from nothing is sent by a raw socket and arrives at the peer.

    host --made packet--> peer
    """
    traffic = Datagrams(pair.host, pair.peer, family)
    check("control: without injection nothing arrives", traffic.arrived(), [])
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, NETWORK)
        for payload in (b"one", b"two", b"three"):
            handle.network_send(driver.create(made_packet(pair, family, payload)), driver.done)
        check("what arrived", traffic.arrived(), [b"one", b"two", b"three"])
    check("completions", driver.done.counted(), {"SUCCESS": 3})
    check("control: nothing comes afterwards", traffic.arrived(), [])


@scenario(rules=("NR-1", "NR-4"))
def network_receive(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A packet made from nothing arrives at the host itself, on the interface that was named.

    peer === host <--made packet on eth0
    """
    receiver = pair.host.socket(family, port=5000)
    traffic = Datagrams(pair.peer, pair.host, family, port=5001)
    packet = udp_packet(pair.peer.address(family), pair.host.address(family), b"hello", ports=(5007, 5000))
    eth0 = pair.host.interface()
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, NETWORK)
        for index, sub in ((eth0, SUB_INTERFACE), (0, SUB_INTERFACE), (9999, SUB_INTERFACE), (eth0, 0)):
            handle.network_receive(driver.create(packet), driver.done, interface=index, sub_interface=sub)
    traffic.canary()
    check("the application got it once", drain(receiver), [b"hello"])
    check("statuses: one good; index 0, unknown index, sub-interface 0", driver.done.counted(),
          {"SUCCESS": 1, "INVALID_PARAMETER": 3})  # fmt: skip


@scenario(cases=("B01",), rules=("GE-12", "QS-2", "OR-1"))
def clone_and_inject_outbound(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """100 datagrams are blocked, cloned and sent again at OUTBOUND_IPPACKET; all arrive, once.

    host --(OUTBOUND_IPPACKET: block, clone, network send)--> peer
    """
    traffic = Datagrams(pair.host, pair.peer, family)
    payloads = [b"datagram %d" % number for number in range(100)]
    check("control before", traffic.exchange(payloads), payloads)
    with pair.host.driver() as driver:
        callout = CloneAndInject(driver, family)
        driver.add(callout, "OUTBOUND_IPPACKET", family)
        check("during", traffic.exchange(payloads), payloads)
        check("states seen", dict(callout.states), {"NOT_INJECTED": 100, "INJECTED_BY_SELF": 100})
        check("completions", driver.done.counted(), {"SUCCESS": 100})
    check("control after", traffic.exchange(payloads), payloads)


@scenario(cases=("B03",), rules=("GE-12", "NB-2", "NR-2", "NR-3"))
def clone_and_inject_inbound(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """100 datagrams are blocked, cloned and received again at INBOUND_IPPACKET; all arrive, once.

    peer --> (INBOUND_IPPACKET: block, clone, network receive) host
    """
    traffic = Datagrams(pair.peer, pair.host, family)
    payloads = [b"datagram %d" % number for number in range(100)]
    check("control before", traffic.exchange(payloads), payloads)
    with pair.host.driver() as driver:
        callout = CloneAndInject(driver, family, receive=True)
        driver.add(callout, "INBOUND_IPPACKET", family)
        check("during", traffic.exchange(payloads), payloads)
        eth0 = pair.host.interface()
        expected = {("NOT_INJECTED", eth0): 100, ("INJECTED_BY_SELF", eth0): 100}
        check("states and interfaces seen", dict(callout.interfaces), expected)
        check("completions", driver.done.counted(), {"SUCCESS": 100})
    check("control after", traffic.exchange(payloads), payloads)


@scenario(cases=("B04",), rules=("NR-2",))
def inbound_without_retreat(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A clone that begins at the transport header is not received: its completion fails.

    peer --> (INBOUND_IPPACKET: clone without retreat) host
    """
    traffic = Datagrams(pair.peer, pair.host, family)
    with pair.host.driver() as driver:
        callout = CloneAndInject(driver, family, receive=True, retreat=False)
        driver.add(callout, "INBOUND_IPPACKET", family)
        check("nothing arrives", traffic.exchange([b"one", b"two"]), [])
        check("completions", driver.done.counted(), {"INVALID_PARAMETER": 2})
        check.expect_violation("NR-2", "NR-2")
        callout.retreat = True
        check("with the retreat it does", traffic.exchange([b"three"]), [b"three"])


class AnswerPings(Callout):
    """Absorbs every echo request and sends a reply of its own making."""

    def __init__(self, driver: Driver, family: AddressFamily) -> None:
        self.driver = driver
        self.handle = driver.create_handle(family, NETWORK)
        self.answered = 0

    def classify(self, seen: Indication) -> None:
        view = seen.view
        request, reply = (8, 0) if view.version == 4 else (128, 129)
        if not view.is_icmp or view.icmp_type != request:
            return seen.permit()
        message = bytearray(seen.copy())  # inbound the data begins behind the IP header
        message[0] = reply
        packet = build_ip_header(view.version, view.destination, view.source, view.protocol, message)
        self.handle.network_send(self.driver.create(packet), self.driver.done)
        self.answered += 1
        return seen.block(absorb=True)


@scenario(cases=("B06",), programs=("ping",))
def ping_answered_by_a_callout(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """Echo requests are absorbed inbound and answered by made replies; the peer's ping succeeds.

    peer --echo request--> (INBOUND_IPPACKET: absorb) host --made reply--> peer
    """
    with pair.host.driver() as driver:
        callout = AnswerPings(driver, family)
        driver.add(callout, "INBOUND_IPPACKET", family)
        before = _kernel_requests(pair, family)
        argv = ("ping", "-n", "-c", "5", "-i", "0.2", "-W", "5", pair.host.address(family))
        ping = pair.peer.run(*argv, user="root", check=False)
        check("ping's exit status", ping.returncode, 0)
        check("answered", callout.answered, 5)
        check("requests that reached the kernel", _kernel_requests(pair, family) - before, 0)


def _kernel_requests(pair: Pair, family: AddressFamily) -> int:
    """How many echo requests have reached the host's kernel."""
    return counters(pair.host)["Icmp.InEchos" if family == AddressFamily.INET else "Icmp6InEchos"]


@scenario(cases=("A09",), rules=("HC-16", "QS-2", "QS-3", "QS-6", "QS-7"))
def injection_context_comes_back(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """The context given at injection comes back to the injecting handle, and to no other.

    host --(OUTBOUND_IPPACKET: query)--> peer
    """
    traffic = Datagrams(pair.host, pair.peer, family)
    answers: list[tuple[str, Any, str, Any]] = []
    with pair.host.driver() as driver:
        mine, other = driver.create_handle(family, NETWORK), driver.create_handle(family, NETWORK)

        def ask(seen: Indication) -> None:
            if seen.view.destination_port == 5000:
                own, foreign = mine.state(seen.net_buffer_list), other.state(seen.net_buffer_list)
                answers.append((own[0].name, own[1], foreign[0].name, foreign[1]))
            seen.permit()

        driver.add(ask, "OUTBOUND_IPPACKET", family)
        item = driver.create(made_packet(pair, family, b"tagged"))
        mine.network_send(item, driver.done, context=0x1234, completion_context=0x5678)
        pair.host.stack.settle()
        check("arrived", traffic.exchange([b"plain"]), [b"tagged", b"plain"])
    check(
        "answers",
        answers,
        [("INJECTED_BY_SELF", 0x1234, "INJECTED_BY_OTHER", None), ("NOT_INJECTED", None, "NOT_INJECTED", None)],
    )


@scenario(cases=("B14",), rules=("NR-9",))
def loopback(alone: Alone, family: AddressFamily, check: Checks) -> None:
    """On loopback a receive injection is not delivered, a send injection is, and nothing loops.

    host --lo--> host
    """
    traffic = Datagrams(alone.host, alone.host, family)
    check("control before", traffic.exchange([b"plain"]), [b"plain"])
    with alone.host.driver() as driver:
        callout = CloneAndInject(driver, family, receive=True)
        filters = driver.add(callout, "INBOUND_IPPACKET", family)
        check("received: not delivered", traffic.exchange([b"by receive"]), [])
        check("completions", driver.done.counted(), {"DATA_NOT_ACCEPTED": 1})
        driver.remove(*filters)
        callout.receive = False
        callout.states.clear()
        driver.add(callout, "OUTBOUND_IPPACKET", family)
        check("sent: delivered once", traffic.exchange([b"by send"]), [b"by send"])
        check("states", dict(callout.states), {"NOT_INJECTED": 1, "INJECTED_BY_SELF": 1})
    check("control after", traffic.exchange([b"plain"]), [b"plain"])
