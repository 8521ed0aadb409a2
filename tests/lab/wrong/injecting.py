"""Mistakes with injections: where the data begins, checksums, buffers, loops, locks, handles."""

from __future__ import annotations

import threading
from contextlib import suppress

from emulator.checksums import fix_checksums
from emulator.errors import Unsuccessful, WfpError
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.injection import SendParams
from emulator.netbuffer import NetBufferList
from emulator.rewrite import with_payload
from emulator.wfptypes import InjectionType
from tests.lab.wrong.scene import Scene, wrong


def tcp(scene: Scene, *, inbound: bool = False) -> bytes:
    """A TCP segment that no connection knows."""
    from emulator.headers import build_ip_header

    ends = (scene.peer, scene.host) if inbound else (scene.host, scene.peer)
    source, to = (end.octets(scene.family) for end in ends)
    header = b"\x13\x87\x13\x89" + bytes(8) + b"\x50\x04\x00\x00\x00\x00\x00\x00"
    return build_ip_header(scene.version, source, to, 6, header)


# -- where the data begins ----------------------------------------------------------------------------------


@wrong("NR-2", says="the data begins with the UDP header")
def received_without_the_retreat(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        clone = seen.clone(seen.metadata.ip_header_size if right else 0)
        scene.handle.network_receive(clone, scene.done, **scene.interface(seen))
        return seen.block(absorb=True)

    scene.inbound(classify)


@wrong("TR-2", says="the data begins with the payload")
def transport_received_without_the_retreat(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        size = seen.metadata.ip_header_size + seen.metadata.transport_header_size
        clone = seen.clone(size if right else 0)
        scene.handle.transport_receive(clone, scene.done, family=scene.family, **scene.interface(seen))
        return seen.block(absorb=True)

    scene.inbound(classify, "INBOUND_TRANSPORT")


@wrong("NS-2", says="the data begins with the UDP header")
def network_sent_from_the_transport_layer(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        clone = seen.clone()
        if right:
            params = SendParams(seen.view.destination)
            scene.handle.transport_send(clone, scene.done, family=scene.family, send_params=params)
        else:
            scene.handle.network_send(clone, scene.done)
        return seen.block(absorb=True)

    scene.outbound(classify, "OUTBOUND_TRANSPORT")


@wrong("TS-2", says="header, and not with the transport header")
def ip_header_beside_send_parameters(scene: Scene, right: bool) -> None:
    packet = scene.packet()
    params = None if right else SendParams(scene.peer.octets(scene.family))
    scene.handle.transport_send(scene.created(packet), scene.done, family=scene.family, send_params=params)
    scene.settle()


@wrong("TS-3", says="and not with an IP")
def no_send_parameters_and_no_ip_header(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        params = SendParams(seen.view.destination) if right else None
        scene.handle.transport_send(seen.clone(), scene.done, family=scene.family, send_params=params)
        return seen.block(absorb=True)

    scene.outbound(classify, "OUTBOUND_TRANSPORT")


@wrong("FW-1", says="an Ethernet header (14 octets)")
def forwarded_with_its_ethernet_header(scene: Scene, right: bool) -> None:
    kind = b"\x08\x00" if scene.version == 4 else b"\x86\xdd"
    front = b"" if right else bytes(range(12)) + kind
    item = scene.created(front + scene.packet())
    scene.handle.forward(item, scene.done, family=scene.family, interface=scene.host.interface())
    scene.settle()


@wrong("NS-3", says="one of another family")
def injected_by_a_handle_of_the_other_family(scene: Scene, right: bool) -> None:
    from emulator.wfptypes import AddressFamily

    family = scene.family
    if not right:
        family = AddressFamily.INET6 if family == AddressFamily.INET else AddressFamily.INET
    handle = scene.driver.create_handle(family, InjectionType.NETWORK)
    handle.network_send(scene.created(), scene.done)
    scene.settle()


# -- checksums ----------------------------------------------------------------------------------------------


@wrong("GE-16", says="the UDP checksum does not fit")
def payload_changed_checksum_stale(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        octets = bytearray(seen.copy())
        octets[-1] ^= 0x20
        if right:
            fix_checksums(octets)
        scene.handle.network_send(scene.created(octets), scene.done)
        return seen.block(absorb=True)

    scene.outbound(classify)


@wrong("GE-17", says="a partial UDP checksum was injected as a full one", bed="offload")
def partial_checksum_copied(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        octets = bytearray(seen.copy())
        if right:
            fix_checksums(octets)
        scene.handle.network_send(scene.created(octets), scene.done)
        return seen.block(absorb=True)

    scene.outbound(classify)


@wrong("GE-17", says="although the list says that the card finishes it", bed="offload")
def full_checksum_beside_the_cards_bit(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        clone = seen.clone()
        changed = with_payload(clone.octets, b"DATAGRAM")
        clone.write(0, changed)
        if right:
            clone.info = None
        scene.handle.network_send(clone, scene.done)
        return seen.block(absorb=True)

    scene.outbound(classify)


@wrong("NR-6", says="IPv4 header checksum does not fit", versions=(4,))
def hop_limit_lowered_header_checksum_stale(scene: Scene, right: bool) -> None:
    octets = bytearray(scene.packet(inbound=True))
    octets[8] -= 1
    if right:
        fix_checksums(octets)
    item = scene.created(octets)
    scene.handle.network_receive(item, scene.done, interface=scene.host.interface(), sub_interface=1)
    scene.settle()


# -- buffers, and the wrong thread ----------------------------------------------------------------------------


@wrong("TS-7", says="remoteAddress")
def remote_address_scribbled_over(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        address = bytearray(seen.view.destination)
        params = SendParams(address)
        scene.handle.transport_send(seen.clone(), scene.done, family=scene.family, send_params=params)
        if not right:
            address[:] = bytes(len(address))
        return seen.block(absorb=True)

    scene.outbound(classify, "OUTBOUND_TRANSPORT")


@wrong("TS-10", says="controlData")
def control_data_released(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        control = bytearray(0)
        params = SendParams(seen.view.destination, control_data=control)
        scene.handle.transport_send(seen.clone(), scene.done, family=scene.family, send_params=params)
        if not right:
            control += b"\xdd" * 16
        return seen.block(absorb=True)

    scene.outbound(classify, "OUTBOUND_TRANSPORT")


@wrong("TS-16", says="TCP was injected from inside a callback")
def tcp_sent_inline(scene: Scene, right: bool) -> None:
    def send() -> None:
        item = scene.created(tcp(scene))
        scene.handle.transport_send(item, scene.done, family=scene.family, send_params=None)

    inline_or_not(scene, right, send)


@wrong("TR-11", says="TCP was injected from inside a callback")
def tcp_received_inline(scene: Scene, right: bool) -> None:
    def receive() -> None:
        item = scene.created(tcp(scene, inbound=True))
        scene.handle.transport_receive(
            item, scene.done, family=scene.family, interface=scene.host.interface(), sub_interface=1
        )

    inline_or_not(scene, right, receive)


def inline_or_not(scene: Scene, right: bool, work: object) -> None:
    """Do some work from classify, or, as is right, from a worker afterwards."""
    assert callable(work)

    def classify(seen: Indication) -> None:
        if not right:
            work()
        seen.permit()

    scene.outbound(classify, "OUTBOUND_TRANSPORT")
    if right:
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
    scene.settle()


# -- ownership of what is injected ----------------------------------------------------------------------------


@wrong("GE-20", says="is not the driver's")
def original_injected(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        item = seen.clone() if right else seen.net_buffer_list
        assert item is not None
        with suppress(WfpError):
            scene.handle.network_send(item, scene.done)
        return seen.block(absorb=True)

    scene.outbound(classify)


@wrong("NB-9", says="no completion comes, and it is still the driver's")
def refused_and_never_freed(scene: Scene, right: bool) -> None:
    """The driver waits for a completion that will not come: the call was refused (A11)."""

    def classify(seen: Indication) -> None:
        clone = seen.clone()
        try:
            scene.handle.network_send(clone, scene.done, compartment=7)
        except WfpError:
            if right:
                scene.free(clone)
            else:
                scene.later.callback(scene.free, clone)
        seen.permit()

    scene.outbound(classify)


@wrong("NB-9", says="its completion function was called with SUCCESS, and kept it")
def completion_that_does_not_free(scene: Scene, right: bool) -> None:
    def done(context: object, item: NetBufferList, dispatch_level: bool) -> None:
        if right:
            scene.free(item)
        else:
            scene.later.callback(scene.free, item)

    scene.handle.network_send(scene.created(), done)
    scene.settle()


# -- loops --------------------------------------------------------------------------------------------------


@wrong("GE-13", says="its state was not queried")
def injected_again_without_asking(scene: Scene, right: bool) -> None:
    passes: list[int] = []

    def classify(seen: Indication) -> None:
        if right and seen.injected_by(scene.handle):
            return seen.permit()
        passes.append(1)
        if len(passes) > 2:  # or it would go on until the loop limit
            return seen.permit()
        scene.handle.network_send(seen.clone(), scene.done)
        return seen.block(absorb=True)

    scene.outbound(classify)


@wrong("GE-14", says="handle")
def two_drivers_copy(scene: Scene, right: bool) -> None:
    other = scene.driver.create_handle(scene.family, InjectionType.NETWORK)

    def inject(seen: Indication, handle: InjectionHandle) -> None:
        handle.network_send(seen.clone() if right else scene.created(seen.copy()), scene.done)
        seen.block(absorb=True)

    def classify(seen: Indication) -> None:
        if not seen.injected_by(scene.handle):
            inject(seen, scene.handle)
        elif not seen.injected_by(other):
            inject(seen, other)
        else:
            seen.permit()

    if right:
        scene.outbound(classify)
        return

    def first(seen: Indication) -> None:
        state = scene.handle.state(seen.net_buffer_list)[0].name
        inject(seen, other if state == "INJECTED_BY_SELF" else scene.handle)

    scene.outbound(first)


# -- locks --------------------------------------------------------------------------------------------------


@wrong("GE-4", says="would be waited for for ever", bed="inline")
def lock_held_while_the_completion_wants_it(scene: Scene, right: bool) -> None:
    lock = scene.core.spin_lock("queue")
    count = [0]

    def done(context: object, item: NetBufferList, dispatch_level: bool) -> None:
        with lock:
            count[0] -= 1
        scene.free(item)

    def send() -> None:
        item = scene.created()
        with lock:
            count[0] += 1
            if not right:
                scene.handle.network_send(item, done)
        if right:
            scene.handle.network_send(item, done)

    worker = threading.Thread(target=send)
    worker.start()
    worker.join()
    scene.settle()


@wrong("CF-6", says="was held across the call, and the completion function ran", bed="inline")
def lock_held_across_an_inline_completion(scene: Scene, right: bool) -> None:
    lock = scene.core.spin_lock("flows")

    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        clone = seen.clone()
        if right:
            scene.handle.network_send(clone, scene.done)
        else:
            with lock:
                scene.handle.network_send(clone, scene.done)
        return seen.block(absorb=True)

    scene.outbound(classify)


# -- handles, and calls from the wrong place ------------------------------------------------------------------


@wrong("HC-15", says="was never destroyed")
def handle_never_destroyed(scene: Scene, right: bool) -> None:
    handle = scene.core.create_handle(scene.family, InjectionType.NETWORK)
    if right:
        handle.destroy()
    else:
        scene.later.callback(handle.destroy)


@wrong("HD-6", says="the handle was destroyed before")
def handle_used_after_its_end(scene: Scene, right: bool) -> None:
    handle = scene.core.create_handle(scene.family, InjectionType.NETWORK)
    item = scene.created()
    if right:
        handle.network_send(item, scene.done)
        handle.destroy()
        return
    handle.destroy()
    with suppress(WfpError):
        handle.network_send(item, scene.done)
    scene.free(item)


@wrong("GE-5", says="it needs PASSIVE_LEVEL")
def handle_created_in_classify(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if not right:
            scene.driver.create_handle(scene.family, InjectionType.NETWORK)
        seen.permit()

    if right:
        scene.driver.create_handle(scene.family, InjectionType.NETWORK)
    scene.outbound(classify)


@wrong("HD-5", says="called from a classify or completion function")
def handle_destroyed_in_a_completion(scene: Scene, right: bool) -> None:
    handle = scene.core.create_handle(scene.family, InjectionType.NETWORK)

    def done(context: object, item: NetBufferList, dispatch_level: bool) -> None:
        scene.free(item)
        if not right:
            with suppress(Unsuccessful):
                handle.destroy()

    handle.network_send(scene.created(), done)
    scene.settle()
    handle.destroy()


@wrong("QS-11", says="there is no list")
def state_asked_of_nothing(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        item = seen.net_buffer_list if right else None
        scene.handle.state(item)
        seen.permit()

    scene.outbound(classify)


@wrong("GE-18", says="build it anew")
def ip_header_at_an_odd_address(scene: Scene, right: bool) -> None:
    scene.handle.network_send(scene.created(backfill=16 if right else 14), scene.done)
    scene.settle()
