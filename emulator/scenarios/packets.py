"""What becomes of packets that are odd: malformed, too large, with wrong checksums, several in one list."""

from __future__ import annotations

from emulator.checksums import fix_checksums
from emulator.completions import Completions
from emulator.expect import Like
from emulator.indication import Indication
from emulator.netbuffer import Mdl, NetBuffer
from emulator.scenario import Checks, scenario
from emulator.scenarios.handles import made_packet
from emulator.topology import Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily, InjectionType

NETWORK = InjectionType.NETWORK


@scenario(cases=("A08",), rules=("GE-1", "NS-2", "NS-3"))
def malformed_packets(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """Packets that are none are accepted, completed with a failing status, and never reach the wire.

    host --x--> peer
    """
    traffic = Datagrams(pair.host, pair.peer, family)
    good = made_packet(pair, family, b"a good one")
    length_at = 2 if family == AddressFamily.INET else 4
    too_long = bytearray(good)
    too_long[length_at : length_at + 2] = (2000).to_bytes(2, "big")
    bad = {
        "empty": b"",
        "version nibble 7": bytes([0x70 | good[0] & 15]) + good[1:],
        "length beyond the octets": bytes(too_long),
        "cut off in the header": good[:12],
        "begins at the UDP header": good[-18:],
        "of the other family": made_packet(pair, other_than(family), b"other"),
    }
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, NETWORK)
        for name, octets in bad.items():
            done = Completions(driver.core.ownership)
            handle.network_send(driver.create(octets), done)
            pair.host.stack.settle()
            check(name, done.counted(), {"INVALID_PARAMETER": 1})
        check.expect_violation(*["NS-2"] * 5, "NS-3")
        check("nothing arrived", traffic.arrived(), [])
        handle.network_send(driver.create(good), driver.done)
        check("a good one does", traffic.arrived(), [b"a good one"])
        check("and succeeds", driver.done.counted(), {"SUCCESS": 1})


def other_than(family: AddressFamily) -> AddressFamily:
    """IPv6 for IPv4, and the other way round."""
    return AddressFamily.INET6 if family == AddressFamily.INET else AddressFamily.INET


@scenario(cases=("B11",), rules=("NS-12",))
def larger_than_the_path(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A packet above the MTU is accepted, completed with INVALID_BUFFER_SIZE, and not sent.

    host --(MTU 1400)--> peer
    """
    for end in pair.link.ends:
        end.set_mtu(1400)
    traffic = Datagrams(pair.host, pair.peer, family)
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, NETWORK)
        handle.network_send(driver.create(made_packet(pair, family, b"x" * 1452)), driver.done)
        check("nothing arrived", traffic.arrived(), [])
        check("completions", driver.done.counted(), {"INVALID_BUFFER_SIZE": 1})
        handle.network_send(driver.create(made_packet(pair, family, b"x" * 1352)), driver.done)
        check("what fits arrives", [len(item) for item in traffic.arrived()], [1352])


@scenario(families=(AddressFamily.INET,), rules=("NS-19",))
def wrong_header_checksum_stays_wrong(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A wrong IPv4 header checksum leaves as it was given, although raw sockets would repair it.

    host --bad checksum--> peer's kernel, which drops it
    """
    traffic, wire = Datagrams(pair.host, pair.peer, family), pair.peer.wire()
    wrong = bytearray(made_packet(pair, family, b"wrong"))
    wrong[10] ^= 0xFF
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, NETWORK)
        handle.network_send(driver.create(wrong), driver.done)
        check("no application got it", traffic.arrived(), [])
        check.expect_violation("GE-16")
        expected = [Like(octets=bytes(wrong), checksums=False)]
        check.packets("it crossed the wire octet for octet", wire.packets(port=5000), expected)
        check("completions", driver.done.counted(), {"SUCCESS": 1})


@scenario(cases=("B07",), rules=("GE-16", "NS-19"))
def stale_transport_checksum(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A payload changed without its checksum is dropped by the peer; with the checksum fixed it arrives.

    host --(OUTBOUND_IPPACKET: change one octet)--> peer
    """
    traffic, wire = Datagrams(pair.host, pair.peer, family), pair.peer.wire()
    fix = False
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, NETWORK)

        def change_one_octet(seen: Indication) -> None:
            if seen.view.destination_port != 5000 or seen.injected_by(handle):
                return seen.permit()
            octets = bytearray(seen.copy())
            octets[-1] ^= 0x20
            if fix:
                fix_checksums(octets)
            handle.network_send(driver.create(octets), driver.done)
            return seen.block(absorb=True)

        driver.add(change_one_octet, "OUTBOUND_IPPACKET", family)
        check("stale: nothing arrives", traffic.exchange([b"lower"]), [])
        check.expect_violation("GE-16")
        check.packets("but it was on the wire", wire.packets(port=5000), [Like(payload=b"loweR", checksums=False)])
        fix = True
        check("fixed: it arrives changed", traffic.exchange([b"lower"]), [b"loweR"])
        check.packets("with right checksums", wire.packets(port=5000), [Like(payload=b"loweR", checksums=True)])


@scenario(cases=("B15",), rules=("NS-17",))
def several_packets_in_one_list(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A list of three packets sends three, in order, and completes once.

    host --(one list)--> peer
    """
    traffic = Datagrams(pair.host, pair.peer, family)
    packets = [made_packet(pair, family, b"part %d" % number) for number in range(3)]
    buffers = [NetBuffer(Mdl(bytearray(octets)), 0, len(octets)) for octets in packets]
    buffers[0].next, buffers[1].next = buffers[1], buffers[2]
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, NETWORK)
        item = driver.create(b"")
        item.first_net_buffer = buffers[0]
        handle.network_send(item, driver.done)
        check("what arrived", traffic.arrived(), [b"part 0", b"part 1", b"part 2"])
    check("completions", driver.done.counted(), {"SUCCESS": 1})
