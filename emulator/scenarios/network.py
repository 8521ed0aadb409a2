"""Network injection: whole IP packets sent, received, cloned and injected again at the IP-packet layers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from emulator.callout import Callout
from emulator.checksums import fix_checksums
from emulator.handle import InjectionHandle
from emulator.headers import build_ip_header
from emulator.indication import Indication
from emulator.interfaces import SUB_INTERFACE
from emulator.layers import layer_of
from emulator.netbuffer import NetBufferList
from emulator.ntstatus import NtStatus
from emulator.scenario import Checks, scenario
from emulator.scenarios.handles import udp_packet
from emulator.stack import Stack
from emulator.topology import Alone, Pair
from emulator.traffic import Datagrams, drain
from emulator.wfptypes import AddressFamily, InjectionType

NETWORK = InjectionType.NETWORK


class Completions:
    """A completion function that frees the list and remembers the statuses."""

    def __init__(self, stack: Stack) -> None:
        self._ownership = stack.core.ownership
        self.statuses: list[NtStatus] = []

    def __call__(self, context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        self.statuses.append(item.status)
        if item.parent is not None:
            self._ownership.free_clone(item)
        else:
            self._ownership.free_list(item)

    def counted(self) -> dict[str, int]:
        """How often each status came."""
        return dict(Counter(status.name for status in self.statuses))


class CloneAndInject(Callout):
    """Blocks every packet of one port, injects its clone, and lets what it injected pass.

    `receive` chooses the direction of the injection; states are counted by name.
    """

    def __init__(self, stack: Stack, handle: InjectionHandle, *, receive: bool = False, retreat: bool = True) -> None:
        self.handle = handle
        self.receive = receive
        self.retreat = retreat
        self.completions = Completions(stack)
        self.states: Counter[str] = Counter()
        self.interfaces: Counter[tuple[str, int]] = Counter()

    def classify(self, seen: Indication) -> None:
        if 5000 not in (seen.view.destination_port, seen.view.source_port):
            return seen.permit()
        item = seen.net_buffer_list
        assert item is not None
        state = self.handle.state(item)[0].name
        self.states[state] += 1
        self.interfaces[state, seen.interface] += 1
        if self.handle.is_mine(item):
            return seen.permit()
        clone = seen.clone(seen.metadata.ip_header_size if self.receive and self.retreat else 0)
        if self.receive:
            self.handle.network_receive(
                clone, self.completions, interface=seen.value("INTERFACE_INDEX"), sub_interface=SUB_INTERFACE
            )
        else:
            self.handle.network_send(clone, self.completions)
        return seen.block(absorb=True)


@scenario()
def network_send(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A packet made from nothing is sent by a raw socket and arrives at the peer.

    host --made packet--> peer
    """
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    done = Completions(stack)
    check("control: without injection nothing arrives", traffic.arrived(), [])
    with stack.create_handle(family, NETWORK) as handle:
        for payload in (b"one", b"two", b"three"):
            handle.network_send(stack.core.ownership.create_from(udp_packet(pair, family, payload)), done)
        check("what arrived", traffic.arrived(), [b"one", b"two", b"three"])
    check("completions", done.counted(), {"SUCCESS": 3})
    check("control: nothing comes afterwards", traffic.arrived(), [])


