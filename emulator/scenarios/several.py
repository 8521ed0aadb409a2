"""Several drivers on one host: who sees whose packets, and whose decision counts."""

from __future__ import annotations

from collections.abc import Callable

from emulator.driver import Driver
from emulator.errors import FwpNotFound
from emulator.fwpsk import Fwpsk
from emulator.indication import Indication
from emulator.netbuffer import NetBufferList
from emulator.scenario import Checks, scenario
from emulator.scenarios.handles import made_packet
from emulator.topology import TwoDrivers
from emulator.traffic import Datagrams
from emulator.wfptypes import Action, AddressFamily, InjectionType, TagEvent


@scenario(
    cases=("G01",), rules=("GE-12", "GE-13", "GE-14", "GE-19", "QS-3", "QS-4", "QS-5", "QS-8")
)
def two_cloning_drivers(two_drivers: TwoDrivers, family: AddressFamily, check: Checks) -> None:
    """Two drivers that both clone and inject stop after one pass each: the packet arrives once.

    host --(OUTBOUND_IPPACKET: a, then b; each blocks, clones and sends)--> peer
    """
    bed = two_drivers
    traffic = Datagrams(bed.host, bed.peer, family)
    states: dict[str, list[str]] = {"a": [], "b": []}
    for driver in (bed.a, bed.b):
        callout = only_port_5000(_cloning(driver, family, states[driver.name]))
        driver.add(callout, "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_UNKNOWN)
    check("it arrives once", traffic.exchange([b"one"]), [b"one"])
    check("what a saw", states["a"], ["NOT_INJECTED", "INJECTED_BY_SELF", "PREVIOUSLY_INJECTED_BY_SELF"])
    check("what b saw", states["b"], ["INJECTED_BY_OTHER", "INJECTED_BY_SELF"])
    check("completions of a", bed.a.done.counted(), {"SUCCESS": 1})
    check("completions of b", bed.b.done.counted(), {"SUCCESS": 1})


def _cloning(driver: Driver, family: AddressFamily, states: list[str]) -> Callable[[Indication], None]:
    handle = driver.create_handle(family, InjectionType.NETWORK)

    def classify(seen: Indication) -> None:
        if seen.may_decide:  # what the other has blocked is his
            states.append(handle.state(seen.net_buffer_list)[0].name)
            if seen.injected_by(handle):
                seen.permit()
            else:
                handle.network_send(seen.clone(), driver.done)
                seen.block(absorb=True)

    return classify


@scenario(cases=("G05",), rules=("FI-1", "FI-2", "CO-14", "CO-15"))
def soft_and_hard_permits(two_drivers: TwoDrivers, family: AddressFamily, check: Checks) -> None:
    """A soft permit is overridden by a lighter driver's block, a hard one only by a callout's veto.

    host --(OUTBOUND_IPPACKET: a permits, b blocks)--> peer
    """
    bed = two_drivers
    traffic = Datagrams(bed.host, bed.peer, family)
    permits: dict[str, Callable[[Indication], None]] = {"soft": Indication.permit, "hard": Indication.hard_permit}
    here = {"IP_REMOTE_ADDRESS": bed.peer.address(family)}

    def veto(seen: Indication) -> None:
        if seen.view.destination_port == 5000:
            seen.block()

    for name, permit in permits.items():
        ours = bed.a.add(only_port_5000(permit), "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_UNKNOWN)
        plain = bed.b.add(None, "OUTBOUND_IPPACKET", family, action=Action.BLOCK, where=here)
        traffic.send(b"against a plain block")
        bed.host.stack.settle()  # the canary would be blocked too
        bed.b.remove(*plain)
        arrived = traffic.arrived()
        check(f"{name} permit, plain block", arrived, [] if name == "soft" else [b"against a plain block"])
        vetoing = bed.b.add(veto, "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_UNKNOWN)
        check(f"{name} permit, veto of a callout", traffic.exchange([b"against a veto"]), [])
        bed.b.remove(*vetoing)
        check(f"{name} permit alone", traffic.exchange([b"alone"]), [b"alone"])
        bed.a.remove(*ours)


def only_port_5000(decide: Callable[[Indication], None]) -> Callable[[Indication], None]:
    """A callout that decides on packets to port 5000, and leaves all others to the next filter."""

    def classify(seen: Indication) -> None:
        if seen.view.destination_port == 5000:
            decide(seen)
        else:
            seen.continue_()

    return classify


@scenario(cases=("G06",), rules=("CO-14",))
def permit_without_the_right(two_drivers: TwoDrivers, family: AddressFamily, check: Checks) -> None:
    """A permit over the block of a heavier driver does not count, and is reported.

    host --(OUTBOUND_IPPACKET: a blocks hard, b permits)--> peer
    """
    bed = two_drivers
    traffic = Datagrams(bed.host, bed.peer, family)
    for driver, decide in ((bed.a, Indication.block), (bed.b, Indication.permit)):
        driver.add(only_port_5000(decide), "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_UNKNOWN)
    check.expect_violation("CO-14")
    check("it stays blocked", traffic.exchange([b"one"]), [])


@scenario(cases=("G04",), rules=("NB-25", "NT-3", "NT-7", "NT-8", "QS-8"))
def a_clone_that_is_freed(two_drivers: TwoDrivers, family: AddressFamily, check: Checks) -> None:
    """A clone that is freed may have taken the original's tag with it, and never changes who injected what.

    host (OUTBOUND_IPPACKET: a tags, clones and frees; b looks for the tag and the state) --> peer
    """
    bed = two_drivers
    traffic = Datagrams(bed.host, bed.peer, family)
    tags = bed.a.core.tags
    tag = tags.new_tag()
    injecting, asking = (driver.create_handle(family, InjectionType.NETWORK) for driver in (bed.a, bed.b))
    events: list[str] = []
    on_clones: list[object] = []
    seen_by_b: list[tuple[str, object]] = []
    fwpsk = Fwpsk(bed.host.stack.core)

    def told(event: TagEvent, *_: object) -> None:
        events.append(event.name)

    def taken_off(item: NetBufferList | None) -> object:
        try:
            return tags.retrieve(item, tag, remove=True)
        except FwpNotFound:
            return None

    def clone_and_free(seen: Indication) -> None:
        tags.associate(seen.net_buffer_list, seen.layer, "mine", tag, told)
        _, clone = fwpsk.FwpsAllocateCloneNetBufferList0(seen.net_buffer_list, None, None, 0)
        on_clones.append(taken_off(clone))
        fwpsk.FwpsFreeCloneNetBufferList0(clone, 0)
        seen.continue_()

    def look(seen: Indication) -> None:
        item = seen.net_buffer_list
        seen_by_b.append((asking.state(item)[0].name, taken_off(item)))
        seen.continue_()

    for driver, callout in ((bed.a, clone_and_free), (bed.b, look)):
        driver.add(only_port_5000(callout), "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_INSPECTION)
    for moves in (True, False):
        tags.clone_moves = moves
        injecting.network_send(bed.a.create(made_packet(bed, family, b"injected")), bed.a.done)
        bed.host.stack.settle()
        check("what arrives", traffic.exchange([b"plain"]), [b"injected", b"plain"])
        here, there = (None, "mine") if moves else ("mine", None)
        what = "a clone takes the tag" if moves else "a clone leaves the tag"
        seen = [("INJECTED_BY_OTHER", here), ("NOT_INJECTED", here)]
        check(f"{what}: state and tag of the original", seen_by_b, seen)
        check(f"{what}: tag of the clone", on_clones, [there, there])
        check(f"{what}: its owner was told", events, ["CLONED_VIA_WFP_API"] * 2)
        seen_by_b.clear()
        on_clones.clear()
        events.clear()
