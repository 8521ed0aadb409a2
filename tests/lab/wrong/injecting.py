"""Mistakes with what is injected: where the data begins, checksums, buffers."""

from __future__ import annotations

import threading

from emulator.checksums import fix_checksums
from emulator.indication import Indication
from emulator.injection import SendParams
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
