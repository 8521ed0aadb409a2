"""Mistakes with decisions, with what classify was given, and with contexts of flows."""

from __future__ import annotations

from uuid import uuid4

from emulator.filters import SubLayer
from emulator.indication import Indication
from emulator.wfptypes import Action
from tests.lab.wrong.scene import Scene, wrong


@wrong("CO-18", says="was blocked without ABSORB")
def blocked_without_absorb(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        scene.handle.network_send(seen.clone(), scene.done)
        return seen.block(absorb=right)

    scene.outbound(classify)


@wrong("CO-19", says="was blocked softly")
def blocked_softly(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        scene.handle.network_send(seen.clone(), scene.done)
        return seen.block(absorb=True, hard=right)

    scene.outbound(classify)


@wrong("CO-14", says="without the right to decide")
def permitted_without_the_right(scene: Scene, right: bool) -> None:
    """Another driver has blocked for good; this one permits all the same (G06)."""
    engine = scene.core.engine
    before = engine.add_sublayer(SubLayer(uuid4(), 0xFFFF, "asked before"))

    def block(seen: Indication) -> None:
        if 5000 in (seen.view.destination_port, seen.view.source_port):
            seen.block()
        else:
            seen.permit()

    scene.driver.sublayer, own = before, scene.driver.sublayer
    filters = scene.driver.add(block, "OUTBOUND_IPPACKET", scene.family)
    scene.driver.sublayer = own

    def classify(seen: Indication) -> None:
        if seen.may_decide or not right:
            seen.permit()

    scene.outbound(classify)
    scene.driver.remove(*filters)
    engine.delete_sublayer(before.key)


@wrong("CO-17", says="with a BLOCK only")
def absorbed_and_permitted(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        seen.permit()
        if not right:
            seen.out_flags |= 1

    scene.outbound(classify)


@wrong("CO-12", says="was used after its classify had returned")
def arguments_kept(scene: Scene, right: bool) -> None:
    kept: list[Indication] = []
    ports: list[int] = []

    def classify(seen: Indication) -> None:
        if right:
            ports.append(seen.value("INTERFACE_INDEX"))
        kept.append(seen)
        seen.permit()

    scene.outbound(classify)
    if not right:
        ports.append(kept[0].value("INTERFACE_INDEX"))
    assert len(ports) == 1


@wrong("CO-12", says="metadata of an indication was used after")
def metadata_kept(scene: Scene, right: bool) -> None:
    sizes: list[int] = []

    def classify(seen: Indication) -> None:
        metadata = seen.metadata
        if right:
            sizes.append(metadata.ip_header_size)
        else:
            scene.later.callback(lambda: None)
            late.append(lambda: sizes.append(metadata.ip_header_size))
        seen.permit()

    late: list[object] = []
    scene.inbound(classify)
    for read in late:
        assert callable(read)
        read()
    assert sizes


@wrong("GE-9", says="it raised ZeroDivisionError")
def classify_that_raises(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        seen.permit()
        if not right:
            print(1 // int(seen.ended))  # noqa: T201  the mistake is before it

    scene.outbound(classify)


@wrong("CO-22", says="it returned and kept")
def lock_kept_by_classify(scene: Scene, right: bool) -> None:
    lock = scene.core.spin_lock("packets")

    def classify(seen: Indication) -> None:
        lock.acquire()
        seen.permit()
        if right:
            lock.release()

    scene.outbound(classify)


@wrong("CO-4", says="was never removed")
def flow_context_left(scene: Scene, right: bool) -> None:
    deleted: list[int] = []
    registry = scene.core.engine.callouts
    flows = scene.core.engine.flows
    attached: list[tuple[int, int]] = []

    def classify(seen: Indication) -> None:
        if seen.flow_handle and not attached and seen.view.destination_port == 5000:
            flows.associate(seen.flow_handle, seen.layer, registered.callout_id, 7)
            attached.append((seen.flow_handle, seen.layer))
        seen.permit()

    registered = registry.register(classify, flow_delete=lambda layer, callout, context: deleted.append(context))
    item = scene.stack.add_filter(_datagram_layer(scene), registered, action=Action.CALLOUT_INSPECTION)
    with scene.host.socket(scene.family) as sender:
        sender.sendto(b"flow", (scene.peer.address(scene.family), 5000))
        scene.settle()
    scene.stack.delete_filter(item)
    ((flow, layer),) = attached

    def remove() -> None:
        flows.remove(flow, layer, registered.callout_id)
        registry.unregister(registered.callout_id)

    if right:
        remove()
        assert deleted == [7]
    else:
        scene.later.callback(remove)


def _datagram_layer(scene: Scene) -> int:
    from emulator.layers import layer_of

    return int(layer_of("DATAGRAM_DATA", scene.version))
