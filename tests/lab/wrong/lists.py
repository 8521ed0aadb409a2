"""Mistakes with lists: kept, freed wrongly, used when they may not be, taken apart."""

from __future__ import annotations

from contextlib import suppress

from emulator.errors import FwpInvalidParameter
from emulator.indication import Indication
from emulator.netbuffer import Mdl, NetBufferList
from tests.lab.wrong.scene import Scene, wrong


@wrong("NB-9", says="was never freed")
def clone_never_freed(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        clone = seen.clone()
        if right:
            scene.free(clone)
        else:
            scene.later.callback(scene.free, clone)
        seen.permit()

    scene.outbound(classify)


@wrong("NB-9", says="was never freed")
def created_list_never_freed(scene: Scene, right: bool) -> None:
    item = scene.created()
    if right:
        scene.free(item)
    else:
        scene.later.callback(scene.free, item)


@wrong("NB-12", says="is still referenced")
def reference_never_given_back(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        item = seen.net_buffer_list
        assert item is not None
        scene.ownership.reference(item)
        if right:
            scene.ownership.dereference(item)
        else:
            scene.later.callback(scene.ownership.dereference, item)
        seen.permit()

    scene.outbound(classify)


@wrong("NB-12", says="it holds no reference")
def dereferenced_without_a_reference(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        item = seen.net_buffer_list
        assert item is not None
        if right:
            scene.ownership.reference(item)
        scene.ownership.dereference(item)
        seen.permit()

    scene.outbound(classify)


@wrong("NB-9", says="it was freed before")
def clone_freed_twice(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        clone = seen.clone()
        scene.ownership.free_clone(clone)
        if not right:
            scene.ownership.free_clone(clone)
        seen.permit()

    scene.outbound(classify)


@wrong("NB-9", says="it was freed before")
def freed_by_completion_and_by_caller(scene: Scene, right: bool) -> None:
    item = scene.created()
    scene.handle.network_send(item, scene.done)
    scene.settle()
    if not right:
        scene.ownership.free_list(item)


@wrong("NB-5", says="was not made by the function that this one belongs to")
def clone_freed_as_a_created_list(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        clone = seen.clone()
        if not right:
            scene.ownership.free_list(clone)
        scene.ownership.free_clone(clone)
        seen.permit()

    scene.outbound(classify)


@wrong("NB-8", says="was not made by the function that this one belongs to")
def created_list_freed_as_a_clone(scene: Scene, right: bool) -> None:
    item = scene.created()
    if not right:
        scene.ownership.free_clone(item)
    scene.ownership.free_list(item)


@wrong("NB-9", says="its memory is poisoned")
def read_after_free(scene: Scene, right: bool) -> None:
    item = scene.created()
    octets = item.octets if right else b""
    scene.ownership.free_list(item)
    if not right:
        octets = item.octets
    assert (octets == scene.packet()) == right
    assert right or set(octets) == {0xDD}


@wrong("GE-3", says="is in flight, and the stack's")
def written_in_flight(scene: Scene, right: bool) -> None:
    written: list[str] = []

    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        clone = seen.clone()
        scene.handle.network_send(clone, scene.done)
        if not right:
            written.append(clone.octets.hex())  # the packet goes to a log, too late
        return seen.block(absorb=True)

    scene.outbound(classify)


@wrong("GE-3", says="were changed while it was in flight")
def descriptor_kept_and_written_in_flight(scene: Scene, right: bool) -> None:
    memory = bytearray(scene.packet(b"in flight"))
    mdl = Mdl(memory)
    item = scene.ownership.create(mdl, 0, len(memory))

    def classify(seen: Indication) -> None:
        if not right:
            mdl.view()[-1:] = b"X"
        seen.permit()

    filters = scene.driver.add(classify, "OUTBOUND_IPPACKET", scene.family)
    scene.handle.network_send(item, scene.done)
    scene.settle()
    scene.driver.remove(*filters)


@wrong("GE-3", says="it is in flight and the stack's until its completion")
def freed_in_flight(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        clone = seen.clone()
        scene.handle.network_send(clone, scene.done)
        if not right:
            scene.ownership.free_clone(clone)
        return seen.block(absorb=True)

    scene.outbound(classify)


@wrong("GE-3", says="cannot be injected")
def injected_twice_at_a_time(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        clone = seen.clone()
        scene.handle.network_send(clone, scene.done)
        if not right:
            with suppress(FwpInvalidParameter):
                scene.handle.network_send(clone, scene.done)
        return seen.block(absorb=True)

    scene.outbound(classify)


@wrong("NB-13", says="octets too far back")
def retreat_not_undone(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        item = seen.net_buffer_list
        assert item is not None
        size = seen.metadata.ip_header_size
        item.retreat(size)
        if item.data_length and right:
            item.advance(size)
        seen.permit()

    scene.inbound(classify)


@wrong("NB-3", says="were changed and not put back")
def descriptor_of_a_clone_replaced(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        clone = seen.clone()
        buffer = clone.first_net_buffer
        before = buffer.first_mdl
        copy = bytearray(clone.octets)
        buffer.first_mdl = Mdl(copy)
        if right:
            buffer.first_mdl = before
        scene.free(clone)
        seen.permit()

    scene.outbound(classify)


@wrong("NB-11", says="classify has returned")
def original_kept_without_a_reference(scene: Scene, right: bool) -> None:
    kept: list[NetBufferList] = []

    def classify(seen: Indication) -> None:
        item = seen.net_buffer_list
        assert item is not None
        kept.append(scene.created(seen.copy()) if right else item)
        seen.block()

    scene.outbound(classify)
    (item,) = kept
    assert len(item.octets) > 20
    if right:
        scene.free(item)


@wrong("NB-4", says="is the stack's original")
def original_written(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        if seen.injected_by(scene.handle):
            return seen.permit()
        if not right:
            assert seen.net_buffer_list is not None
            seen.net_buffer_list.write(1, b"\x10")
            return seen.permit()
        scene.handle.network_send(scene.created(seen.copy()), scene.done)
        return seen.block(absorb=True)

    scene.outbound(classify, "OUTBOUND_IPPACKET")


@wrong("NB-4", says="the original goes on with them")
def original_changed_through_a_clone(scene: Scene, right: bool) -> None:
    def classify(seen: Indication) -> None:
        clone = seen.clone()
        if not right:
            clone.write(1, b"\x10")
        scene.free(clone)
        seen.permit()

    scene.outbound(classify)


@wrong("NB-10", says="it is held for too long")
def clone_held_for_a_minute(scene: Scene, right: bool) -> None:
    held: list[NetBufferList] = []

    def classify(seen: Indication) -> None:
        held.append(scene.created(seen.copy()) if right else seen.clone())
        seen.permit()

    scene.outbound(classify)
    for _ in range(60):  # seconds, as the host counts them
        scene.ownership.grow_older(60)
    for item in held:
        scene.free(item)
