"""A ladder of priorities as WinDivert has it: one handle, and the injection context says who may look."""

from __future__ import annotations

from emulator.checksums import fix_checksums
from emulator.expect import Like
from emulator.ported.ladder import Rung
from emulator.rewrite import udp_packet
from emulator.scenario import Checks, scenario
from emulator.topology import TwoDrivers
from emulator.traffic import Datagrams
from emulator.wfptypes import Action, AddressFamily, InjectionType

PORT = 5000


@scenario(cases=("B16",), rules=("QS-6", "QS-7", "HC-16", "FI-1"))
def a_ladder_of_priorities(two_drivers: TwoDrivers, family: AddressFamily, check: Checks) -> None:
    """What one rung injects is shown to the lower ones and to no other; what nobody injected, to the highest.

    host (OUTBOUND_IPPACKET: rungs 9, 5, 1, asked in that order) --> peer
    """
    bed = two_drivers
    traffic = Datagrams(bed.host, bed.peer, family, port=PORT)
    check("control before", traffic.exchange([b"plain"]), [b"plain"])
    handle = bed.a.create_handle(family, InjectionType.NETWORK)
    rungs = {priority: Rung(bed.a, handle, priority, PORT) for priority in (9, 5, 1)}
    for priority, rung in rungs.items():
        bed.a.add(rung, "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_UNKNOWN, weight=priority << 16)

    def taken() -> dict[int, list[bytes]]:
        found = {priority: [payload for payload, _ in rung.taken] for priority, rung in rungs.items()}
        for rung in rungs.values():
            rung.taken.clear()
        return found

    ends = (bed.host.address(family), bed.peer.address(family))
    packet = udp_packet(*ends, b"from five", ports=(5007, PORT))
    handle.network_send(bed.a.create(packet), bed.a.done, context=5)
    check("injected by 5: nothing arrives", traffic.arrived(), [])
    check("and 1 alone has it", taken(), {9: [], 5: [], 1: [b"from five"]})
    check("an application's: nothing arrives", traffic.exchange([b"plain"]), [])
    check("and 9 has it", taken(), {9: [b"plain"], 5: [], 1: []})
    for rung in rungs.values():
        rung.reinject = True
    check("reinjected by all it arrives", traffic.exchange([b"down the ladder"]), [b"down the ladder"])
    check("after each has had it", taken(), {priority: [b"down the ladder"] for priority in (9, 5, 1)})


@scenario(cases=("B17",), rules=("GE-14", "QS-3"))
def an_impostor_loses_its_hop_limit(two_drivers: TwoDrivers, family: AddressFamily, check: Checks) -> None:
    """Another driver's packet is sent on with a lower hop limit; with 1 it goes no further, and that is told.

    host (b: network send --> a: OUTBOUND_IPPACKET: hop limit - 1) --> peer
    """
    bed = two_drivers
    traffic, wire = Datagrams(bed.host, bed.peer, family, port=PORT), bed.peer.wire()
    handle, foreign = (driver.create_handle(family, InjectionType.NETWORK) for driver in (bed.a, bed.b))
    rung = Rung(bed.a, handle, 0, PORT)
    rung.reinject = True
    bed.a.add(rung, "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_UNKNOWN)
    hop_limit_at = 8 if family == AddressFamily.INET else 7
    ends = (bed.host.address(family), bed.peer.address(family))
    for hop_limit in (1, 2):
        packet = bytearray(udp_packet(*ends, b"hop limit %d" % hop_limit, ports=(5007, PORT)))
        packet[hop_limit_at] = hop_limit
        fix_checksums(packet)
        foreign.network_send(bed.b.create(packet), bed.b.done)
    check("what arrives", traffic.arrived(), [b"hop limit 2"])
    check.packets("with what is left", wire.packets(port=PORT), [Like(hop_limit=1, checksums=True)])
    check("both were another's", rung.taken, [(b"hop limit 1", True), (b"hop limit 2", True)])
    check("told of the other", rung.statuses, ["HOPLIMIT_EXCEEDED"])