@scenario()
def network_receive(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A packet made from nothing arrives at the host itself, on the interface that was named.

    peer === host <--made packet on eth0
    """
    stack = pair.host.stack
    receiver = pair.host.socket(family, port=5000)
    traffic = Datagrams(pair.peer, pair.host, family, port=5001)
    done = Completions(stack)
    eth0 = pair.host.namespace.index_of("eth0")
    datagram = b"\x13\x87\x13\x88\x00\x0d\x00\x00hello"
    packet = build_ip_header(
        family.version or 4, pair.peer.octets(family), pair.host.octets(family), 17, datagram
    )
    with stack.create_handle(family, NETWORK) as handle:
        for index, sub in ((eth0, SUB_INTERFACE), (0, SUB_INTERFACE), (9999, SUB_INTERFACE), (eth0, 0)):
            item = stack.core.ownership.create_from(packet)
            handle.network_receive(item, done, interface=index, sub_interface=sub)
        stack.settle()
    traffic.canary()
    check("the application got it once", drain(receiver), [b"hello"])
    check("statuses: good, index 0, unknown index, sub-interface 0", [status.name for status in done.statuses],
          ["SUCCESS", "INVALID_PARAMETER", "INVALID_PARAMETER", "INVALID_PARAMETER"])  # fmt: skip


@scenario(cases=("B01",))
def clone_and_inject_outbound(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """100 datagrams are blocked, cloned and sent again at OUTBOUND_IPPACKET; all arrive, once.

    host --(OUTBOUND_IPPACKET: block, clone, network send)--> peer
    """
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    payloads = [b"datagram %d" % number for number in range(100)]
    check("control before", traffic.exchange(payloads), payloads)
    handle = stack.create_handle(family, NETWORK)
    callout = CloneAndInject(stack, handle)
    registered = stack.register(callout)
    added = stack.add_filter(layer_of("OUTBOUND_IPPACKET", family.version), registered)
    check("during", traffic.exchange(payloads), payloads)
    check("states seen", dict(callout.states), {"NOT_INJECTED": 100, "INJECTED_BY_SELF": 100})
    check("completions", callout.completions.counted(), {"SUCCESS": 100})
    stack.delete_filter(added)
    stack.unregister(registered)
    handle.destroy()
    check("control after", traffic.exchange(payloads), payloads)


@scenario(cases=("B03",))
def clone_and_inject_inbound(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """100 datagrams are blocked, cloned and received again at INBOUND_IPPACKET; all arrive, once.

    peer --> (INBOUND_IPPACKET: block, clone, network receive) host
    """
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    payloads = [b"datagram %d" % number for number in range(100)]
    check("control before", traffic.exchange(payloads), payloads)
    handle = stack.create_handle(family, NETWORK)
    callout = CloneAndInject(stack, handle, receive=True)
    registered = stack.register(callout)
    added = stack.add_filter(layer_of("INBOUND_IPPACKET", family.version), registered)
    check("during", traffic.exchange(payloads), payloads)
    eth0 = pair.host.namespace.index_of("eth0")
    expected = {("NOT_INJECTED", eth0): 100, ("INJECTED_BY_SELF", eth0): 100}
    check("states and interfaces seen", dict(callout.interfaces), expected)
    check("completions", callout.completions.counted(), {"SUCCESS": 100})
    stack.delete_filter(added)
    stack.unregister(registered)
    handle.destroy()
    check("control after", traffic.exchange(payloads), payloads)


@scenario(cases=("B04",))
def inbound_without_retreat(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A clone that begins at the transport header is not received: its completion fails.

    peer --> (INBOUND_IPPACKET: clone without retreat) host
    """
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    handle = stack.create_handle(family, NETWORK)
    callout = CloneAndInject(stack, handle, receive=True, retreat=False)
    registered = stack.register(callout)
    stack.add_filter(layer_of("INBOUND_IPPACKET", family.version), registered)
    check("nothing arrives", traffic.exchange([b"one", b"two"]), [])
    check("completions", callout.completions.counted(), {"INVALID_PARAMETER": 2})
    callout.retreat = True
    check("with the retreat it does", traffic.exchange([b"three"]), [b"three"])
    _end(stack, registered, handle)


def _end(stack: Stack, registered: Any, handle: InjectionHandle) -> None:
    for number in list(stack.core.engine.filters):
        stack.core.engine.delete_filter(number)
    stack.unregister(registered)
    handle.destroy()


class AnswerPings(Callout):
    """Absorbs every echo request and sends a reply of its own making."""

    def __init__(self, stack: Stack, handle: InjectionHandle) -> None:
        self.stack = stack
        self.handle = handle
        self.completions = Completions(stack)
        self.answered = 0

    def classify(self, seen: Indication) -> None:
        view = seen.view
        request, reply = (8, 0) if view.version == 4 else (128, 129)
        if not view.is_icmp or view.icmp_type != request or self.handle.is_mine(_list(seen)):
            return seen.permit()
        message = bytearray(seen.memory[view.transport_offset : seen.ip_end])
        message[0] = reply
        packet = build_ip_header(view.version, view.destination, view.source, view.protocol, bytes(message))
        self.handle.network_send(self.stack.core.ownership.create_from(packet), self.completions)
        self.answered += 1
        return seen.block(absorb=True)


def _list(seen: Indication) -> NetBufferList:
    assert seen.net_buffer_list is not None
    return seen.net_buffer_list


@scenario(cases=("B06",))
def ping_answered_by_a_callout(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """Echo requests are absorbed inbound and answered by made replies; the peer's ping succeeds.

    peer --echo request--> (INBOUND_IPPACKET: absorb) host --made reply--> peer
    """
    stack = pair.host.stack
    handle = stack.create_handle(family, NETWORK)
    callout = AnswerPings(stack, handle)
    registered = stack.register(callout)
    stack.add_filter(layer_of("INBOUND_IPPACKET", family.version), registered)
    before = _kernel_requests(pair, family)
    ping = pair.peer.run("ping", "-n", "-c", "5", "-i", "0.2", "-W", "5", pair.host.address(family), check=False)
    check("ping's exit status", ping.returncode, 0)
    check("answered", callout.answered, 5)
    check("requests that reached the kernel", _kernel_requests(pair, family) - before, 0)
    _end(stack, registered, handle)


def _kernel_requests(pair: Pair, family: AddressFamily) -> int:
    """How many echo requests have reached the host's kernel."""
    if family == AddressFamily.INET:
        lines = pair.host.run("cat", "/proc/net/snmp").stdout.splitlines()
        names, values = (line.split() for line in lines if line.startswith("Icmp:"))
        return int(values[names.index("InEchos")])
    for line in pair.host.run("cat", "/proc/net/snmp6").stdout.splitlines():
        if line.startswith("Icmp6InEchos"):
            return int(line.split()[1])
    return 0


@scenario(cases=("A08",))
def malformed_packets(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """Packets that are none are accepted, completed with a failing status, and never reach the wire.

    host --x--> peer
    """
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    good = udp_packet(pair, family, b"good")
    other = udp_packet(pair, AddressFamily.INET6 if family == AddressFamily.INET else AddressFamily.INET, b"other")
    length_at = 2 if family == AddressFamily.INET else 4
    too_long = bytearray(good)
    too_long[length_at : length_at + 2] = (2000).to_bytes(2, "big")
    bad = {
        "empty": b"",
        "version nibble 7": bytes([0x70 | good[0] & 15]) + good[1:],
        "length beyond the octets": bytes(too_long),
        "cut off in the header": good[:12],
        "begins at the UDP header": good[-12:],
        "of the other family": other,
    }
    with stack.create_handle(family, NETWORK) as handle:
        for name, octets in bad.items():
            done = Completions(stack)
            handle.network_send(stack.core.ownership.create_from(octets), done)
            stack.settle()
            check(name, done.counted(), {"INVALID_PARAMETER": 1})
        check("nothing arrived", traffic.arrived(), [])
        done = Completions(stack)
        handle.network_send(stack.core.ownership.create_from(good), done)
        check("a good one does", traffic.arrived(), [b"good"])
        check("and succeeds", done.counted(), {"SUCCESS": 1})


@scenario(cases=("B11",))
def larger_than_the_path(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A packet above the MTU is accepted, completed with INVALID_BUFFER_SIZE, and not sent.

    host --(MTU 1400)--> peer
    """
    for end in pair.link.ends:
        end.set_mtu(1400)
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    done = Completions(stack)
    with stack.create_handle(family, NETWORK) as handle:
        handle.network_send(stack.core.ownership.create_from(udp_packet(pair, family, b"x" * 1452)), done)
        check("nothing arrived", traffic.arrived(), [])
        check("completions", done.counted(), {"INVALID_BUFFER_SIZE": 1})
        handle.network_send(stack.core.ownership.create_from(udp_packet(pair, family, b"x" * 1352)), done)
        check("what fits arrives", [len(item) for item in traffic.arrived()], [1352])


@scenario(families=(AddressFamily.INET,))
def wrong_header_checksum_stays_wrong(pair: Pair, check: Checks) -> None:
    """A wrong IPv4 header checksum leaves as it was given, although raw sockets would repair it.

    host --bad checksum--> peer's kernel, which drops it
    """
    from netns.capture import Capture

    family = AddressFamily.INET
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    wrong = bytearray(udp_packet(pair, family, b"wrong"))
    wrong[10] ^= 0xFF
    done = Completions(stack)
    with Capture(pair.peer.namespace, "eth0") as wire, stack.create_handle(family, NETWORK) as handle:
        handle.network_send(stack.core.ownership.create_from(bytes(wrong)), done)
        check("no application got it", traffic.arrived(), [])
        frames = [bytes(frame.octets[14:]) for frame in wire.drain()]
        check("it crossed the wire octet for octet", bytes(wrong) in frames, True)
        check("completions", done.counted(), {"SUCCESS": 1})


@scenario(cases=("B07",))
def stale_transport_checksum(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A payload changed without its checksum is dropped by the peer; with the checksum fixed it arrives.

    host --(OUTBOUND_IPPACKET: change one octet)--> peer
    """
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    handle = stack.create_handle(family, NETWORK)
    fix = [False]
    completions = Completions(stack)

    class ChangeOneOctet(Callout):
        def classify(self, seen: Indication) -> None:
            if seen.view.destination_port != 5000 or handle.is_mine(_list(seen)):
                return seen.permit()
            octets = bytearray(_list(seen).octets)
            octets[-1] ^= 0x20
            if fix[0]:
                fix_checksums(octets)
            handle.network_send(stack.core.ownership.create_from(octets), completions)
            return seen.block(absorb=True)

    registered = stack.register(ChangeOneOctet())
    stack.add_filter(layer_of("OUTBOUND_IPPACKET", family.version), registered)
    check("stale: nothing arrives", traffic.exchange([b"lower"]), [])
    fix[0] = True
    check("fixed: it arrives changed", traffic.exchange([b"lower"]), [b"loweR"])
    _end(stack, registered, handle)


@scenario(cases=("B15",))
def several_packets_in_one_list(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A list of three packets sends three, in order, and completes once.

    host --(one list)--> peer
    """
    from emulator.netbuffer import Mdl, NetBuffer

    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    done = Completions(stack)
    packets = [udp_packet(pair, family, b"part %d" % number) for number in range(3)]
    buffers = [NetBuffer(Mdl(bytearray(octets)), 0, len(octets)) for octets in packets]
    buffers[0].next, buffers[1].next = buffers[1], buffers[2]
    with stack.create_handle(family, NETWORK) as handle:
        item = stack.core.ownership.create(Mdl(bytearray(1)), 0, 1)
        item.first_net_buffer = buffers[0]
        handle.network_send(item, done)
        check("what arrived", traffic.arrived(), [b"part 0", b"part 1", b"part 2"])
    check("completions", done.counted(), {"SUCCESS": 1})


@scenario(cases=("A09",))
def injection_context_comes_back(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """The context given at injection comes back to the injecting handle, and to no other.

    host --(OUTBOUND_IPPACKET: query)--> peer
    """
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    mine, other = stack.create_handle(family, NETWORK), stack.create_handle(family, NETWORK)
    answers: list[tuple[str, Any, str, Any]] = []

    class Ask(Callout):
        def classify(self, seen: Indication) -> None:
            if seen.view.destination_port == 5000:
                own, foreign = mine.state(_list(seen)), other.state(_list(seen))
                answers.append((own[0].name, own[1], foreign[0].name, foreign[1]))
            seen.permit()

    registered = stack.register(Ask())
    stack.add_filter(layer_of("OUTBOUND_IPPACKET", family.version), registered)
    done = Completions(stack)
    item = stack.core.ownership.create_from(udp_packet(pair, family, b"tagged"))
    mine.network_send(item, done, context=0x1234, completion_context=0x5678)
    stack.settle()
    check("arrived", traffic.exchange([b"plain"]), [b"tagged", b"plain"])
    check(
        "answers",
        answers,
        [("INJECTED_BY_SELF", 0x1234, "INJECTED_BY_OTHER", None), ("NOT_INJECTED", None, "NOT_INJECTED", None)],
    )
    other.destroy()
    _end(stack, registered, mine)


@scenario(cases=("B14",))
def loopback(alone: Alone, family: AddressFamily, check: Checks) -> None:
    """On loopback a receive injection is not delivered, a send injection is, and nothing loops.

    host --lo--> host
    """
    stack = alone.host.stack
    traffic = Datagrams(alone.host, alone.host, family)
    check("control before", traffic.exchange([b"plain"]), [b"plain"])
    handle = stack.create_handle(family, NETWORK)
    callout = CloneAndInject(stack, handle, receive=True)
    registered = stack.register(callout)
    stack.add_filter(layer_of("INBOUND_IPPACKET", family.version), registered)
    check("received: not delivered", traffic.exchange([b"by receive"]), [])
    check("completions", callout.completions.counted(), {"DATA_NOT_ACCEPTED": 1})
    callout.receive, callout.retreat = False, True
    callout.states.clear()


    for number in list(stack.core.engine.filters):
        stack.core.engine.delete_filter(number)
    stack.add_filter(layer_of("OUTBOUND_IPPACKET", family.version), registered)
    check("sent: delivered once", traffic.exchange([b"by send"]), [b"by send"])
    check("states", dict(callout.states), {"NOT_INJECTED": 1, "INJECTED_BY_SELF": 1})
    _end(stack, registered, handle)
    check("control after", traffic.exchange([b"plain"]), [b"plain"])
